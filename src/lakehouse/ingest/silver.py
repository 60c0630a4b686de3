"""Silver: the one MERGE that brings a table up to rows of bronze.

Applying is: rows behind the table's mark → the latest change of each key → the table's SELECT → one MERGE.
Whatever is applied twice changes nothing: the comparison of sequences is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.ingest import floors
from lakehouse.ingest.bronze import Reach, within
from lakehouse.ingest.changes import Look, latest, looked_at
from lakehouse.ingest.commits import same
from lakehouse.ingest.refused import refuse, refuse_below_floor, unusable
from lakehouse.settings import Settings
from lakehouse.table import Table


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying did to one table; every count is of changes, but `misfits` of values."""

    records: int
    upserts: int
    deletes: int
    quarantined: int
    misfits: int
    violations: dict[str, int]

    @property
    def stale(self) -> int:
        """Changes that changed nothing: superseded, older or seen before."""
        return self.records - self.upserts - self.deletes - self.quarantined


Wrote = list[tuple[int, int]]
"""Upserts and deletes that MERGEs of one batch into one table have written, one for each attempt."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Some batches of bronze, and what a table makes of them; nothing is written yet."""

    table: Table
    source: str
    where: str
    rows: DataFrame
    changes: DataFrame
    look: Look


def prepare(
    spark: SparkSession, settings: Settings, table: Table, source: str, reaches: Sequence[Reach]
) -> Prepared:
    """Look at batches of bronze as a table will have them."""
    where = within(reaches)
    rows = spark.table(settings.table("bronze", source)).where(where)
    changes = latest(spark, settings, table, source, where)
    look = looked_at(rows, changes, table, floors.highest(spark, settings, table))
    return Prepared(table, source, where, rows, changes, look)


def apply(
    spark: SparkSession,
    settings: Settings,
    prepared: Prepared,
    stamp: int,
    wrote: Wrote,
) -> Applied:
    """Bring a table up to what was prepared: one MERGE, and what it cannot take noted before it counts.

    Args:
        stamp: the time of this attempt, in microseconds; the rows that it writes have it as `_applied_at`.
        wrote: of earlier attempts at the same; this one's is added. An attempt that loses a later commit has
            made its MERGE, and what that wrote still counts.
    """
    table, source, look = prepared.table, prepared.source, prepared.look
    changes = prepared.changes.where(F.col(table.keys[0]).isNotNull())
    refused = 0
    if look.keys:
        written = merge(spark, settings, table, changes, stamp, floor=look.floor, among=look.among)
        gone = _deletes(spark, settings, table, look, written, stamp)
        wrote.append((written - gone, gone))
        if look.floor is not None and look.oldest_upsert is not None and look.oldest_upsert < look.floor:
            refused += refuse_below_floor(spark, settings, table, source, prepared.rows, changes, look.floor)
    if look.keyless:
        refuse(settings, table, source, unusable(spark, settings, table, source, prepared.where))
    return Applied(
        look.records,
        sum(upserts for upserts, _ in wrote),
        sum(deletes for _, deletes in wrote),
        look.found.bad + look.keyless + refused,
        look.misfits,
        look.violations,
    )


def merge(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    changes: DataFrame,
    stamp: int,
    *,
    floor: int | None = None,
    among: list[str] | None = None,
) -> int:
    """Merge the latest change of each key into the state table, in one commit; how many rows it wrote.

    A delete is merged as a tombstone row, and inserted for a key that is not there yet: only so can an older
    upsert that arrives later be told from a new key. The comparison is strict, so that a change that is seen
    twice is written once.

    Args:
        changes: every column of `table.all_columns` but `_applied_at`; one row per key.
        floor: the table's tombstone floor. A key that is not there may have had a tombstone that was purged,
            so an upsert below the floor inserts nothing, nor does a tombstone that would be purged itself; a
            key that is there is compared as ever.
        among: the values of the first key column in `changes`, if they are few.
    """
    insertable = F.lit(True)
    if floor is not None:
        kept = F.col("s.is_deleted") & ~floors.is_forgotten(floor, "s._changed_at")
        insertable = ~floors.is_below(floor, "s._changed_at") | kept
    values: dict[str, str | Column] = {f"`{c.name}`": F.col(f"s.{c.name}") for c in table.all_columns}
    stamped = changes.withColumn("_applied_at", F.timestamp_micros(F.lit(stamp)))
    done = (
        DeltaTable.forName(spark, settings.table("silver", table.name))
        .alias("t")
        .merge(stamped.alias("s"), same(table.keys, among))
        .whenMatchedUpdate(condition=F.col("s._sequence") > F.col("t._sequence"), set=values)
        .whenNotMatchedInsert(condition=insertable, values=values)
        .execute()
    )
    row: Any = done.first()
    return int(row["num_inserted_rows"] + row["num_updated_rows"])


def _deletes(
    spark: SparkSession, settings: Settings, table: Table, look: Look, written: int, stamp: int
) -> int:
    """How many of the rows that a MERGE wrote are tombstones.

    Where it took every change, as mostly, the look has counted them; else they are told by the stamp, whose
    statistics leave only the files of that commit to be read.
    """
    if written == look.keys or not written:
        return look.deletes if written else 0
    if not look.deletes:
        return 0
    state = spark.table(settings.table("silver", table.name))
    return state.where(
        (F.col("_applied_at") == F.timestamp_micros(F.lit(stamp))) & F.col("is_deleted")
    ).count()
