"""Columns that a declaration has gained, or makes of something else now: filled from bronze, in one MERGE.

Which columns are to be filled was noted before the table was altered: a run that is killed is finished by the
next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog.declarations import Declarations
from lakehouse.ingest.changes import changes_of_documents, latest_documents
from lakehouse.ingest.commits import retrying, same
from lakehouse.settings import Settings
from lakehouse.sql.select import latest_of, select
from lakehouse.sql.views import turned_away
from lakehouse.table import Table


def fill(
    spark: SparkSession, settings: Settings, tables: Iterable[Table], declarations: Declarations
) -> None:
    """Fill the columns that are noted. Run it while no stream is at work, with what `set_up` gives."""
    for table in tables:
        names = declarations.to_fill(table)
        if names:
            what = f"the filling of columns of {table.name}"
            retrying(lambda: _fill(spark, settings, table, names), what)  # noqa: B023 - called before the next
            declarations.filled(spark, settings, table)


def all_latest(spark: SparkSession, settings: Settings, table: Table) -> DataFrame:
    """The latest change of every key in all of bronze, without what the tombstone floor turned away.

    Returns:
        Every column of `table.all_columns` but `_applied_at`; one row a key.
    """
    names = [c.name for c in table.all_columns if c.name != "_applied_at"]
    if table.format == "documents":
        frames = [
            changes_of_documents(spark.table(settings.table("bronze", source)), table)
            for source in table.sources
        ]
        found = latest_documents(reduce(DataFrame.unionByName, frames), table)
        return found.where(F.col(table.keys[0]).isNotNull()).select(names)
    bronze = settings.table("bronze", table.source)
    away = settings.in_schemas(turned_away(table))
    if not spark.sql(away).isEmpty():
        # Not what came later and was taken, as a fresh read is: it may sort below what was turned away.
        first = "min(_loaded_at) OVER (PARTITION BY _key, _sequence) AS _first_at"
        bronze = (
            f"(SELECT b.* FROM (SELECT *, {first} FROM {bronze}) AS b LEFT ANTI JOIN ({away}) AS r "  # noqa: S608
            "ON r.key = b._key AND b._sequence <= r.upto AND b._sequence > r.held "
            "AND (b._sequence = r.upto OR b._first_at <= r.refused_at))"
        )
    return spark.sql(select(table, latest_of(bronze, "true", ttl_deletes=table.ttl_deletes))).select(names)


def _fill(spark: SparkSession, settings: Settings, table: Table, names: list[str]) -> None:
    differs = reduce(or_, (~F.col(f"t.`{name}`").eqNullSafe(F.col(f"s.`{name}`")) for name in names))
    rows = all_latest(spark, settings, table)
    (
        DeltaTable.forName(spark, settings.table("silver", table.name))
        .alias("t")
        .merge(rows.alias("s"), same((*table.keys, "_sequence")))
        .whenMatchedUpdate(condition=differs, set={f"`{name}`": F.col(f"s.`{name}`") for name in names})
        .execute()
    )
