"""transcripts: one row per transcript, from what Amazon Transcribe and Post Call Analytics (PCA) write.

Three shapes: Transcribe's standard output, that of Transcribe Call Analytics, which is also Contact Lens's,
and PCA's parsed files. A document is told by its members, never by its path.
"""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.table import Column, Table
from lakehouse.tables.document_members import (
    NON_TALK,
    UNKNOWN_SHAPE,
    folded,
    is_object,
    is_redacted,
    known,
    list_of,
    machine_speakers,
    member,
)

ID_PATTERN = r"([^/]+?)(?:\.json)?$"
"""Where the key of a document has the id of its call: the first group, less `redacted-`."""

_PLACES = ("results.audio_segments", "results.items", "results.speaker_labels.segments")
_PART = "struct<end_time: string, speaker_label: string, channel_label: string, type: string>"
_CHANNEL = "struct<channel_label: string, items: array<variant>>"
_LANGUAGE = "struct<language_code: string, duration_in_seconds: string>"
_TURN = (
    "struct<EndOffsetMillis: string, AbsoluteTime: string, ParticipantId: string, ParticipantRole: string, "
    "Content: string, Items: array<struct<Type: string>>>"
)
_SEGMENT = (
    "struct<SegmentEndTime: string, SegmentSpeaker: string, WordConfidence: array<struct<Text: string>>>"
)

WITHOUT_AUDIO = "without_audio"
"""Reason in quarantine of a document of Contact Lens that is about no call: a chat, a task, an e-mail."""


def _number(text: SparkColumn) -> SparkColumn:
    """A length of time, null if it cannot be one: text such as NaN, inf or 1d is a double, but no decimal."""
    exact = text.try_cast("decimal(24,12)")
    return F.when(exact >= 0, exact.cast("double"))


def _latest(parts: SparkColumn, end: str) -> SparkColumn:
    return F.array_max(F.transform(parts, lambda part: _number(part[end])))


def _distinct(names: SparkColumn) -> SparkColumn:
    return F.size(F.array_distinct(F.array_compact(names)))


def _speakers(parts: SparkColumn, label: str) -> SparkColumn:
    """How many labels there are."""
    return _distinct(F.transform(parts, lambda part: part[label]))


def _any(*counts: SparkColumn) -> SparkColumn:
    """The first count that is not 0; null, not known, if all are."""
    return F.coalesce(*(F.when(count > 0, count) for count in counts))


def _said(kind: SparkColumn) -> SparkColumn:
    return kind == "pronunciation"


def _told(
    language: SparkColumn,
    durations: dict[str, SparkColumn],
    speakers: SparkColumn,
    words: SparkColumn,
) -> SparkColumn:
    """What a document of one shape tells; `durations`: in seconds, by the member that says so, best first."""
    sources = (F.when(seconds.isNotNull(), name) for name, seconds in durations.items())
    return F.struct(
        known(language).alias("language"),
        F.coalesce(*durations.values()).alias("duration_seconds"),
        F.coalesce(*sources).alias("duration_source"),
        speakers.alias("speaker_count"),
        words.alias("word_count"),
    )


def _standard() -> SparkColumn:
    parts = F.col("_parts")
    stated = _number(member("results.audio_duration", "string"))
    languages = F.transform(
        list_of("results.language_codes", _LANGUAGE),
        lambda one: F.struct(_number(one["duration_in_seconds"]), one["language_code"].alias("code")),
    )
    heard = F.filter(
        list_of("results.channel_labels.channels", _CHANNEL), lambda channel: F.size(channel["items"]) > 0
    )
    return _told(
        # Of several languages the one that was spoken the longest.
        F.coalesce(member("results.language_code", "string"), F.array_max(languages)["code"]),
        {"audio_duration": stated, "end_time": _latest(parts, "end_time")},
        # Outputs that are split by channel have channel labels instead, those of 2020 on the channels alone.
        _any(
            _speakers(parts, "speaker_label"),
            _speakers(parts, "channel_label"),
            _speakers(heard, "channel_label"),
        ),
        F.size(F.filter(parts, lambda part: _said(part["type"]))),
    )


def _call_analytics() -> SparkColumn:
    turns, total = F.col("_turns"), "ConversationCharacteristics.TotalConversationDurationMillis"
    taking_part = _speakers(list_of("Participants", "struct<ParticipantRole: string>"), "ParticipantRole")
    who = F.transform(turns, lambda turn: F.coalesce(turn["ParticipantId"], turn["ParticipantRole"]))
    spoken = F.transform(
        turns,
        lambda turn: F.coalesce(
            F.size(F.filter(turn["Items"], lambda word: _said(word["Type"]))),
            F.size(F.filter(F.split(turn["Content"], r"\s+"), lambda word: word.rlike(r"[\p{L}\p{N}]"))),
            F.lit(0),
        ),
    )
    return _told(
        member("LanguageCode", "string"),
        {
            "TotalConversationDurationMillis": _number(member(total, "string")) / 1000,
            "EndOffsetMillis": _latest(turns, "EndOffsetMillis") / 1000,
        },
        # Participants[] names both, also where nobody speaks.
        F.when(F.size(turns) > 0, _any(_distinct(who), taking_part)).otherwise(0),
        F.aggregate(spoken, F.lit(0), lambda total, count: total + count),
    )


