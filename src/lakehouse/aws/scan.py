"""Backfill by a scan: every item of a DynamoDB table as a snapshot record in landing.

How far a scan has come lies beside the records, under `_backfills/<source>/<time>/`: its plan, a claim for
each attempt, and for each segment the key behind which to go on. An object is landed before the position
that has passed it is written, so that a scan that was killed goes on where its last objects end, reads
some keys again and misses none.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lakehouse import change_record
from lakehouse.aws.objects import Objects
from lakehouse.aws.snapshot import (
    Begun,
    LandingObject,
    Mappings,
    Snapshot,
    begin,
    claim,
    record_complete,
    stream_label,
    to_ms,
)
from lakehouse.errors import SourceError, StreamChangedError
from lakehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OBJECT_BYTES = 32 << 20
"""Size at which a landed object is ended, compressed."""

_LABEL_CHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan landed; `resumed`: by more than one attempt, of which all count.

    A resumed scan reads some keys again, so `items` may exceed what the table has.
    """

    items: int
    objects: int
    bytes: int
    sequence: str
    resumed: bool
    seconds: float


@dataclass(slots=True)
class _Position:
    """How far a segment is. `behind`: the last key of the last page that has landed, typed."""

    behind: dict[str, Any] | None = None
    done: bool = False
    items: int = 0
    bytes: int = 0
    objects: list[str] = field(default_factory=list)


