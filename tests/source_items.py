"""Events of each source in its true shape: the project's own, and the shared ones where that folder is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "tests" / "fixtures" / "events" / "source-items"
SHARED = ROOT.parent / "shared" / "real-inputs" / "source-items"
FOLDERS: Final = {"own": OWN} | ({"shared": SHARED} if SHARED.is_dir() else {})

EVENTS_STREAM: Final = "metric-events"
"""The stream of a Kinesis event that is made here."""

SOURCES: Final = {
    "calls": "calls",
    "scorecards": "scorecards",
    "sentiment-items-primary": "sentiment_items",
    "metric-events": "metric_events",
}
"""A file's name up to the first dot → source. Every file of the folders has its source here."""

SOURCE_MAP: Final = (
    "sentiment-items-primary=sentiment_items,iops-events=metric_events,metric-events=metric_events"
)
"""As the writer's environment says it."""


def stream_events(folder: Path) -> dict[str, dict[str, Any]]:
    """The Lambda events by file; that of the metric events is made of the decoded ones if it is not there."""
    found = {path.name: _read(path) for path in sorted(folder.glob("*-event.json"))}
    if not any(name.startswith("metric-events.") for name in found):
        decoded = json.loads((folder / "metric-events.decoded.json").read_text(encoding="utf-8"))
        found["metric-events.kinesis-event.json"] = kinesis_event(decoded)
    return found


def items(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The items or events of each file, as plain values: numbers as Decimal."""
    found = {}
    for name, event in stream_events(folder).items():
        found[name] = [_item(record) for record in event["Records"]]
    decoded = _read(folder / "metric-events.decoded.json")
    return found | {"metric-events.decoded.json": decoded}


def source_of(name: str) -> str:
    """The source of a file."""
    return SOURCES[name.split(".")[0]]


def kinesis_event(events: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A Lambda event of a stream with one record for each of these events."""
    return {"Records": [_kinesis_record(number, told) for number, told in enumerate(events)]}


def _kinesis_record(number: int, told: Mapping[str, Any]) -> dict[str, Any]:
    sequence = str(49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898 + number)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "k",
            "sequenceNumber": sequence,
            "data": base64.b64encode(json.dumps(told, ensure_ascii=False).encode()).decode(),
            "approximateArrivalTimestamp": 1_767_870_000.5 + number,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/writer",
        "awsRegion": "eu-west-1",
        "eventSourceARN": f"arn:aws:kinesis:eu-west-1:123456789012:stream/{EVENTS_STREAM}",
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def _item(record: Mapping[str, Any]) -> dict[str, Any]:
    if record["eventSource"] == "aws:kinesis":
        data = base64.b64decode(record["kinesis"]["data"])
        told: dict[str, Any] = json.loads(data, parse_float=Decimal)
        return told
    return {name: plain(value) for name, value in record["dynamodb"]["NewImage"].items()}


def plain(value: Mapping[str, Any]) -> Any:
    """A typed DynamoDB value as Python, numbers as Decimal."""
    ((tag, content),) = value.items()
    if tag == "M":
        return {name: plain(member) for name, member in content.items()}
    if tag == "NULL":
        return None
    return Decimal(content) if tag == "N" else content
