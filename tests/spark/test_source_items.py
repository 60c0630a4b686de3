"""An item of each source in its true shape, from the writer's handler to gold: every value, by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.source_items import FOLDERS, SOURCE_MAP, stream_events
from tests.spark.support import TRANSCRIPTS, Lake, show_times

from change_writer import handler
from change_writer.encode import LandingObject
from change_writer.landing import Put
from change_writer.settings import get_settings
from lakehouse.gold import followers
from lakehouse.table import Table
from lakehouse.tables import table
from lakehouse.tables.calls import CALLS
from lakehouse.tables.metric_events import METRIC_EVENTS
from lakehouse.tables.scorecards import SCORECARDS

D = Decimal
ITEMS = table("dashboard_items")
SHARD = "shardId-000000000000:"
NUMBER = "49590338271490256608559692538361571095921575989136588"
"""The sequence numbers of the events, all but the last three digits."""

FRESH = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
"""When an item was taken in that has not expired yet."""

NOW = {"own": datetime(2026, 1, 8, 12, tzinfo=UTC), "shared": datetime(2026, 2, 11, 14, tzinfo=UTC)}
"""What the clock says while the events of a folder are ingested: the windows end there."""

Rows = dict[str, dict[str, Any]]

CALL_ROWS: dict[str, Rows] = {
    "own": {
        "call-7001": {
            "call_id": "call-7001",
            "call_timestamp_raw": "2026-01-08T10:15:30.250+01:00",
            "call_timestamp_utc": "2026-01-08 09:15:30.25",
            "agent_id": "A-31",
            "agent_name": "Zoë Example",
            "allocation": "shared",
            "direction": "inbound",
            "file_name": "20260108_GUID_0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab_31.wav",
            "first_or_follow_up": "follow-up",
            "medium": "phone",
            "program": "Storage",
            "queue_name": "Payments & billing",
            "session_id": "S-000017",
            "site_name": "Kraków",
            "s3_bucket": "recordings-example",
            "queue_id": "507",
            "site_id": 21,
            "tenant_id": 42,
            "call_guid": "0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab",
        },
        "call-7002": {
            "call_id": "call-7002",
            "call_timestamp_raw": "2026-01-08T09:20:00",
            "call_timestamp_utc": "2026-01-08 09:20:00",
            "agent_id": "A-32",
            "agent_name": "Ada Example",
            "allocation": "dedicated",
            "direction": "outbound",
            "file_name": "20260108_GUID_0b1c2d3e-aaaa-4bbb-8ccc-0123456789ac_32.wav",
            "first_or_follow_up": "first",
            "medium": "chat",
            "program": "Moves",
            "queue_name": "Sales",
            "session_id": "S-000018",
            "site_name": "Tampa",
            "s3_bucket": "recordings-example-2",
            "queue_id": "0508",
            "site_id": 22,
            "tenant_id": 43,
            "call_guid": "0b1c2d3e-aaaa-4bbb-8ccc-0123456789ac",
        },
    },
    "shared": {
        "c-20260211-0001": {
            "call_id": "c-20260211-0001",
            "call_timestamp_raw": "2026-02-11T12:03:44Z",
            "call_timestamp_utc": "2026-02-11 12:03:44",
            "agent_id": "agent-17",
            "agent_name": "Sam Example",
            "allocation": "auto",
            "direction": "outbound",
            "file_name": "site3_GUID_5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c11_AGENT_17.wav",
            "first_or_follow_up": "first",
            "medium": "voice",
            "program": "renewals",
            "queue_name": "Renewals East",
            "session_id": "sess-9a",
            "site_name": "Springfield",
            "s3_bucket": "example-recordings",
            "queue_id": "42",
            "site_id": 3,
            "tenant_id": 1001,
            "call_guid": "5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c11",
        },
        "c-20260211-0002": {
            "call_id": "c-20260211-0002",
            "call_timestamp_raw": "2026-02-11T12:03:44Z",
            "call_timestamp_utc": "2026-02-11 12:03:44",
            "agent_id": "agent-17",
            "agent_name": "Sam Example",
            "allocation": None,
            "direction": "inbound",
            "file_name": "x_GUID_5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c12_AGENT_17.wav",
            "first_or_follow_up": None,
            "medium": None,
            "program": None,
            "queue_name": None,
            "session_id": "sess-9b",
            "site_name": None,
            "s3_bucket": None,
            "queue_id": "42",
            "site_id": 3,
            "tenant_id": 1001,
            "call_guid": "5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c12",
        },
    },
}

SCORECARD_ROWS: dict[str, Rows] = {
    "own": {
        "0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab": {
            "guid": "0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab",
            "datetime": "2026-01-08T10-15-30",
            "scored_at_local": "2026-01-08 10:15:30",
            "agent": "Zoë Example",
            "call_type": "billing",
            "notes": "no fees, twice",
            "outcome": "resolved",
            "primary_intent": "payment",
            "secondary_intent": "move out",
            "resolution_reason": "payment taken",
            "summary": "Paid by card.",
            "ingested_at": "2026-01-08 09:40:00.5",
            "overall_score": D("5.6251"),
            "score_ask_for_payment": D("4.5000"),
            "score_confirm_location": D("9.0000"),
            "score_features_advantages": D("7.2500"),
            "score_handle_objections": D("3.0000"),
            "score_size_recommendation": D("10.0000"),
            "score_urgency": D("0.0000"),
            "evidence_ask_for_payment": "asked once",
            "evidence_confirm_location": "gate code",
            "evidence_features_advantages": "cameras",
            "evidence_handle_objections": "let it go",
            "evidence_size_recommendation": "10x15",
            "evidence_urgency": "none",
            "scores": {
                "askForPayment": {"score": 4.5, "evidence": "asked once"},
                "confirmLocation": {"score": 9, "evidence": "gate code"},
                "featuresAdvantagesBenefits": {"score": 7.25, "evidence": "cameras"},
                "handleObjections": {"score": 3, "evidence": "let it go"},
                "sizeRecommendation": {"score": 10, "evidence": "10x15"},
                "urgency": {"score": 0, "evidence": "none"},
            },
        }
    },
    "shared": {
        "5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c11": {
            "guid": "5f0c2a10-77aa-4e0e-9a35-0d1f7a5b9c11",
            "datetime": "2026-02-11T12-34-19",
            "scored_at_local": "2026-02-11 12:34:19",
            "agent": "Sam Example",
            "call_type": "sales",
            "notes": "called back once",
            "outcome": "reserved",
            "primary_intent": "rent a unit",
            "secondary_intent": "ask about insurance",
            "resolution_reason": "deposit taken",
            "summary": "Customer reserved a 10x10.",
            "ingested_at": "2026-02-11 12:40:00",
            "overall_score": D("6.5800"),
            "score_ask_for_payment": D("7.0000"),
            "score_confirm_location": D("9.0000"),
            "score_features_advantages": D("6.5000"),
            "score_handle_objections": D("5.0000"),
            "score_size_recommendation": D("8.0000"),
            "score_urgency": D("4.0000"),
            "evidence_ask_for_payment": "asked twice",
            "evidence_confirm_location": "read it back",
            "evidence_features_advantages": "two benefits named",
            "evidence_handle_objections": "price objection left open",
            "evidence_size_recommendation": "10x10 fits",
            "evidence_urgency": "no deadline set",
            "scores": {
                "askForPayment": {"score": 7, "evidence": "asked twice"},
                "confirmLocation": {"score": 9, "evidence": "read it back"},
                "featuresAdvantagesBenefits": {"score": 6.5, "evidence": "two benefits named"},
                "handleObjections": {"score": 5, "evidence": "price objection left open"},
                "sizeRecommendation": {"score": 8, "evidence": "10x10 fits"},
                "urgency": {"score": 4, "evidence": "no deadline set"},
            },
        }
    },
}

ITEM_ROWS: dict[str, Rows] = {
    "own": {
        "rss#77": {
            "source_id": "rss#77",
            "ingested_at": "2026-01-08T23:30:15.500-02:00",
            "ingested_at_utc": "2026-01-09 01:30:15.5",
            "day_partition": "2026-01-09",
            "source_type": "rss",
            "source_url": "https://news.example/77",
            "text_snippet": "Ein Text über Preise",
            "sentiment": "negative",
            "score": D("0.915000"),
            "sentiment_score_combined": "negative#0.92",
            "model_version": "v2.1",
            "status": "analyzed",
            "matched_tags": ["AI", "Europe", "price"],
            "metadata": {"author": "B. Writer", "words": 120, "published_at": "2026-01-08T20:00:00Z"},
            "expires_at": "2026-01-16 01:30:15.5",
        }
    },
    "shared": {
        "newsapi#example-2026-02-11": {
            "source_id": "newsapi#example-2026-02-11",
            "ingested_at": "2026-02-11T14:30:15.000Z",
            "ingested_at_utc": "2026-02-11 14:30:15",
            "day_partition": "2026-02-11",
            "source_type": "newsapi",
            "source_url": "https://news.example/1",
            "text_snippet": "An example text about regulation",
            "sentiment": "neutral",
            "score": D("0.720000"),
            "sentiment_score_combined": "neutral#0.72",
            "model_version": "v1.0.0",
            "status": "analyzed",
            "matched_tags": ["AI", "europe", "regulation"],
            "metadata": {
                "author": "A. Writer",
                "title": "An example",
                "published_at": "2026-02-11T10:00:00Z",
                "source_name": "Example News",
            },
            "expires_at": "2026-02-18 14:30:15",
        }
    },
}


def _event(event_id: str, event_type: str, occurred_at: str, **figures: Any) -> dict[str, Any]:
    """A row of metric_events: what is not named is null."""
    rest = dict.fromkeys(c.name for c in METRIC_EVENTS.columns)
    assert figures.keys() <= rest.keys()
    return rest | {"event_id": event_id, "event_type": event_type, "occurred_at": occurred_at} | figures


EVENT_ROWS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "own": [
        (
            _event(
                "e-1",
                "session_started",
                "2026-01-08 09:00:00",
                session_id="s-70",
                student_id="stu-7",
                tutor_id="tut-7",
                subject="Maths",
                region="emea",
            ),
            {"ingested_at": "2026-01-08T09:00:02Z"},
        ),
        (
            _event(
                "e-2",
                "session_completed",
                "2026-01-08 10:00:00.25",
                session_id="s-70",
                student_id="stu-7",
                tutor_id="tut-7",
                tutor_rating=D("3.2500"),
            ),
            {"ingested_at": "2026-01-08T10:00:01Z"},
        ),
        (
            _event("e-3", "ib_call_logged", "2026-01-08 10:30:00", student_id="stu-7"),
            {"ingested_at": "2026-01-08T10:30:01", "payload": {"reason": "cancellation"}},
        ),
        (
            _event(
                f"{SHARD}{NUMBER}901#0",
                "customer_health_update",
                "2026-01-08 10:40:00",
                student_id="stu-7",
                health_score=D("48.5000"),
                sessions_last_7_days=1,
                sessions_last_30_days=6,
                ib_calls_last_14_days=2,
            ),
            {"ingested_at": "2026-01-08T10:40:01"},
        ),
        (
            _event(
                f"{SHARD}{NUMBER}902#0",
                "supply_demand_update",
                "2026-01-08 10:50:00",
                subject="Maths",
                region="emea",
                available_tutors=3,
                active_students=44,
                demand_score=D("91.1235"),
                supply_score=D("8.0000"),
                balance_status="high_demand",
            ),
            {"ingested_at": "2026-01-08T10:50:01"},
        ),
    ],
    "shared": [
        (
            _event(
                f"{SHARD}{NUMBER}898#0",
                "session_started",
                "2026-02-11 12:00:00",
                session_id="s-1",
                student_id="stu-1",
                tutor_id="tut-1",
                subject="algebra",
            ),
            {"ingested_at": "2026-02-11T12:00:01"},
        ),
        (
            _event(
                f"{SHARD}{NUMBER}899#0",
                "session_completed",
                "2026-02-11 12:50:00",
                session_id="s-1",
                student_id="stu-1",
                tutor_id="tut-1",
                tutor_rating=D("4.5000"),
            ),
            {"ingested_at": "2026-02-11T12:50:01"},
        ),
        (
            _event(f"{SHARD}{NUMBER}900#0", "ib_call_logged", "2026-02-11 13:00:00", student_id="stu-1"),
            {"ingested_at": "2026-02-11T13:00:01", "payload": {"reason": "billing"}},
        ),
        (
            _event(
                f"{SHARD}{NUMBER}901#0",
                "customer_health_update",
                "2026-02-11 13:05:00",
                student_id="stu-1",
                health_score=D("62.5000"),
                sessions_last_7_days=2,
                sessions_last_30_days=9,
                ib_calls_last_14_days=3,
            ),
            {"ingested_at": "2026-02-11T13:05:01"},
        ),
        (
            _event(
                f"{SHARD}{NUMBER}902#0",
                "supply_demand_update",
                "2026-02-11 13:10:00",
                subject="algebra",
                region="us-east",
                available_tutors=4,
                active_students=31,
                demand_score=D("88.5000"),
                supply_score=D("12.0000"),
                balance_status="high_demand",
            ),
            {"ingested_at": "2026-02-11T13:10:01"},
        ),
    ],
}
"""Each event's row, and what of it is in bronze alone: the contract names no column for it."""

