"""The metrics, worked out by hand, with every edge to the microsecond; and the random sets of events."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.spark.metric_sets import AS_OF_TIMES, landed_line, random_events

from lakehouse.demo.metric_figures import (
    COMPLETED,
    DAY,
    HEALTH,
    IB_CALL,
    STARTED,
    SUPPLY_DEMAND,
    MetricEvent,
    MetricRow,
    metric_event,
    metrics,
)

NOW = 1_767_600_000_000_000  # 2026-01-05T08:00:00Z
HOUR = DAY // 24
D = Decimal
NUMBERS = itertools.count(1)


def event(event_type: str, at: int, event_id: str | None = None, **what: Any) -> MetricEvent:
    """An event with an id that no other call gives, if it is given none."""
    number = next(NUMBERS)
    return MetricEvent(event_id or f"e{number:06d}", event_type, at, sequence=f"{number:056d}", **what)


def started(at: int, **what: Any) -> MetricEvent:
    return event(STARTED, at, **{"student_id": "ann", "tutor_id": "tim", **what})


def completed(at: int, rating: str | None = None, **what: Any) -> MetricEvent:
    rated = {"tutor_rating": None if rating is None else D(rating)}
    return event(COMPLETED, at, **{"student_id": "ann", "tutor_id": "tim", **rated, **what})


def call(at: int, **what: Any) -> MetricEvent:
    return event(IB_CALL, at, **{"student_id": "ann", **what})


def health(at: int, **what: Any) -> MetricEvent:
    return event(HEALTH, at, **{"student_id": "ann", **what})


def supply(at: int, subject: str | None, region: str | None, **what: Any) -> MetricEvent:
    return event(SUPPLY_DEMAND, at, subject=subject, region=region, **what)


def student(*events: MetricEvent, at: int = NOW) -> MetricRow:
    return metrics(events, at)["student", "ann", ""]


def tutor(*events: MetricEvent, at: int = NOW) -> MetricRow:
    return metrics(events, at)["tutor", "tim", ""]


def session_counts(row: MetricRow) -> tuple[int, int, int]:
    return row.sessions_7d, row.sessions_14d, row.sessions_30d


# --- entities ----------------------------------------------------------------------------------------


def test_an_event_makes_rows_for_whom_it_names() -> None:
    events = [
        event("page_viewed", NOW, student_id="bob", subject="maths", region="north"),
        started(NOW),
        supply(NOW, "maths", "north"),
        supply(NOW, "maths", None),
        supply(NOW, "art", ""),
        supply(NOW, None, "south"),
        supply(NOW, "", "west"),
        event(SUPPLY_DEMAND, NOW, student_id="eve", tutor_id="", subject=None, region="east"),
        event(STARTED, NOW),
    ]
    assert set(metrics(events, NOW)) == {
        ("student", "bob", ""),
        ("student", "ann", ""),
        ("tutor", "tim", ""),
        ("subject", "maths", "north"),
        ("region", "north", "north"),
        ("subject", "maths", ""),
        ("subject", "art", ""),
        ("student", "eve", ""),
    }


def test_without_events_there_are_no_rows() -> None:
    assert metrics([], NOW) == {}


def test_what_lies_in_the_future_does_not_count_for_anything() -> None:
    events = [
        started(NOW, session_id="s"),
        started(NOW + 1, session_id="t"),
        health(NOW + 1, health_score=D(9), sessions_last_7_days=9),
        call(NOW + 1, student_id="bob"),
    ]
    assert metrics(events, NOW) == {
        ("student", "ann", ""): MetricRow(
            as_of=NOW, sessions_7d=1, sessions_14d=1, sessions_30d=1, last_event_at=NOW
        ),
        ("tutor", "tim", ""): MetricRow(
            as_of=NOW, sessions_7d=1, sessions_14d=1, sessions_30d=1, last_event_at=NOW
        ),
    }
    assert metrics(events, NOW - 1) == {}


def test_an_unknown_event_counts_as_the_last_one_and_for_nothing_else() -> None:
    unknown = event("Session_Started", NOW - 1, student_id="ann", session_id="s", health_score=D(3))
    assert student(unknown) == MetricRow(as_of=NOW, last_event_at=NOW - 1)


def test_an_entity_keeps_its_row_when_its_events_are_old() -> None:
    old = completed(NOW - 400 * DAY, "5", session_id="s")
    assert student(old) == MetricRow(as_of=NOW, last_event_at=NOW - 400 * DAY)


def test_a_tutor_has_sessions_and_ratings_but_no_calls_or_reports() -> None:
    events = (
        completed(NOW, "4"),
        call(NOW, tutor_id="tim"),
        health(NOW - 1, tutor_id="tim", health_score=D(50), sessions_last_7_days=9, ib_calls_last_14_days=9),
    )
    row = MetricRow(
        as_of=NOW, sessions_7d=1, sessions_14d=1, sessions_30d=1, avg_rating=D(4), last_event_at=NOW
    )
    assert tutor(*events) == row


def test_a_subject_has_no_sessions_or_ratings() -> None:
    update = supply(NOW, "maths", "n", tutor_rating=D(3), health_score=D(3), sessions_last_7_days=3)
    bare = MetricRow(as_of=NOW, last_event_at=NOW)
    assert metrics([update, completed(NOW, "3", subject="maths", region="n", student_id="")], NOW) == {
        ("subject", "maths", "n"): bare,
        ("region", "n", "n"): bare,
        ("tutor", "tim", ""): replace(bare, sessions_7d=1, sessions_14d=1, sessions_30d=1, avg_rating=D(3)),
    }


# --- windows -----------------------------------------------------------------------------------------

WINDOWS = [
    (0, (1, 1, 1)),
    (-1, (0, 0, 0)),
    (1, (1, 1, 1)),
    (7 * DAY - 1, (1, 1, 1)),
    (7 * DAY, (0, 1, 1)),
    (7 * DAY + 1, (0, 1, 1)),
    (14 * DAY - 1, (0, 1, 1)),
    (14 * DAY, (0, 0, 1)),
    (14 * DAY + 1, (0, 0, 1)),
    (30 * DAY - 1, (0, 0, 1)),
    (30 * DAY, (0, 0, 0)),
    (30 * DAY + 1, (0, 0, 0)),
]


@pytest.mark.parametrize(("age", "counts"), WINDOWS)
@pytest.mark.parametrize("session_id", ["s", None, ""])
@pytest.mark.parametrize("kind", [STARTED, COMPLETED])
def test_sessions_by_age(kind: str, session_id: str | None, age: int, counts: tuple[int, int, int]) -> None:
    old = event("page_viewed", NOW - 99 * DAY, student_id="ann", tutor_id="tim")
    told = event(kind, NOW - age, student_id="ann", tutor_id="tim", session_id=session_id)
    assert session_counts(student(old, told)) == counts
    assert session_counts(tutor(old, told)) == counts


@pytest.mark.parametrize(("age", "counts"), WINDOWS)
def test_calls_and_ratings_by_age(age: int, counts: tuple[int, int, int]) -> None:
    row = student(event("page_viewed", NOW - 99 * DAY, student_id="ann"), call(NOW - age))
    assert (row.ib_calls_7d, row.ib_calls_14d, *session_counts(row)) == (counts[0], counts[1], 0, 0, 0)
    row = tutor(event("page_viewed", NOW - 99 * DAY, tutor_id="tim"), completed(NOW - age, "4"))
    assert row.avg_rating == (D(4) if counts[2] else None)


# --- sessions ----------------------------------------------------------------------------------------


def test_a_session_counts_once_however_many_of_its_events_arrive() -> None:
    events = (
        started(NOW - 9, session_id="s"),
        started(NOW - 8, session_id="s"),
        completed(NOW - 7, session_id="s"),
        completed(NOW - 6, session_id="t"),
        call(NOW - 5, session_id="u"),
    )
    assert session_counts(student(*events)) == (2, 2, 2)


def test_a_session_whose_start_has_left_the_window_counts_by_its_completion() -> None:
    events = started(NOW - 7 * DAY, session_id="s"), completed(NOW - 7 * DAY + 1, session_id="s")
    assert session_counts(student(*events)) == (1, 1, 1)


def test_a_session_of_two_students_counts_once_for_each_and_once_for_the_tutor() -> None:
    rows = metrics([started(NOW, session_id="s"), started(NOW, session_id="s", student_id="bob")], NOW)
    assert [row.sessions_7d for row in rows.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("after", "sessions"), [(-1, 2), (0, 1), (1, 1), (DAY - 1, 1), (DAY, 1), (DAY + 1, 2), (3 * DAY, 2)]
)
@pytest.mark.parametrize("session_id", [None, "", "s"])
def test_a_start_without_an_id_is_no_session_if_a_completion_follows_within_a_day(
    session_id: str | None, after: int, sessions: int
) -> None:
    at = NOW - 5 * DAY
    events = started(at), completed(at + after, session_id=session_id)
    assert session_counts(student(*events)) == (sessions,) * 3
    assert session_counts(tutor(*events)) == (sessions,) * 3


@pytest.mark.parametrize(
    ("of_start", "of_completion", "sessions"),
    [
        ({"tutor_id": "tom"}, {}, 2),
        ({"tutor_id": None}, {}, 2),
        ({}, {"tutor_id": ""}, 2),
        ({"tutor_id": None}, {"tutor_id": ""}, 1),
        ({"session_id": "s"}, {}, 2),
        ({"subject": "maths"}, {"subject": "art"}, 1),
    ],
)
def test_the_completion_must_be_of_the_same_tutor(
    of_start: dict[str, Any], of_completion: dict[str, Any], sessions: int
) -> None:
    events = started(NOW - HOUR, **of_start), completed(NOW, **of_completion)
    assert student(*events).sessions_7d == sessions


def test_the_completion_must_be_of_the_same_student() -> None:
    assert tutor(started(NOW - HOUR), completed(NOW, student_id="bob")).sessions_7d == 2
    assert tutor(started(NOW - HOUR, student_id=None), completed(NOW, student_id="")).sessions_7d == 1


def test_a_completion_in_the_future_does_not_end_a_start_yet() -> None:
    events = started(NOW - HOUR), completed(NOW + 1)
    assert student(*events, at=NOW).sessions_7d == 1
    assert student(started(NOW - HOUR), started(NOW), completed(NOW + 1), at=NOW).sessions_7d == 2
    assert student(started(NOW - HOUR), started(NOW), completed(NOW + 1), at=NOW + 1).sessions_7d == 1


def test_one_completion_ends_all_starts_of_its_day_and_each_completion_counts() -> None:
    events = (
        started(NOW - DAY),
        started(NOW - HOUR),
        started(NOW),
        completed(NOW, event_id="1"),
        completed(NOW, event_id="2"),
    )
    assert student(*events).sessions_7d == 2


def test_at_the_same_time_a_completion_follows_whatever_its_id() -> None:
    assert student(started(NOW, event_id="b"), completed(NOW, event_id="a")).sessions_7d == 1


def test_a_start_at_the_edge_is_ended_by_a_completion_inside() -> None:
    at = NOW - 7 * DAY
    assert student(started(at), completed(at + 1)).sessions_7d == 1
    assert student(started(at + 1), completed(at + 2)).sessions_7d == 1
    assert student(started(at), completed(at)).sessions_7d == 0


# --- reported counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, 1, 7 * DAY - 1])
def test_a_report_replaces_the_count_of_its_own_window_alone(age: int) -> None:
    report = health(NOW - age, sessions_last_7_days=5)
    before = completed(NOW - age, session_id="before")
    assert session_counts(student(before, report)) == (5, 1, 1)


@pytest.mark.parametrize("age", [7 * DAY, 7 * DAY + 1])
def test_a_report_as_old_as_the_window_is_worth_nothing(age: int) -> None:
    report = health(NOW - age, sessions_last_7_days=5)
    assert session_counts(student(report, completed(NOW))) == (1, 1, 1)


@pytest.mark.parametrize(("age", "counts"), [(30 * DAY - 1, (1, 1, 6)), (30 * DAY, (1, 1, 1))])
def test_the_report_of_thirty_days(age: int, counts: tuple[int, int, int]) -> None:
    report = health(NOW - age, sessions_last_30_days=5)
    assert session_counts(student(report, completed(NOW))) == counts


@pytest.mark.parametrize(("age", "calls"), [(14 * DAY - 1, 6), (14 * DAY, 1), (14 * DAY + 1, 1)])
def test_the_report_of_calls_replaces_the_count_of_fourteen_days(age: int, calls: int) -> None:
    row = student(health(NOW - age, ib_calls_last_14_days=5), call(NOW))
    assert (row.ib_calls_7d, row.ib_calls_14d) == (1, calls)


@pytest.mark.parametrize("event_id", ["0", "zzz"])
def test_an_event_at_the_time_of_the_report_is_not_later(event_id: str) -> None:
    report = health(NOW - 9, event_id="m", sessions_last_7_days=5, ib_calls_last_14_days=2)
    at, later = NOW - 9, NOW - 8
    row = student(report, completed(at, event_id=event_id), call(at, event_id=f"{event_id} call"))
    assert (row.sessions_7d, row.ib_calls_14d) == (5, 2)
    row = student(report, completed(later, event_id=event_id), call(later, event_id=f"{event_id} call"))
    assert (row.sessions_7d, row.ib_calls_14d) == (6, 3)


def test_after_a_report_sessions_are_counted_among_later_events_alone() -> None:
    report = health(NOW - DAY, sessions_last_7_days=5)
    known = completed(NOW - 2 * DAY, session_id="s"), started(NOW - DAY - HOUR)
    assert student(*known, report).sessions_7d == 5
    # The session was known before, yet its id is among the later events.
    assert student(*known, report, completed(NOW, session_id="s")).sessions_7d == 6
    assert student(*known, report, completed(NOW - DAY + HOUR)).sessions_7d == 6
    assert student(*known, report, started(NOW - HOUR)).sessions_7d == 6
    assert student(*known, report, started(NOW - HOUR), completed(NOW)).sessions_7d == 6


def test_the_latest_report_counts_for_each_attribute_by_itself() -> None:
    row = student(
        health(NOW - 4, sessions_last_7_days=1, sessions_last_30_days=10, ib_calls_last_14_days=3),
        health(NOW - 3, sessions_last_7_days=2, sessions_last_30_days=None, ib_calls_last_14_days=-1),
        health(NOW - 2),
        completed(NOW - 3),
    )
    assert (row.sessions_7d, row.sessions_30d, row.ib_calls_14d) == (2, 11, 3)


def test_a_latest_report_that_is_too_old_does_not_fall_back_on_anything() -> None:
    row = student(
        health(NOW - 7 * DAY, sessions_last_7_days=2), health(NOW - 8 * DAY, sessions_last_7_days=9)
    )
    assert row.sessions_7d == 0


def test_of_reports_at_the_same_time_the_greater_id_is_the_later() -> None:
    first = health(NOW, event_id="10", sessions_last_7_days=1, health_score=D(1))
    second = health(NOW, event_id="9", sessions_last_7_days=2, health_score=D(2))
    umlaut = health(NOW, event_id="ä", sessions_last_7_days=3, health_score=D(3))
    row = student(second, first)
    assert (row.sessions_7d, row.health_score) == (2, D(2))
    row = student(umlaut, second, health(NOW, event_id="z", sessions_last_7_days=4))
    assert (row.sessions_7d, row.health_score) == (3, D(3))


def test_order_by_id_is_that_of_bytes() -> None:
    halfwidth, clef = (
        health(NOW, event_id="｡", health_score=D(1)),
        health(NOW, event_id="𝄞", health_score=D(2)),
    )
    assert student(clef, halfwidth).health_score == D(2)  # in UTF-16 it is the other way round


def test_a_report_of_none_is_a_report_and_only_health_updates_report() -> None:
    assert student(completed(NOW - 1), health(NOW, sessions_last_7_days=0)).sessions_7d == 0
    assert student(completed(NOW - 1, sessions_last_7_days=5)).sessions_7d == 1
    assert student(call(NOW, health_score=D(5))).health_score is None


# --- ratings and scores ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratings", "mean"),
    [
        (["4", "5"], "4.5000"),
        (["1", "1", "2"], "1.3333"),
        (["1", "2", "2"], "1.6667"),
        (["0.0001", "0.0002"], "0.0002"),
        (["0.0002", "0.0003"], "0.0003"),
        (["-0.0001", "-0.0002"], "-0.0002"),
        (["-0.0001", "0"], "-0.0001"),
        (["0.0001", "0", "0"], "0.0000"),
        (["-0.0001", "0", "0"], "0.0000"),
        (["99.9999"], "99.9999"),
        (["99.9999", "100.0000"], None),
        (["100"], None),
        (["-100"], None),
        (["99999.9999", "-99999.9999"], "0.0000"),
        ([], None),
    ],
)
def test_the_mean_rating_is_rounded_half_up(ratings: list[str], mean: str | None) -> None:
    events = [call(NOW, tutor_id="tim"), *(completed(NOW - n, rating) for n, rating in enumerate(ratings))]
    for row in (student(*events), tutor(*events)):
        assert row.avg_rating == (None if mean is None else D(mean))
        assert str(row.avg_rating) == str(mean)


def test_of_the_ratings_of_a_session_the_last_counts() -> None:
    events = [
        completed(NOW - 3, "1", session_id="s"),
        completed(NOW - 2, "2", session_id="s", event_id="b"),
        completed(NOW - 2, "5", session_id="s", event_id="a"),
        completed(NOW - 1, None, session_id="s"),
        started(NOW - 1, session_id="s", tutor_rating=D(5)),
        completed(NOW - 9, "4", session_id="t"),
        completed(NOW - 9, "3"),
        completed(NOW - 8, "3", session_id=""),
    ]
    assert student(*events).avg_rating == D(3)  # of 2, 4, 3 and 3


def test_the_last_rating_of_a_session_is_sought_in_the_window() -> None:
    events = (
        completed(NOW - 30 * DAY, "1", session_id="s"),
        completed(NOW - 30 * DAY + 1, "4", session_id="s"),
    )
    assert student(*events).avg_rating == D(4)
    assert student(*events, at=NOW - 1).avg_rating == D(4)
    assert student(*events, at=NOW + 1).avg_rating is None


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        (["69.9949"], "69.99"),
        (["69.9950"], "70.00"),
        (["-0.0050"], "-0.01"),
        (["-0.0049"], "0.00"),
        (["9999.9949"], "9999.99"),
        (["9999.9950"], None),
        (["50", "10000"], None),
        (["50", None], "50.00"),
        ([None], None),
    ],
)
def test_health_score_is_the_last_rounded_half_up(scores: list[str | None], shown: str | None) -> None:
    updates = [
        health(NOW - 999 * DAY + n, health_score=None if score is None else D(score))
        for n, score in enumerate(scores)
    ]
    assert str(student(*updates).health_score) == str(shown)


# --- subjects and regions ----------------------------------------------------------------------------


def test_a_subject_shows_the_last_of_each_value_by_itself() -> None:
    rows = metrics(
        [
            supply(
                NOW - 99 * DAY, "maths", "n", available_tutors=4, demand_score=D("1.5000"), supply_score=D(2)
            ),
            supply(NOW - 2, "maths", "n", active_students=7, balance_status="high_demand"),
            supply(NOW - 1, "maths", "n", demand_score=D("0.2500"), balance_status=""),
            supply(NOW, "maths", "", available_tutors=1),
            supply(NOW + 1, "maths", "n", available_tutors=9),
        ],
        NOW,
    )
    assert rows["subject", "maths", "n"] == MetricRow(
        as_of=NOW,
        available_tutors=4,
        active_students=7,
        demand_score=D("0.2500"),
        supply_score=D(2),
        balance_status="high_demand",
        last_event_at=NOW - 1,
    )
    assert rows["subject", "maths", ""] == MetricRow(as_of=NOW, available_tutors=1, last_event_at=NOW)


def test_a_region_sums_the_last_values_of_its_subjects() -> None:
    rows = metrics(
        [
            supply(
                NOW - 9, "maths", "n", available_tutors=4, active_students=1, balance_status="high_demand"
            ),
            supply(NOW - 8, "maths", "n", available_tutors=5, demand_score=D(1)),
            supply(NOW - 7, "art", "n", available_tutors=2),
            supply(NOW - 6, "latin", "n"),
            supply(NOW - 5, "maths", "s", active_students=0),
            supply(NOW - 4, "maths", None, available_tutors=100),
            supply(NOW - 3, None, "n", available_tutors=1000),
        ],
        NOW,
    )
    assert rows["region", "n", "n"] == MetricRow(
        as_of=NOW, available_tutors=7, active_students=1, last_event_at=NOW - 6
    )
    assert rows["region", "s", "s"] == MetricRow(as_of=NOW, active_students=0, last_event_at=NOW - 5)
    assert len([key for key in rows if key[0] == "region"]) == 2


def test_a_sum_that_no_bigint_holds_is_none() -> None:
    updates = [supply(NOW, subject, "n", active_students=2**63 - 1) for subject in ("maths", "art")]
    assert metrics(updates, NOW)["region", "n", "n"].active_students is None


# --- told twice --------------------------------------------------------------------------------------


def both_ways(*events: MetricEvent) -> Iterable[list[MetricEvent]]:
    return [list(events), list(reversed(events))]


def test_of_events_with_one_id_the_highest_sequence_counts_and_the_others_not_at_all() -> None:
    first = replace(completed(NOW, "5", event_id="e"), sequence="2/000001")
    second = replace(call(NOW - 1, student_id="bob", event_id="e"), sequence="2/000002")
    for events in both_ways(first, second):
        assert metrics(events, NOW) == {
            ("student", "bob", ""): MetricRow(as_of=NOW, ib_calls_7d=1, ib_calls_14d=1, last_event_at=NOW - 1)
        }


def test_an_event_that_is_told_again_as_of_the_future_is_gone_until_then() -> None:
    first = replace(call(NOW, event_id="e"), sequence="1")
    for events in both_ways(first, replace(first, sequence="2", occurred_at=NOW + 1)):
        assert metrics(events, NOW) == {}
        assert student(*events, at=NOW + 1).ib_calls_7d == 1


def test_the_same_event_again_changes_nothing() -> None:
    told = call(NOW)
    assert student(told, told, told).ib_calls_7d == 1


# --- from landed records -----------------------------------------------------------------------------

SEQUENCE = f"{7:056d}/shardId-000000000000/000000"


ENVELOPE = {"event_id", "event_type", "timestamp", "payload"}


def read(**told: Any) -> MetricEvent | None:
    """The event of these attributes: the envelope's and the metadata where they stand, the others inside."""
    metadata = {"_eventID": "shard:7#0", "_sequence": SEQUENCE, "_approxStreamTs": 1_700_000_000_123}
    outside = {name: value for name, value in told.items() if name in ENVELOPE or name.startswith("_")}
    inside = {name: value for name, value in told.items() if name not in outside}
    record = {"timestamp": "2026-01-05T08:00:00Z", **metadata, "payload": inside, **outside}
    return metric_event(json.loads(json.dumps(record), parse_float=Decimal))


