"""A simulator of Lambda's event source mapping over a stream, with a clock of its own.

What it does is what the Lambda developer guide says; each rule names its page, and test_event_source.py holds
it to them:

- with-ddb ("Polling and batching streams"): batches, window, 6 MB, at least once.
- services-ddb-batchfailurereporting: what an answer means, where a batch is split.
- services-dynamodb-errors, kinesis-on-failure-destination: retries, age, what is discarded and where it goes.
- services-kinesis-create, with-kinesis: several batches of a shard at once, in order for each partition key.
- DynamoDB developer guide, Streams ("Reading and processing a stream"): a parent shard before its children.

Where the guide is silent a choice is made: a partial answer that names the first record of its batch is a
failure like any other; pauses between attempts double up to a minute; retries go on counting over partial
answers; of a batch only the records that are too old are given up for their age.
"""

from __future__ import annotations

import json
import random
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

MAX_EVENT_BYTES = 6 * 1024 * 1024
"""The payload at which a batch is full (with-ddb, "Polling and batching streams")."""
RETENTION_SECONDS = 24 * 3600
"""How long a table's stream keeps a record."""
LONGEST_PAUSE_SECONDS = 60.0
_INVOCATION_SECONDS = 0.5

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]


class FunctionError(Exception):
    """The function raised, was killed, or its answer was lost: Lambda cannot tell what it has done."""


class ThrottledError(Exception):
    """Lambda did not invoke the function; that is no attempt (services-dynamodb-errors)."""


@dataclass(frozen=True)
class Settings:
    """An event source mapping, its members named as in Lambda's API; -1 is without end."""

    batch_size: int = 100
    batching_window: float = 0
    parallelization: int = 1
    maximum_retry_attempts: int = -1
    maximum_record_age: float = -1
    bisect: bool = False
    report_failures: bool = True


@dataclass(frozen=True)
class Held:
    """A record in a shard: its place, its partition key, when it arrived (simulated), its form in events."""

    sequence: str
    key: str
    arrived: float
    body: dict[str, Any]


@dataclass
class Shard:
    """A shard; its records are in order. It is read after all of its parents."""

    id: str
    parents: tuple[str, ...] = ()
    records: list[Held] = field(default_factory=list)


@dataclass(frozen=True)
class Delivery:
    """One invocation: when, of which shard, which records, and how it ended."""

    at: float
    shard: str
    sequences: tuple[str, ...]
    outcome: str


@dataclass
class _Batch:
    records: list[Held]
    attempts: int = 0
    """Failures that count against the retries."""
    failures: int = 0
    invocations: int = 0


@dataclass
class _Lane:
    """Records of a shard that are delivered one batch after the other."""

    shard: Shard
    waiting: deque[Held]
    free_at: float = 0
    batches: deque[_Batch] = field(default_factory=deque)

    @property
    def done(self) -> bool:
        return not self.waiting and not self.batches


