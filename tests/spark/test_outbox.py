"""The outbox: what is due goes out, at least once, and is marked with what went out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from delta.tables import DeltaTable
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from tests.spark.support import Lake, show_times
from tests.unit.event_server import ENVIRONMENT, event_server

from lakehouse.aws.publish import EventBus
from lakehouse.cli import cli, show
from lakehouse.gold.outbox import due, publish_due
from lakehouse.gold.publication import Alert, PutResult
from lakehouse.local import warehouse
from lakehouse.local.aws import LocalAws
from lakehouse.tables import table

JOB = Path(__file__).resolve().parents[2] / "jobs" / "publish_alerts.py"
OPENED = 1_767_870_000_000_000
NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
ALERT = Alert(
    alert_id="",
    alert_type="low_health_score",
    severity="warning",
    entity_type="student",
    entity_id="Zoë",
    region="",
    message="a low score",
    details='{"health_score": 65.00}',
    opened_at=OPENED,
)


def _alert(number: int, **changes: Any) -> Alert:
    """Alerts open in the order of their numbers, against the order of their ids."""
    alert = replace(ALERT, alert_id=f"a{99 - number}", opened_at=OPENED + number)
    return replace(alert, **changes)


@pytest.fixture(scope="module")
def module_lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(spark, tmp_path_factory.mktemp("outbox"), (table("coaching_insights"),))


@pytest.fixture
def lake(module_lake: Lake) -> Lake:
    DeltaTable.forName(module_lake.spark, module_lake.settings.table("silver", "alerts")).delete()
    return module_lake


def _write(lake: Lake, alerts: Sequence[Alert]) -> None:
    """Append rows to silver.alerts."""
    target = lake.settings.table("silver", "alerts")
    kinds = [("bigint" if kind == "timestamp" else kind) for _, kind in lake.spark.table(target).dtypes]
    names = lake.spark.table(target).columns
    assert names == list(Alert.__dataclass_fields__)
    schema = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
    rows = lake.spark.createDataFrame([astuple(alert) for alert in alerts], schema)
    for name in names:
        if name.endswith("_at"):
            rows = rows.withColumn(name, F.timestamp_micros(name))
    rows.write.format("delta").mode("append").saveAsTable(target)


def _rows(lake: Lake) -> dict[str, Row]:
    return {row.alert_id: row for row in show_times(lake.gold("alerts")).collect()}


def _marks(lake: Lake) -> dict[str, tuple[str | None, int]]:
    return {name: (row.published_severity, row.publish_attempts) for name, row in _rows(lake).items()}


class Bus:
    """Takes every alert, and remembers them."""

    def __init__(self) -> None:
        self.put_alerts: list[list[Alert]] = []

    def put(self, alerts: Sequence[Alert]) -> Mapping[str, PutResult]:
        self.put_alerts.append(list(alerts))
        return {alert.alert_id: PutResult("published", 1) for alert in alerts}

    @property
    def ids(self) -> list[list[str]]:
        return [[alert.alert_id for alert in chunk] for chunk in self.put_alerts]


# --- what is due -----------------------------------------------------------------------------------


def test_openings_and_changes_of_severity_are_due_and_nothing_else(lake: Lake) -> None:
    out = {"published_at": OPENED, "published_severity": "warning", "publish_attempts": 1}
    _write(
        lake,
        [
            _alert(5),
            _alert(4, closed_at=OPENED + 9),  # closed before it could go out
            _alert(3, **out),
            _alert(2, **out, closed_at=OPENED + 9),
            _alert(1, **out | {"published_severity": "critical"}),
            _alert(0, **out | {"published_severity": "critical"}, closed_at=OPENED + 9),
            _alert(6, opened_at=OPENED + 5, publish_attempts=None),
        ],
    )
    alerts = due(lake.spark, lake.settings)
    assert [alert.alert_id for alert in alerts] == ["a99", "a98", "a95", "a93", "a94"]
    assert alerts[1] == _alert(1, **out | {"published_severity": "critical"})
    assert alerts[2] == _alert(4, closed_at=OPENED + 9)
    assert [a.publish_attempts for a in alerts] == [1, 1, 0, 0, 0]
    assert due(lake.spark, lake.settings, after=alerts[3]) == [alerts[4]]


# --- at least once ---------------------------------------------------------------------------------


def test_dying_between_put_and_mark_publishes_again_and_loses_nothing(lake: Lake) -> None:
    _write(lake, [_alert(n) for n in range(5)])
    bus = Bus()

    def put_and_die(alerts: Sequence[Alert]) -> Mapping[str, PutResult]:
        results = bus.put(alerts)
        if len(bus.put_alerts) == 2:
            raise KeyboardInterrupt
        return results

    with pytest.raises(KeyboardInterrupt):
        publish_due(lake.spark, lake.settings, put_and_die, chunk=2)
    assert sorted(name for name, marked in _marks(lake).items() if marked[0]) == ["a98", "a99"]

    done = publish_due(lake.spark, lake.settings, bus.put, chunk=2, now=lambda: NOW)
    assert (done.published, done.unpublished, done.stopped) == (3, 0, None)
    assert bus.ids == [["a99", "a98"], ["a97", "a96"], ["a97", "a96"], ["a95"]]
    assert set(_marks(lake).values()) == {("warning", 1)}
    assert _rows(lake)["a95"].published_at == "2026-01-09 12:00:00"
    assert publish_due(lake.spark, lake.settings, bus.put).published == 0
    assert len(bus.ids) == 4


def test_a_severity_that_changes_while_it_is_put_is_published_again(lake: Lake) -> None:
    _write(lake, [_alert(0), _alert(1)])
    bus = Bus()

    def put_and_worsen(alerts: Sequence[Alert]) -> Mapping[str, PutResult]:
        rows = DeltaTable.forName(lake.spark, lake.settings.table("silver", "alerts"))
        rows.update(F.col("alert_id") == "a99", {"severity": F.lit("critical")})
        return bus.put(alerts)

    publish_due(lake.spark, lake.settings, put_and_worsen)
    assert _marks(lake) == {"a99": ("warning", 1), "a98": ("warning", 1)}
    publish_due(lake.spark, lake.settings, bus.put)
    assert [[a.severity for a in chunk] for chunk in bus.put_alerts] == [["warning"] * 2, ["critical"]]
    assert bus.put_alerts[1][0].published_severity == "warning"
    assert _marks(lake) == {"a99": ("critical", 2), "a98": ("warning", 1)}


def test_a_bus_that_takes_nothing_ends_the_run_and_the_rest_is_counted(lake: Lake) -> None:
    _write(lake, [_alert(n) for n in range(7)])
    calls = []

    def put(alerts: Sequence[Alert]) -> Mapping[str, PutResult]:
        calls.append(len(alerts))
        no_network = PutResult("unavailable", 6, "no network")
        return {alerts[0].alert_id: PutResult("published", 1), alerts[1].alert_id: no_network}

    done = publish_due(lake.spark, lake.settings, put, chunk=3)
    assert calls == [3]
    assert (done.published, done.unpublished, done.attempts, done.stopped) == (1, 6, 7, "no network")
    assert [(f.alert_id, f.attempts) for f in done.failures] == [("a98", 6), ("a97", 0)]
    marks = _marks(lake)
    assert [marks[f"a{n}"] for n in (99, 98, 97, 93)] == [("warning", 1), (None, 6), (None, 0), (None, 0)]


# --- EventBridge -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server:
        yield server


def test_the_job_puts_alerts_where_a_rule_finds_them(
    lake: Lake, aws: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EVENT_BUS_NAME", "alerts")
    events, sqs = aws.client("events"), aws.client("sqs")
    events.create_event_bus(Name="alerts")
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["tests"], "detail-type": [ALERT.alert_type], "detail": {"severity": ["warning"]}}
    events.put_rule(Name="alerts", EventBusName="alerts", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="alerts", EventBusName="alerts", Targets=[{"Id": "queue", "Arn": arn}])
    spec = importlib.util.spec_from_file_location("publish_alerts", JOB)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    arguments = [
        *("--landing", str(lake.folder), "--checkpoints", str(lake.folder / "checkpoints")),
        *("--platform", "local", "--warehouse", str(lake.folder), "--event-source", "tests"),
        *("--silver", lake.settings.silver, "--gold", lake.settings.gold, "--ops", lake.settings.ops),
    ]

    _write(lake, [_alert(n, closed_at=OPENED + 60_000_000 if n == 3 else None) for n in range(23)])
    assert job.main(arguments) == 0
    assert "Published(published=23, unpublished=0" in capsys.readouterr().out

    arrived = {}
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            event = json.loads(message["Body"])
            arrived[event["detail"]["alert_id"]] = event
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert sorted(arrived) == sorted(f"a{99 - n}" for n in range(23))
    assert arrived["a96"]["detail"] == {
        "alert_id": "a96",
        "alert_type": "low_health_score",
        "severity": "warning",
        "entity_type": "student",
        "entity_id": "Zoë",
        "region": "",
        "message": "a low score",
        "details": {"health_score": 65.0},
        "opened_at": "2026-01-08T11:00:00.000003Z",
        "closed_at": "2026-01-08T11:01:00.000000Z",
        "published_at": None,
        "published_severity": None,
        "publish_attempts": 0,
    }
    assert set(_marks(lake).values()) == {("warning", 1)}


def test_the_command_says_which_alerts_are_left_and_shows_none_of_their_data(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "local_settings", lambda _: lake.settings)
    monkeypatch.setattr(warehouse, "open_warehouse", lambda *_: lake.spark)
    monkeypatch.setattr(show, "out", Console(width=10_000))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    _write(lake, [_alert(n) for n in range(12)])
    _write(lake, [_alert(12, message="x" * 1_000_001)])

    with event_server() as server:
        server.on_entry = lambda alert, time: (
            {"a99": "MalformedDetail", "a95": "InternalFailure"}.get(alert) if time == 1 else None
        )
        arguments = ["publish-alerts", "--warehouse", str(lake.folder), "--endpoint-url", server.url]
        result = CliRunner().invoke(cli, [*arguments, "--format", "json"])
        assert result.exit_code == 1, result.output
        report = json.loads(result.stdout)
        assert (report["published"], report["unpublished"], report["attempts"]) == (11, 2, 14)
        assert [(f["alert_id"], f["outcome"]) for f in report["failures"]] == [
            ("a99", "refused"),
            ("a87", "refused"),
        ]
        assert "Zoë" not in result.output
        assert "xxx" not in result.output
        marks = _marks(lake)
        assert [marks[name] for name in ("a99", "a95", "a94", "a87")] == [
            (None, 1),
            ("warning", 2),
            ("warning", 1),
            (None, 1),
        ]
        assert [len(ids) for ids in server.requests] == [10, 1, 2]

        again = CliRunner().invoke(cli, arguments)
        assert again.exit_code == 1
        assert "a87" in again.stdout
        assert server.requests[3:] == [["a99"]]
        assert _marks(lake)["a99"] == ("warning", 2)


def test_a_missing_bus_marks_nothing(lake: Lake, aws: LocalAws) -> None:
    _write(lake, [_alert(0)])
    bus = EventBus(aws.client("events"), "nowhere")
    with pytest.raises(Exception, match="no event bus 'nowhere'"):
        publish_due(lake.spark, lake.settings, bus.put)
    assert _marks(lake) == {"a99": (None, 0)}
