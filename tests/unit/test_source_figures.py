"""The source's own figures, worked out by hand for small inputs of each kind."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.transcripts import talk

from lakehouse.demo.sample_day import Delete, Document, Expire, Put, Update, sample_day
from lakehouse.demo.source_figures import (
    FigureRow,
    ScorecardRow,
    analyst_figures,
    answer_type,
    scorecard_figures,
)
from lakehouse.demo.transcript_figures import Heard

DAY = dt.date(2025, 10, 8)
NOON = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)


def call(call_id: str, *, at: str = "2025-10-08T14:34:19Z", **payload: str) -> dict[str, Any]:
    typed = {name: {"S": value} for name, value in payload.items()}
    return {"callId": {"S": call_id}, "callTimestampUTC": {"S": at}, "payload": {"M": typed}}


def named(call_id: str, body: str | bytes, at: dt.datetime = NOON) -> tuple[str, str | bytes, dt.datetime]:
    return f"transcripts/{call_id}.json", body, at


def parsed(seconds: object, *speakers: str, guid: str = "None") -> str:
    """A PCA file of the given length in which each of the speakers says something."""
    segments = [{"SegmentSpeaker": speaker, "SegmentEndTime": 1.0} for speaker in speakers]
    analytics = {"GUID": guid, "Duration": seconds}
    return json.dumps({"ConversationAnalytics": analytics, "SpeechSegments": segments})


# --- how a call was answered


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
        ("summaries/e.json", parsed("80", "spk_0", "spk_1"), NOON),
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
    item = call("a") | {"payload": {"S": '{"direction": "inbound", "queueId": 7}'}}
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
        torn = named("redacted-a", "{torn", newer)  # it is set apart, and the older one stays
        assert figures(*[named("a", short, older), torn][::order]) == ("Voicemail", 20.0)


def test_a_transcript_is_found_by_call_id_else_by_the_guid_in_the_file_name() -> None:
    item = call("a", file_name="20251008_GUID_77-88_x.wav")
    by_guid, by_id = named("77-88", talk("80", "spk_0")), named("a", talk("20", "spk_0"))
    assert analyst_figures([item], [by_guid], DAY)[0].average_seconds == 80.0
    newer = named("a", talk("20", "spk_0"), NOON + dt.timedelta(seconds=1))
    for found in ([by_guid, newer], [newer, by_guid]):
        assert analyst_figures([item], found, DAY)[0].average_seconds == 20.0
    newer = named("77-88", talk("80", "spk_0"), NOON + dt.timedelta(seconds=1))
    for found in ([by_id, newer], [newer, by_id]):
        assert analyst_figures([item], found, DAY)[0].average_seconds == 80.0


def test_a_pca_file_is_found_by_its_guid_and_comes_after_transcribe_s_own() -> None:
    item = call("a", file_name="20251008_GUID_77-88_x.wav")
    pca = ("pca/parsedFiles/x.wav.json", parsed("300", "spk_0", "spk_1", guid="77-88"), NOON)
    older = named("a", talk("20", "spk_0"), NOON - dt.timedelta(days=1))
    torn = named("a", "{torn", NOON)
    nothing_said = named("a", talk("0"), NOON)

    def seconds(*documents: tuple[str, str | bytes, dt.datetime]) -> float | None:
        (row,) = analyst_figures([item], documents, DAY)
        return row.average_seconds

    assert seconds(pca) == 300.0
    assert seconds(pca, older) == 20.0
    assert seconds(pca, torn) == 300.0
    assert seconds(pca, nothing_said) is None
    assert seconds((pca[0].replace("x.wav", "redacted-x.wav"), *pca[1:])) == 300.0
    assert seconds(("pca/parsedFiles/77-88.json", parsed("40", "spk_0"), NOON)) == 40.0


def test_a_transcript_may_lie_under_a_prefix() -> None:
    document = ("site/x/transcripts/a.json", talk("20", "spk_0").encode(), NOON)
    assert analyst_figures([call("a")], [document], DAY)[0].average_seconds == 20.0


# --- scorecards


def card(call_type: str | None, score: str | None) -> dict[str, Any]:
    typed = {"guid": {"S": "g"}, "callType": {"S": call_type} if call_type else {"NULL": True}}
    return typed | ({"overallScore": {"N": score}} if score else {})


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