def _without_audio() -> SparkColumn:
    """Whether a document of Contact Lens is about no call."""
    turns, channel = F.col("_turns"), F.upper(member("Channel", "string"))
    by_the_clock = F.exists(turns, lambda turn: turn["AbsoluteTime"].isNotNull()) & ~F.exists(
        turns, lambda turn: turn["EndOffsetMillis"].isNotNull()
    )
    return F.coalesce(~channel.isin("VOICE", "TELEPHONY"), by_the_clock)


def _pca() -> SparkColumn:
    segments = F.col("_segments")
    times = member("ConversationAnalytics.SpeakerTime", "map<string, variant>")
    timed = F.array_remove(F.coalesce(F.map_keys(times), F.array()), NON_TALK)
    machines = machine_speakers()
    stated = _number(member("ConversationAnalytics.Duration", "string"))
    ends = _latest(segments, "SegmentEndTime")
    return _told(
        member("ConversationAnalytics.LanguageCode", "string"),
        {
            # 0.0 where turns lack words, as those of a streaming transcript do.
            "Duration": F.when((stated > 0) | ends.isNull(), stated),
            "SegmentEndTime": ends,
        },
        _any(
            _distinct(
                F.array_except(F.transform(segments, lambda segment: segment["SegmentSpeaker"]), machines)
            ),
            _distinct(F.array_except(timed, machines)),
        ),
        F.size(F.flatten(F.array_compact(F.transform(segments, lambda segment: segment["WordConfidence"])))),
    )


def _transform(df: DataFrame, *, id_pattern: str) -> DataFrame:
    shape = (
        F.when(is_object("results"), "standard")
        .when(member("Transcript", "array<variant>").isNotNull(), "call_analytics")
        .when(is_object("ConversationAnalytics"), "pca")
    )
    df = df.select(
        "*",
        shape.alias("shape"),
        F.concat(*(list_of(place, _PART) for place in _PLACES)).alias("_parts"),
        list_of("Transcript", _TURN).alias("_turns"),
        list_of("SpeechSegments", _SEGMENT).alias("_segments"),
    )
    told = (
        F.when(F.col("shape") == "standard", _standard())
        .when(F.col("shape") == "call_analytics", _call_analytics())
        .when(F.col("shape") == "pca", _pca())
    )
    named = folded(F.regexp_extract("_document_key", id_pattern, 1))
    guid = known(member("ConversationAnalytics.GUID", "string"))
    unknown = F.col("shape").isNull()
    silent = (F.col("shape") == "call_analytics") & _without_audio()
    problem = F.when(unknown, UNKNOWN_SHAPE).when(silent, WITHOUT_AUDIO)
    no_call = "a document of Contact Lens about a chat, a task or an e-mail; transcripts are of calls"
    looked_for = (
        "no object `results` (Transcribe), no array `Transcript` (Call Analytics), "
        "no object `ConversationAnalytics` (PCA)"
    )
    return df.select("*", told.alias("_told")).select(
        *(c for c in df.columns if c not in ("_problem", "_detail", "_sequence")),
        "_told.*",
        F.coalesce(F.when(F.col("shape") == "pca", guid), named).alias("transcript_id"),
        F.col("_document_key").alias("s3_key"),
        is_redacted().alias("redacted"),
        F.coalesce("_problem", problem).alias("_problem"),
        F.coalesce("_detail", F.when(unknown, looked_for).when(silent, no_call)).alias("_detail"),
        # A PCA file of an id that Transcribe's own transcript has loses to it, whichever is newer: "-" sorts
        # below every digit.
        F.when(F.col("shape") == "pca", F.concat(F.lit("-"), "_sequence"))
        .otherwise(F.col("_sequence"))
        .alias("_sequence"),
    )


def transcripts(*, id_pattern: str = ID_PATTERN) -> Table:
    """The table.

    Args:
        id_pattern: a regular expression, in Java's dialect, for the key of a document; its first group, less
            `redacted-`, is the id of the call. After a change, `lakehouse rebuild` brings it to the rows that
            are there.
    """
    return Table(
        name="transcripts",
        source="transcripts",
        more_sources=("pca_calls",),
        keys=("transcript_id",),
        comment="One row per transcript: its duration, speakers and words, and where it lies.",
        format="documents",
        columns=(
            Column(
                "transcript_id",
                "string",
                "Id of the call, from the document's name; of a PCA file, its GUID.",
            ),
            Column("shape", "string", "Kind of document: standard, call_analytics or pca."),
            Column("language", "string", "Language of the transcript, where it says so."),
            Column("duration_seconds", "double", "Length of the audio in seconds."),
            Column("duration_source", "string", "Which member told the duration."),
            Column(
                "speaker_count",
                "int",
                "Number of distinct speakers, or of channels on which somebody speaks; null if nothing tells "
                "speakers apart.",
            ),
            Column("word_count", "int", "Number of spoken words."),
            Column("s3_key", "string", "Key of the document."),
            Column(
                "redacted",
                "boolean",
                "True if the transcript that was read is redacted, by its name or its words.",
            ),
        ),
        transform=partial(_transform, id_pattern=id_pattern),
    )