class ReadLimit:
    """Shares out read capacity units a second among threads; each waits for its turn before it reads.

    A page's price is known only when it is read, so a turn is as long as the page before it took, and
    what it took more or less moves the next one.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def wait(self, expected: float) -> None:
        """Wait until `expected` units may be read."""
        if self._per_second is None:
            return
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + expected / self._per_second
        time.sleep(max(0.0, start - time.monotonic()))

    def page(self, items: int, units: float) -> dict[str, int]:
        """How many items to ask for next, as scan's argument: those that a second's units pay for.

        Args:
            items, units: what the page before it held and took.
        """
        if self._per_second is None:
            return {}  # as much as a page holds, 1 MB
        return {"Limit": max(1, int(self._per_second * items / units))}

    def used(self, expected: float, units: float) -> None:
        """Say what the page took in the end."""
        if self._per_second is not None:
            with self._lock:
                self._free_at += (units - expected) / self._per_second


def backfill_scan(
    dynamodb: DynamoDBClient,
    landing: Objects,
    table: Table,
    table_name: str,
    *,
    segments: int = 4,
    max_rcu: float | None = None,
    object_bytes: int = OBJECT_BYTES,
    restart: bool = False,
    consumer_from: str | None = None,
    mappings: Mappings | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Scanned:
    """Scan a DynamoDB table, consistently, into landing.

    A scan of this table and DynamoDB table that did not end goes on, with its own time, segments and a new
    attempt number.

    Args:
        segments: parts that are read side by side.
        max_rcu: read capacity units a second at most; a consistent read of 4 KB takes one.
        object_bytes: compressed size at which an object is ended, at the end of a page.
        restart: begin anew, whatever was left over.
        consumer_from, mappings: as for `snapshot.begin`.
        on_progress: told how many items have been read, and how many DynamoDB says there are.

    Raises:
        ConfigurationError: the DynamoDB table has another key, or the table takes no snapshots.
        SnapshotRefusedError: there would be a gap between the snapshot and the stream.
        StreamChangedError: the stream was switched off and on since the scan began.
        SourceError: DynamoDB or the landing location refuse.
    """
    started = time.monotonic()

    def begin_at(taken_ms: int | None = None) -> Begun:
        return begin(
            dynamodb,
            table,
            table_name,
            taken_ms=taken_ms,
            consumer_from=consumer_from,
            mappings=mappings,
        )

    left = None if restart else _left_over(landing, table, table_name)
    if left is None:
        plan: dict[str, Any] = {"kind": "scan", "table_name": table_name, "segments": segments}
        begun, folder = claim(landing, table.source, begin_at, plan)
    else:
        folder, plan = left
        label = stream_label(dynamodb, table_name)
        if label != plan["label"]:
            raise StreamChangedError(table_name, plan["label"], label)
        begun = begin_at(to_ms(plan["time"]))
    attempt = _claim_attempt(landing, folder)
    scan = _Scan(
        dynamodb=dynamodb,
        landing=landing,
        source=table.source,
        table_name=table_name,
        begun=begun,
        snapshot=replace(begun.snapshot, attempt=attempt),
        folder=folder,
        segments=int(plan["segments"]),
        limit=ReadLimit(max_rcu),
        object_bytes=object_bytes,
        on_progress=on_progress,
    )
    positions = scan.run()
    scan.check_stream()  # it may have been switched off and on behind the last look at it
    done = Scanned(
        sum(p.items for p in positions),
        sum(len(p.objects) for p in positions),
        sum(p.bytes for p in positions),
        scan.snapshot.sequence,
        attempt > 1,
        round(time.monotonic() - started, 1),
    )
    record_complete(landing, folder, begun.snapshot, [key for p in positions for key in p.objects])
    return done


def _left_over(landing: Objects, table: Table, table_name: str) -> tuple[str, dict[str, Any]] | None:
    """The newest scan of the DynamoDB table, if it did not end: (folder of its state, plan)."""
    keys = list(landing.keys(f"{change_record.BACKFILLS_FOLDER}/{table.source}/"))
    for key in sorted((k for k in keys if k.endswith("/plan.json")), reverse=True):
        folder = key.removesuffix("/plan.json")
        plan = json.loads(landing.get(key) or b"{}")
        if (plan.get("kind"), plan.get("table_name")) == ("scan", table_name):
            return None if f"{folder}/done.json" in keys else (folder, plan)
    return None


def _claim_attempt(landing: Objects, folder: str) -> int:
    attempt = 1
    while not landing.put_new(f"{folder}/attempts/{attempt:04d}", b""):
        attempt += 1
    return attempt


@dataclass
class _Scan:
    """One attempt."""

    dynamodb: DynamoDBClient
    landing: Objects
    source: str
    table_name: str
    begun: Begun
    snapshot: Snapshot
    folder: str
    segments: int
    limit: ReadLimit
    object_bytes: int
    on_progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._read = 0
        self._label_seen = time.monotonic()

    def run(self) -> list[_Position]:
        """Read every segment to its end. The first error ends all of them, and is raised."""
        positions = [self._position(number) for number in range(self.segments)]
        self._read = sum(p.items for p in positions)
        self.on_progress(self._read, max(self.begun.items, self._read))
        with ThreadPoolExecutor(self.segments, thread_name_prefix="segment") as pool:
            work = [pool.submit(self._segment, *one) for one in enumerate(positions) if not one[1].done]
            try:
                for one in work:
                    one.result()
            except BaseException:
                self._failed.set()
                raise
        return positions

    def check_stream(self) -> None:
        """Raises StreamChangedError if the stream is no longer the one that the scan began under."""
        found = stream_label(self.dynamodb, self.table_name)
        if found != self.snapshot.label:
            raise StreamChangedError(self.table_name, self.snapshot.label, found)

    def _segment(self, number: int, position: _Position) -> None:
        try:
            self._read_segment(number, position)
        except BaseException:
            self._failed.set()
            raise

    def _read_segment(self, number: int, position: _Position) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        # An item takes one unit and more, so the first page asks for too little rather than too much.
        items, expected = 1, 1.0
        held = LandingObject(self.source, self.snapshot.time_ms)
        while not position.done and not self._failed.is_set():
            request: dict[str, Any] = self.limit.page(items, expected)
            if position.behind is not None:
                request["ExclusiveStartKey"] = position.behind
            self.limit.wait(expected)
            try:
                page = self.dynamodb.scan(
                    TableName=self.table_name,
                    Segment=number,
                    TotalSegments=self.segments,
                    ConsistentRead=True,
                    ReturnConsumedCapacity="TOTAL",
                    **request,
                )
            except (BotoCoreError, ClientError) as error:
                next_step = "Run the same command again: it goes on where this ended."
                raise SourceError(
                    f"Scan of DynamoDB table {self.table_name}", f"{error}. {next_step}"
                ) from error
            units = page.get("ConsumedCapacity", {}).get("CapacityUnits", expected)
            self.limit.used(expected, units)
            if page["Items"]:
                items, expected = len(page["Items"]), max(units, 0.5)
            now_ms = time.time_ns() // 1_000_000
            for item in page["Items"]:
                keys = {name: item[name] for name in self.begun.keys}
                held.add(*self.snapshot.record(keys, item, now_ms))
            position.behind = page.get("LastEvaluatedKey")
            position.done = not position.behind
            if position.done or held.size >= self.object_bytes:
                self._land(number, position, held)
                held = LandingObject(self.source, self.snapshot.time_ms)
            self._tell(len(page["Items"]))
        if held.records and not position.done:  # stopped: what has been read need not be read again
            self._land(number, position, held)

    def _land(self, number: int, position: _Position, held: LandingObject) -> None:
        """Land what is held, then write the position behind it: never the other way round."""
        if held.records:
            position.objects.append(held.put(self.landing)[0])
            position.items += held.records
            position.bytes += held.size
        state = {
            "behind": position.behind and {name: _typed(value) for name, value in position.behind.items()},
            "done": position.done,
            "items": position.items,
            "objects": position.objects,
            "bytes": position.bytes,
        }
        self.landing.put(f"{self.folder}/segments/{number:04d}.json", json.dumps(state).encode())

    def _position(self, number: int) -> _Position:
        """Where the last attempt left a segment."""
        found = self.landing.get(f"{self.folder}/segments/{number:04d}.json")
        if found is None:
            return _Position()
        state = json.loads(found)
        behind = state.pop("behind")
        return _Position(behind and {name: _untyped(value) for name, value in behind.items()}, **state)

    def _tell(self, items: int) -> None:
        with self._lock:
            self._read += items
            # DynamoDB counts its items every six hours or so.
            self.on_progress(self._read, max(self.begun.items, self._read))
            check = time.monotonic() - self._label_seen > _LABEL_CHECK_SECONDS
            if check:
                self._label_seen = time.monotonic()
        if check:
            self.check_stream()


def _typed(value: dict[str, Any]) -> dict[str, str]:
    """A key's value for JSON; binary as hexadecimal text under a type of its own."""
    return {"hex": value["B"].hex()} if "B" in value else value


def _untyped(value: dict[str, str]) -> dict[str, Any]:
    return {"B": bytes.fromhex(value["hex"])} if "hex" in value else value
