"""Snapshots: what a DynamoDB table held at one time, as change records that fit among the stream's.

A snapshot record's sequence is `<label of the stream>/-<snapshot time>[/<attempt>]`. `-` sorts below every
digit, so it loses to every record of that stream, wins over everything of earlier streams, and over earlier
snapshots. That leaves no gap only if the stream, and whoever lands it, was at work by the snapshot time:
`begin` refuses everything else.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from lakehouse import change_record
from lakehouse.aws.items import Item, json_text, value_json
from lakehouse.aws.objects import Objects
from lakehouse.errors import ConfigurationError, DataError, SnapshotRefusedError, SourceError
from lakehouse.settings import parse_time
from lakehouse.sql.paths import parse_path
from lakehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRIM_HORIZON = "trim-horizon"
NEW_IMAGES = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = timedelta(hours=24)  # a stream's records, at least (developer guide, "Change data capture")
# A mapping that starts at LATEST may miss what happens in its first minutes (Lambda developer guide,
# "Polling and stream starting positions": several minutes, without a bound).
_SETTLING = timedelta(minutes=10)
_LABEL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", re.ASCII)

Mappings = Callable[[str], Sequence[Mapping[str, Any]]]
"""The event source mappings of a stream's ARN, as Lambda's API has them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """When and of which stream a snapshot was taken; times are ms since 1970, UTC.

    `attempt` counts the runs of a scan: one that goes on where another was killed may read a key again,
    and what it reads is a change of its own.
    """

    label: str
    time_ms: int
    attempt: int | None = None

    @property
    def sequence(self) -> str:
        """The place of its records in the order of changes."""
        run = "" if self.attempt is None else f"/{self.attempt:04d}"
        return f"{self.label}/-{iso_ms(self.time_ms)}{run}"

    def record(self, keys: Item, item: Item | None, ingest_ms: int) -> tuple[str, bytes]:
        """(event id, line as it lands) of one key, as `landed_record` has it."""
        return landed_record("SNAPSHOT", self.sequence, self.time_ms, keys, item, ingest_ms)


def landed_record(
    event_name: Literal["SNAPSHOT", "REPAIR"],
    sequence: str,
    time_ms: int,
    keys: Item,
    item: Item | None,
    ingest_ms: int,
) -> tuple[str, bytes]:
    """(event id, line as it lands) of what the source held under a key.

    Args:
        time_ms: when it was read, ms since 1970.
        keys: the key attributes, in the order of the key schema.
        item: the whole item; None if there is none, which makes a tombstone.
        ingest_ms: the clock, ms; it is information alone.

    Raises:
        DataError: a value that no DynamoDB table can hold.
    """
    try:
        identity = json.dumps([sequence, *(value_json(value) for value in keys.values())]).encode()
        event_id = hashlib.sha256(identity).hexdigest()
        parts = [
            f'"{change_record.EVENT_ID}":"{event_id}"',
            f'"{change_record.EVENT_NAME}":"{event_name}"',
            f'"{change_record.SEQUENCE}":{json_text(sequence)}',
            f'"{change_record.INGESTED_MS}":{ingest_ms}',
            f'"{change_record.IS_DELETED}":{"true" if item is None else "false"}',
            f'"{change_record.CHANGED_MS}":{time_ms}',
        ]
        values = keys if item is None else item
        parts += [f"{json_text(change_record.landed_name(n))}:{value_json(v)}" for n, v in values.items()]
        if change_record.UPDATED_AT not in values:
            parts.append(f'"{change_record.UPDATED_AT}":{time_ms}')
        return event_id, ("{" + ",".join(parts) + "}\n").encode()
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"The item with key {json.dumps(keys, default=repr)} cannot be landed: {error}. It was not "
            "landed, nor was what follows it; mend the item and start again."
        ) from error


class LandingObject:
    """A landed object in the making. Its name and its bytes follow from its records alone."""

    def __init__(self, source: str, time_ms: int) -> None:
        self._folder = f"{source}/{_EPOCH + timedelta(milliseconds=time_ms):dt=%Y-%m-%d/HH=%H}"
        self._ids: list[str] = []
        self._gzip = zlib.compressobj(6, wbits=31)
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, event_id: str, line: bytes) -> None:
        """Take in one record; `size` is how many bytes the object has by now, roughly."""
        self._ids.append(event_id)
        part = self._gzip.compress(line)
        self._parts.append(part)
        self.size += len(part)

    @property
    def records(self) -> int:
        """How many records it holds."""
        return len(self._ids)

    def put(self, objects: Objects) -> tuple[str, bool]:
        """Land it: (its key, whether it is new)."""
        name = hashlib.sha256(json.dumps(self._ids, separators=(",", ":")).encode()).hexdigest()[:40]
        key = f"{self._folder}/{name}.ndjson.gz"
        body = b"".join([*self._parts, self._gzip.flush()])
        self.size = len(body)
        return key, objects.put_new(key, body)


