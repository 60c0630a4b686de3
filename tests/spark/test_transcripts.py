"""Transcripts: what a document of each shape tells, and what becomes of it when it is written again."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from tests.spark.parsed import documents
from tests.spark.support import TRANSCRIPTS, Lake, assert_rows, show_times

from lakehouse.operations.landing import check_documents
from lakehouse.table import Table
from lakehouse.tables.transcripts import transcripts

REAL = Path(__file__).resolve().parents[3] / "shared" / "real-inputs" / "transcribe"
MODIFIED = datetime(2026, 1, 8, 11, 0, 0, 123_000, tzinfo=UTC)


def _word(end: float | str, speaker: str | None = None, channel: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"start_time": "0.1", "end_time": str(end), "type": "pronunciation"}
    made["alternatives"] = [{"confidence": "1.0", "content": "word"}]
    return (
        made
        | ({"speaker_label": speaker} if speaker else {})
        | ({"channel_label": channel} if channel else {})
    )


POINT = {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": "."}]}


def _segment(end: float, speaker: str) -> dict[str, Any]:
    return {"start_time": "0.1", "end_time": str(end), "speaker_label": speaker, "items": []}


# key of the document, its results, then: id, duration, its source, speakers, words
STANDARD: list[tuple[str, dict[str, Any], tuple[str, Any, Any, Any, int]]] = [
    (
        "transcripts/stated.json",
        {"audio_duration": 61.5, "items": [_word(9.5)]},
        ("stated", 61.5, "audio_duration", None, 1),
    ),
    (
        "transcripts/stated-text.json",
        {"audio_duration": "61.5", "items": []},
        ("stated-text", 61.5, "audio_duration", None, 0),
    ),
    (
        "transcripts/stated-zero.json",
        {"audio_duration": 0, "items": [_word(9.5)]},
        ("stated-zero", 0.0, "audio_duration", None, 1),
    ),
    (
        "transcripts/stated-null.json",
        {"audio_duration": None, "items": [_word(9.5)]},
        ("stated-null", 9.5, "end_time", None, 1),
    ),
    (
        "transcripts/stated-rubbish.json",
        {"audio_duration": "long", "items": [_word(9.5)]},
        ("stated-rubbish", 9.5, "end_time", None, 1),
    ),
    (
        "transcripts/stated-nan.json",
        {"audio_duration": "NaN", "items": [_word("NaN"), _word(4), _word("inf"), _word("1d"), _word(-1)]},
        ("stated-nan", 4.0, "end_time", None, 5),
    ),
    (
        "transcripts/stated-negative.json",
        {"audio_duration": -5, "items": [_word("4e0")]},
        ("stated-negative", 4.0, "end_time", None, 1),
    ),
    (
        "transcripts/items.json",
        {"items": [_word(9.5, "spk_0"), _word(10.25, "spk_1"), POINT, _word(3, "spk_0")]},
        ("items", 10.25, "end_time", 2, 3),
    ),
    (
        "transcripts/as-numbers.json",
        {"items": [_word("9.5") | {"end_time": 100}, _word("99.5")]},
        ("as-numbers", 100.0, "end_time", None, 2),
    ),
    (
        "transcripts/not-as-text.json",
        {"items": [_word("100.5"), _word("99.5")]},
        ("not-as-text", 100.5, "end_time", None, 2),
    ),
    (
        "transcripts/segments.json",
        {
            "items": [_word(1)],
            "speaker_labels": {
                "speakers": 9,
                "segments": [_segment(7, "spk_0"), _segment(8, "spk_1"), _segment(2, "spk_2")],
            },
        },
        ("segments", 8.0, "end_time", 3, 1),
    ),
    (
        "transcripts/audio-segments.json",
        {
            "audio_segments": [{"id": 0, "end_time": "12.5", "speaker_label": "spk_0", "items": [0]}],
            "items": [_word(12.4, "spk_0")],
        },
        ("audio-segments", 12.5, "end_time", 1, 1),
    ),
    (
        "transcripts/all-three.json",
        {
            "audio_segments": [{"end_time": "3", "speaker_label": "a"}],
            "items": [_word(4, "b")],
            "speaker_labels": {"segments": [_segment(5, "c")]},
        },
        ("all-three", 5.0, "end_time", 3, 1),
    ),
    (
        "transcripts/one-speaker.json",
        {"items": [_word(4, "spk_0"), _word(5, "spk_0"), POINT]},
        ("one-speaker", 5.0, "end_time", 1, 2),
    ),
    (
        "transcripts/channels.json",
        {
            "items": [_word(4, None, "ch_0"), _word(5, None, "ch_1")],
            "channel_labels": {
                "number_of_channels": 2,
                "channels": [
                    {"channel_label": "ch_0", "items": [_word(4)]},
                    {"channel_label": "ch_1", "items": []},
                ],
            },
        },
        ("channels", 5.0, "end_time", 2, 2),
    ),
    (
        # As of 2020, when the items did not say their channel.
        "transcripts/channels-alone.json",
        {
            "items": [_word(4), _word(5)],
            "channel_labels": {
                "number_of_channels": 3,
                "channels": [
                    {"channel_label": "ch_0", "items": [_word(4)]},
                    {"channel_label": "ch_1", "items": [_word(5)]},
                    {"channel_label": "ch_2", "items": []},
                ],
            },
        },
        ("channels-alone", 5.0, "end_time", 2, 2),
    ),
    (
        "transcripts/silent-channel.json",
        {
            "items": [_word(4, None, "ch_0")],
            "channel_labels": {"channels": [{"channel_label": "ch_0"}, {"channel_label": "ch_1"}]},
        },
        ("silent-channel", 4.0, "end_time", 1, 1),
    ),
    (
        "transcripts/nothing-said.json",
        {"transcripts": [{"transcript": ""}], "items": []},
        ("nothing-said", None, None, None, 0),
    ),
    ("transcripts/bare.json", {}, ("bare", None, None, None, 0)),
    (
        "transcripts/odd-members.json",
        {"items": "none", "audio_segments": {"a": 1}, "speaker_labels": []},
        ("odd-members", None, None, None, 0),
    ),
    ("deep/er/redacted-twin.json", {"items": [_word(5, "spk_0")]}, ("twin", 5.0, "end_time", 1, 1)),
    ("no-folder.json", {"items": [_word(5)]}, ("no-folder", 5.0, "end_time", None, 1)),
    ("with.dots.json.json", {"items": [_word(5)]}, ("with.dots.json", 5.0, "end_time", None, 1)),
]


def _turn(end: Any, role: str | None, *kinds: str) -> dict[str, Any]:
    items = [
        {"Type": kind, "Content": "word", "BeginOffsetMillis": 1, "EndOffsetMillis": 2} for kind in kinds
    ]
    return {"EndOffsetMillis": end, "Items": items} | ({"ParticipantRole": role} if role else {})


def _spoken(end: Any, speaker: str | None, words: int) -> dict[str, Any]:
    said = {"SegmentEndTime": end, "WordConfidence": [{"Text": "word", "Confidence": 0.9}] * words}
    return said | ({"SegmentSpeaker": speaker} if speaker else {})


TOTAL = "TotalConversationDurationMillis"
# key of the document, the document, then: id, duration, its source, speakers, words
OTHER_SHAPES: list[tuple[str, dict[str, Any], tuple[str, Any, Any, Any, int]]] = [
    (
        "analytics/call.json",
        {
            "LanguageCode": "en-GB",
            "Transcript": [
                _turn(1500, "AGENT", "pronunciation", "pronunciation", "punctuation"),
                _turn(39450, "CUSTOMER", "pronunciation"),
                _turn(2000, "AGENT"),
            ],
            "ConversationCharacteristics": {TOTAL: 42460},
        },
        ("call", 42.46, TOTAL, 2, 3),
    ),
    (
        "analytics/no-total.json",
        {"LanguageCode": "en-GB", "Transcript": [_turn(100, "AGENT"), _turn("39450", "AGENT")]},
        ("no-total", 39.45, "EndOffsetMillis", 1, 0),
    ),
    (
        "analytics/total-as-text.json",
        {
            "LanguageCode": "en-GB",
            "Transcript": [_turn(100, None, "pronunciation")],
            "ConversationCharacteristics": {TOTAL: "9000"},
            "Participants": [{"ParticipantRole": "AGENT"}, {"ParticipantRole": "CUSTOMER"}],
        },
        ("total-as-text", 9.0, TOTAL, 2, 1),
    ),
    (
        "analytics/silent.json",
        {
            "LanguageCode": "en-GB",
            "Transcript": [],
            "ConversationCharacteristics": {TOTAL: 9000},
            "Participants": [{"ParticipantRole": "AGENT"}, {"ParticipantRole": "CUSTOMER"}],
        },
        ("silent", 9.0, TOTAL, 0, 0),
    ),
    (
        "analytics/bare.json",
        {"LanguageCode": "en-GB", "Transcript": [1, {"Items": "none"}], "ConversationCharacteristics": []},
        ("bare", None, None, None, 0),
    ),
    (
        "parsedFiles/redacted-named.wav.json",
        {
            "ConversationAnalytics": {"LanguageCode": "en-GB", "Duration": "28.67", "GUID": "guid-7"},
            "SpeechSegments": [_spoken(28.96, "spk_0", 3), _spoken(5, "spk_1", 2)],
        },
        ("guid-7", 28.67, "Duration", 2, 5),
    ),
    (
        "parsedFiles/redacted-no-guid.wav.json",
        {
            "ConversationAnalytics": {"LanguageCode": "en-GB", "Duration": 28.67, "GUID": "None"},
            "SpeechSegments": [_spoken(28.96, "spk_0", 1)],
        },
        ("no-guid.wav", 28.67, "Duration", 1, 1),
    ),
    (
        "parsedFiles/no-duration.json",
        {
            "ConversationAnalytics": {
                "LanguageCode": "en-GB",
                "SpeakerTime": {"spk_0": {}, "spk_1": {}, "NonTalkTime": {}},
            },
            "SpeechSegments": [_spoken("7.5", None, 0)],
        },
        ("no-duration", 7.5, "SegmentEndTime", 2, 0),
    ),
    (
        "parsedFiles/bare.json",
        {"ConversationAnalytics": {"LanguageCode": "en-GB", "GUID": ""}, "SpeechSegments": {"a": 1}},
        ("bare", None, None, None, 0),
    ),
    (
        "analytics/no-items.json",
        {
            "LanguageCode": "en-GB",
            "Transcript": [
                {
                    "EndOffsetMillis": 5000,
                    "Content": "Good morning - what can I do?",
                    "ParticipantRole": "AGENT",
                },
                {"EndOffsetMillis": 9000, "Content": " Gar  nichts, danke. ", "ParticipantRole": "CUSTOMER"},
                {"EndOffsetMillis": 9500, "ParticipantRole": "CUSTOMER"},
            ],
        },
        ("no-items", 9.5, "EndOffsetMillis", 2, 9),
    ),
    (
        "analytics/contact-lens.json",
        {
            "LanguageCode": "en-GB",
            "Channel": "VOICE",
            "Participants": [
                {"ParticipantId": "AGENT", "ParticipantRole": "AGENT"},
                {"ParticipantId": "CUSTOMER", "ParticipantRole": "CUSTOMER"},
            ],
            "Transcript": [{"EndOffsetMillis": 8000, "Content": "Call me back", "ParticipantId": "CUSTOMER"}],
            "ConversationCharacteristics": {TOTAL: 9000},
        },
        ("contact-lens", 9.0, TOTAL, 1, 3),
    ),
    (
        "analytics/nobody-told.json",
        {"LanguageCode": "en-GB", "Transcript": [{"EndOffsetMillis": 8000, "Content": "Hello"}]},
        ("nobody-told", 8.0, "EndOffsetMillis", None, 1),
    ),
    (
        "parsedFiles/of-streaming.json",
        {
            "ConversationAnalytics": {"LanguageCode": "en-GB", "Duration": "0.0"},
            "SpeechSegments": [_spoken(50, "spk_1", 0), _spoken("60.5", "spk_0", 0)],
        },
        ("of-streaming", 60.5, "SegmentEndTime", 2, 0),
    ),
    (
        "parsedFiles/of-no-length.json",
        {"ConversationAnalytics": {"LanguageCode": "en-GB", "Duration": "0.0"}},
        ("of-no-length", 0.0, "Duration", None, 0),
    ),
    (
        "parsedFiles/ivr.json",
        {
            "ConversationAnalytics": {
                "LanguageCode": "en-GB",
                "Duration": 9,
                "SpeakerLabels": [
                    {"Speaker": "spk_0", "DisplayText": "Agent 1"},
                    {"Speaker": "spk_2", "DisplayText": "Genesys IVR"},
                ],
            },
            "SpeechSegments": [_spoken(1, "IVR", 3), _spoken(5, "spk_0", 1), _spoken(9, "spk_2", 1)],
        },
        ("ivr", 9.0, "Duration", 1, 5),
    ),
    (
        "parsedFiles/ivr-timed.json",
        {
            "ConversationAnalytics": {
                "LanguageCode": "en-GB",
                "Duration": 9,
                "SpeakerTime": {"spk_0": {}, "IVR": {}, "NonTalkTime": {}},
            },
        },
        ("ivr-timed", 9.0, "Duration", 1, 0),
    ),
]
BAD: dict[str, tuple[bytes, str]] = {
    "empty.json": (b"", "not_json"),
    "half.json": (b'{"results": {"items": [', "not_json"),
    "two.json": (b'{"results": {}} {"results": {}}', "not_json"),
    "latin.json": ('{"results": {"x": "ß"}}'.encode("latin-1"), "not_utf8"),
    "mark-and-latin.json": (b"\xef\xbb\xbf" + '{"x": "ß"}'.encode("latin-1"), "not_utf8"),
    "surrogate.json": (b'{"results": {"items": [], "x": "\\ud83d"}}', "lone_surrogate"),
    "array.json": (b'[{"results": {}}]', "not_an_object"),
    "other.json": (b'{"hello": 1}', "unknown_document_shape"),
    "no-object.json": (b'{"results": [1]}', "unknown_document_shape"),
    "stream-result.json": (b'{"TranscriptResultStream": {}}', "unknown_document_shape"),
    "no-list.json": (b'{"Transcript": "text", "ConversationAnalytics": [1]}', "unknown_document_shape"),
    "redacted-.json": (b'{"results": {}}', "missing_key"),
    "chat.json": (b'{"Channel": "CHAT", "Transcript": []}', "without_audio"),
    "e-mail.json": (b'{"Channel": "email", "Transcript": [{"Content": "a"}]}', "without_audio"),
    "by-the-clock.json": (
        b'{"Transcript": [{"AbsoluteTime": "2026-01-08T11:00:00.000Z", "Content": "a"}]}',
        "without_audio",
    ),
}


BRONZE = ("not_json", "not_an_object", "not_utf8", "lone_surrogate")
"""Reasons for which no table can read a document."""


def _parse(spark: SparkSession, files: list[tuple[str, bytes]], table: Table = TRANSCRIPTS) -> dict[str, Row]:
    rows = [(bytearray(content), key, f"file:/documents/{key}", MODIFIED) for key, content in files]
    schema = "content binary, document_key string, _source_file string, _modified_at timestamp"
    parsed = show_times(documents(spark.createDataFrame(rows, schema), table))
    return {row._source_file.removeprefix("file:/documents/"): row for row in parsed.collect()}


def _shape(key: str) -> str:
    return {"analytics": "call_analytics", "parsedFiles": "pca"}.get(key.split("/")[0], "standard")


@pytest.fixture(scope="module")
def parsed(spark: SparkSession) -> dict[str, Row]:
    made = [
        (
            key,
            json.dumps(
                {"jobName": "j", "status": "COMPLETED", "results": {"language_code": "en-GB"} | results}
            ).encode(),
        )
        for key, results, _ in STANDARD
    ]
    made += [(key, json.dumps(document).encode()) for key, document, _ in OTHER_SHAPES]
    return _parse(spark, made + [(key, content) for key, (content, _) in BAD.items()])


@pytest.mark.parametrize("case", STANDARD + OTHER_SHAPES, ids=lambda case: case[0])
def test_a_transcript_is_read_by_its_members(
    case: tuple[str, Any, tuple[Any, ...]], parsed: dict[str, Row]
) -> None:
    key, _, expected = case
    row = parsed[key]
    found = (row.transcript_id, row.duration_seconds, row.duration_source, row.speaker_count, row.word_count)
    assert found == expected
    assert (row.shape, row.language, row.s3_key) == (_shape(key), "en-GB", key)
    assert row.redacted is ("redacted-" in key)
    assert (row._problem, row._raw, row.is_deleted, row._misfits) == (None, None, False, 0)


@pytest.mark.parametrize("key", BAD)
def test_a_document_that_cannot_be_read_has_its_reason_and_is_kept_whole(
    key: str, parsed: dict[str, Row]
) -> None:
    content, reason = BAD[key]
    row = parsed[key]
    assert row._problem == reason
    assert row._detail
    if reason in BRONZE:
        assert reason == "not_utf8" or row._raw == content.decode()
    else:  # bronze has the document itself
        assert (row._raw, row.transcript_id) == (None, None)


def test_what_was_looked_for_is_told(parsed: dict[str, Row]) -> None:
    detail = parsed["other.json"]._detail
    assert all(name in detail for name in ("`results`", "`Transcript`", "`ConversationAnalytics`"))


REDACTED = {
    "its name": ("redacted-a.json", {}, True),
    "its own word": ("b.json", {"isRedacted": True}, True),
    "its own word as text": ("c.json", {"isRedacted": "true"}, True),
    "its output": ("d.json", {"ContentMetadata": {"Output": "Redacted"}}, True),
    "its output is raw": ("e.json", {"ContentMetadata": {"Output": "Raw"}, "isRedacted": False}, False),
    "nothing": ("f.json", {"ContentMetadata": "Redacted", "isRedacted": {}}, False),
}


def test_a_transcript_is_redacted_by_its_name_or_its_own_word(spark: SparkSession) -> None:
    files = [
        (key, json.dumps({"results": {"items": []}, "Transcript": []} | members).encode())
        for key, members, _ in REDACTED.values()
    ]
    assert {key: row.redacted for key, row in _parse(spark, files).items()} == {
        key: redacted for key, _, redacted in REDACTED.values()
    }


def test_of_several_languages_the_one_that_was_spoken_the_longest_is_the_language(
    spark: SparkSession,
) -> None:
    def codes(*spoken: tuple[str, Any]) -> list[dict[str, Any]]:
        return [{"language_code": code, "duration_in_seconds": seconds} for code, seconds in spoken]

    cases: dict[str, tuple[dict[str, Any], str | None]] = {
        "several": ({"language_codes": codes(("en-US", "9.5"), ("es-US", "10.25"), ("fr-CA", 1))}, "es-US"),
        "one": ({"language_codes": codes(("de-DE", None))}, "de-DE"),
        "stated": ({"language_code": "en-US", "language_codes": codes(("es-US", 5))}, "en-US"),
        "none": ({"language_codes": []}, None),
        "no shape": ({"language_codes": "en-US"}, None),
    }
    files = [(name, json.dumps({"results": results}).encode()) for name, (results, _) in cases.items()]
    found = {key: row.language for key, row in _parse(spark, files).items()}
    assert found == {name: language for name, (_, language) in cases.items()}


def test_the_pattern_of_the_id_can_be_set(spark: SparkSession) -> None:
    table = transcripts(id_pattern=r"^calls/(.+)/transcript\.json$")
    content = b'{"results": {"items": []}}'
    keys = ["calls/a/b/transcript.json", "calls/c/redacted-d/transcript.json", "other/e.json"]
    rows = _parse(spark, [(key, content) for key in keys], table)
    found = [(rows[key].transcript_id or None, rows[key]._problem) for key in keys]
    assert found == [("a/b", None), ("c/d", None), (None, "missing_key")]


def test_the_sequence_of_a_document_is_its_time_key_and_content(parsed: dict[str, Row]) -> None:
    content, _ = BAD["redacted-.json"]
    row = parsed["redacted-.json"]
    assert row._sequence == f"2026-01-08T11:00:00.123Z/redacted-.json/{hashlib.sha256(content).hexdigest()}"
    assert (row._changed_at, row.updated_at) == ("2026-01-08 11:00:00.123", "2026-01-08T11:00:00.123Z")


def test_a_byte_order_mark_is_no_part_of_a_document(spark: SparkSession) -> None:
    content = "\ufeff".encode() + json.dumps({"results": {"items": [_word(5, "spk_0")]}}).encode()
    (row,) = _parse(spark, [("a.json", content)]).values()
    assert (row._problem, row.duration_seconds) == (None, 5.0)
    assert row._sequence.endswith(hashlib.sha256(content).hexdigest())


@pytest.mark.skipif(
    not REAL.is_dir(), reason="the real inputs lie beside the repository, and here they do not"
)
def test_real_transcripts_tell_what_a_reader_finds_in_them(spark: SparkSession) -> None:
    """Counted by hand in the files: the last end_time, the labels, the words that are no punctuation."""
    expected = {
        "../pca/pca-ui.testfile.json": (28.67, "Duration", 2, 94, None),
        # An excerpt with "..." in it.
        "aws-docs.tca-compiled.elided.txt": (None, None, None, None, "not_json"),
        "aws-docs.diarization.json": (9.24, "end_time", 2, 10, None),
        "aws-docs.channel-id.json": (9.25, "end_time", 2, 10, None),
        # A result of streaming, which has no `results`.
        "aws-docs.pii-redaction.json": (None, None, None, None, "unknown_document_shape"),
    }
    assert {p.resolve() for p in REAL.parent.glob("*/*") if p.parent.name in ("transcribe", "pca")} == {
        (REAL / name).resolve() for name in expected
    }
    rows = _parse(spark, [(name, (REAL / name).read_bytes()) for name in expected])
    found = {
        name: (r.duration_seconds, r.duration_source, r.speaker_count, r.word_count, r._problem)
        if r._problem is None
        else (None, None, None, None, r._problem)
        for name, r in rows.items()
    }
    assert found == expected


def test_a_transcript_that_is_written_again_is_read_again_and_the_newest_wins(
    spark: SparkSession, tmp_path: Path
) -> None:
    def transcript(end: float) -> dict[str, Any]:
        return {"results": {"items": [_word(end, "spk_0")]}}

    lake = Lake(spark, tmp_path, (TRANSCRIPTS,), landing_name="not there")
    lake.write_document("transcripts/rewritten.json", transcript(1), mtime=1_767_000_000.5)
    lake.write_document("transcripts/left.json", transcript(2), mtime=1_767_000_000)
    lake.write_document("transcripts/twin.json", transcript(3), mtime=1_767_000_000)
    lake.write_document("transcripts/older.json", transcript(4), mtime=1_767_000_000)
    lake.write_document("odd 50%+[b] ü#.json", transcript(5), mtime=1_767_000_000)
    lake.write_document("odd 50%+[b] ü# bad.json", b"bad", mtime=1_767_000_000)
    lake.write_document("note.txt", b"no document", mtime=1_767_000_000)
    unread = ("_hidden.json", ".hidden.json", "_hidden/a.json", "CAPITALS.JSON", "empty.json")
    for name in unread:
        lake.write_document(name, b"" if name == "empty.json" else transcript(6), mtime=1_767_000_000)
    assert {Path(found.path) for found in check_documents(str(lake.documents))} == {
        lake.documents / name for name in unread
    }
    first = lake.ingest_well()["transcripts"]
    assert (first.batches.upserts, first.batches.quarantined, first.batches.files) == (5, 1, 6)
    before = lake.versions()
    lake.ingest_well()
    assert lake.versions() == before

    # Other content of the same length, a second later; a redacted twin; an older copy.
    lake.write_document("transcripts/rewritten.json", transcript(8), mtime=1_767_000_001.25)
    lake.write_document("transcripts/redacted-twin.json", transcript(9), mtime=1_767_000_002)
    lake.write_document("transcripts/redacted-older.json", transcript(9), mtime=1_766_000_000)
    second = lake.ingest_well()["transcripts"]
    assert (second.batches.records, second.batches.upserts, second.batches.stale) == (3, 2, 1)
    assert_rows(
        lake.state(TRANSCRIPTS).select("transcript_id", "duration_seconds", "s3_key", "redacted"),
        [
            ("rewritten", 8.0, "transcripts/rewritten.json", False),
            ("left", 2.0, "transcripts/left.json", False),
            ("twin", 9.0, "transcripts/redacted-twin.json", True),
            ("older", 4.0, "transcripts/older.json", False),
            ("odd 50%+[b] ü#", 5.0, "odd 50%+[b] ü#.json", False),
        ],
        "transcript_id string, duration_seconds double, s3_key string, redacted boolean",
    )
    # Within a second, and of the same length.
    lake.write_document("transcripts/rewritten.json", transcript(7), mtime=1_767_000_001.5)
    assert lake.ingest_well()["transcripts"].batches.upserts == 1
    assert lake.rows(TRANSCRIPTS)["rewritten"].duration_seconds == 7.0
    assert_rows(
        lake.quarantine().select("source", "reason", "raw", "object"),
        [("transcripts", "not_json", "bad", f"file:{lake.documents}/odd 50%+[b] ü# bad.json")],
        "source string, reason string, raw string, object string",
    )


def test_a_location_that_is_not_there_before_its_first_document_is_waited_for(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS,))
    lake.pca.rmdir()
    lake.ingest_well()
    document = {"ConversationAnalytics": {"GUID": "first"}}
    lake.write_document("a.json", document, mtime=1_767_000_000, below=lake.pca)
    assert lake.ingest_well()["pca_calls"].batches.upserts == 1
