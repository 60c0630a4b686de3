"""Tables and views from their declarations. Running it again changes nothing that is right already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog.declarations import Declarations
from lakehouse.catalog.declared import Made, all_views, other_tables, state_table
from lakehouse.catalog.governance import Governance, govern
from lakehouse.errors import ConfigurationError
from lakehouse.settings import LAYERS, Layer, Settings, literal
from lakehouse.table import Column, Table, View

PROPERTIES = {
    "delta.enableRowTracking": "true",
    "delta.enableChangeDataFeed": "true",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 30 days",
}
"""Of every table, beside `delta.enableDeletionVectors`, which the settings decide."""

EARLIER: tuple[Layer, str] = ("ops", "quarantine_records")
"""A table that only versions without bronze have made."""

AT_ONCE = 4
"""Tables that are created at the same time: a commit is mostly waiting."""


def set_up(
    spark: SparkSession,
    settings: Settings,
    tables: Iterable[Table],
    governance: Governance | None = None,
    *,
    with_views: bool = True,
) -> Declarations:
    """Create what is missing: schemas, tables, columns, views.

    Existing tables keep their data. A column that a declaration has gained is added to its table and noted,
    and so is one that is made of something else now; `fill` (ingest/fill.py) brings both up to date from
    bronze. Run it while no stream is at work: a change of a table's schema stops every writer of it.

    Args:
        governance: what Unity Catalog is told beside; None where there is none.
        with_views: whether somebody will look. An ingest on one machine needs none, and views last as long as
            their session there.

    Returns:
        What is noted of the tables now, for `fill`.

    Raises:
        ConfigurationError: the tables are of an earlier layout, or a column has another type than is
        declared.
    """
    tables = tuple(tables)
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {settings.schema(layer)}{_location(settings, layer)}")
    refuse_earlier_layout(spark, settings)
    others, views = tuple(other_tables(tables)), tuple(all_views(tables)) if with_views else ()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = pool.map(lambda other: _create(spark, settings, other), others)
        anew = {(other.layer, other.name) for other, is_new in zip(others, made, strict=True) if is_new}
    if ("ops", "completeness") not in anew:
        # A log that was dropped begins anew: what was noted of it is true no more.
        logs = [name for layer, name in anew if layer == "bronze"]
        _forget(spark, settings, "completeness", "source", logs)
    declarations = Declarations.read(spark, settings)
    # Noted before anything is altered: a run that is killed is finished by the next one.
    is_new = {t: not spark.catalog.tableExists(settings.table("silver", t.name)) for t in tables}
    for table in tables:
        if is_new[table] and table.name in declarations.rows:
            # It was dropped, and fills itself from bronze: of this one no tombstone has been purged.
            _forget(spark, settings, "floors", "table_name", [table.name])
    declarations.note(spark, settings, is_new)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda table: _create(spark, settings, state_table(table)), tables))
    for layer, view in views:
        create_view(spark, settings, layer, view)
    if governance is not None:
        govern(spark, settings, (*others, *map(state_table, tables)), views, governance)
    return declarations


def refuse_earlier_layout(spark: SparkSession, settings: Settings) -> None:
    """Raise ConfigurationError if the tables were made by a version that kept no bronze."""
    if spark.catalog.tableExists(settings.table(*EARLIER)):
        where = settings.warehouse or f"the schemas of {settings.catalog}"
        raise ConfigurationError(
            f"The tables in {where} are of an earlier version of lakehouse, which this one cannot go on "
            "with. Start over: name a new --warehouse (on Databricks: new schemas and a new folder of "
            "checkpoints) and ingest what has landed again."
        )


def create_view(spark: SparkSession, settings: Settings, layer: Layer, view: View) -> None:
    """Create or replace a view. Personal data in it is null for all but the readers of the settings."""
    query, columns = settings.in_schemas(view.query), ""
    if settings.pii_readers is not None:
        columns, query = mask(query, spark.sql(query).columns, view.columns, settings.pii_readers)
    spark.sql(
        f"CREATE OR REPLACE VIEW {settings.table(layer, view.name)}{columns} "
        f"COMMENT {literal(view.comment)} AS {query}"
    )


def mask(query: str, shown: Sequence[str], declared: Iterable[Column], readers: str) -> tuple[str, str]:
    """A view's list of columns, and its query with null in place of personal data for all but `readers`.

    Null, and not a text, which would find its equals in a join and read as a value where one is parsed. The
    query itself sees everything: what it joins and filters by is not for the eyes of its readers.

    Args:
        shown: the columns of the query.
        declared: columns of tables that it reads; those with personal data are known by their names.
    """
    personal = {column.name: column for column in declared if column.pii}
    if not any(name.lower() in personal for name in shown):
        return "", query
    columns, values = [], []
    for name in shown:
        column = personal.get(name.lower())
        quoted = "`" + name.replace("`", "``") + "`"
        if column is None:
            columns.append(quoted)
            values.append(quoted)
        else:
            columns.append(
                f"{quoted} COMMENT {literal(f'{column.comment} Null but for members of {readers}.')}"
            )
            values.append(
                f"CASE WHEN is_account_group_member({literal(readers)}) THEN {quoted} END AS {quoted}"
            )
    return f" ({', '.join(columns)})", f"SELECT {', '.join(values)} FROM (\n{query}\n)"  # noqa: S608 - declared


def _forget(spark: SparkSession, settings: Settings, ops: str, column: str, names: Sequence[str]) -> None:
    """Delete what a table of ops notes of what is made anew."""
    noted, mine = settings.table("ops", ops), F.col(column).isin(*names)
    if names and not spark.table(noted).where(mine).isEmpty():
        DeltaTable.forName(spark, noted).delete(mine)


def _create(spark: SparkSession, settings: Settings, made: Made) -> bool:
    """Create a table, or add the columns that it lacks; whether it was created."""
    full = settings.table(made.layer, made.name)
    if not spark.catalog.tableExists(full):
        wanted = PROPERTIES | {"delta.enableDeletionVectors": str(settings.deletion_vectors).lower()}
        wanted["delta.dataSkippingStatsColumns"] = ",".join(made.statistics)
        properties = ", ".join(f"{literal(k)} = {literal(v)}" for k, v in wanted.items())
        clustering = ", ".join(f"`{c}`" for c in made.cluster_by)
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS {full} ({', '.join(map(_definition, made.columns))}) USING DELTA "
            f"CLUSTER BY ({clustering}) COMMENT {literal(made.comment)} TBLPROPERTIES ({properties})"
            f"{_location(settings, made.layer, made.name)}"
        )
        return True
    present = {c.lower() for c in spark.table(full).columns}
    missing = [c for c in made.columns if c.name not in present]
    if missing:
        spark.sql(f"ALTER TABLE {full} ADD COLUMNS ({', '.join(map(_definition, missing))})")
    return False


def _definition(column: Column) -> str:
    not_null = " NOT NULL" if column.not_null else ""
    return f"`{column.name}` {column.type}{not_null} COMMENT {literal(column.comment)}"


def _location(settings: Settings, layer: Layer, name: str = "") -> str:
    location = settings.location(layer, name)
    return f" LOCATION {literal(location)}" if location else ""