@dataclass(frozen=True, slots=True)
class Begun:
    """A snapshot that may be taken, and what it is taken of.

    Args:
        keys: type (S, N or B) of each key attribute by its name, in the order of the key schema.
        items: how many items DynamoDB says the table has; it counts every six hours or so.
    """

    snapshot: Snapshot
    table_arn: str
    keys: Mapping[str, str]
    items: int


def begin(
    dynamodb: DynamoDBClient,
    table: Table,
    table_name: str,
    *,
    taken_ms: int | None = None,
    consumer_from: str | None = None,
    mappings: Mappings | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Begun:
    """Check that a snapshot leaves no gap, and take its label and time.

    The time is DynamoDB's own, to the second.

    Args:
        taken_ms: time of a snapshot that was taken before (an export); if not given, now.
        consumer_from: since when the stream is landed: a time, or `trim-horizon` for all of it. If not
            given, Lambda's event source mappings tell.
        mappings: asks Lambda for them.

    Raises:
        ConfigurationError: the table has another key, or takes no snapshots.
        SnapshotRefusedError: there would be a gap between the snapshot and the stream.
        SourceError: DynamoDB does not answer with the table.
    """
    if table.format != "changes":
        raise ConfigurationError(
            f"Table {table.name!r} is read from documents where they lie, so there is nothing to backfill: "
            "lakehouse ingest reads all of them."
        )
    while True:
        answer = _describe(dynamodb, table_name)
        found = answer["Table"]
        keys = _keys(found, table, table_name)
        label, stream = _stream(found, table_name)
        label_ms = to_ms(f"{label}Z")
        now_ms = round(
            parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp() * 1000
        )
        time_ms = now_ms if taken_ms is None else taken_ms
        if time_ms > now_ms + 1000:
            raise SnapshotRefusedError(
                table_name,
                f"it would be of {iso_ms(time_ms)}, and DynamoDB's clock says {iso_ms(now_ms)}",
                "Check where it comes from.",
            )
        if taken_ms is None and now_ms <= label_ms < now_ms + 10_000:
            sleep(1.0)  # the stream has just been enabled, within the same second
            continue
        if time_ms <= label_ms:
            raise SnapshotRefusedError(
                table_name,
                f"its stream was enabled at {label}Z, not before the snapshot ({iso_ms(time_ms)}), so "
                "changes in between are in neither",
                "Take a new snapshot.",
            )
        since_ms = _consumer_since(stream, table_name, label_ms, consumer_from, mappings)
        if since_ms > time_ms:
            raise SnapshotRefusedError(
                table_name,
                f"its stream is landed since {iso_ms(since_ms)} only, later than the snapshot "
                f"({iso_ms(time_ms)}), so changes in between are in neither",
                "Take a snapshot after that time; if the writer has read the stream for longer, say since "
                "when: --consumer-from.",
            )
        return Begun(Snapshot(label, time_ms), found["TableArn"], keys, int(found.get("ItemCount", 0)))


def claim(
    objects: Objects, source: str, begin_now: Callable[[], Begun], plan: Mapping[str, Any]
) -> tuple[Begun, str]:
    """Begin a snapshot whose time no other one of this source has; (it, the folder of its state).

    Two snapshots with one time would be two contents under one sequence.
    """
    while True:
        begun = begin_now()
        folder = state_folder(source, begun.snapshot)
        told = {"label": begun.snapshot.label, "time": iso_ms(begun.snapshot.time_ms), "keys": begun.keys}
        if objects.put_new(f"{folder}/plan.json", json.dumps({**plan, **told}).encode()):
            return begun, folder
        time.sleep(0.2)


def state_folder(source: str, snapshot: Snapshot) -> str:
    """Where a snapshot's state lies below the landing location."""
    taken = _EPOCH + timedelta(milliseconds=snapshot.time_ms)
    return f"{change_record.BACKFILLS_FOLDER}/{source}/{taken:%Y%m%dT%H%M%SZ}"


def record_complete(landing: Objects, folder: str, snapshot: Snapshot, objects: Sequence[str]) -> None:
    """Record that a snapshot of the whole table has landed, and in which objects: `rebuild` relies on it."""
    told = {"time": iso_ms(snapshot.time_ms), "objects": list(objects)}
    landing.put(f"{folder}/done.json", json.dumps(told).encode())


def stream_label(dynamodb: DynamoDBClient, table_name: str) -> str:
    """The label of a DynamoDB table's stream; raises as `begin` does."""
    return _stream(_describe(dynamodb, table_name)["Table"], table_name)[0]


def lambda_mappings(client: Any) -> Mappings:
    """Asks a boto3 client of Lambda."""

    def ask(stream_arn: str) -> Sequence[Mapping[str, Any]]:
        pages = client.get_paginator("list_event_source_mappings").paginate(EventSourceArn=stream_arn)
        return [one for page in pages for one in page["EventSourceMappings"]]

    return ask


def iso_ms(time_ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`, always of this length."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime(
        "%Y-%m-%dT%H:%M:%S."
    ) + f"{time_ms % 1000:03d}Z"


def to_ms(text: str) -> int:
    """A time in ISO 8601 as ms since 1970; without a zone it is UTC.

    Raises:
        ConfigurationError: it is none.
    """
    return (parse_time(text) - _EPOCH) // timedelta(milliseconds=1)


def _describe(dynamodb: DynamoDBClient, table_name: str) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return dynamodb.describe_table(TableName=table_name)
    except (ClientError, BotoCoreError) as error:
        raise SourceError(f"DynamoDB table {table_name}", str(error)) from error


def _keys(found: Mapping[str, Any], table: Table, table_name: str) -> dict[str, str]:
    types = {one["AttributeName"]: one["AttributeType"] for one in found["AttributeDefinitions"]}
    keys = {part["AttributeName"]: types[part["AttributeName"]] for part in found["KeySchema"]}
    wanted = {parse_path(c.paths[0])[0] for c in table.columns if c.name in table.keys}
    if set(keys) != wanted:
        raise ConfigurationError(
            f"DynamoDB table {table_name} has the key {', '.join(keys)}; table {table.name!r} is made from "
            f"one with the key {', '.join(sorted(wanted))}. Check --table-name."
        )
    return keys


def _stream(found: Mapping[str, Any], table_name: str) -> tuple[str, str]:
    """Label and ARN of the stream that is enabled."""
    stream = found.get("StreamSpecification") or {}
    view = stream.get("StreamViewType")
    label, arn = found.get("LatestStreamLabel", ""), found.get("LatestStreamArn", "")
    if not stream.get("StreamEnabled") or not _LABEL.fullmatch(label):
        problem = "it has no stream, so nothing would tell what changes after the snapshot"
    elif view not in NEW_IMAGES:
        problem = f"its stream carries {view}, so it does not tell what changes after the snapshot"
    else:
        return label, arn
    raise SnapshotRefusedError(
        table_name, problem, "Enable a stream with NEW_AND_OLD_IMAGES, connect the writer, and start again."
    )


def _consumer_since(
    stream: str, table_name: str, label_ms: int, told: str | None, mappings: Mappings | None
) -> int:
    """Since when the stream's records are landed, ms; the latest time that it may be."""
    if told is not None:
        return label_ms if told == TRIM_HORIZON else max(label_ms, to_ms(told))
    from botocore.exceptions import BotoCoreError, ClientError

    next_step = "Say since when the writer lands it: --consumer-from TIME, or trim-horizon for all of it."
    try:
        found = mappings(stream) if mappings else []
    except (ClientError, BotoCoreError) as error:
        problem = f"Lambda does not say who reads its stream ({error})"
        raise SnapshotRefusedError(table_name, problem, next_step) from error
    since = [_mapping_since(one, label_ms) for one in found if one.get("State") == "Enabled"]
    if not since:
        states = ", ".join(str(one.get("State")) for one in found)
        problem = f"no enabled event source mapping reads its stream{f' (found: {states})' if found else ''}"
        raise SnapshotRefusedError(table_name, problem, next_step)
    return max(since)  # any of them may be the writer


def _mapping_since(mapping: Mapping[str, Any], label_ms: int) -> int:
    # LastModified may be later than the mapping's creation, never earlier: the bound stays one.
    modified = int(mapping["LastModified"].timestamp() * 1000)
    if mapping.get("StartingPosition") == "TRIM_HORIZON":
        return max(label_ms, modified - _KEPT // timedelta(milliseconds=1))
    return max(label_ms, modified + _SETTLING // timedelta(milliseconds=1))
