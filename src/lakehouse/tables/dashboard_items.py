"""dashboard_items: one row per text whose sentiment is analysed, from the DynamoDB table of them."""

from __future__ import annotations

from lakehouse.sql.values import in_years, utc_day
from lakehouse.table import Column, Rule, Table, View

TTL_DAYS = 7
"""How long an item is shown, from its own time on: from the ingest's, replays would not agree."""


def dashboard_items(*, ttl_days: int = TTL_DAYS) -> Table:
    """The table.

    Args:
        ttl_days: days after its own time for which an item is shown. After a change, `lakehouse rebuild`
            brings it to the rows that are there.
    """
    return Table(
        name="dashboard_items",
        source="sentiment_items",
        keys=("source_id", "ingested_at"),
        comment="One row per analysed text: its sentiment, its score, and the tags that it matched.",
        # What dashboards ask for is a day; MERGEs look for the first part of the key.
        cluster_by=("day_partition", "source_id"),
        columns=(
            Column("source_id", "string", "Id of the text at its source.", "source_id"),
            Column(
                "ingested_at",
                "string",
                "When the source took it in, as it wrote it; part of the key.",
                "ingested_at",
            ),
            Column("ingested_at_utc", "timestamp", "When the source took it in, UTC.", "ingested_at"),
            Column(
                "day_partition",
                "date",
                "Day on which the source took it in, UTC.",
                sql=utc_day("ingested_at_utc"),
            ),
            Column("source_type", "string", "Kind of source: review, survey, call or other.", "source_type"),
            Column("source_url", "string", "Where the text stands.", "source_url"),
            Column("text_snippet", "string", "Beginning of the text.", "text_snippet", pii=True),
            Column("sentiment", "string", "positive, neutral, negative or mixed.", "sentiment"),
            Column("score", "decimal(9,6)", "How sure the model is of the sentiment.", "score"),
            Column(
                "sentiment_score_combined",
                "string",
                "Sentiment and score to two places: neutral#0.72.",
                sql="concat(sentiment, '#', try_cast(score AS DECIMAL(9,2)))",
            ),
            Column("model_version", "string", "Version of the model.", "model_version"),
            Column("status", "string", "State of the analysis; only analyzed items are shown.", "status"),
            Column(
                "matched_tags",
                "array<string>",
                "Tags that the text matched, sorted.",
                "matched_tags",
                sql="array_sort(array_distinct({value}))",
            ),
            Column(
                "metadata",
                "string",
                "What the source says beside it, as JSON.",
                "metadata",
                pii=True,
            ),
            Column(
                "expires_at",
                "timestamp",
                f"Until when it is shown: {ttl_days} days after its own time.",
                # As a number: an interval of days has an hour more or less where the reader's clocks change.
                sql=in_years(f"timestamp_micros(unix_micros(ingested_at_utc) + {ttl_days * 86_400_000_000})"),
            ),
        ),
        # Rows are made as they are read, so a tag that is taken away, another status, an expiry or a delete
        # need no cleaning up.
        view=View(
            name="dashboard_items",
            comment="Analysed items that have not expired: a base row each (tag is null), and a row per tag.",
            query="""
SELECT source_id, ingested_at, ingested_at_utc, day_partition, source_type, source_url, text_snippet,
  sentiment, score, sentiment_score_combined, model_version, status, matched_tags, metadata, expires_at,
  updated_at, tag
FROM {live} AS item
LATERAL VIEW explode(concat(array(CAST(NULL AS STRING)), coalesce(matched_tags, array()))) AS tag
WHERE status = 'analyzed' AND expires_at > current_timestamp()
""",
        ),
        rules=(
            Rule(
                "analyzed_is_complete",
                "status IS DISTINCT FROM 'analyzed' OR (sentiment IS NOT NULL AND score IS NOT NULL)",
                "An analyzed item without sentiment or score cannot be shown.",
                effect="quarantine-from-gold",
            ),
            Rule(
                "ingested_at_readable",
                "ingested_at_utc IS NOT NULL",
                "An item whose time cannot be read is on no day and would never expire.",
                effect="quarantine-from-gold",
            ),
        ),
    )
