"""Pure: events → metrics of students, tutors, subjects and regions, in windows that end at one time.

A row is a function of the entity's events and of that time, of nothing else. The rules are the ones of
docs/metrics.md.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.gold.tables import ENTITY, ENTITY_EVENTS

DAY: Final = 86_400_000_000
"""Microseconds. Windows are spans of time, not of calendar days."""

EVENT: Final = tuple(c.name for c in ENTITY_EVENTS if c.name not in ENTITY)
"""What an event says, as every entity that it names has it."""


def entity_events(events: DataFrame, *more: str) -> DataFrame:
    """Events → a row for each entity that an event names.

    Args:
        events: columns EVENT and `region`, the event's own. An event without a time is left out.
        more: further columns to keep.

    Returns:
        Every column of ENTITY_EVENTS, and `more`. `region` is the entity's; a region's is itself.
    """

    def entity(kind: str, name: SparkColumn, region: SparkColumn, named: SparkColumn) -> SparkColumn:
        whole = F.struct(F.lit(kind).alias("entity_type"), name.alias("entity_id"), region.alias("region"))
        return F.when(named, whole)

    student, tutor, subject, region = (
        F.when(F.col(c) != "", F.col(c)) for c in ("student_id", "tutor_id", "subject", "region")
    )
    balance = (F.col("event_type") == "supply_demand_update") & subject.isNotNull()
    found = F.array_compact(
        F.array(
            entity("student", student, F.lit(""), student.isNotNull()),
            entity("tutor", tutor, F.lit(""), tutor.isNotNull()),
            entity("subject", subject, F.coalesce(region, F.lit("")), balance),
            entity("region", region, region, balance & region.isNotNull()),
        )
    )
    rows = events.where("occurred_at IS NOT NULL").withColumn("_entity", F.explode(found))
    return rows.select(*(F.col(f"_entity.{c}").alias(c) for c in ENTITY), *EVENT, *more)


def metrics_of(events: DataFrame, as_of: int) -> DataFrame:
    """The metrics of every entity in a frame, from its events up to a time.

    Args:
        events: rows of ENTITY_EVENTS; all events of the entities, each event once.
        as_of: where the windows end, in microseconds since 1970, that instant included.

    Returns:
        Every column of METRICS; no row for an entity without an event up to then.
    """
    kind = F.col("event_type")
    health, completed = kind == "customer_health_update", kind == "session_completed"
    session = completed | (kind == "session_started")
    entity = Window.partitionBy(*ENTITY)

    def since(days: int) -> int:
        return as_of - days * DAY

    def known(column: str) -> SparkColumn:
        return F.when(F.col(column) != "", F.col(column))

    def dated(value: str, where: SparkColumn) -> SparkColumn:
        """The value with its place in time, null where it was not reported; the greatest is the latest."""
        placed = F.struct("_at", "event_id", F.col(value).alias("value"))
        return F.when(where & F.col(value).isNotNull(), placed)

    df = events.withColumn("_at", F.unix_micros("occurred_at")).where(F.col("_at") <= as_of)

    # What a health update reports stands for the events up to it, until it is as old as its window.
    reports = {
        "sessions_7d": ("sessions_last_7_days", 7),
        "sessions_30d": ("sessions_last_30_days", 30),
        "ib_calls_14d": ("ib_calls_last_14_days", 14),
    }
    student = F.col("entity_type") == "student"
    for figure, (column, days) in reports.items():
        said = dated(column, student & health & (F.col(column) >= 0) & (F.col("_at") > since(days)))
        df = df.withColumn(f"_{figure}", F.max(said).over(entity))
    # A start without a session's id that a completion of the same people follows within a day is its session.
    # The next completion is the least so far, going back in time: a frame of a day would be gone through anew
    # for every event.
    same = Window.partitionBy(*ENTITY, known("student_id"), known("tutor_id"), session).orderBy(F.desc("_at"))
    df = df.withColumn("_completed", F.min(F.when(completed, F.col("_at"))).over(same))
    followed = (kind == "session_started") & (F.col("_completed") - F.col("_at") <= DAY)
    followed = F.coalesce(followed, F.lit(False))
    unique = F.concat(F.lit("event "), "event_id")
    part = (
        F.when(F.col("entity_type") == "region", known("subject"))
        .when(session & known("session_id").isNotNull(), F.concat(F.lit("session "), "session_id"))
        .when(session & ~followed, unique)
    )
    df = df.withColumn("_part", part)

    def in_window(figure: str, days: int) -> SparkColumn:
        """Where the events begin that count for a figure: behind the report, or the window's beginning."""
        start = F.coalesce(F.col(f"_{figure}._at"), F.lit(since(days))) if figure in reports else since(days)
        return F.col("_at") > start

    calls = kind == "ib_call_logged"
    latest = ("available_tutors", "active_students", "demand_score", "supply_score", "balance_status")
    people = F.col("entity_type").isin("student", "tutor")
    supply = ~people
    rated = completed & (F.col("_at") > since(30)) & people
    parts = df.groupBy(*ENTITY, "_part").agg(
        F.max("_at").alias("_last"),
        # A session is in a window if the last of its events is: every window ends at the same time.
        *(
            F.max(F.when(F.col("_part").isNotNull() & in_window(f, d), F.col("_at"))).alias(f"_in_{f}")
            for f, d in (("sessions_7d", 7), ("sessions_14d", 14), ("sessions_30d", 30))
        ),
        *(
            F.count_if(student & calls & in_window(f, d)).alias(f"_in_{f}")
            for f, d in (("ib_calls_7d", 7), ("ib_calls_14d", 14))
        ),
        *(F.max(f"_{figure}").alias(f"_{figure}") for figure in reports),
        F.max(dated("tutor_rating", rated)).alias("_rating"),
        F.max(dated("health_score", health & student)).alias("_health"),
        *(F.max(dated(name, supply & _said(name))).alias(f"_{name}") for name in latest),
    )

    def sessions(figure: str) -> SparkColumn:
        counted = F.when(people, F.count_if(F.col(f"_in_{figure}").isNotNull())).otherwise(0)
        return _with_report(counted, figure) if figure in reports else counted

    def newest(name: str) -> SparkColumn:
        return F.when(F.col("entity_type") == "subject", F.max(f"_{name}")["value"])

    total = {name: F.try_sum(F.col(f"_{name}.value")) for name in ("available_tutors", "active_students")}
    return parts.groupBy(*ENTITY).agg(
        F.timestamp_micros(F.lit(as_of)).alias("as_of"),
        *(sessions(f).alias(f) for f in ("sessions_7d", "sessions_14d", "sessions_30d")),
        F.sum("_in_ib_calls_7d").alias("ib_calls_7d"),
        _with_report(F.sum("_in_ib_calls_14d"), "ib_calls_14d").alias("ib_calls_14d"),
        _mean(F.col("_rating.value")).alias("avg_rating"),
        F.max("_health")["value"].try_cast("decimal(6,2)").alias("health_score"),
        *(total[n].alias(n) for n in total),
        newest("demand_score").alias("demand_score"),
        newest("supply_score").alias("supply_score"),
        newest("balance_status").alias("balance_status"),
        F.timestamp_micros(F.max("_last")).alias("last_event_at"),
    )


def _said(name: str) -> SparkColumn:
    return F.col(name) != "" if name == "balance_status" else F.lit(True)


def _with_report(counted: SparkColumn, figure: str) -> SparkColumn:
    return F.try_add(counted, F.coalesce(F.max(f"_{figure}")["value"], F.lit(0)))


def _mean(values: SparkColumn) -> SparkColumn:
    """Exact mean of decimals with four places, rounded half up, once: in whole numbers of 0.0001."""
    total, count = (F.sum(values) * 10_000).try_cast("bigint"), F.count(values)
    half_up = F.call_function("div", 2 * F.abs(total) + count, 2 * count)
    mean = F.when(total < 0, -half_up).otherwise(half_up).cast("decimal(19,0)") * F.lit(Decimal("0.0001"))
    return F.when(count > 0, mean).try_cast("decimal(6,4)")