FIGURES = (
    *("sessions_7d", "sessions_14d", "sessions_30d", "ib_calls_7d", "ib_calls_14d", "avg_rating"),
    *("health_score", "available_tutors", "active_students", "demand_score", "supply_score"),
    *("balance_status", "last_event_at", "as_of"),
)

METRIC_ROWS: dict[str, dict[tuple[str, str, str], tuple[Any, ...]]] = {
    # The session's two events are one session. The counts of 7 and 30 days and the calls of 14 were reported
    # last, and nothing came after the report; the others are counted.
    "own": {
        ("student", "stu-7", ""): (
            *(1, 1, 6, 1, 2, D("3.2500"), D("48.50")),
            *(None, None, None, None, None, "2026-01-08 10:40:00", "2026-01-08 12:00:00"),
        ),
        ("tutor", "tut-7", ""): (
            *(1, 1, 1, 0, 0, D("3.2500"), None),
            *(None, None, None, None, None, "2026-01-08 10:00:00.25", "2026-01-08 12:00:00"),
        ),
        ("subject", "Maths", "emea"): (
            *(0, 0, 0, 0, 0, None, None, 3, 44, D("91.1235"), D("8.0000"), "high_demand"),
            *("2026-01-08 10:50:00", "2026-01-08 12:00:00"),
        ),
        ("region", "emea", "emea"): (
            *(0, 0, 0, 0, 0, None, None, 3, 44, None, None, None),
            *("2026-01-08 10:50:00", "2026-01-08 12:00:00"),
        ),
    },
    "shared": {
        ("student", "stu-1", ""): (
            *(2, 1, 9, 1, 3, D("4.5000"), D("62.50")),
            *(None, None, None, None, None, "2026-02-11 13:05:00", "2026-02-11 14:00:00"),
        ),
        ("tutor", "tut-1", ""): (
            *(1, 1, 1, 0, 0, D("4.5000"), None),
            *(None, None, None, None, None, "2026-02-11 12:50:00", "2026-02-11 14:00:00"),
        ),
        ("subject", "algebra", "us-east"): (
            *(0, 0, 0, 0, 0, None, None, 4, 31, D("88.5000"), D("12.0000"), "high_demand"),
            *("2026-02-11 13:10:00", "2026-02-11 14:00:00"),
        ),
        ("region", "us-east", "us-east"): (
            *(0, 0, 0, 0, 0, None, None, 4, 31, None, None, None),
            *("2026-02-11 13:10:00", "2026-02-11 14:00:00"),
        ),
    },
}

