"""The tables behind metrics and alerts: their columns. They lie in silver, and gold shows them as views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from lakehouse.table import Column, View
from lakehouse.tables.metric_events import METRIC_EVENTS

ENTITY: Final = ("entity_type", "entity_id", "region")
"""What a row of metrics is of."""

_ENTITY: Final = (
    Column("entity_type", "string", "student, tutor, subject or region.", not_null=True),
    Column(
        "entity_id", "string", "Id of the student or tutor; the subject; the region.", pii=True, not_null=True
    ),
    Column("region", "string", "The region of a subject or region; empty for people.", not_null=True),
)

_SAME: Final = (
    "event_type",
    "occurred_at",
    "student_id",
    "tutor_id",
    "session_id",
    "subject",
    "balance_status",
    "tutor_rating",
    "health_score",
    "demand_score",
    "supply_score",
    "sessions_last_7_days",
    "sessions_last_30_days",
    "ib_calls_last_14_days",
    "available_tutors",
    "active_students",
)

ENTITY_EVENTS: Final = (
    *_ENTITY,
    Column("event_id", "string", "The event.", not_null=True),
    Column("_sequence", "string", "Which of several events of one id this is.", not_null=True),
    *(replace(c, path=None, default=None) for c in METRIC_EVENTS.columns if c.name in _SAME),
)

METRICS: Final = (
    *_ENTITY,
    Column("as_of", "timestamp", "The time at which the windows end.", not_null=True),
    Column("sessions_7d", "bigint", "Sessions in the 7 days up to as_of."),
    Column("sessions_14d", "bigint", "Sessions in the 14 days up to as_of."),
    Column("sessions_30d", "bigint", "Sessions in the 30 days up to as_of."),
    Column("ib_calls_7d", "bigint", "Inbound calls in the 7 days up to as_of."),
    Column("ib_calls_14d", "bigint", "Inbound calls in the 14 days up to as_of."),
    Column("avg_rating", "decimal(6,4)", "Mean rating of the rated sessions completed in the last 30 days."),
    Column("health_score", "decimal(6,2)", "The latest health score that was reported."),
    Column(
        "available_tutors", "bigint", "The latest number of tutors that was reported; a region's is a sum."
    ),
    Column(
        "active_students", "bigint", "The latest number of students that was reported; a region's is a sum."
    ),
    Column("demand_score", "decimal(9,4)", "The latest demand score that was reported."),
    Column("supply_score", "decimal(9,4)", "The latest supply score that was reported."),
    Column("balance_status", "string", "The latest balance of demand and supply that was reported."),
    Column("last_event_at", "timestamp", "The latest event up to as_of."),
)

ALERTS: Final = (
    Column(
        "alert_id", "string", "Hash of alert_type, entity_type, entity_id, region, opened_at.", not_null=True
    ),
    Column("alert_type", "string", "The rule that holds.", not_null=True),
    Column("severity", "string", "info, warning or critical."),
    Column("entity_type", "string", "student, subject or call.", not_null=True),
    Column("entity_id", "string", "What the alert is about.", pii=True, not_null=True),
    Column("region", "string", "The region of a subject; empty for others.", not_null=True),
    Column("message", "string", "The alert in words.", pii=True),
    Column("details", "string", "The figures behind it, as JSON.", pii=True),
    Column("opened_at", "timestamp", "Time of the event that made the rule true.", not_null=True),
    Column("closed_at", "timestamp", "When the rule was no longer true; null while it is."),
    Column("published_at", "timestamp", "When it was last put on the event bus."),
    Column("published_severity", "string", "The severity that was put there last."),
    Column("publish_attempts", "bigint", "How often putting it there was tried."),
)


@dataclass(frozen=True, slots=True)
class Derived:
    """A table in silver that batches of state tables bring up to date; `of` names those.

    `unique`: the columns by which a MERGE finds a row before it inserts one. `shown`: gold shows it.
    """

    name: str
    columns: tuple[Column, ...]
    comment: str
    of: frozenset[str]
    unique: tuple[str, ...] = ()
    shown: bool = True

    @property
    def view(self) -> View | None:
        """Its view in gold, of the same name; None if gold does not show it."""
        if not self.shown:
            return None
        names = ", ".join(f"`{c.name}`" for c in self.columns)
        return View(self.name, self.comment, f"SELECT {names} FROM {{silver}}.`{self.name}`", self.columns)  # noqa: S608 - declared names


DERIVED: Final = (
    Derived(
        "metric_entity_events",
        ENTITY_EVENTS,
        "One row per event and entity that it names, so that an entity's events are found by the entity.",
        frozenset({"metric_events"}),
        unique=(*ENTITY, "event_id"),
        shown=False,
    ),
    Derived(
        "metrics",
        METRICS,
        "One row per student, tutor, subject and region: sliding windows that end at as_of.",
        frozenset({"metric_events"}),
        unique=ENTITY,
    ),
    Derived(
        "alerts",
        ALERTS,
        "One row per alert, open while closed_at is null; at most one is open per rule and entity.",
        frozenset({"metric_events", "coaching_insights"}),
    ),
)
"""Each is clustered by `entity_id`. An alert is found by what it is about, not by `alert_id`: that is unique
because opening one takes a time that no other has taken, which no MERGE sees to."""
