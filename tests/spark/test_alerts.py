"""Alerts against a plain state machine (alert_machine.py), written by another hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.alert_machine import (
    HIGH_IB_CALLS,
    IMBALANCE,
    LOW_HEALTH,
    Alert,
    Measured,
    play,
    random_histories,
)
from tests.spark.metric_sets import landed_line
from tests.spark.support import Lake

from lakehouse.demo.metric_figures import DAY, MetricEvent
from lakehouse.gold import entities
from lakehouse.gold.alerts import SUBJECT, apply_conditions, metric_conditions
from lakehouse.gold.followers import refresh_metrics
from lakehouse.gold.tables import ENTITY, METRICS
from lakehouse.tables.coaching_insights import coaching_insights
from lakehouse.tables.metric_events import METRIC_EVENTS

HISTORIES = 300
CAUSES = {"_ib_call": HIGH_IB_CALLS, "_health": LOW_HEALTH, "_balance": IMBALANCE}


def _alerts(lake: Lake) -> list[dict[str, Any]]:
    times = [F.unix_micros(c).alias(c) for c in ("opened_at", "closed_at", "published_at")]
    alerts = lake.gold("alerts")
    rest = [c for c in alerts.columns if c not in ("opened_at", "closed_at", "published_at")]
    rows = [row.asDict() for row in alerts.select(*rest, *times).collect()]
    assert len({row["alert_id"] for row in rows}) == len(rows)
    still_open = [tuple(row[c] for c in SUBJECT) for row in rows if row["closed_at"] is None]
    assert len(set(still_open)) == len(still_open), "two open alerts of one subject"
    return rows


def _words(alert_type: str, row: Measured) -> tuple[str, str]:
    """Two words that change with what the rule looks at, as the real ones do."""
    shown = {HIGH_IB_CALLS: row.ib_calls_14d, LOW_HEALTH: row.health_score, IMBALANCE: row.balance_status}
    return str(shown[alert_type]), ""


@pytest.mark.parametrize(
    "evaluations",
    [3, pytest.param(5, marks=pytest.mark.extra), pytest.param(12, marks=pytest.mark.prove)],
)
def test_transitions_over_random_histories_are_the_state_machines(
    spark: SparkSession, tmp_path: Path, evaluations: int
) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS,))
    histories = [random_histories(seed, f"h{seed}")[:evaluations] for seed in range(HISTORIES)]
    columns = [c for c in METRICS if c.name not in ENTITY]
    looked_at = "ib_calls_14d bigint, health_score decimal(6,2), balance_status string"
    names = "entity_type string, entity_id string, region string"
    schema = ", ".join([names, looked_at, *(f"{c} bigint" for c in CAUSES)])
    for number in range(len(histories[0])):
        rounds = [history[number] for history in histories]
        assert len({r.as_of for r in rounds}) == 1
        rows = [
            (
                *(m.entity_type, m.entity_id, m.region, m.ib_calls_14d, m.health_score, m.balance_status),
                *(m.causes.get(kind) for kind in CAUSES.values()),
            )
            for r in rounds
            for m in r.rows
        ]
        frame = spark.createDataFrame(rows, schema)
        frame = frame.withColumns({c: F.timestamp_micros(F.col(c)) for c in CAUSES})
        missing = {c.name: F.lit(None).cast(c.type) for c in columns if c.name not in frame.columns}
        conditions = metric_conditions(frame.withColumns(missing))
        apply_conditions(spark, lake.settings, conditions, rounds[0].as_of, None)

    def shape(a: Alert) -> tuple[Any, ...]:
        return (*a.subject, a.severity, a.opened_at, a.closed_at)

    expected = sorted(shape(a) for h in histories for a in play(h, _words))
    assert len(expected) > 40 * evaluations
    found = sorted(
        (*(row[c] for c in SUBJECT), row["severity"], row["opened_at"], row["closed_at"])
        for row in _alerts(lake)
    )
    wrong = set(map(str, expected)) ^ set(map(str, found))
    assert not wrong, sorted(wrong)[:6]


def _event(number: int, kind: str, at: int, **attributes: Any) -> dict[str, Any]:
    sequence = f"{number:056d}/shardId-000000000000/000000"
    return landed_line(MetricEvent(f"event-{number}", kind, at, sequence, **attributes))


@pytest.mark.extra
def test_a_storm_about_one_student_opens_one_alert(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS,), max_files=1)
    now = time.time_ns() // 1000
    storm = [_event(n, "ib_call_logged", now - n * 1000, student_id="anna") for n in range(10_000)]
    for start in range(0, len(storm), 5000):
        lake.land("metric_events", *storm[start : start + 5000])
    lake.ingest_well()
    [alert] = _alerts(lake)
    assert (alert["alert_type"], alert["severity"], alert["entity_id"]) == (HIGH_IB_CALLS, "warning", "anna")
    assert alert["message"] == "10000 inbound calls in 14 days."
    # The newest call of the batch that made the rule true.
    assert alert["opened_at"] == now
    assert alert["publish_attempts"] == 0


@pytest.mark.extra
def test_an_alert_ends_by_an_event_or_by_time_alone(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS,), max_files=1)
    now = time.time_ns() // 1000
    calls = [_event(n, "ib_call_logged", now - 13 * DAY, student_id="anna") for n in range(3)]
    low = _event(10, "customer_health_update", now - 2 * DAY, student_id="berta", health_score="42")
    lake.land("metric_events", *calls, low)
    lake.ingest_well()
    better = _event(11, "customer_health_update", now - DAY, student_id="berta", health_score="60")
    lake.land("metric_events", better)
    lake.ingest_well()
    by_type = {row["alert_type"]: row for row in _alerts(lake)}
    assert by_type[HIGH_IB_CALLS]["opened_at"] == now - 13 * DAY
    health = by_type[LOW_HEALTH]
    assert (health["severity"], health["opened_at"]) == ("warning", now - 2 * DAY)
    assert health["message"] == "The health score is 60.00."

    good = _event(12, "customer_health_update", now - DAY // 2, student_id="berta", health_score="70")
    lake.land("metric_events", good)
    lake.ingest_well()
    later = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now + 2 * DAY)
    refresh_metrics(spark, lake.settings, later)
    by_type = {row["alert_type"]: row for row in _alerts(lake)}
    assert by_type[LOW_HEALTH]["closed_at"] == now - DAY // 2
    assert by_type[HIGH_IB_CALLS]["closed_at"] == now + 2 * DAY


def _call(priority_high: bool) -> dict[str, Any]:
    score = "-4" if priority_high else "3"
    return {
        "ConversationAnalytics": {
            "Agent": "Ann",
            "GUID": "g-1",
            "Duration": "100",
            "SpeakerLabels": [
                {"Speaker": "spk_0", "DisplayText": "Agent"},
                {"Speaker": "spk_1", "DisplayText": "Customer"},
            ],
            "SentimentTrends": {
                "spk_0": {"SentimentScore": "1"},
                "spk_1": {"SentimentScore": score},
            },
        }
    }


@pytest.mark.extra
def test_a_coaching_insight_of_high_priority_opens_an_alert_until_its_file_has_none(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = coaching_insights()
    lake = Lake(spark, tmp_path, (table,))
    lake.write_document("bad.json", _call(True), mtime=1_767_880_000, below=lake.pca)
    lake.write_document("good.json", _call(False), mtime=1_767_880_000, below=lake.pca)
    lake.ingest_well()
    [alert] = _alerts(lake)
    assert alert["alert_type"] == "high_priority_insight"
    assert alert["entity_id"].endswith("pca/bad.json")
    assert alert["message"] == "The call calls for coaching: customer_negative_sentiment."
    assert alert["opened_at"] == 1_767_880_000_000_000
    lake.write_document("bad.json", _call(False), mtime=1_767_890_000, below=lake.pca)
    lake.ingest_well()
    [alert] = _alerts(lake)
    assert alert["closed_at"] == 1_767_890_000_000_000


@pytest.mark.extra
def test_a_refresh_that_dies_between_its_commits_is_made_up_for(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS,))
    now = time.time_ns() // 1000
    lake.land(
        "metric_events", *(_event(n, "ib_call_logged", now - 13 * DAY, student_id="anna") for n in range(3))
    )
    lake.ingest_well()
    assert [row["closed_at"] for row in _alerts(lake)] == [None]
    later = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now + 2 * DAY)
    for step in ("apply_conditions", "_merge_metrics"):
        with monkeypatch.context() as patch:
            patch.setattr(entities, step, _die)
            with pytest.raises(KilledError):
                refresh_metrics(spark, lake.settings, later)
    assert refresh_metrics(spark, lake.settings, later) == 1
    assert [row["closed_at"] for row in _alerts(lake)] == [now + 2 * DAY]


class KilledError(Exception):
    """In the place of a process that dies."""


def _die(*_: object) -> None:
    raise KilledError


def test_an_event_of_no_year_opens_no_alert_of_no_year(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS,))
    record = _event(1, "customer_health_update", 0, student_id="anna", health_score="10")
    lake.land("metric_events", record | {"timestamp": "0001-01-01T00:00:00+14:00"})
    lake.ingest_well()
    [alert] = _alerts(lake)
    assert alert["opened_at"] == record["_approxStreamTs"] * 1000


def test_a_redacted_twin_is_the_same_call(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (coaching_insights(),))
    for name, high in (("x.json", True), ("z.json", True)):
        lake.write_document(name, _call(high), mtime=1_767_880_000, below=lake.pca)
    lake.ingest_well()
    for name, high in (("redacted-x.json", True), ("redacted-z.json", False)):
        lake.write_document(name, _call(high), mtime=1_767_890_000, below=lake.pca)
    lake.ingest_well()
    found = {row["entity_id"].rsplit("/")[-1]: row["closed_at"] for row in _alerts(lake)}
    assert found == {"x.json": None, "z.json": 1_767_890_000_000_000}
