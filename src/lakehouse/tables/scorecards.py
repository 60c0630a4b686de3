"""scorecards: one row per scored call, from the DynamoDB table of scorecards."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

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


def _transform(df: DataFrame) -> DataFrame:
    # Site-local and without a zone, so it must never be read as UTC: timestamp_ntz.
    text = F.regexp_replace("datetime", r"^(\d{4}-\d{2}-\d{2}T\d{2})-(\d{2})-(\d{2})$", "$1:$2:$3")
    whole = F.col("datetime").rlike(r"^\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}$")
    return df.withColumn("scored_at_local", F.when(whole, text.try_cast("timestamp_ntz")))


SCORECARDS = Table(
    name="scorecards",
    source="scorecards",
    keys=("guid",),
    comment="One row per scored call: the outcome, the overall score and the score of each criterion.",
    columns=(
        Column("guid", "string", "Id of the scored recording.", "guid"),
        Column("datetime", "string", "When it was scored, as the source wrote it.", "datetime"),
        Column("scored_at_local", "timestamp_ntz", "When it was scored, the site's local time, no zone."),
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
        Column("scores", "string", "Every criterion, as JSON.", "scores", as_json=True, pii=True),
    ),
    transform=_transform,
    history=True,
    rules=(
        Rule(
            "scored_at_readable",
            "datetime IS NULL OR scored_at_local IS NOT NULL",
            "A scorecard whose time cannot be read is on no day.",
        ),
    ),
)