def test_a_record_of_nothing_but_metadata_is_an_unknown_event_of_its_arrival() -> None:
    record = {"_eventID": "shard:7#0", "_sequence": SEQUENCE, "_approxStreamTs": 1_700_000_000_123}
    assert metric_event(record) == MetricEvent("shard:7#0", "unknown", 1_700_000_000_123_000, SEQUENCE)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-05T08:00:00Z", NOW),
        ("2026-01-05T08:00:00", NOW),
        ("2026-01-05 08:00:00", NOW),
        ("2026-01-05T08:00Z", NOW),
        ("2026-01-05T08:00:00.000001Z", NOW + 1),
        ("2026-01-05T08:00:00.1Z", NOW + 100_000),
        ("2026-01-05T08:00:00.123456789Z", NOW + 123_456),
        ("2026-01-05T09:30:00+01:30", NOW),
        ("2026-01-05T02:30:00.5-0530", NOW + 500_000),
        ("2026-01-05T09:00:00+01", NOW),
        ("2026-01-05", NOW - 8 * HOUR),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_times(text: str, micros: int) -> None:
    told = read(timestamp=text)
    assert told is not None
    assert told.occurred_at == micros


@pytest.mark.parametrize(
    "unreadable",
    [
        None,
        "",
        "yesterday",
        1_767_600_000,
        "1767600000",
        "2026-13-05T08:00:00Z",
        "2026-02-29T08:00:00Z",
        "2026-01-05T24:00:00Z",
        "2026-01-05T08:60:00Z",
        "2026-01-05T08:00:00+19:00",
        "2026-01-05T08:00:00Z\n",
        "2026-01-05T08:00:00,5Z",
        "20260105T080000Z",
        "2026-01-05Z",
        {"at": "2026-01-05T08:00:00Z"},
    ],
)
def test_a_time_that_cannot_be_read_is_that_of_the_arrival(unreadable: object) -> None:
    told = read(timestamp=unreadable)
    assert told is not None
    assert told.occurred_at == 1_700_000_000_123_000
    assert read(timestamp=unreadable, _approxStreamTs=None) is None
    assert read(timestamp=unreadable, _approxStreamTs="soon") is None
    assert read(timestamp=unreadable, _approxStreamTs=253_402_300_800_000) is None