class EventSource:
    """Delivers every record of the shards, or gives it up, and tells what it did.

    Args:
        invoke: called with the event; returns the function's answer, or raises.
        put: called with key and body of each object for the on-failure destination, if any.
        payload_as_text: whether the destination's objects hold the event as text or as an object.
        starts_anew: how often, after an invocation, the mapping begins anew at its last checkpoint: what it
            had just delivered comes again, in batches that are cut anew and may hold newer records too.
        rng: decides that, and which of several shards comes first.
    """

    def __init__(
        self,
        stream_arn: str,
        shards: Sequence[Shard],
        settings: Settings,
        invoke: Callable[[dict[str, Any]], Any],
        *,
        put: Callable[[str, bytes], None] | None = None,
        payload_as_text: bool = True,
        starts_anew: float = 0,
        rng: random.Random | None = None,
    ) -> None:
        self.now = 0.0
        self.deliveries: list[Delivery] = []
        self.lost: list[Held] = []
        """Records that are nowhere: too old for the stream, or given up without a destination."""
        self._arn = stream_arn
        self._settings = settings
        self._invoke = invoke
        self._put = put
        self._as_text = payload_as_text
        self._starts_anew = starts_anew
        self._rng = rng or random.Random(0)
        self._id = uuid.UUID(int=self._rng.getrandbits(128))
        self._shards = {shard.id: shard for shard in shards}
        self._lanes = [lane for shard in shards for lane in self._split(shard)]

    def run(self, most_turns: int = 100_000) -> None:
        """Go on until nothing is left. Raises AssertionError after so many turns."""
        for _ in range(most_turns):
            ready = [(self._ready_at(lane), self._rng.random(), lane) for lane in self._readable()]
            if not ready:
                return
            at, _, lane = min(ready, key=lambda one: one[:2])
            self.now = max(self.now, at)
            self._turn(lane)
        raise AssertionError(f"{most_turns} turns, and still records are left")

    # --- which, and when ------------------------------------------------------------------------------

    def _split(self, shard: Shard) -> Iterator[_Lane]:
        """Lanes of a shard: as many as batches at once, each with the records of its own partition keys."""
        lanes: list[deque[Held]] = [deque() for _ in range(self._settings.parallelization)]
        for record in shard.records:
            lanes[zlib.crc32(record.key.encode()) % len(lanes)].append(record)
        return (_Lane(shard, waiting) for waiting in lanes)

    def _readable(self) -> Iterator[_Lane]:
        unfinished = {lane.shard.id for lane in self._lanes if not lane.done}
        for lane in self._lanes:
            if not lane.done and not unfinished & {*lane.shard.parents}:
                yield lane

    def _ready_at(self, lane: _Lane) -> float:
        if lane.batches:
            return lane.free_at
        records = self._next(lane)
        start = max(lane.free_at, records[0].arrived)
        full = len(records) == self._settings.batch_size or len(records) < len(self._first(lane))
        return max(start, records[-1].arrived) if full else start + self._settings.batching_window

    def _first(self, lane: _Lane) -> list[Held]:
        """What arrives while a batch is gathered: of the batch size at most."""
        start = max(lane.free_at, lane.waiting[0].arrived)
        records = list(lane.waiting)[: self._settings.batch_size]
        return [one for one in records if one.arrived <= start + self._settings.batching_window]

    def _next(self, lane: _Lane) -> list[Held]:
        """The next batch: gathered until it is full by number, by bytes, or the window ends."""
        taken: list[Held] = []
        size = len('{"Records":[]}')
        for record in self._first(lane):
            size += len(json.dumps(record.body, separators=(",", ":")).encode()) + 1
            if taken and size > MAX_EVENT_BYTES:
                break
            taken.append(record)
        return taken

    # --- delivering -----------------------------------------------------------------------------------

    def _turn(self, lane: _Lane) -> None:
        if not lane.batches:
            batch = _Batch(self._next(lane))
            for _ in batch.records:
                lane.waiting.popleft()
            lane.batches.append(batch)
        batch = lane.batches[0]
        self._give_up_old(lane, batch)
        if not batch.records:
            lane.batches.popleft()
            return
        batch.invocations += 1
        outcome = self._outcome(batch.records)
        told = outcome if isinstance(outcome, str) else f"from {batch.records[outcome].sequence}"
        sequences = tuple(one.sequence for one in batch.records)
        self.deliveries.append(Delivery(self.now, lane.shard.id, sequences, told))
        lane.free_at = self.now + _INVOCATION_SECONDS
        if self._rng.random() < self._starts_anew:
            held = [record for one in lane.batches for record in one.records]
            lane.waiting.extendleft(reversed(held))
            lane.batches.clear()
        elif outcome == "ok":
            lane.batches.popleft()
        elif outcome == "throttled":
            self._pause(lane, batch)
        elif isinstance(outcome, int) and outcome > 0:
            # "Lambda retries only the remaining records"; with bisect on the batch is split there, and
            # "splitting batches doesn't consume the retry quota".
            batch.records = batch.records[outcome:]
            self._failed(lane, batch, counts=not self._settings.bisect)
        elif self._settings.bisect and len(batch.records) > 1:
            half = len(batch.records) // 2
            rest = _Batch(batch.records[half:], batch.attempts, batch.failures, batch.invocations)
            batch.records = batch.records[:half]
            lane.batches.insert(1, rest)
            self._failed(lane, batch, counts=False)
        else:
            self._failed(lane, batch, counts=True)

    def _outcome(self, records: list[Held]) -> str | int:
        """`ok`, `failed`, `throttled`, or the index of the lowest record that is to come again."""
        event = {"Records": [one.body for one in records]}
        try:
            answer = self._invoke(event)
        except ThrottledError:
            return "throttled"
        except FunctionError:
            return "failed"
        if not self._settings.report_failures:
            return "ok"
        return meaning(answer, [one.sequence for one in records])

    def _failed(self, lane: _Lane, batch: _Batch, *, counts: bool) -> None:
        batch.attempts += counts
        most = self._settings.maximum_retry_attempts
        if 0 <= most < batch.attempts:
            self._discard(lane.shard, batch.records, "RetryAttemptsExhausted", batch.invocations)
            lane.batches.popleft()
            return
        self._pause(lane, batch)

    def _pause(self, lane: _Lane, batch: _Batch) -> None:
        lane.free_at = self.now + min(LONGEST_PAUSE_SECONDS, 2.0 ** min(batch.failures, 10))
        batch.failures += 1

    def _give_up_old(self, lane: _Lane, batch: _Batch) -> None:
        gone = [one for one in batch.records if self.now - one.arrived > RETENTION_SECONDS]
        self.lost += gone
        batch.records = batch.records[len(gone) :]
        most = self._settings.maximum_record_age
        old = [one for one in batch.records if 0 <= most < self.now - one.arrived]
        if old:
            self._discard(lane.shard, old, "RecordAgeExceeded", batch.invocations)
            batch.records = batch.records[len(old) :]

    # --- the destination ------------------------------------------------------------------------------

    def _discard(self, shard: Shard, records: list[Held], condition: Condition, invocations: int) -> None:
        if self._put is None:
            self.lost += records
            return
        at = datetime.fromtimestamp(self.now, UTC)
        name = f"{at:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{uuid.UUID(int=self._rng.getrandbits(128))}"
        body = failed_batch(
            self._arn, shard.id, records, condition, invocations, self.now, as_text=self._as_text
        )
        self._put(f"aws/lambda/{self._id}/{shard.id}/{name}", json.dumps(body).encode())