ALERT_ROWS: dict[str, dict[str, tuple[Any, ...]]] = {
    "own": {
        "low_health_score": (
            *("critical", "student", "stu-7", "", "The health score is 48.50."),
            *({"health_score": 48.5}, "2026-01-08 10:40:00", None),
        ),
        "supply_demand_imbalance": (
            *("info", "subject", "Maths", "emea", "High demand for Maths in emea."),
            {"available_tutors": 3, "active_students": 44, "demand_score": 91.1235, "supply_score": 8},
            *("2026-01-08 10:50:00", None),
        ),
    },
    # One call was logged, but three were reported after it: the report is what counts.
    "shared": {
        "high_ib_call_frequency": (
            *("warning", "student", "stu-1", "", "3 inbound calls in 14 days."),
            *({"ib_calls_7d": 1, "ib_calls_14d": 3}, "2026-02-11 13:05:00", None),
        ),
        "low_health_score": (
            *("warning", "student", "stu-1", "", "The health score is 62.50."),
            *({"health_score": 62.5}, "2026-02-11 13:05:00", None),
        ),
        "supply_demand_imbalance": (
            *("info", "subject", "algebra", "us-east", "High demand for algebra in us-east."),
            {"available_tutors": 4, "active_students": 31, "demand_score": 88.5, "supply_score": 12},
            *("2026-02-11 13:10:00", None),
        ),
    },
}


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def lake(folder: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """The events of a folder through the handler, and ingested at the time of NOW."""
    made = Lake(
        spark, tmp_path_factory.mktemp("items"), (CALLS, SCORECARDS, ITEMS, TRANSCRIPTS, METRIC_EVENTS)
    )

    def put_objects(_: object, bucket: str, objects: Sequence[LandingObject]) -> Any:
        assert bucket == "bucket"
        for one in objects:
            path = Path(made.settings.landing) / one.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.body)
        return [(one, Put.CREATED) for one in objects], None

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_BUCKET", "bucket")
        patch.setenv("SOURCE_MAP", SOURCE_MAP)
        patch.setattr(handler, "s3_client", lambda: None)
        patch.setattr(handler, "put_objects", put_objects)
        patch.setattr(followers, "datetime", _clock(NOW[folder]))
        get_settings.cache_clear()
        for name, event in stream_events(FOLDERS[folder]).items():
            assert handler.lambda_handler(event, None) == {"batchItemFailures": []}, name
            if name.startswith("sentiment"):
                handler.lambda_handler(_fresh(event), None)
        get_settings.cache_clear()
        made.ingest_well()
        yield made