@pytest.mark.parametrize(
    ("own", "event_id"),
    [("e", "e"), (17, "17"), (0, "0"), ("0", "0"), ("", "shard:7#0"), (None, "shard:7#0")]
    + [(other, "shard:7#0") for other in (True, False, {}, {"id": "e"}, ["e"])],
)
def test_event_ids(own: object, event_id: str) -> None:
    told = read(event_id=own)
    assert told is not None
    assert told.event_id == event_id


@pytest.mark.parametrize("as_text", [False, True])
def test_an_id_beside_the_payload_goes_before_one_inside_it(as_text: bool) -> None:
    inside: Any = {"event_id": "inside", "student_id": "ann", "health_score": 4.25}
    payload = json.dumps(inside) if as_text else inside
    for outside in (None, "", {}, True):
        told = read(event_id=outside, payload=payload)
        assert told is not None
        assert (told.event_id, told.student_id, told.health_score) == ("inside", "ann", D("4.2500"))
    told = read(event_id="outside", payload=payload)
    assert told is not None
    assert told.event_id == "outside"


@pytest.mark.parametrize(
    "payload", [None, "", "no json", "[1]", '{"student_id": "ann"', "7", 7, ["ann"], True]
)
def test_a_payload_that_is_no_object_tells_nothing(payload: object) -> None:
    told = read(payload=payload)
    assert told == MetricEvent("shard:7#0", "unknown", NOW, SEQUENCE)