def failed_batch(
    stream_arn: str,
    shard: str,
    records: Sequence[Held],
    condition: Condition,
    invocations: int,
    now: float,
    *,
    as_text: bool,
) -> dict[str, Any]:
    """What Lambda keeps of a batch in S3: services-dynamodb-errors and kinesis-on-failure-destination.

    Their sample has the event as text, escaped (`"payload": "<Whole Event>"`).
    """

    def time(seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{int(seconds * 1000) % 1000:03}Z"

    event = {"Records": [one.body for one in records]}
    function = "arn:aws:lambda:eu-west-1:123456789012:function:change-writer"
    info = {
        "shardId": shard,
        "startSequenceNumber": records[0].sequence,
        "endSequenceNumber": records[-1].sequence,
        "approximateArrivalOfFirstRecord": time(records[0].arrived),
        "approximateArrivalOfLastRecord": time(records[-1].arrived),
        "batchSize": len(records),
        "streamArn": stream_arn,
    }
    return {
        "requestContext": {
            "requestId": str(uuid.uuid5(uuid.NAMESPACE_OID, records[0].sequence)),
            "functionArn": function,
            "condition": condition,
            "approximateInvokeCount": invocations,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": time(now),
        "KinesisBatchInfo" if ":kinesis:" in stream_arn else "DDBStreamBatchInfo": info,
        "payload": json.dumps(event) if as_text else event,
    }


def meaning(answer: Any, sequences: Sequence[str]) -> str | int:
    """What a function's answer says of its batch (services-ddb-batchfailurereporting, "Success and failure
    conditions"): `ok`, `failed`, or the place of the lowest sequence number that it names."""
    if answer is None or answer == {}:
        return "ok"
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else 0
    if failures is None or failures == []:
        return "ok"
    if not isinstance(failures, list):
        return "failed"
    places = {sequence: place for place, sequence in enumerate(sequences)}
    named = [one.get("itemIdentifier") if isinstance(one, dict) else None for one in failures]
    if not all(isinstance(name, str) and name in places for name in named):
        return "failed"
    return min(places[str(name)] for name in named)
