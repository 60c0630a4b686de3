"""metric_events: one row per event of the Kinesis stream, from which the metrics are worked out."""

from __future__ import annotations

from lakehouse.table import Column, Rule, Table

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
            ("event_id", "payload.event_id"),
            default="_event_id",
        ),
        Column(
            "event_type",
            "string",
            "What happened; types that are not known are kept.",
            "event_type",
            default="'unknown'",
        ),
        Column(
            "occurred_at",
            "timestamp",
            "When it happened, else when it arrived.",
            "timestamp",
            default="_changed_at",
        ),
        Column("student_id", "string", "The student.", "payload.student_id", pii=True),
        Column("tutor_id", "string", "The tutor.", "payload.tutor_id", pii=True),
        Column("session_id", "string", "The session.", "payload.session_id", pii=True),
        Column("subject", "string", "The subject.", "payload.subject"),
        Column("region", "string", "The region.", "payload.region"),
        Column("balance_status", "string", "Balance of supply and demand.", "payload.balance_status"),
        Column("tutor_rating", "decimal(9,4)", "Rating of the tutor for a session.", "payload.tutor_rating"),
        Column("health_score", "decimal(9,4)", "Health of the customer.", "payload.health_score"),
        Column("demand_score", "decimal(9,4)", "Demand for the subject.", "payload.demand_score"),
        Column("supply_score", "decimal(9,4)", "Supply of the subject.", "payload.supply_score"),
        Column(
            "sessions_last_7_days",
            "bigint",
            "Sessions in 7 days, as reported.",
            "payload.sessions_last_7_days",
        ),
        Column(
            "sessions_last_30_days",
            "bigint",
            "Sessions in 30 days, as reported.",
            "payload.sessions_last_30_days",
        ),
        Column(
            "ib_calls_last_14_days",
            "bigint",
            "Inbound calls in 14 days, as reported.",
            "payload.ib_calls_last_14_days",
        ),
        Column("available_tutors", "bigint", "Tutors at hand for the subject.", "payload.available_tutors"),
        Column("active_students", "bigint", "Students of the subject.", "payload.active_students"),
    ),
    json_text=("payload",),
    rules=(Rule("occurred_at_known", "occurred_at IS NOT NULL", "An event without a time is in no window."),),
)
