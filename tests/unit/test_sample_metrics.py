"""The made-up events: deterministic, none in the future, with everything that happens to real ones."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from lakehouse.demo.sample_metrics import (
    CLEAR,
    SPREAD,
    STREAM,
    WINDOWS,
    Event,
    events_in,
    figures,
    sample_metrics,
)

NOW = dt.datetime(2026, 1, 9, 12, 34, 56, 789012, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ENVELOPE = {"event_type", "timestamp", "ingested_at", "payload"}
FIGURES = {
    *("event_id", "student_id", "tutor_id", "session_id", "subject", "region"),
    *("tutor_rating", "health_score", "sessions_last_7_days", "sessions_last_30_days"),
    *("ib_calls_last_14_days", "available_tutors", "active_students", "demand_score", "supply_score"),
    "balance_status",
}
TYPES = {
    *("session_started", "session_completed", "ib_call_logged"),
    *("customer_health_update", "supply_demand_update", "whiteboard_shared"),
}


@pytest.fixture(scope="module")
def records() -> list[Event]:
    return list(sample_metrics(NOW))


def sent(records: Iterable[Event]) -> list[dict[str, Any]]:
    """The events as they are sent: envelopes."""
    return [told for record in records for told in events_in(record.data)]


def flat(told: dict[str, Any]) -> dict[str, Any]:
    """What an event tells, outside its payload and inside it."""
    outside = {name: value for name, value in told.items() if name != "payload"}
    assert not outside.keys() & figures(told).keys()
    return outside | figures(told)


def occurred(told: dict[str, Any]) -> dt.datetime:
    """When it happened; a time without a zone is UTC."""
    at = dt.datetime.fromisoformat(told["timestamp"])
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def happened(records: Iterable[Event]) -> list[dict[str, Any]]:
    """What each event tells, once, in the order of time."""
    own = {told.get("event_id", str(place)): told for place, told in enumerate(map(flat, sent(records)))}
    return sorted(own.values(), key=occurred)


def test_the_same_arguments_give_the_same_records_and_others_give_others(records: list[Event]) -> None:
    assert list(sample_metrics(NOW)) == records
    assert list(sample_metrics(NOW, seed=8)) != records
    assert list(sample_metrics(NOW + DAY)) != records
    assert sum(record.data.startswith(b"\x1f\x8b") for record in records) > 100
    assert all(record.data[4:8] == bytes(4) for record in records if record.data.startswith(b"\x1f\x8b"))


def test_the_zone_of_now_makes_no_difference(records: list[Event]) -> None:
    there = NOW.astimezone(dt.timezone(dt.timedelta(hours=-7)))
    assert list(sample_metrics(there)) == records


def test_students_is_the_scale() -> None:
    assert {p["event_type"] for p in sent(sample_metrics(NOW, students=0))} == {"supply_demand_update"}
    told = map(flat, sent(sample_metrics(NOW, students=30)))
    assert len({each.get("student_id") for each in told} - {None}) >= 29


@pytest.mark.parametrize("seed", range(8))
def test_events_are_of_the_last_45_days_and_clear_of_the_windows_edges(seed: int) -> None:
    for told in sent(sample_metrics(NOW, seed=seed)):
        age = NOW - occurred(told)
        assert dt.timedelta() <= age <= SPREAD
        assert all(abs(age - days * DAY) >= CLEAR for days in WINDOWS)


def test_events_have_the_contracts_names_and_an_unknown_type_has_more(records: list[Event]) -> None:
    kinds = Counter(told["event_type"] for told in sent(records))
    assert set(kinds) == TYPES
    assert kinds["whiteboard_shared"] < 20
    for told in sent(records):
        assert told.keys() - {"event_id"} == ENVELOPE
        assert figures(told).keys() <= FIGURES or told["event_type"] == "whiteboard_shared"
    assert set().union(*(figures(told).keys() for told in sent(records))) > FIGURES


def test_payloads_times_and_ids_are_written_in_every_way(records: list[Event]) -> None:
    told = sent(records)
    kinds = Counter(type(each["payload"]).__name__ for each in told)
    assert set(kinds) == {"dict", "str"}
    assert 0.05 * len(told) < kinds["str"] < 0.2 * len(told)
    zones = Counter("Z" if t.endswith("Z") else t[23:] for t in (each["timestamp"] for each in told))
    assert set(zones) == {"Z", "+00:00", ""}
    assert min(zones.values()) > 0.05 * len(told)
    ids = Counter(("event_id" in each, "event_id" in figures(each)) for each in told)
    assert set(ids) == {(True, False), (False, True), (False, False)}
    assert ids[False, False] < 0.03 * len(told) < 0.2 * len(told) < ids[False, True] < ids[True, False]


def test_records_hold_one_event_or_several_in_every_form(records: list[Event]) -> None:
    texts = [
        gzip.decompress(r.data) if r.data.startswith(b"\x1f\x8b") else r.data
        for r in records
        if len(events_in(r.data)) > 1
    ]
    assert 100 < len(texts) < len(records) / 3
    forms = Counter("array" if t[:1] == b"[" else "lines" if b"}\n{" in t else "end to end" for t in texts)
    assert min(forms[form] for form in ("array", "lines", "end to end")) > 5
    assert {record.stream for record in records} == {STREAM}
    assert all(0 < len(record.partition_key) <= 256 for record in records)


@pytest.mark.parametrize("seed", range(8))
def test_one_record_is_torn(seed: int) -> None:
    (torn,) = [record for record in sample_metrics(NOW, seed=seed, students=20) if not events_in(record.data)]
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn.data)


def test_some_events_are_late_some_come_twice_and_some_have_no_id(records: list[Event]) -> None:
    told = list(map(flat, sent(records)))
    ids = Counter(each["event_id"] for each in told if "event_id" in each)
    assert 10 < sum(count == 2 for count in ids.values()) < 0.1 * len(told)
    assert max(ids.values()) == 2
    for event_id in [each for each, count in ids.items() if count == 2]:
        first, second = (each for each in told if each.get("event_id") == event_id)
        assert first == second
    assert 0 < len(told) - ids.total() < 0.03 * len(told)
    newest, late = occurred(told[0]), 0
    for each in told:
        late += newest - occurred(each) > dt.timedelta(hours=2)
        newest = max(newest, occurred(each))
    assert 0.02 * len(told) < late < 0.15 * len(told)


def test_sessions_miss_an_end_a_rating_or_their_id_now_and_then(records: list[Event]) -> None:
    starts = [p for p in happened(records) if p["event_type"] == "session_started"]
    ends = [p for p in happened(records) if p["event_type"] == "session_completed"]
    begun, ended = ({p["session_id"] for p in part if "session_id" in p} for part in (starts, ends))
    assert begun - ended
    assert ended - begun
    assert any("session_id" not in told for told in starts)
    assert 0.05 < sum("tutor_rating" not in told for told in ends) / len(ends) < 0.3


def test_reported_counts_are_those_of_the_events_or_one_more(records: list[Event]) -> None:
    calls: defaultdict[str, list[dt.datetime]] = defaultdict(list)
    for told in happened(records):
        if told["event_type"] == "ib_call_logged":
            calls[told["student_id"]].append(occurred(told))
    reports = [told for told in happened(records) if "ib_calls_last_14_days" in told]
    assert len(reports) > 100
    for report in reports:
        at = occurred(report)
        within = sum(at - 14 * DAY < call <= at for call in calls[report["student_id"]])
        assert report["ib_calls_last_14_days"] == within


@pytest.mark.parametrize("students", [20, 80, 160])
@pytest.mark.parametrize("seed", range(8))
def test_a_handful_of_alerts_arises(seed: int, students: int) -> None:
    calls, health, balance = Counter[str](), {}, {}
    for told in happened(sample_metrics(NOW, seed=seed, students=students)):
        kind = told["event_type"]
        if kind == "ib_call_logged":
            calls[told["student_id"]] += NOW - occurred(told) < 14 * DAY
        elif kind == "customer_health_update":
            health[told["student_id"]] = told["health_score"]
        elif kind == "supply_demand_update":
            balance[told["subject"], told["region"]] = told["balance_status"]
    often = {student for student, count in calls.items() if count >= 3}
    assert "student-0003" in often
    assert "student-0007" not in often
    assert 50 <= health["student-0011"] < 70
    assert health["student-0015"] < 50
    assert health["student-0018"] > 70
    assert health["student-0019"] == 70
    poor = {student for student, score in health.items() if score < 70}
    assert sum(status == "high_demand" for status in balance.values()) == 2
    assert len(often) + len(poor) <= max(4, students // 10)


def test_what_a_producer_did_not_mean_has_no_events() -> None:
    assert events_in(b'{"a":1}{"b":') == events_in(b"") == []
    assert events_in(gzip.compress(b'[{"a":1},{"b":2.50}]\n{"c":3}')) == [{"a": 1}, {"b": 2.5}, {"c": 3}]