def test_a_figure_beside_the_payload_is_none() -> None:
    record = {"_eventID": "shard:7#0", "_sequence": SEQUENCE, "timestamp": "2026-01-05T08:00:00Z"}
    assert metric_event(record | {"student_id": "ann", "health_score": 4}) == MetricEvent(
        "shard:7#0", "unknown", NOW, SEQUENCE
    )


def test_without_an_id_or_a_sequence_there_is_no_event() -> None:
    assert read(_eventID=None) is None
    assert read(_eventID="") is None
    assert read(_eventID=None, event_id="e") is not None
    assert read(_sequence=None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", ""), (17, "17"), (-1, "-1"), (True, "true"), (False, "false"), (1.5, "1.5")]
    + [(other, None) for other in (None, {}, [], {"a": 1}, ["a"])],
)
def test_texts(value: object, text: str | None) -> None:
    told = read(student_id=value, region=value, balance_status=value)
    assert told is not None
    assert (told.student_id, told.region, told.balance_status) == (text, text, text)


@pytest.mark.parametrize(
    ("value", "event_type"), [(COMPLETED, COMPLETED), (None, "unknown"), (5, "unknown"), ([], "unknown")]
)
def test_event_types(value: object, event_type: str) -> None:
    told = read(event_type=value)
    assert told is not None
    assert told.event_type == event_type


