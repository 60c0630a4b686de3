"""Tombstone floors: the change time below which a table's tombstones may be gone.

A tombstone that is purged can no longer beat an older change that arrives late. So the floor comes first:
from then on a change below it is not taken for a new row (silver.py), and whoever still works by the floor
before has a day to end, as a batch gives up after GIVE_UP_SECONDS and a purge waits PURGE_DELAY.

Times are microseconds since 1970 in UTC: a datetime would pass through Python's local time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.settings import Settings
from lakehouse.table import Table

PURGE_DELAY = timedelta(hours=24)
"""How long before a purge its floor must have been recorded."""

CLOCK_MARGIN = timedelta(hours=1)
"""A tombstone is forgotten only when it is so much older than the floor. Change times are approximate
(DynamoDB Streams, ApproximateCreationDateTime): an older change of the key may carry a slightly later one."""

GIVE_UP_SECONDS = 12 * 3600.0
"""How long a batch may work by the floor that it read when it began; half of PURGE_DELAY, for clocks."""


def current(spark: SparkSession, settings: Settings, table: Table) -> int | None:
    """The table's floor, None if there is none: then every tombstone is still there."""
    return _first(highest(spark, settings, table))


def highest(spark: SparkSession, settings: Settings, table: Table) -> DataFrame:
    """The table's floor as a frame of one row, `floor` bigint; null if there is none."""
    return _highest(_of(spark, settings, table))


def settled(spark: SparkSession, settings: Settings, table: Table, now: datetime) -> int | None:
    """The floor by which every batch works that is still at work: recorded PURGE_DELAY ago at least."""
    before = instant(now - PURGE_DELAY)
    return _first(_highest(_of(spark, settings, table).where(F.col("raised_at") <= before)))


def record(spark: SparkSession, settings: Settings, table: Table, floor: datetime, now: datetime) -> None:
    """Raise the floor. A row is added; a lower one than there is changes nothing."""
    row = spark.range(1).select(
        F.lit(table.name).alias("table_name"), instant(floor).alias("floor"), instant(now).alias("raised_at")
    )
    row.select(*(c.name for c in ops.FLOORS)).write.format("delta").mode("append").saveAsTable(
        settings.table("ops", "floors")
    )


def is_below(floor: int, changed_at: str = "_changed_at") -> Column:
    """Whether a change is below the floor; one of unknown time is."""
    return ~F.coalesce(F.col(changed_at) >= F.timestamp_micros(F.lit(floor)), F.lit(False))


def is_forgotten(floor: int, changed_at: str = "_changed_at") -> Column:
    """Whether a tombstone of a change is so old that the floor lets it go; one of unknown time is kept."""
    limit = F.timestamp_micros(F.lit(floor - CLOCK_MARGIN // timedelta(microseconds=1)))
    return F.coalesce(F.col(changed_at) < limit, F.lit(False))


def micros(time: datetime) -> int:
    """A time with a zone as microseconds since 1970."""
    return round(time.timestamp() * 1_000_000)


def instant(time: datetime) -> Column:
    """A time with a zone as a timestamp; a datetime itself would be read in the driver's zone."""
    return F.timestamp_micros(F.lit(micros(time)))


def _of(spark: SparkSession, settings: Settings, table: Table) -> DataFrame:
    return spark.table(settings.table("ops", "floors")).where(F.col("table_name") == table.name)


def _highest(floors: DataFrame) -> DataFrame:
    return floors.agg(F.unix_micros(F.max("floor")).alias("floor"))


def _first(highest: DataFrame) -> int | None:
    row = highest.first()
    assert row is not None
    floor: int | None = row[0]
    return floor