def _clock(now: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            assert tz is UTC
            return now

    return Clock


def _fresh(event: dict[str, Any]) -> dict[str, Any]:
    """The event of an item, as if it had been taken in yesterday."""
    event = copy.deepcopy(event)
    for record in event["Records"]:
        record["eventID"] = "fresh"
        for image in ("Keys", "NewImage"):
            record["dynamodb"][image]["ingested_at"] = {"S": FRESH}
    return event


def _told(frame: DataFrame, of: Table, *json_columns: str) -> list[dict[str, Any]]:
    """The rows, of the table's own columns; times and dates as text, JSON as what it says."""
    rows = show_times(frame).collect()
    found = [{c.name: row[c.name] for c in of.columns} for row in rows]
    for row in found:
        for name in json_columns:
            row[name] = row.get(name) and json.loads(row[name])
        if "day_partition" in row:
            row["day_partition"] = str(row["day_partition"])
    return found


def _by(name: str, rows: list[dict[str, Any]]) -> Rows:
    assert len({row[name] for row in rows}) == len(rows)
    return {row[name]: row for row in rows}


def test_nothing_went_to_quarantine_and_every_record_arrived(lake: Lake) -> None:
    assert lake.quarantine().count() == 0
    counts = {t.name: lake.state(t).count() for t in lake.tables if t != TRANSCRIPTS}
    assert counts == {"calls": 2, "scorecards": 1, "dashboard_items": 2, "metric_events": 5}


def test_every_value_of_the_calls(lake: Lake, folder: str) -> None:
    expected = CALL_ROWS[folder]
    kept = _by("call_id", _told(lake.state(CALLS), CALLS))
    assert kept == expected
    shown = _by("call_id", _told(lake.gold("calls"), CALLS))
    assert shown == expected
    answers = (
        lake.gold("calls").select("answer_type", "call_duration_seconds", "transcript_s3_key").distinct()
    )
    assert [tuple(row) for row in answers.collect()] == [("Unknown", None, None)]


def test_every_value_of_the_scorecards(lake: Lake, folder: str) -> None:
    expected = SCORECARD_ROWS[folder]
    kept = _by("guid", _told(lake.state(SCORECARDS), SCORECARDS, "scores"))
    assert kept == expected
    assert _by("guid", _told(lake.gold("scorecards"), SCORECARDS, "scores")) == expected


def test_every_value_of_the_sentiment_items(lake: Lake, folder: str) -> None:
    ((key, expected),) = ITEM_ROWS[folder].items()
    rows = _by("ingested_at", _told(lake.state(ITEMS), ITEMS, "metadata"))
    assert rows.keys() == {expected["ingested_at"], FRESH}
    assert rows[expected["ingested_at"]] == expected
    # The one that has not expired is shown: once as it is, and once for each tag.
    at = datetime.fromisoformat(FRESH)
    times = {
        "ingested_at": FRESH,
        "ingested_at_utc": f"{at:%Y-%m-%d %H:%M:%S}",
        "day_partition": f"{at:%Y-%m-%d}",
        "expires_at": f"{at + timedelta(days=7):%Y-%m-%d %H:%M:%S}",
    }
    view = lake.gold("dashboard_items")
    shown = _told(view, ITEMS, "metadata")
    assert shown == [expected | times] * 4
    tags = {row.tag for row in view.select("tag").collect()}
    assert tags == {None, *expected["matched_tags"]}
    assert {row.source_id for row in view.select("source_id").collect()} == {key}


def test_every_value_of_the_metric_events(lake: Lake, folder: str) -> None:
    expected = {row["event_id"]: row for row, _ in EVENT_ROWS[folder]}
    assert _by("event_id", _told(lake.state(METRIC_EVENTS), METRIC_EVENTS)) == expected
    assert _by("event_id", _told(lake.gold("metric_events"), METRIC_EVENTS)) == expected


def test_what_the_contract_has_no_column_for_is_in_bronze(lake: Lake, folder: str) -> None:
    rows = lake.bronze("metric_events").selectExpr("_key", "to_json(item) AS item").collect()
    found = {json.loads(row._key)[0]: json.loads(row.item) for row in rows}
    assert len(found) == len(rows) == len(EVENT_ROWS[folder])
    for row, rest in EVENT_ROWS[folder]:
        item = found[row["event_id"]]
        payload = item["payload"]
        inside = json.loads(payload) if isinstance(payload, str) else payload
        assert rest.get("payload", {}).items() <= inside.items()
        assert item["ingested_at"] == rest["ingested_at"]


def test_nothing_of_a_true_item_is_a_misfit(lake: Lake) -> None:
    assert {row.misfits for row in lake.books() if row.table_name} == {0}


def test_the_metrics_of_the_events(lake: Lake, folder: str) -> None:
    rows = show_times(lake.gold("metrics")).collect()
    found = {
        (r.entity_type, r.entity_id, r.region): dict(zip(FIGURES, (r[f] for f in FIGURES), strict=True))
        for r in rows
    }
    assert len(found) == len(rows)
    expected = METRIC_ROWS[folder].items()
    assert found == {entity: dict(zip(FIGURES, figures, strict=True)) for entity, figures in expected}


def test_the_alerts_of_the_events(lake: Lake, folder: str) -> None:
    rows = show_times(lake.gold("alerts")).collect()
    found = {
        r.alert_type: (
            *(r.severity, r.entity_type, r.entity_id, r.region, r.message),
            *(json.loads(r.details), r.opened_at, r.closed_at),
        )
        for r in rows
    }
    assert len(found) == len(rows)
    assert found == ALERT_ROWS[folder]
    assert {(r.published_at, r.publish_attempts) for r in rows} == {(None, 0)}
