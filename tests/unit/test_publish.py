"""Alerts as events: their text, their batches, and what is put again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.event_server import ENVIRONMENT, EventServer, event_server

from lakehouse.aws.publish import (
    ATTEMPTS,
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_REQUEST_BYTES,
    EventBus,
    Sized,
    batches,
    detail_of,
    entry_of,
    events_client,
)
from lakehouse.errors import ConfigurationError
from lakehouse.gold.publication import Alert, PutResult

OPENED = 1_767_870_000_123_456
ALERT = Alert(
    alert_id="a1",
    alert_type="low_health_score",
    severity="critical",
    entity_type="student",
    entity_id="s1",
    region="",
    message="Zoë's score is low",
    details='{"health_score": 49.50}',
    opened_at=OPENED,
)


def _alerts(count: int) -> list[Alert]:
    return [replace(ALERT, alert_id=f"a{n}") for n in range(count)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventServer]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with event_server() as state:
        yield state


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def bus(server: EventServer, pauses: list[float]) -> EventBus:
    return EventBus(events_client(endpoint_url=server.url), sleep=pauses.append)


# --- the text --------------------------------------------------------------------------------------


def test_a_detail_is_the_row_with_times_in_utc() -> None:
    closed = replace(ALERT, closed_at=OPENED + 1_000_000, published_severity="warning", publish_attempts=2)
    assert json.loads(detail_of(closed)) == {
        "alert_id": "a1",
        "alert_type": "low_health_score",
        "severity": "critical",
        "entity_type": "student",
        "entity_id": "s1",
        "region": "",
        "message": "Zoë's score is low",
        "details": {"health_score": 49.5},
        "opened_at": "2026-01-08T11:00:00.123456Z",
        "closed_at": "2026-01-08T11:00:01.123456Z",
        "published_at": None,
        "published_severity": "warning",
        "publish_attempts": 2,
    }
    assert "Zoë" in detail_of(closed)
    assert json.loads(detail_of(replace(ALERT, opened_at=-1)))["opened_at"] == "1969-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("details", "written"),
    [
        ('{"n": 0.12345678901234567890}', '{"n": 0.12345678901234567890}'),
        ("{}", "{}"),
        (None, "null"),
        ("", '""'),
        ("[1]", '"[1]"'),
        ("text", '"text"'),
        ('{"n": NaN}', '"{\\"n\\": NaN}"'),
        ('{"n": 1} x', '"{\\"n\\": 1} x"'),
        ('{"n":' * 100_000, None),
    ],
)
def test_details_are_an_object_if_they_are_one(details: str | None, written: str | None) -> None:
    detail = detail_of(replace(ALERT, details=details))
    if written is not None:
        assert detail.endswith(f', "details": {written}}}')
    read = json.loads(detail)["details"]
    assert isinstance(read, dict) or read == details


def test_an_entry_has_its_size_in_bytes_and_its_time() -> None:
    one = entry_of(ALERT, "alerts", "lakehouse.alerts")
    assert one.entry["EventBusName"] == "alerts"
    assert one.entry["DetailType"] == "low_health_score"
    assert one.entry["Time"].isoformat() == "2026-01-08T11:00:00+00:00"
    assert one.size == 14 + len(b"lakehouse.alertslow_health_score") + len(detail_of(ALERT).encode())


# --- batches ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, MAX_ENTRY_BYTES - 1) | st.integers(1, 40_000), max_size=60))
def test_batches_keep_order_and_both_limits_and_are_as_full_as_can_be(sizes: list[int]) -> None:
    entries = [Sized(str(n), {}, size) for n, size in enumerate(sizes)]
    cut = list(batches(entries))
    assert [one for batch in cut for one in batch] == entries
    for batch in cut:
        assert 1 <= len(batch) <= MAX_ENTRIES
        assert len(batch) == 1 or sum(one.size for one in batch) < MAX_REQUEST_BYTES
    for batch, following in pairwise(cut):
        more = sum(one.size for one in batch) + following[0].size
        assert len(batch) == MAX_ENTRIES or more >= MAX_REQUEST_BYTES


# --- putting ---------------------------------------------------------------------------------------


def test_entries_that_fail_are_put_again_alone(
    server: EventServer, bus: EventBus, pauses: list[float]
) -> None:
    throttled = {"a2": 1, "a5": 2}
    server.on_entry = lambda alert, time: (
        "ThrottlingException"
        if time <= throttled.get(alert, 0)
        else "MalformedDetail"
        if alert == "a7"
        else None
    )
    results = bus.put(_alerts(12))
    assert server.requests == [[f"a{n}" for n in range(10)], ["a2", "a5"], ["a5"], ["a10", "a11"]]
    assert sorted(server.taken) == sorted(f"a{n}" for n in range(12) if n != 7)
    assert results.pop("a7") == PutResult("refused", 1, "EventBridge refused it: MalformedDetail")
    assert {r.outcome for r in results.values()} == {"published"}
    assert {name: r.attempts for name, r in results.items() if r.attempts > 1} == {"a2": 2, "a5": 3}
    assert len(pauses) == 2
    assert all(0 <= pause <= 1 for pause in pauses)
    assert server.events[0]["Source"] == "lakehouse.alerts"
    assert server.events[0]["Time"] == OPENED // 1_000_000


def test_throttled_requests_and_lost_connections_lose_nothing(server: EventServer, bus: EventBus) -> None:
    bad: dict[int, Any] = {1: (400, "ThrottlingException"), 2: "drop", 4: "lose", 5: (500, "InternalFailure")}
    server.on_request = bad.get
    results = bus.put(_alerts(20))
    assert results == {f"a{n}": PutResult("published", 1) for n in range(20)}
    # What was taken before its answer was lost has come twice.
    assert sorted(server.taken) == sorted([f"a{n}" for n in range(20)] + [f"a{n}" for n in range(10, 20)])


def test_what_is_too_large_or_spoils_its_request_holds_back_no_other(
    server: EventServer, bus: EventBus
) -> None:
    alerts = _alerts(6)
    alerts[1] = replace(alerts[1], message="x" * MAX_ENTRY_BYTES)
    alerts[3] = replace(alerts[3], message="y" * 300_000)
    server.on_request = lambda n: (400, "ValidationException") if "a4" in server.requests[n - 1] else None
    results = bus.put(alerts)
    assert server.requests == [["a0", "a2"], ["a3"], ["a4", "a5"], ["a4"], ["a5"]]
    assert results["a1"].outcome == "refused"
    assert results["a4"] == PutResult("refused", 1, "EventBridge refused it: ValidationException")
    assert all("x" * 9 not in str(result.problem) for result in results.values())
    assert sorted(server.taken) == ["a0", "a2", "a3", "a5"]


def test_an_account_that_may_not_ends_the_run(server: EventServer, bus: EventBus) -> None:
    server.on_request = lambda n: (400, "AccessDeniedException") if n > 1 else None
    results = bus.put(_alerts(35))
    assert len(server.requests) == 2
    assert [results[f"a{n}"].outcome for n in (0, 9, 10, 34)] == ["published"] * 2 + ["unavailable"] * 2
    assert [results[f"a{n}"].attempts for n in (10, 34)] == [1, 0]
    assert "AccessDeniedException" in str(results["a34"].problem)


def test_a_bus_that_fails_batch_after_batch_is_left_alone(server: EventServer, bus: EventBus) -> None:
    server.on_entry = lambda _alert, _time: "InternalFailure"
    results = bus.put(_alerts(50))
    assert len(server.requests) == 3 * ATTEMPTS
    assert results["a0"].outcome == results["a29"].outcome == "failed"
    assert results["a30"] == PutResult("unavailable", 0, "nothing of 3 batches in a row got through")


def test_a_bus_that_does_not_exist_is_found_out_before_anything_is_put(server: EventServer) -> None:
    server.buses = ("alerts",)
    client = events_client(endpoint_url=server.url)
    with pytest.raises(ConfigurationError, match="no event bus 'alarms'"):
        EventBus(client, "alarms").put([ALERT])
    assert not server.requests
    assert EventBus(client, "alerts").put([ALERT])["a1"].outcome == "published"


def test_a_service_credential_signs_instead_of_the_environment(server: EventServer) -> None:
    import botocore.session

    credentials = botocore.session.Session()
    credentials.set_credentials("of-the-catalog", "secret", "token")
    client = events_client(region="eu-west-1", endpoint_url=server.url, credentials=credentials)
    EventBus(client).put([ALERT])
    assert "Credential=of-the-catalog/" in server.signed[0]
    assert "/eu-west-1/events/" in server.signed[0]


def test_a_source_of_awss_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="aws"):
        EventBus(None, source="aws.lakehouse")
    with pytest.raises(ConfigurationError, match="no name"):
        EventBus(None, " ")
