"""The source's own figures, worked out by hand for small inputs of each kind."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.errors import DataError
from lakehouse.local.sample_day import Delete, Document, Expire, Put, Update, sample_day
from lakehouse.local.source_figures import (
    FigureRow,
    Heard,
    ScorecardRow,
    analyst_figures,
    answer_type,
    read_transcript,
    scorecard_figures,
)

DAY = dt.date(2025, 10, 8)
NOON = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)


def call(call_id: str, *, at: str = "2025-10-08T14:34:19Z", **payload: str) -> dict[str, Any]:
    typed = {name: {"S": value} for name, value in payload.items()}
    return {"callId": {"S": call_id}, "callTimestampUTC": {"S": at}, "payload": {"M": typed}}


def word(end: str, **label: str) -> dict[str, Any]:
    said = [{"confidence": "0.99", "content": "hello"}]
    return {"type": "pronunciation", "start_time": "0.0", "end_time": end, "alternatives": said, **label}


def transcript(*words: dict[str, Any], **results: Any) -> str:
    return json.dumps({"jobName": "job", "results": {"items": list(words), **results}, "status": "COMPLETED"})


def talk(seconds: str, *speakers: str) -> str:
    """A transcript of the given length in which each of the speakers says a word."""
    return transcript(*(word(seconds, speaker_label=speaker) for speaker in speakers))


def named(call_id: str, body: str | bytes, at: dt.datetime = NOON) -> tuple[str, str | bytes, dt.datetime]:
    return f"transcripts/{call_id}.json", body, at


def heard(body: str | bytes) -> Heard:
    return read_transcript("transcripts/a.json", body)


# --- one transcript


def test_the_length_is_the_latest_end_of_items_segments_and_audio_segments() -> None:
    words = word("3.5", speaker_label="spk_0"), word("6.88", speaker_label="spk_1"), {"type": "punctuation"}
    later = {"end_time": "7.1", "speaker_label": "spk_0"}
    latest = {"end_time": "7.25", "speaker_label": "spk_0"}
    assert heard(transcript(*words)) == Heard(6.88, 2)
    assert heard(transcript(*words, speaker_labels={"speakers": 2, "segments": [later]})) == Heard(7.1, 2)
    assert heard(transcript(*words, speaker_labels={"segments": [later]}, audio_segments=[latest])) == Heard(
        7.25, 2
    )


def test_ends_are_compared_as_numbers_not_as_text() -> None:
    assert heard(talk("9.9", "spk_0")).seconds == 9.9
    assert heard(transcript(word("9.9"), word("10.2"))).seconds == 10.2


@pytest.mark.parametrize("duration", ["61.5", 61.5])
def test_an_audio_duration_wins_over_any_end(duration: object) -> None:
    assert heard(transcript(word("70.0"), audio_duration=duration)).seconds == 61.5


@pytest.mark.parametrize("duration", [None, "", "long", "nan"])
def test_an_audio_duration_that_is_no_number_does_not(duration: object) -> None:
    assert heard(transcript(word("70.0"), audio_duration=duration)).seconds == 70.0


def test_speakers_are_the_distinct_labels_of_all_three_places() -> None:
    body = transcript(
        word("1.0", speaker_label="spk_0"),
        word("2.0", speaker_label="spk_0"),
        speaker_labels={"speakers": 9, "segments": [{"end_time": "2.0", "speaker_label": "spk_1"}]},
        audio_segments=[{"end_time": "2.0", "speaker_label": "spk_2"}],
    )
    assert heard(body) == Heard(2.0, 3)


def test_channels_count_only_where_something_is_said_in_them() -> None:
    listed = {"channels": [{"channel_label": "ch_0"}, {"channel_label": "ch_1"}], "number_of_channels": 2}
    one = transcript(word("12.0", channel_label="ch_0"), channel_labels=listed)
    two = transcript(word("12.0", channel_label="ch_0"), word("13.0", channel_label="ch_1"))
    assert heard(one) == Heard(12.0, 1)
    assert heard(two) == Heard(13.0, 2)


def test_speaker_labels_count_and_the_channel_beside_them_does_not() -> None:
    labels = {"channel_label": "ch_0", "segments": [{"end_time": "5", "speaker_label": "spk_0"}]}
    body = transcript(word("5", speaker_label="spk_0", channel_label="ch_0"), speaker_labels=labels)
    assert heard(body) == Heard(5.0, 1)


def test_a_silent_transcript_has_no_length_and_no_speakers() -> None:
    assert heard(transcript(speaker_labels={"speakers": 0, "segments": []})) == Heard(None, 0)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '"text"', "{}", '{"results": null}', '{"results": {"items": [7]}}', b"\xff{}"],
)
def test_what_cannot_be_read_tells_nothing(body: str | bytes) -> None:
    assert heard(body) == Heard(None, 0)


@pytest.mark.parametrize("member", ["ConversationCharacteristics", "ConversationAnalytics"])
def test_another_shape_is_refused_by_name(member: str) -> None:
    with pytest.raises(DataError, match=r"transcripts/a\.json"):
        heard(json.dumps({member: {}}))


@pytest.mark.parametrize(
    ("seconds", "speakers", "expected"),
    [
        (None, 2, "Unknown"),
        (0.0, 2, "Unknown"),
        (0.01, 0, "NoAnswer"),
        (9.99, 2, "NoAnswer"),
        (10.0, 2, "Human"),
        (10.0, 5, "Human"),
        (10.0, 1, "Voicemail"),
        (10.0, 0, "Unknown"),
    ],
)
def test_the_answer_type_follows_the_contract(seconds: float | None, speakers: int, expected: str) -> None:
    assert answer_type(Heard(seconds, speakers)) == expected


# --- the analysts' query


def test_calls_are_grouped_averaged_and_counted() -> None:
    calls = [
        *(call(call_id, direction="inbound") for call_id in ("a", "b", "c", "d", "e")),
        *(call(call_id, direction="outbound") for call_id in ("f", "g")),
    ]
    documents = [
        named("a", talk("60.0", "spk_0", "spk_1")),  # exactly a minute is not over one
        named("b", talk("61.5", "spk_0", "spk_1")),
        named("c", talk("4.2", "spk_0")),
        named("d", talk("0.0", "spk_0")),  # a length of 0 is known, and averaged
        # e has none
        named("f", talk("30.25", "spk_0")),
        named("g", "{torn"),
        named("nobody", talk("99.0", "spk_0")),
        ("transcripts/.write_access_check_file.temp", "", NOON),
        ("parsedFiles/a.json", '{"ConversationAnalytics": {}}', NOON),
    ]
    assert analyst_figures(calls, documents, DAY) == [
        FigureRow("inbound", "Human", 2, 60.75, 1),
        FigureRow("inbound", "NoAnswer", 1, 4.2, 0),
        FigureRow("inbound", "Unknown", 2, 0.0, 0),
        FigureRow("outbound", "Unknown", 1, None, 0),
        FigureRow("outbound", "Voicemail", 1, 30.25, 0),
    ]


@pytest.mark.parametrize(
    ("at", "counted"),
    [
        ("2025-10-08T00:00:00Z", True),
        ("2025-10-08T23:59:59.999Z", True),
        ("2025-10-07T23:59:59.999Z", False),
        ("2025-10-07T20:00:00-05:00", True),
        ("2025-10-08T20:00:00-05:00", False),
        ("2025-10-09T03:00:00.123+08:00", True),
        ("2025-10-08 09:00:00", True),  # no zone: UTC
        ("yesterday", False),
        ("", False),
    ],
)
def test_the_day_is_the_date_in_utc(at: str, counted: bool) -> None:
    assert bool(analyst_figures([call("a", at=at)], [], DAY)) is counted


def test_a_call_without_a_time_belongs_to_no_day() -> None:
    assert analyst_figures([{"callId": {"S": "a"}}], [], DAY) == []


def test_a_payload_may_be_json_text() -> None:
    item = call("a") | {"payload": {"S": '{"direction": "inbound", "queue_id": 7}'}}
    assert analyst_figures([item], [], DAY) == [FigureRow("inbound", "Unknown", 1, None, 0)]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"NULL": True},
        {"S": "no json"},
        {"S": "[]"},
        {"S": '{"direction": null}'},
        {"M": {}},
        {"M": {"direction": {"NULL": True}}},
    ],
)
def test_a_call_without_a_direction_is_counted_under_none(payload: dict[str, Any] | None) -> None:
    item = call("a")
    del item["payload"]
    item |= {"payload": payload} if payload else {}
    rows = analyst_figures([item, call("b", direction="inbound"), call("c", direction="")], [], DAY)
    assert [(row.direction, row.calls) for row in rows] == [(None, 1), ("", 1), ("inbound", 1)]


def test_a_redacted_twin_describes_the_same_call_and_the_newest_wins() -> None:
    short, long = talk("20", "spk_0"), talk("80", "spk_0", "spk_1")
    older, newer = NOON, NOON + dt.timedelta(milliseconds=1)

    def figures(*documents: tuple[str, str | bytes, dt.datetime]) -> tuple[str, float | None]:
        (row,) = analyst_figures([call("a")], documents, DAY)
        return row.answer_type, row.average_seconds

    assert figures(named("redacted-a", long)) == ("Human", 80.0)
    for order in (1, -1):
        assert figures(*[named("a", short, older), named("redacted-a", long, newer)][::order]) == (
            "Human",
            80.0,
        )
        assert figures(*[named("a", short, newer), named("redacted-a", long, older)][::order]) == (
            "Voicemail",
            20.0,
        )
        assert figures(*[named("a", short), named("redacted-a", long)][::order]) == ("Human", 80.0)  # by name
        within = NOON + dt.timedelta(microseconds=999)  # the same millisecond: by name again
        assert figures(*[named("a", short, within), named("redacted-a", long)][::order]) == ("Human", 80.0)
        torn = named("redacted-a", "{torn", newer)
        assert figures(*[named("a", short, older), torn][::order]) == ("Unknown", None)


def test_a_transcript_is_found_by_call_id_else_by_the_guid_in_the_file_name() -> None:
    item = call("a", file_name="20251008_GUID_77-88_x.wav")
    by_guid, by_id = named("77-88", talk("80", "spk_0")), named("a", talk("20", "spk_0"))
    assert analyst_figures([item], [by_guid], DAY)[0].average_seconds == 80.0
    assert analyst_figures([item], [by_guid, by_id], DAY)[0].average_seconds == 20.0


def test_a_transcript_may_lie_under_a_prefix() -> None:
    document = ("site/x/transcripts/a.json", talk("20", "spk_0").encode(), NOON)
    assert analyst_figures([call("a")], [document], DAY)[0].average_seconds == 20.0


# --- scorecards


def card(call_type: str | None, score: str | None) -> dict[str, Any]:
    typed = {"guid": {"S": "g"}, "call_type": {"S": call_type} if call_type else {"NULL": True}}
    return typed | ({"overall_score": {"N": score}} if score else {})


def test_scorecards_are_counted_and_averaged_exactly() -> None:
    cards = [
        *(card("sales", score) for score in ("83.33", "83.34", None)),
        *(card("billing", score) for score in ("1", "1", "2")),  # 1.33333…
        *(card("rounding", score) for score in ("0.00005", "0")),  # 0.0001 first, then 0.00005 up
        card("empty", None),
        card("too large", "12345678901234567890123456789012345678"),
        card(None, "7.5"),
    ]
    assert scorecard_figures(cards) == [
        ScorecardRow(None, 1, Decimal("7.5000")),
        ScorecardRow("billing", 3, Decimal("1.3333")),
        ScorecardRow("empty", 1, None),
        ScorecardRow("rounding", 2, Decimal("0.0001")),
        ScorecardRow("sales", 3, Decimal("83.3350")),
        ScorecardRow("too large", 1, None),
    ]


def test_scorecards_can_be_grouped_by_another_attribute() -> None:
    cards = [
        card("sales", "80") | {"outcome": {"S": "quoted"}},
        card("billing", "90") | {"outcome": {"S": "quoted"}},
    ]
    assert scorecard_figures(cards, by="outcome") == [ScorecardRow("quoted", 2, Decimal("85.0000"))]


# --- the sample day


def test_the_sample_day_has_figures_for_every_answer_type_in_both_directions() -> None:
    calls: dict[str, dict[str, Any]] = {}
    documents: dict[str, tuple[str, str, dt.datetime]] = {}
    for number, each in enumerate(sample_day(DAY)):
        match each:
            case Document(name, body):
                documents[name] = name, body, NOON + dt.timedelta(milliseconds=number)
            case Put("calls", item):
                calls[item["callId"]["S"]] = item
            case Update("calls", key, changes):
                calls[key["callId"]["S"]] = calls[key["callId"]["S"]] | changes
            case Delete("calls", key) | Expire("calls", key):
                del calls[key["callId"]["S"]]
    rows = analyst_figures(calls.values(), documents.values(), DAY)
    pairs = [(row.direction, row.answer_type) for row in rows if row.direction]
    answers = ("Human", "NoAnswer", "Unknown", "Voicemail")
    assert pairs == [(direction, answer) for direction in ("inbound", "outbound") for answer in answers]
    assert 0 < sum(row.calls for row in rows if row.direction is None) < 15
    assert 1800 < sum(row.calls for row in rows) < len(calls)