@pytest.mark.parametrize(
    ("value", "decimal"),
    [
        (4, "4.0000"),
        ("4.5", "4.5000"),
        (" 4.5 ", "4.5000"),
        ("+.5", "0.5000"),
        (1e2, "100.0000"),
        ("1e2", "100.0000"),
        (0.00005, "0.0001"),
        (-0.00005, "-0.0001"),
        (-0.00004, "0.0000"),
        ("0.00004999999999999999999999999999999999999999", "0.0000"),
        ("99999.99994999999999999999999999999999999999999", "99999.9999"),
        ("99999.99995", None),
        (100_000, None),
        ("1e400", None),
        ("1e-400", "0.0000"),
        ("1e99999999999999999999", None),
        ("five", None),
        ("1_000", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("0x1", None),
        ("NaN", None),
        ("Infinity", None),
        (float("nan"), None),
    ],
)
def test_decimals(value: object, decimal: str | None) -> None:
    told = read(tutor_rating=value, supply_score=value)
    assert told is not None
    assert str(told.tutor_rating) == str(told.supply_score) == str(decimal)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (7, 7),
        ("7", 7),
        (7.0, 7),
        (7.5, 8),
        (7.4999, 7),
        (-7.5, -8),
        (-0.4, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, None),
        ("9223372036854775807.4", 2**63 - 1),
        ("9223372036854775807.5", None),
        (9e99, None),
        ("seven", None),
        ("7 and a half", None),
    ],
)
def test_counts(value: object, count: int | None) -> None:
    told = read(sessions_last_7_days=value, available_tutors=value)
    assert told is not None
    assert (told.sessions_last_7_days, told.available_tutors) == (count, count)


