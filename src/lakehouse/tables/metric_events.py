"""metric_events: one row per event of the Kinesis stream, from which the metrics are worked out.

An event is an envelope: its id, type and time, and the figures inside `payload`, which is an object or the
text of one. A figure beside `payload` is another attribute, and is rescued.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.table import Column, Rule, Table


def _transform(df: DataFrame) -> DataFrame:
    # A zone can move a time out of the years that a calendar has.
    in_range = F.year("occurred_at").between(1, 9999)
    return df.withColumns(
        {
            "event_id": F.coalesce(F.when(F.col("event_id") != "", F.col("event_id")), "_event_id"),
            "event_type": F.coalesce(
                F.when(F.col("event_type") != "", F.col("event_type")), F.lit("unknown")
            ),
            "occurred_at": F.coalesce(F.when(in_range, F.col("occurred_at")), "_changed_at"),
        }
    )


def _figure(name: str, type_: str, comment: str, *, pii: bool = False) -> Column:
    """A column of the member of `payload` that has its name."""
    return Column(name, type_, comment, f"payload.{name}", pii=pii)


METRIC_EVENTS = Table(
    name="metric_events",
    source="metric_events",
    keys=("event_id",),
    comment="One row per event: sessions, inbound calls, health, supply and demand.",
    columns=(
        Column(
            "event_id",
            "string",
            "The event's own id, else the stream's.",
            "event_id",
            else_path="payload.event_id",
        ),
        Column("event_type", "string", "What happened; types that are not known are kept.", "event_type"),
        Column("occurred_at", "timestamp", "When it happened, else when it arrived.", "timestamp"),
        _figure("student_id", "string", "The student.", pii=True),
        _figure("tutor_id", "string", "The tutor.", pii=True),
        _figure("session_id", "string", "The session.", pii=True),
        _figure("subject", "string", "The subject."),
        _figure("region", "string", "The region."),
        _figure("balance_status", "string", "Balance of supply and demand."),
        _figure("tutor_rating", "decimal(9,4)", "Rating of the tutor for a session."),
        _figure("health_score", "decimal(9,4)", "Health of the customer."),
        _figure("demand_score", "decimal(9,4)", "Demand for the subject."),
        _figure("supply_score", "decimal(9,4)", "Supply of the subject."),
        _figure("sessions_last_7_days", "bigint", "Sessions in 7 days, as reported."),
        _figure("sessions_last_30_days", "bigint", "Sessions in 30 days, as reported."),
        _figure("ib_calls_last_14_days", "bigint", "Inbound calls in 14 days, as reported."),
        _figure("available_tutors", "bigint", "Tutors at hand for the subject."),
        _figure("active_students", "bigint", "Students of the subject."),
    ),
    transform=_transform,
    rules=(Rule("occurred_at_known", "occurred_at IS NOT NULL", "An event without a time is in no window."),),
)
