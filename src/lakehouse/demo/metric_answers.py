"""The demo's metrics and alerts: what the tables say, what the events say, and what arrived on the bus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.aws.publish import EventBus
from lakehouse.demo.answers import Answer, ask
from lakehouse.demo.coaching_figures import calls_with_high_priority
from lakehouse.demo.metric_figures import MetricRow, alerts_of, metric_event, metrics
from lakehouse.demo.transcript_figures import ListedDocument
from lakehouse.local.aws import LocalAws

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

METRICS_QUERY = """
SELECT entity_type, entity_id, region, sessions_7d, sessions_14d, sessions_30d, ib_calls_7d, ib_calls_14d,
  avg_rating, health_score, available_tutors, active_students, demand_score, supply_score, balance_status,
  unix_micros(last_event_at)
FROM gold.metrics
"""

PUBLISHED_QUERY = """
SELECT alert_type, published_severity, count(*) AS alerts
FROM gold.alerts WHERE published_at IS NOT NULL
GROUP BY alert_type, published_severity
"""

ALERTS_QUERY = """
SELECT alert_type, severity, count(*) AS alerts
FROM gold.alerts WHERE closed_at IS NULL
GROUP BY alert_type, severity ORDER BY alert_type, severity
"""
"""Open alerts by rule and severity."""

_BUS = "lakehouse-demo"


class Listener:
    """An event bus of the local AWS with a queue behind it, and what has arrived there."""

    def __init__(self, aws: LocalAws) -> None:
        events, self._sqs = aws.client("events"), aws.client("sqs")
        self.bus = EventBus(events, _BUS)
        events.create_event_bus(Name=_BUS)
        self._queue = self._sqs.create_queue(QueueName=_BUS)["QueueUrl"]
        told = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        pattern = json.dumps({"source": [{"prefix": "lakehouse"}]})
        events.put_rule(Name=_BUS, EventBusName=_BUS, EventPattern=pattern)
        target = {"Id": _BUS, "Arn": told["Attributes"]["QueueArn"]}
        events.put_targets(Rule=_BUS, EventBusName=_BUS, Targets=[target])

    def arrived(self) -> list[dict[str, Any]]:
        """The alerts that have arrived since the last call: the `Detail` of each event."""
        found = []
        while page := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for message in page:
                found.append(json.loads(message["Body"])["detail"])
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return found


def metric_answers(
    spark: SparkSession,
    events: Iterable[Mapping[str, Any]],
    documents: Sequence[ListedDocument],
    arrived: Iterable[Mapping[str, Any]],
    as_of: int,
) -> list[Answer]:
    """Metrics and alerts of the tables beside those that the source says.

    Args:
        events: what lies in the Kinesis stream, as change records.
        documents: all objects that S3 lists.
        arrived: alerts that have come out behind the event bus.
        as_of: where the windows end, in microseconds since 1970.
    """
    from_events = metrics(filter(None, map(metric_event, events)), as_of)
    expected = Counter(alerts_of(from_events))
    expected["high_priority_insight", "warning"] = calls_with_high_priority(documents)
    tables = ask(spark, METRICS_QUERY, 3)
    source = {entity: _figures(row) for entity, row in from_events.items()}
    same = Counter(e[0] for e in tables.keys() | source.keys() if tables.get(e) != source.get(e))
    # An alert may arrive twice, and is one.
    once = {alert["alert_id"]: alert for alert in arrived}.values()
    on_the_bus = Counter((alert["alert_type"], alert["severity"]) for alert in once)
    return [
        Answer(
            "Metrics: sums over students, tutors, subjects and regions, and rows that differ in any figure",
            ("of",),
            ("rows", "sessions 30 d", "calls 14 d", "differ"),
            _sums(tables, same),
            _sums(source, Counter()),
        ),
        Answer(
            "Open alerts",
            ("alert", "severity"),
            ("alerts",),
            ask(spark, ALERTS_QUERY, 2),
            {key: (count,) for key, count in expected.items() if count},
            may_be_empty=True,
        ),
        Answer(
            "Alerts by the table that are published, and those that arrived behind the event bus",
            ("alert", "severity"),
            ("alerts",),
            ask(spark, PUBLISHED_QUERY, 2),
            {key: (count,) for key, count in on_the_bus.items()},
            may_be_empty=True,
        ),
    ]


def _figures(row: MetricRow) -> tuple[Any, ...]:
    return (
        *(row.sessions_7d, row.sessions_14d, row.sessions_30d, row.ib_calls_7d, row.ib_calls_14d),
        *(row.avg_rating, row.health_score, row.available_tutors, row.active_students),
        *(row.demand_score, row.supply_score, row.balance_status, row.last_event_at),
    )


def _sums(rows: Mapping[Any, tuple[Any, ...]], differing: Mapping[str, int]) -> dict[Any, tuple[Any, ...]]:
    kinds = sorted({entity[0] for entity in rows})
    of = {kind: [row for entity, row in rows.items() if entity[0] == kind] for kind in kinds}
    return {
        (kind,): (
            len(of[kind]),
            sum(r[2] for r in of[kind]),
            sum(r[4] for r in of[kind]),
            differing.get(kind, 0),
        )
        for kind in kinds
    }
