"""Upkeep of the state tables: purge old tombstones in two steps, check that keys are unique, and note what
landing tells of whether bronze is complete.

First the table's floor is raised, and only that is recorded; a day later, when every batch at work knows
it, the tombstones below it are deleted (floors.py says why). Running it at any time, twice, or again after
it was killed is safe: each step looks at what is recorded, not at what an earlier run meant to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from delta.tables import DeltaTable
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from lakehouse.ingest import books, floors
from lakehouse.ingest.commits import retrying
from lakehouse.ingest.lease import exclusive
from lakehouse.operations.completeness import note_landing
from lakehouse.settings import Settings
from lakehouse.table import Table


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to one table, or with dry_run: what would be.

    `floor` and `raised_to` are texts in ISO 8601, UTC, or None; the others count rows.
    `due`: tombstones past their retention; they go at least a day after the floor was raised for them.
    `behind`: the table lacks batches that bronze has, so its floor stays until an ingest has named it.
    """

    table: str
    tombstones: int
    due: int
    purged: int
    floor: str | None
    raised_to: str | None
    behind: bool
    duplicate_keys: int


def maintain(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    on_progress: Callable[[str], None] = lambda _table: None,
) -> list[Maintained]:
    """Maintain the tables, one after the other.

    Args:
        dry_run: change nothing, say what would be done.
        now: the time, with a zone; the clock's if not given.
        on_progress: told of each table before its turn.
    """
    done = []
    for table in tables:
        on_progress(table.name)
        with exclusive(settings.warehouse):
            # The lock may have taken its time, and a floor holds from when it is recorded.
            work = partial(_maintain, spark, settings, table, dry_run, now or datetime.now(UTC))
            done.append(retrying(work, f"upkeep of {table.name}"))
    if not dry_run:
        for source in dict.fromkeys(t.source for t in tables if t.format == "changes"):
            note_landing(spark, settings, source)
    return done


def _maintain(
    spark: SparkSession, settings: Settings, table: Table, dry_run: bool, now: datetime
) -> Maintained:
    name = settings.table("silver", table.name)
    retired = (now - timedelta(days=table.tombstone_retention_days)).replace(microsecond=0)
    floor = settled = None
    if table.format == "changes":
        floor = floors.current(spark, settings, table)
        settled = floors.settled(spark, settings, table, now)
    due = _tombstones_before(floors.micros(retired)) if table.format == "changes" else F.lit(False)
    gone = F.lit(False) if settled is None else _tombstones_before(settled)
    counts = (
        spark.table(name)
        .agg(
            F.count_if("is_deleted").alias("tombstones"),
            F.count_if(due).alias("due"),
            F.count_if(gone).alias("gone"),
            F.count("*").alias("rows"),
            F.count_distinct(*table.keys).alias("keys"),
        )
        .first()
    )
    assert counts is not None
    # Where nothing is due the floor stays: each rise turns late changes of unknown keys away.
    raise_it = counts.due > 0 and (floor is None or floors.micros(retired) > floor)
    # Nor while the table is behind: it would turn away what its siblings have taken already.
    behind = raise_it and books.is_behind(spark, settings, table)
    raise_it = raise_it and not behind
    if raise_it and not dry_run:
        floors.record(spark, settings, table, retired, now)
    if counts.gone and not dry_run:
        DeltaTable.forName(spark, name).delete(gone)
    return Maintained(
        table.name,
        tombstones=counts.tombstones,
        due=counts.due,
        purged=counts.gone,
        floor=None if floor is None else _iso(floor),
        raised_to=_iso(floors.micros(retired)) if raise_it else None,
        behind=behind,
        duplicate_keys=counts.rows - counts["keys"],
    )


def _tombstones_before(floor: int) -> Column:
    return F.col("is_deleted") & floors.is_forgotten(floor)


def _iso(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%SZ")
