"""The coaching rules on both sides of each of their limits, worked out by hand."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.demo.coaching_figures import Figures, coaching_figures, insights, read

NOON = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)
LABELS = [{"Speaker": "spk_1", "DisplayText": "Agent"}, {"Speaker": "spk_0", "DisplayText": "Customer"}]


def talk(**seconds: float) -> dict[str, Any]:
    return {speaker: {"TotalTimeSecs": time} for speaker, time in seconds.items()}


def trend(score: object = None, *quarters: object) -> dict[str, Any]:
    numbered = [{"Quarter": number, "Score": each} for number, each in enumerate(quarters, 1)]
    return {"SentimentScore": score, "SentimentPerQuarter": numbered}


def parsed(**analytics: Any) -> str:
    return json.dumps({"ConversationAnalytics": analytics, "SpeechSegments": []})


def figures(**analytics: Any) -> Figures:
    return read(json.loads(parsed(**analytics), parse_float=Decimal))


def found(**analytics: Any) -> list[tuple[str, str]]:
    return [*insights(figures(**analytics))]


# --- the rules


@pytest.mark.parametrize(
    ("score", "priority"),
    [(-0.99, None), (-1, "medium"), (-1.0, "medium"), (-2.49, "medium"), (-2.5, "high"), ("-5", "high")],
)
def test_sentiment_calls_for_coaching_at_its_limit(score: object, priority: str | None) -> None:
    of_agent = found(SentimentTrends={"spk_0": trend(score), "spk_1": trend(4)})
    of_customer = found(SentimentTrends={"spk_0": trend(4), "spk_1": trend(score)})
    assert of_agent == ([("agent_negative_sentiment", priority)] if priority else [])
    assert of_customer == ([("customer_negative_sentiment", priority)] if priority else [])


@pytest.mark.parametrize(
    ("agent", "others", "expected"),
    [
        (42.7, 18.3, None),  # exactly 70 %, of which binary fractions make a little more
        (42.701, 18.3, "agent_dominates"),
        (18.3, 42.7, None),
        (18.299, 42.7, "agent_silent"),
        (45, 0, "agent_dominates"),
        (0, 45, "agent_silent"),
        (0, 0, None),
        (-1, 0.5, None),
    ],
)
def test_a_share_of_talk_calls_for_coaching_past_its_limit(
    agent: float, others: float, expected: str | None
) -> None:
    times = talk(spk_0=agent, spk_1=others, NonTalkTime=500)
    # Silence of more than half a minute and a quarter calls for coaching of its own.
    shares = [each for each in found(Duration="60", SpeakerTime=times) if each[0] != "long_silence"]
    assert shares == ([(expected, "medium")] if expected else [])
    assert not [each for each in found(Duration="59.99", SpeakerTime=times) if each[0] != "long_silence"]
    assert found(SpeakerTime=times) == []


@pytest.mark.parametrize(
    ("silence", "duration", "holds"),
    [(30, 60, False), (30.01, 60, True), (50, 200, False), (50.01, 200, True), (40, None, False)],
)
def test_silence_calls_for_coaching_past_a_quarter_and_half_a_minute(
    silence: float, duration: object, holds: bool
) -> None:
    expected = [("long_silence", "low")] if holds else []
    assert found(Duration=duration, SpeakerTime=talk(NonTalkTime=silence)) == expected


@pytest.mark.parametrize(
    ("duration", "holds"),
    [(1800, False), ("1800.0", False), (1800.01, True), ("None", False), ("", False), (True, False)],
)
def test_a_call_is_long_past_half_an_hour(duration: object, holds: bool) -> None:
    assert found(Duration=duration) == ([("long_call", "low")] if holds else [])


@pytest.mark.parametrize(
    ("quarters", "holds"),
    [
        ((3.3, 5, 5, 1.3), True),  # by exactly 2, of which binary fractions make a little less
        ((3.3, -5, -5, 1.31), False),
        ((1, 0, 0, 3), False),
        ((2, 0), True),
        ((5,), False),
        ((), False),
        ((None, 4, -4), False),
    ],
)
def test_the_customer_s_sentiment_falls_from_the_first_quarter_to_the_last(
    quarters: tuple[object, ...], holds: bool
) -> None:
    expected = [("customer_sentiment_fell", "medium")] if holds else []
    assert found(SentimentTrends={"spk_0": trend(0, 5, -4), "spk_1": trend(0, *quarters)}) == expected


def test_quarters_are_told_by_their_number_not_their_place() -> None:
    backwards = trend(0, 3, 1, 0)
    backwards["SentimentPerQuarter"].reverse()
    assert figures(SentimentTrends={"spk_0": trend(), "spk_1": backwards}).fall == 3
    same = {"SentimentPerQuarter": [{"Quarter": 1, "Score": 5}, {"Quarter": 1, "Score": 0}]}
    assert figures(SentimentTrends={"spk_0": trend(), "spk_1": same}).fall is None
    from_zero = {"SentimentPerQuarter": [{"Quarter": 0, "Score": 5}, {"Quarter": 1, "Score": 1}]}
    assert figures(SentimentTrends={"spk_0": trend(), "spk_1": from_zero}).fall == 4


def test_one_call_may_call_for_all_of_it() -> None:
    times = talk(spk_0=1100.0, spk_1=1.0, NonTalkTime=700.5)
    trends = {"spk_0": trend(-1), "spk_1": trend(-2.5, 0, -2)}
    assert found(Duration="1801.5", SpeakerTime=times, SentimentTrends=trends) == [
        ("agent_negative_sentiment", "medium"),
        ("customer_negative_sentiment", "high"),
        ("agent_dominates", "medium"),
        ("long_silence", "low"),
        ("long_call", "low"),
        ("customer_sentiment_fell", "medium"),
    ]


def test_a_call_of_which_nothing_is_known_calls_for_nothing() -> None:
    assert found() == []
    assert found(Duration="600", SpeakerTime=None, SentimentTrends=[], SpeakerLabels="none") == []


# --- who is who


def test_labels_tell_the_roles_whatever_their_case() -> None:
    trends = {"spk_0": trend(1), "spk_1": trend(2)}
    for labels in (LABELS, LABELS[:1], [{"Speaker": "spk_1", "DisplayText": "AGENT"}]):
        call = figures(SpeakerLabels=labels, SentimentTrends=trends)
        assert (call.agent_sentiment, call.customer_sentiment) == (2, 1)


@pytest.mark.parametrize("labels", [None, [], "spk_1", [{"Speaker": "spk_1"}, {"DisplayText": "Agent"}]])
def test_without_a_label_the_agent_is_the_first_speaker(labels: object) -> None:
    trends = {"spk_0": trend(1), "spk_1": trend(2)}
    call = figures(SpeakerLabels=labels, SentimentTrends=trends)
    assert (call.agent_sentiment, call.customer_sentiment) == (1, 2)


@pytest.mark.parametrize("labels", [LABELS[1:2], [{"Speaker": "spk_1", "DisplayText": "Agente"}, LABELS[1]]])
def test_where_labels_name_no_agent_nobody_is_taken_for_one(labels: object) -> None:
    trends, times = {"spk_0": trend(-3, 5, 0), "spk_1": trend(-3)}, talk(spk_0=90, spk_1=1)
    assert found(SpeakerLabels=labels, SentimentTrends=trends, SpeakerTime=times, Duration=100) == []


def test_agents_add_up_and_an_ivr_is_nobody() -> None:
    labels = [{"Speaker": f"spk_{n}", "DisplayText": f"Agent {n}"} for n in (1, 2)]
    labels += [
        {"Speaker": "spk_0", "DisplayText": "Customer"},
        {"Speaker": "spk_9", "DisplayText": "Our IVR"},
    ]
    times = talk(spk_0=30, spk_1=20, spk_2=50, spk_9=500, IVR=500, NonTalkTime=0)
    trends = {"spk_1": trend(-1), "spk_2": trend(-2), "IVR": trend(-5), "spk_9": trend(-5)}
    call = figures(SpeakerLabels=labels, SpeakerTime=times, SentimentTrends=trends)
    assert (call.agent_talk, call.customer_talk, call.agent_sentiment) == (70, 30, -2)
    assert call.customer_sentiment is None


def test_a_duration_of_zero_is_none_where_a_segment_ends() -> None:
    document = {"ConversationAnalytics": {"Duration": "0.0"}, "SpeechSegments": [{"SegmentEndTime": 50}, {}]}
    assert read(document).duration == 50
    assert figures(Duration="0.0").duration == 0


def test_the_customer_is_the_first_other_by_name_and_nontalktime_is_nobody() -> None:
    trends = {"spk_2": trend(2), "NonTalkTime": trend(3)}
    call = figures(SpeakerTime=talk(spk_1=5, NonTalkTime=9, spk_0=5), SentimentTrends=trends)
    assert call.customer_sentiment is None  # spk_1, of whom only the talk is known
    call = figures(SpeakerTime=talk(NonTalkTime=9, spk_0=5), SentimentTrends=trends)
    assert call.customer_sentiment == 2
    assert figures(SentimentTrends={"spk_0": trend(1)}).customer_sentiment is None


def test_a_label_wins_over_the_order_of_names() -> None:
    labels = [{"Speaker": "spk_0", "DisplayText": "Agent"}, {"Speaker": "spk_2", "DisplayText": "customer"}]
    trends = {"spk_0": trend(0), "spk_1": trend(1), "spk_2": trend(2)}
    assert figures(SpeakerLabels=labels, SentimentTrends=trends).customer_sentiment == 2


# --- talk


def test_everybody_s_talk_but_the_agent_s_is_the_customer_s() -> None:
    call = figures(SpeakerLabels=LABELS, SpeakerTime=talk(spk_0=5, spk_1=7, spk_2=1.5, NonTalkTime=9))
    assert (call.agent_talk, call.customer_talk, call.silence) == (7, Decimal("6.5"), 9)


def test_an_agent_whose_talk_was_not_timed_did_not_talk() -> None:
    times = talk(spk_1=50, NonTalkTime=9)
    assert figures(SpeakerTime=times).agent_talk == 0
    assert found(Duration=60, SpeakerTime=times) == [("agent_silent", "medium")]


@pytest.mark.parametrize("times", [None, {}, talk(NonTalkTime=9)])
def test_where_nobody_s_talk_was_timed_it_is_not_known(times: object) -> None:
    call = figures(SpeakerTime=times)
    assert (call.agent_talk, call.customer_talk) == (None, None)
    assert found(Duration=60, SpeakerTime=times) == []


@pytest.mark.parametrize("unknown", [{}, {"TotalTimeSecs": None}, {"TotalTimeSecs": "nan"}, 7])
def test_a_talk_time_that_is_no_number_is_not_known(unknown: object) -> None:
    of_another = {**talk(spk_0=50, spk_1=1), "spk_2": unknown}
    assert figures(SpeakerTime=of_another).customer_talk is None
    assert found(Duration=60, SpeakerTime=of_another) == []
    of_agent = {**talk(spk_1=1), "spk_0": unknown}
    assert figures(SpeakerTime=of_agent).agent_talk is None
    assert found(Duration=60, SpeakerTime=of_agent) == []


# --- which files


def test_insights_are_counted_by_type_and_priority_over_the_newest_of_each_file() -> None:
    long, longer = parsed(Duration=1900), parsed(Duration=1900, SentimentTrends={"spk_0": trend(-3)})
    later = NOON + dt.timedelta(milliseconds=1)
    documents = [
        ("pca/parsedFiles/a.json", long, NOON),
        ("pca/parsedFiles/redacted-a.json", longer, later),  # the same call, and newer
        ("pca/parsedFiles/b.json", long, later),
        ("pca/parsedFiles/redacted-b.json", longer, NOON),
        ("pca/parsedFiles/c.json", long, NOON + dt.timedelta(microseconds=999)),
        ("pca/parsedFiles/redacted-c.json", longer, NOON),  # the same millisecond: by key
        ("pca/parsedFiles/quiet.json", parsed(Duration=60), NOON),
        ("pca/parsedFiles/redacted-d.json", longer, NOON),
        ("pca/parsedFiles/torn.json", long[:-5], NOON),
        ("pca/parsedFiles/redacted-b.json", long[:-5], later + dt.timedelta(seconds=1)),
        ("pca/parsedFiles/foreign.json", '{"Service": "Amazon S3"}', NOON),
        ("pca/parsedFiles/list.json", "[]", NOON),
        ("pca/parsedFiles/odd.json", '{"ConversationAnalytics": [1]}', NOON),
        ("transcripts/e.json", longer, NOON),
    ]
    for order in (1, -1):
        assert coaching_figures(documents[::order]) == {
            ("agent_negative_sentiment", "high"): 3,
            ("long_call", "low"): 4,
        }


def test_the_numbers_of_a_file_are_exact() -> None:
    limits = parsed(
        Duration=61.0,
        SpeakerTime=talk(spk_0=42.7, spk_1=18.3),
        SentimentTrends={"spk_0": trend(), "spk_1": trend(0, 3.3, 1.3)},
    )
    found = coaching_figures([("pca/parsedFiles/a.json", limits, NOON)])
    assert found == {("customer_sentiment_fell", "medium"): 1}


def test_a_file_with_the_shape_of_a_genuine_one_is_read() -> None:
    """The members of pca-ui's test file, and what a person reads in them."""
    call = figures(
        GUID="None",
        Duration="28.67",
        SpeakerLabels=[
            {"Speaker": "spk_0", "DisplayText": "Agent"},
            {"Speaker": "spk_1", "DisplayText": "Customer"},
        ],
        SentimentTrends={"spk_0": trend(1.7, 2.5, 2.5, 0.0, 0.0), "spk_1": trend(1.7, 2.5, 2.5, 0.0, 0.0)},
        SpeakerTime={
            "spk_0": {"TotalTimeSecs": 9.879},
            "spk_1": {"TotalTimeSecs": 19.56},
            "NonTalkTime": {"Instances": [], "TotalTimeSecs": 0.0},
        },
    )
    assert call == Figures(
        duration=Decimal("28.67"),
        agent_sentiment=Decimal("1.7"),
        customer_sentiment=Decimal("1.7"),
        agent_talk=Decimal("9.879"),
        customer_talk=Decimal("19.56"),
        silence=Decimal(0),
        fall=Decimal("2.5"),
    )
    assert [*insights(call)] == [("customer_sentiment_fell", "medium")]