@pytest.mark.parametrize("other", [None, "", True, {}, {"N": "1"}, [1]])
def test_what_is_no_number_is_none(other: object) -> None:
    told = read(health_score=other, active_students=other)
    assert told is not None
    assert (told.health_score, told.active_students) == (None, None)


# --- the random sets ---------------------------------------------------------------------------------

SETS = [random_events(seed, f"p{seed}", NOW) for seed in range(400)]


def test_what_is_landed_is_read_the_same() -> None:
    for events in SETS:
        for told in events:
            text = json.dumps(landed_line(told), ensure_ascii=False)
            assert metric_event(json.loads(text, parse_float=Decimal)) == told


def test_a_seed_makes_a_set_again_and_a_prefix_keeps_sets_apart() -> None:
    assert random_events(3, "p3", NOW) == SETS[3]
    packed = metrics([told for events in SETS for told in events], NOW)
    alone = [metrics(events, NOW) for events in SETS]
    assert packed == {entity: row for rows in alone for entity, row in rows.items()}
    assert len(packed) == sum(map(len, alone))
    sequences = [told.sequence for events in SETS for told in events]
    assert len(sequences) == len(set(sequences))


def test_as_of_times_grow() -> None:
    times = AS_OF_TIMES(NOW)
    assert len(times) >= 5
    assert times == sorted(set(times))
    assert {NOW, NOW + 1, NOW + 6 * HOUR, NOW + 7 * DAY, NOW + 31 * DAY} <= set(times)


