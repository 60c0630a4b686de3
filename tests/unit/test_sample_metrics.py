"""The made-up events: deterministic, none in the future, with everything that happens to real ones."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from lakehouse.local.sample_metrics import CLEAR, SPREAD, STREAM, WINDOWS, Event, payloads, sample_metrics

NOW = dt.datetime(2026, 1, 9, 12, 34, 56, 789012, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ATTRIBUTES = {
    *("event_id", "event_type", "timestamp", "student_id", "tutor_id", "session_id", "subject", "region"),
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
    return [payload for record in records for payload in payloads(record.data)]


def occurred(payload: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(payload["timestamp"])


def happened(records: Iterable[Event]) -> list[dict[str, Any]]:
    """Each event once, in the order of time."""
    own = {payload.get("event_id", str(place)): payload for place, payload in enumerate(sent(records))}
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
    assert len({p.get("student_id") for p in sent(sample_metrics(NOW, students=30))} - {None}) >= 29


@pytest.mark.parametrize("seed", range(8))
def test_events_are_of_the_last_45_days_and_clear_of_the_windows_edges(seed: int) -> None:
    for payload in sent(sample_metrics(NOW, seed=seed)):
        age = NOW - occurred(payload)
        assert dt.timedelta() <= age <= SPREAD
        assert all(abs(age - days * DAY) >= CLEAR for days in WINDOWS)


def test_events_have_the_contracts_names_and_an_unknown_type_has_more(records: list[Event]) -> None:
    kinds = Counter(payload["event_type"] for payload in sent(records))
    assert set(kinds) == TYPES
    assert kinds["whiteboard_shared"] < 20
    for payload in sent(records):
        assert payload.keys() <= ATTRIBUTES or payload["event_type"] == "whiteboard_shared"
    assert set().union(*(payload.keys() for payload in sent(records))) > ATTRIBUTES


def test_records_hold_one_event_or_several_in_every_form(records: list[Event]) -> None:
    texts = [
        gzip.decompress(r.data) if r.data.startswith(b"\x1f\x8b") else r.data
        for r in records
        if len(payloads(r.data)) > 1
    ]
    assert 100 < len(texts) < len(records) / 3
    forms = Counter("array" if t[:1] == b"[" else "lines" if b"}\n{" in t else "end to end" for t in texts)
    assert min(forms[form] for form in ("array", "lines", "end to end")) > 5
    assert {record.stream for record in records} == {STREAM}
    assert all(0 < len(record.partition_key) <= 256 for record in records)


@pytest.mark.parametrize("seed", range(8))
def test_one_record_is_torn(seed: int) -> None:
    (torn,) = [record for record in sample_metrics(NOW, seed=seed, students=20) if not payloads(record.data)]
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn.data)


def test_some_events_are_late_some_come_twice_and_some_have_no_id(records: list[Event]) -> None:
    told = sent(records)
    ids = Counter(payload["event_id"] for payload in told if "event_id" in payload)
    assert 10 < sum(count == 2 for count in ids.values()) < 0.1 * len(told)
    assert max(ids.values()) == 2
    for event_id in [each for each, count in ids.items() if count == 2]:
        first, second = (payload for payload in told if payload.get("event_id") == event_id)
        assert first == second
    assert 0 < len(told) - ids.total() < 0.03 * len(told)
    newest, late = occurred(told[0]), 0
    for payload in told:
        late += newest - occurred(payload) > dt.timedelta(hours=2)
        newest = max(newest, occurred(payload))
    assert 0.02 * len(told) < late < 0.15 * len(told)


def test_sessions_miss_an_end_a_rating_or_their_id_now_and_then(records: list[Event]) -> None:
    starts = [p for p in happened(records) if p["event_type"] == "session_started"]
    ends = [p for p in happened(records) if p["event_type"] == "session_completed"]
    begun, ended = ({p["session_id"] for p in part if "session_id" in p} for part in (starts, ends))
    assert begun - ended
    assert ended - begun
    assert any("session_id" not in payload for payload in starts)
    assert 0.05 < sum("tutor_rating" not in payload for payload in ends) / len(ends) < 0.3


def test_reported_counts_are_those_of_the_events_or_one_more(records: list[Event]) -> None:
    calls: defaultdict[str, list[dt.datetime]] = defaultdict(list)
    for payload in happened(records):
        if payload["event_type"] == "ib_call_logged":
            calls[payload["student_id"]].append(occurred(payload))
    reports = [payload for payload in happened(records) if "ib_calls_last_14_days" in payload]
    assert len(reports) > 100
    for report in reports:
        at = occurred(report)
        within = sum(at - 14 * DAY < call <= at for call in calls[report["student_id"]])
        assert report["ib_calls_last_14_days"] == within


@pytest.mark.parametrize("students", [20, 80, 160])
@pytest.mark.parametrize("seed", range(8))
def test_a_handful_of_alerts_arises(seed: int, students: int) -> None:
    calls, health, balance = Counter[str](), {}, {}
    for payload in happened(sample_metrics(NOW, seed=seed, students=students)):
        kind = payload["event_type"]
        if kind == "ib_call_logged":
            calls[payload["student_id"]] += NOW - occurred(payload) < 14 * DAY
        elif kind == "customer_health_update":
            health[payload["student_id"]] = payload["health_score"]
        elif kind == "supply_demand_update":
            balance[payload["subject"], payload["region"]] = payload["balance_status"]
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
    assert payloads(b'{"a":1}{"b":') == payloads(b"") == []
    assert payloads(gzip.compress(b'[{"a":1},{"b":2.50}]\n{"c":3}')) == [{"a": 1}, {"b": 2.5}, {"c": 3}]
