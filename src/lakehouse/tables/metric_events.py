"""metric_events: one row per event of the Kinesis stream, from which the metrics are worked out."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import events
from lakehouse.table import Column, Rule, Table


def _transform(df: DataFrame) -> DataFrame:
    # The writer fills `updated_at` in where the event has none; it is no part of the event then.
    filled = F.col("updated_at") == F.unix_millis("_changed_at").cast("string")
    own = F.map_filter(
        "_attributes",
        lambda name, _: (
            ~name.isin(*events.METADATA) | ((name == events.UPDATED_AT) & ~F.coalesce(filled, F.lit(False)))
        ),
    )
    # A zone can move a time out of the years that a calendar has.
    in_range = F.year("occurred_at").between(1, 9999)
    return df.withColumns(
        {
            "event_id": F.coalesce(F.when(F.col("event_id") != "", F.col("event_id")), "_event_id"),
            "event_type": F.coalesce(
                F.when(F.col("event_type") != "", F.col("event_type")), F.lit("unknown")
            ),
            "occurred_at": F.coalesce(F.when(in_range, F.col("occurred_at")), "_changed_at"),
            "payload": F.to_json(own),
        }
    )


METRIC_EVENTS = Table(
    name="metric_events",
    source="metric_events",
    keys=("event_id",),
    comment="One row per event: sessions, inbound calls, health, supply and demand.",
    columns=(
        Column("event_id", "string", "The event's own id, else the stream's.", "event_id"),
        Column("event_type", "string", "What happened; types that are not known are kept.", "event_type"),
        Column("occurred_at", "timestamp", "When it happened, else when it arrived.", "timestamp"),
        Column("student_id", "string", "The student.", "student_id", pii=True),
        Column("tutor_id", "string", "The tutor.", "tutor_id", pii=True),
        Column("session_id", "string", "The session.", "session_id", pii=True),
        Column("subject", "string", "The subject.", "subject"),
        Column("region", "string", "The region.", "region"),
        Column("balance_status", "string", "Balance of supply and demand.", "balance_status"),
        Column("tutor_rating", "decimal(9,4)", "Rating of the tutor for a session.", "tutor_rating"),
        Column("health_score", "decimal(9,4)", "Health of the customer.", "health_score"),
        Column("demand_score", "decimal(9,4)", "Demand for the subject.", "demand_score"),
        Column("supply_score", "decimal(9,4)", "Supply of the subject.", "supply_score"),
        Column("sessions_last_7_days", "bigint", "Sessions in 7 days, as reported.", "sessions_last_7_days"),
        Column(
            "sessions_last_30_days", "bigint", "Sessions in 30 days, as reported.", "sessions_last_30_days"
        ),
        Column(
            "ib_calls_last_14_days",
            "bigint",
            "Inbound calls in 14 days, as reported.",
            "ib_calls_last_14_days",
        ),
        Column("available_tutors", "bigint", "Tutors at hand for the subject.", "available_tutors"),
        Column("active_students", "bigint", "Students of the subject.", "active_students"),
        Column("payload", "string", "The event, whole, as JSON.", pii=True),
    ),
    transform=_transform,
    rules=(Rule("occurred_at_known", "occurred_at IS NOT NULL", "An event without a time is in no window."),),
)
