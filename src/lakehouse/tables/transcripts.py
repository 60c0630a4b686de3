"""transcripts: one row per transcript document, from the output of Amazon Transcribe.

Only the standard shape so far. A document is told by its members, never by its path.
"""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.table import Column, Table

_PLACES = ("results.audio_segments", "results.items", "results.speaker_labels.segments")
_PART = "array<struct<end_time: string, speaker_label: string, channel_label: string, type: string>>"


def _member(path: str, as_type: str) -> SparkColumn:
    return F.try_variant_get("_document", f"$.{path}", as_type)


def _distinct(label: str) -> SparkColumn:
    return F.array_distinct(F.array_compact(F.transform("_parts", lambda part: part[label])))


def _transform(df: DataFrame) -> DataFrame:
    parts = F.concat(*(F.coalesce(_member(p, _PART), F.array().cast(_PART)) for p in _PLACES))
    df = df.select(
        "*",
        parts.alias("_parts"),
        _member("results.audio_duration", "string").try_cast("double").alias("_stated"),
    )
    latest = F.array_max(F.transform("_parts", lambda p: p["end_time"].try_cast("double")))
    speakers = F.size(_distinct("speaker_label"))
    # Outputs that are split by channel have channel labels instead of speaker labels.
    channels = F.size(_distinct("channel_label"))
    words = F.size(F.filter("_parts", lambda p: p["type"] == "pronunciation"))
    shaped = _member("results", "map<string, variant>").isNotNull()
    return df.select(
        "*",
        F.regexp_replace(
            F.regexp_extract("_document_key", r"([^/]+?)(?:\.json)?$", 1), r"^redacted-", ""
        ).alias("transcript_id"),
        F.lit("standard").alias("shape"),
        _member("results.language_code", "string").alias("language"),
        F.coalesce("_stated", latest).alias("duration_seconds"),
        F.when(F.col("_stated").isNotNull(), "audio_duration")
        .when(latest.isNotNull(), "end_time")
        .alias("duration_source"),
        F.when(speakers > 0, speakers).otherwise(channels).alias("speaker_count"),
        words.alias("word_count"),
        F.col("_document_key").alias("s3_key"),
        F.col("_document_key").rlike(r"(^|/)redacted-[^/]*$").alias("redacted"),
    ).withColumns(
        {
            "_problem": F.coalesce("_problem", F.when(~shaped, "unknown_document_shape")),
            "_detail": F.coalesce(
                "_detail", F.when(~shaped, "no object `results` (standard Transcribe output)")
            ),
        }
    )


TRANSCRIPTS = Table(
    name="transcripts",
    source="transcripts",
    keys=("transcript_id",),
    comment="One row per transcript: its duration, speakers and words, and where it lies.",
    format="documents",
    columns=(
        Column("transcript_id", "string", "Id of the call, from the name of the document."),
        Column("shape", "string", "Kind of document: standard."),
        Column("language", "string", "Language of the transcript, where it says so."),
        Column("duration_seconds", "double", "Length of the audio in seconds."),
        Column("duration_source", "string", "Which member told the duration."),
        Column("speaker_count", "int", "Number of distinct speakers, or of channels."),
        Column("word_count", "int", "Number of spoken words."),
        Column("s3_key", "string", "Key of the document."),
        Column("redacted", "boolean", "True if the redacted twin of the transcript was read."),
    ),
    transform=_transform,
)
