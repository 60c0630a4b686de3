"""scorecards: one row per scored call, from the DynamoDB table of scorecards."""

from __future__ import annotations

from lakehouse.settings import literal
from lakehouse.sql.values import END
from lakehouse.table import Column, Rule, Table

CRITERIA = {
    "ask_for_payment": "askForPayment",
    "confirm_location": "confirmLocation",
    "features_advantages": "featuresAdvantagesBenefits",
    "handle_objections": "handleObjections",
    "size_recommendation": "sizeRecommendation",
    "urgency": "urgency",
}
"""Column suffix → name of the criterion in the item's `scores`."""


_DATETIME = r"((?!0000)\d{4}-\d\d-\d\dT\d\d)-(\d\d)-(\d\d)"

SCORECARDS = Table(
    name="scorecards",
    source="scorecards",
    keys=("guid",),
    comment="One row per scored call: the outcome, the overall score and the score of each criterion.",
    columns=(
        Column("guid", "string", "Id of the scored recording.", "guid"),
        Column("datetime", "string", "When it was scored, as the source wrote it.", "datetime"),
        Column(
            "scored_at_local",
            "timestamp_ntz",
            "When it was scored, the site's local time, no zone.",
            # Never to be read as UTC. The pattern ends at the end: `$` would also match before a line break.
            sql=f"CASE WHEN datetime RLIKE {literal(f'^{_DATETIME}{END}')} THEN "
            f"try_cast(regexp_replace(datetime, {literal(_DATETIME)}, '$1:$2:$3') AS TIMESTAMP_NTZ) END",
        ),
        Column("agent", "string", "Agent who was scored.", "agent", pii=True),
        Column("call_type", "string", "Kind of call.", "callType"),
        Column("notes", "string", "Free notes.", "notes", pii=True),
        Column("outcome", "string", "How the call ended.", "outcome"),
        Column("primary_intent", "string", "What the customer wanted.", "primaryIntent"),
        Column("secondary_intent", "string", "What else the customer wanted.", "secondaryIntent"),
        Column("resolution_reason", "string", "Why it was resolved, or was not.", "resolutionReason"),
        Column("summary", "string", "Summary of the call.", "summary", pii=True),
        Column("ingested_at", "timestamp", "When the source took the scorecard in, UTC.", "ingestedAt"),
        Column("overall_score", "decimal(10,4)", "The overall score.", "overallScore"),
        *(
            Column(f"score_{c}", "decimal(10,4)", f"Score for {c}.", f"scores.{name}.score")
            for c, name in CRITERIA.items()
        ),
        *(
            Column(f"evidence_{c}", "string", f"Evidence for {c}.", f"scores.{name}.evidence", pii=True)
            for c, name in CRITERIA.items()
        ),
        Column("scores", "string", "Every criterion, as JSON.", "scores", pii=True),
    ),
    json_text=("scores",),
    history=True,
    rules=(
        Rule(
            "scored_at_readable",
            "datetime IS NULL OR scored_at_local IS NOT NULL",
            "A scorecard whose time cannot be read is on no day.",
        ),
    ),
)
