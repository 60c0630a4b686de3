"""Tables and views from their declarations. Running it again changes nothing that is right already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import SparkSession

from lakehouse.declared import Made, all_views, other_tables, state_tables
from lakehouse.gained import fill_gained, note_gained
from lakehouse.governance import Governance, govern
from lakehouse.settings import LAYERS, Layer, Settings, literal
from lakehouse.table import Column, Table, View

PROPERTIES = {
    "delta.enableRowTracking": "true",
    "delta.enableChangeDataFeed": "true",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 30 days",
}
"""Of every table, beside `delta.enableDeletionVectors`, which the settings decide."""


def set_up(
    spark: SparkSession, settings: Settings, tables: Iterable[Table], governance: Governance | None = None
) -> None:
    """Create what is missing: schemas, tables, columns, views.

    Existing tables keep their data; a column that a declaration has gained is added to its table, and filled.
    Run it while no stream is at work: a change of a table's schema stops every writer of it.

    Args:
        governance: what Unity Catalog is told beside; None where there is none.
    """
    tables = tuple(tables)
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {settings.schema(layer)}{_location(settings, layer)}")
    others, views = tuple(other_tables(tables)), tuple(all_views(tables))
    for made in others:
        _create(spark, settings, made)
    for table in tables:
        create_tables(spark, settings, table)
    for layer, view in views:
        create_view(spark, settings, layer, view)
    if governance is not None:
        all_made = (*others, *(made for table in tables for made in state_tables(table)))
        govern(spark, settings, all_made, views, governance)


def create_tables(spark: SparkSession, settings: Settings, table: Table) -> None:
    """Create a table in silver, and its history; or add and fill what its declaration has gained."""
    for made in state_tables(table):
        _create(spark, settings, made, fill=True)
        fill_gained(spark, settings.table("silver", made.name), table)


def create_view(spark: SparkSession, settings: Settings, layer: Layer, view: View) -> None:
    """Create or replace a view. Personal data in it is null for all but the readers of the settings."""
    schemas: dict[str, str] = {name: settings.schema(name) for name in LAYERS}
    query, columns = view.query.format(**schemas), ""
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


def _create(spark: SparkSession, settings: Settings, made: Made, *, fill: bool = False) -> None:
    """Create a table, or add the columns that it lacks; `fill`: they will be filled."""
    full = settings.table(made.layer, made.name)
    if not spark.catalog.tableExists(full):
        wanted = PROPERTIES | {"delta.enableDeletionVectors": str(settings.deletion_vectors).lower()}
        properties = ", ".join(f"{literal(k)} = {literal(v)}" for k, v in wanted.items())
        clustering = ", ".join(f"`{c}`" for c in made.cluster_by)
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS {full} ({', '.join(map(_definition, made.columns))}) USING DELTA "
            f"CLUSTER BY ({clustering}) COMMENT {literal(made.comment)} TBLPROPERTIES ({properties})"
            f"{_location(settings, made.layer, made.name)}"
        )
        return
    present = {c.lower() for c in spark.table(full).columns}
    missing = [c for c in made.columns if c.name not in present]
    if missing:
        if fill:
            note_gained(spark, full, missing)
        spark.sql(f"ALTER TABLE {full} ADD COLUMNS ({', '.join(map(_definition, missing))})")


def _definition(column: Column) -> str:
    not_null = " NOT NULL" if column.not_null else ""
    return f"`{column.name}` {column.type}{not_null} COMMENT {literal(column.comment)}"


def _location(settings: Settings, layer: Layer, name: str = "") -> str:
    location = settings.location(layer, name)
    return f" LOCATION {literal(location)}" if location else ""
