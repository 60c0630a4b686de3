"""Effects: what one batch writes. Every write here may be repeated and then changes nothing.

A batch is repeated whenever a process dies between one of its commits and the checkpoint's, so each
sink decides from the batch's records alone, never from what another sink did.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import floors
from lakehouse.errors import StreamError
from lakehouse.settings import Settings
from lakehouse.table import Table

KEY_LITERALS = 1000
"""With at most this many records in a batch their keys stand in each MERGE's condition as literals: on a
large table the files that cannot hold them are then not read at all."""

ATTEMPTS = 8
_CONFLICTS = ("[DELTA_CONCURRENT_", "[DELTA_METADATA_CHANGED", "[DELTA_PROTOCOL_CHANGED")

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """How many rows of a state table a batch wrote; `violations`: live ones that break a rule, by name."""

    upserts: int
    deletes: int
    violations: dict[str, int]


def merge_latest(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    latest: DataFrame,
    applied_at: datetime,
    *,
    floor: int | None = None,
    among: list[str] | None = None,
) -> Applied:
    """Merge the latest change of each key into the state table, in one commit.

    A delete is merged as a tombstone row, and inserted for a key that is not there yet: only so can an
    older upsert that arrives later be told from a new key. The comparison is strict, so that a change
    that is seen twice is written once.

    Args:
        latest: every column of `table.all_columns` but `_applied_at`; one row per key.
        applied_at: the time of this attempt, UTC; it marks the rows that the attempt writes.
        floor: the table's tombstone floor. A key that is not there may have had a tombstone that was
            purged, so an upsert below the floor inserts nothing, nor does a tombstone that would be purged
            itself; a key that is there is compared as ever.
        among: the values of the first key column in `latest`, if they are few.
    """
    name = settings.table("silver", table.name)
    stamp = floors.instant(applied_at)
    changes = latest.withColumn("_applied_at", stamp)
    insertable = F.lit(True)
    if floor is not None:
        kept = F.col("s.is_deleted") & ~floors.is_forgotten(floor, "s._changed_at")
        insertable = ~floors.is_below(floor, "s._changed_at") | kept
    values: dict[str, str | Column] = {f"`{c.name}`": F.col(f"s.{c.name}") for c in table.all_columns}
    (
        DeltaTable.forName(spark, name)
        .alias("t")
        .merge(changes.alias("s"), _same(table.keys, among))
        .whenMatchedUpdate(condition=F.col("s._sequence") > F.col("t._sequence"), set=values)
        .whenNotMatchedInsert(condition=insertable, values=values)
        .execute()
    )
    # Statistics let this read only the files that the commit wrote.
    written = spark.table(name).where(F.col("_applied_at") == stamp)
    live = ~F.col("is_deleted")
    broken = [
        F.count_if(live & ~F.coalesce(F.expr(rule.check), F.lit(True))).alias(rule.name)
        for rule in table.rules
    ]
    row = written.agg(F.count_if(live), F.count_if("is_deleted"), *broken).first()
    assert row is not None
    violations = {rule.name: n for rule, n in zip(table.rules, row[2:], strict=True) if n}
    return Applied(row[0], row[1], violations)


def left_below_floor(
    spark: SparkSession, settings: Settings, table: Table, latest: DataFrame, floor: int
) -> DataFrame:
    """The upserts below the floor that `merge_latest` has left out, and must not be lost.

    A tombstone that it has left out deletes nothing that is there, and needs no keeping.
    """
    state = spark.table(settings.table("silver", table.name)).select(*table.keys, "_sequence").alias("t")
    # A row of the same key with an older sequence can only have come in after the MERGE, from another
    # writer: the change was not compared with it, and so it is left out all the same.
    decided = _same(table.keys, None) & (F.col("t._sequence") >= F.col("s._sequence"))
    upserts = latest.where(floors.is_below(floor) & ~F.col("is_deleted"))
    return upserts.alias("s").join(state, decided, "left_anti")


def insert_missing(
    spark: SparkSession,
    target: str,
    rows: DataFrame,
    keys: tuple[str, ...],
    *,
    among: list[str] | None = None,
) -> None:
    """Insert the rows whose key the table does not have yet.

    A transaction that has read the table, so that two writers never insert one key twice.
    """
    (
        DeltaTable.forName(spark, target)
        .alias("t")
        .merge(rows.dropDuplicates(list(keys)).alias("s"), _same(keys, among))
        .whenNotMatchedInsert(values={f"`{name}`": F.col(f"s.`{name}`") for name in rows.columns})
        .execute()
    )


def _same(keys: tuple[str, ...], among: list[str] | None) -> Column:
    same = F.lit(True)
    for key in keys:
        same = same & (F.col(f"t.{key}") == F.col(f"s.{key}"))
    return same if among is None else same & F.col(f"t.{keys[0]}").isin(among)


def append_once(rows: DataFrame, target: str, *, writer: str, version: int) -> None:
    """Append rows, unless this writer has already appended that version.

    `writer` must be new whenever `version` starts again from 0, else the rows are skipped in silence
    (Delta's txnAppId and txnVersion).
    """
    rows.write.format("delta").mode("append").option("txnAppId", writer).option(
        "txnVersion", version
    ).saveAsTable(target)


def retrying(work: Callable[[], T], what: str, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call `work` again, whole, when another writer's commit came in between.

    Raises whatever `work` raises that is not such a conflict, and the conflict itself after ATTEMPTS.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except PySparkException as error:
            if attempt == ATTEMPTS or not is_conflict(error):
                raise
            pause = random.uniform(0, min(30.0, 0.2 * 2**attempt))  # noqa: S311 - jitter, no secret
            log.warning(
                "%s met another writer (attempt %d of %d), again in %.1f s", what, attempt, ATTEMPTS, pause
            )
            sleep(pause)
    raise AssertionError("unreachable")


def until_settled(spark: SparkSession, name: str, work: Callable[[], T]) -> T:
    """Call `work`, which reads a table and writes others by it; again while that table changes meanwhile.

    Another writer's rows that `work` has not seen were there before it ended, or their writer works after it:
    so no row is left out by both. The conflicts of one table do not tell, as the rows are in another.

    Raises:
        StreamError: the table has changed every time.
    """
    for _ in range(ATTEMPTS):
        before = _version(spark, name)
        done = work()
        if _version(spark, name) == before:
            return done
    raise StreamError(name, f"it has changed each of {ATTEMPTS} times; another writer is at work. Try again.")


def _version(spark: SparkSession, name: str) -> int:
    row = DeltaTable.forName(spark, name).history(1).select("version").first()
    assert row is not None
    version: int = row[0]
    return version


def is_conflict(error: PySparkException) -> bool:
    """True for a commit that lost to another one and may be tried again.

    Told by the error condition at the head of the message, which Spark Connect hands over too.
    """
    return str(error).lstrip().startswith(_CONFLICTS)