def test_the_sets_hit_what_they_are_made_for() -> None:
    hits: Counter[str] = Counter()
    for events in SETS:
        hits[f"events {len(events)}"] += 1
        known = list({told.event_id: told for told in sorted(events, key=lambda e: e.sequence)}.values())
        hits["told again"] += len(events) > len(known)
        hits["of another student"] += any(
            a.event_id == b.event_id and a.student_id != b.student_id for a in events for b in events
        )
        hits["at one time"] += len({told.occurred_at for told in known}) < len(known)
        for told in known:
            hits[told.event_type] += 1
            hits["region, no subject"] += told.event_type == SUPPLY_DEMAND and bool(
                told.region and not told.subject
            )
            for as_of in AS_OF_TIMES(NOW):
                for days in (0, 7, 14, 30):
                    off = told.occurred_at - (as_of - days * DAY)
                    if abs(off) <= 1:
                        hits[f"{days} days {off:+d}"] += 1
                        hits[f"report, {days} days {off:+d}"] += told.sessions_last_7_days is not None
        for start in known:
            for end in known:
                same = (start.student_id, start.tutor_id) == (end.student_id, end.tutor_id)
                if start.event_type == STARTED and end.event_type == COMPLETED and same:
                    apart = end.occurred_at - start.occurred_at
                    if not start.session_id and apart in (-1, 0, DAY - 1, DAY, DAY + 1):
                        hits[f"completed after {apart}, {'with' if end.session_id else 'without'} id"] += 1
        rows = [row for as_of in AS_OF_TIMES(NOW) for row in metrics(events, as_of).values()]
        for row in rows:
            hits["rated"] += row.avg_rating is not None
            hits["scored"] += row.health_score is not None
            hits["in balance or not"] += row.balance_status is not None
            hits["many sessions"] += row.sessions_7d > 3
            hits["three calls"] += row.ib_calls_14d >= 3
            hits["reported sums"] += row.available_tutors is not None and row.active_students is not None
    wanted = [
        "events 0",
        "events 25",
        "told again",
        "of another student",
        "at one time",
        "region, no subject",
    ]
    wanted += [STARTED, COMPLETED, IB_CALL, HEALTH, SUPPLY_DEMAND, "unknown", "Session_Started"]
    for days in (0, 7, 14, 30):
        for off in (-1, 0, 1):
            wanted += [f"{days} days {off:+d}", f"report, {days} days {off:+d}"]
    for apart in (-1, 0, DAY - 1, DAY, DAY + 1):
        wanted += [f"completed after {apart}, with id", f"completed after {apart}, without id"]
    wanted += ["rated", "scored", "in balance or not", "many sessions", "three calls", "reported sums"]
    assert {name: hits[name] for name in wanted if hits[name] < 5} == {}
