"""The outbox in silver.alerts: every opening and every change of severity goes out, at least once.

A row is written first, published after, and marked last, with the severity that went out. Whoever dies in
between has lost nothing: what is not marked is published again. So an event may come twice, or late; a
consumer tells an alert by its alert_id, and EventBridge keeps no order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.gold.publication import Alert, Outcome, Put, PutResult
from lakehouse.gold.tables import ALERTS
from lakehouse.ingest import floors
from lakehouse.ingest.commits import retrying
from lakehouse.ingest.lease import exclusive
from lakehouse.settings import Settings

CHUNK = 1000
"""Alerts that are collected, published, and then marked in one commit."""

SHOWN = 100
"""Failures that a report lists; it counts all of them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An alert that was not published in a run; `problem` has none of its data."""

    alert_id: str
    alert_type: str
    outcome: Outcome
    attempts: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """What a run did.

    published: alerts that went out and are marked. unpublished: alerts that were due and are not out, those
    included whose turn did not come. attempts: tries in all. stopped: why the run ended early, if it did.
    failures: the first SHOWN.
    """

    published: int
    unpublished: int
    attempts: int
    stopped: str | None
    failures: tuple[Failure, ...]


def due(
    spark: SparkSession, settings: Settings, *, after: Alert | None = None, limit: int = CHUNK
) -> list[Alert]:
    """The alerts to publish, opened first; closed ones whose opening or last severity never went out too.

    Args:
        after: the last alert of the page before.
        limit: how many at most.
    """
    found = _due(spark, settings)
    if after is not None:
        at = F.timestamp_micros(F.lit(after.opened_at))
        later_id = (F.col("opened_at") == at) & (F.col("alert_id") > F.lit(after.alert_id))
        found = found.where((F.col("opened_at") > at) | later_id)
    page = found.orderBy("opened_at", "alert_id").limit(limit)
    # A timestamp would be collected in the process's own zone; microseconds since the epoch have none.
    return [Alert(*row) for row in page.select(*_columns()).collect()]


def mark(
    spark: SparkSession,
    settings: Settings,
    alerts: Sequence[Alert],
    results: Mapping[str, PutResult],
    at: datetime,
) -> None:
    """Write down what became of alerts, in one commit.

    A row's severity may have changed since it was read. What went out is the one that was read, and the row
    is due again.

    Args:
        alerts: as `due` gave them; those without a result, or never tried, are left as they are.
        at: when they were put, with a zone.
    """
    rows = [
        (alert.alert_id, alert.severity if result.outcome == "published" else None, result.attempts)
        for alert in alerts
        if (result := results.get(alert.alert_id)) and result.attempts
    ]
    if not rows:
        return
    source = spark.createDataFrame(rows, "alert_id string, severity string, attempts bigint")
    attempts: dict[str, str | Column] = {
        "publish_attempts": F.coalesce("t.publish_attempts", F.lit(0)) + F.col("s.attempts")
    }
    stamp = floors.instant(at)
    went_out = attempts | {"published_at": stamp, "published_severity": F.col("s.severity")}

    def merge() -> None:
        (
            DeltaTable.forName(spark, settings.table("silver", "alerts"))
            .alias("t")
            .merge(source.alias("s"), F.col("t.alert_id") == F.col("s.alert_id"))
            .whenMatchedUpdate(condition=F.col("s.severity").isNotNull(), set=went_out)
            .whenMatchedUpdate(set=attempts)
            .execute()
        )

    with exclusive(settings.warehouse):
        retrying(merge, "marking published alerts")


def publish_due(
    spark: SparkSession,
    settings: Settings,
    put: Put,
    *,
    chunk: int = CHUNK,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[str], None] = lambda _what: None,
) -> Published:
    """Publish every alert that is due, a chunk at a time, each marked before the next is read.

    An alert that cannot be published does not hold back the others, and is due again in the next run. Once
    the bus takes nothing (`unavailable`), the run ends. Two runs at once publish twice: let there be one.

    Args:
        put: puts alerts on the bus (`lakehouse.aws.publish.EventBus.put`); what it raises ends the run.
        now: the time, with a zone.
        on_progress: told how far it is.
    """
    published = attempts = failed = 0
    failures: list[Failure] = []
    stopped = None
    last = None
    while stopped is None:
        alerts = due(spark, settings, after=last, limit=chunk)
        if not alerts:
            break
        last = alerts[-1]
        results = put(alerts)
        mark(spark, settings, alerts, results, now())
        for alert in alerts:
            result = results.get(alert.alert_id) or PutResult("unavailable", 0, "the bus said nothing of it")
            attempts += result.attempts
            if result.outcome == "published":
                published += 1
                continue
            failed += 1
            if result.outcome == "unavailable":
                stopped = stopped or result.problem or "the bus takes nothing"
            if len(failures) < SHOWN:
                failures.append(
                    Failure(alert.alert_id, alert.alert_type, result.outcome, result.attempts, result.problem)
                )
        on_progress(f"{published:,} published, {failed:,} not")
        if len(alerts) < chunk:
            break
    if stopped is not None and len(alerts) == chunk:
        failed = _due(spark, settings).count()  # with all whose turn did not come
    return Published(published, failed, attempts, stopped, tuple(failures))


def _due(spark: SparkSession, settings: Settings) -> DataFrame:
    out = F.col("published_severity").eqNullSafe(F.col("severity"))
    alerts = spark.table(settings.table("silver", "alerts"))
    return alerts.where(F.col("severity").isNotNull() & ~out)


def _columns() -> Iterator[Column]:
    """The columns of `Alert`, in its order and as it has them."""
    kinds = {column.name: column.type for column in ALERTS}
    for name in Alert.__dataclass_fields__:
        column = F.col(name)
        if kinds[name] == "timestamp":
            column = F.unix_micros(column)
        elif kinds[name] == "bigint":
            column = F.coalesce(column, F.lit(0))
        yield column.alias(name)
