"""A small stand-in for Lambda's event source mapping on DynamoDB Streams.

Rules, from the AWS Lambda Developer Guide ("Using Lambda with Amazon DynamoDB", "Configuring partial
batch response") and the DynamoDB Developer Guide ("Working with Streams"):

- Shards are read from TRIM_HORIZON, a parent to its end before its children, each in order.
- A batch holds records of one shard, at most `batch_size` and at most 6 MB as an event.
- Success: null, {}, or a null or empty `batchItemFailures`. Identifiers: the lowest sequence number is the
  checkpoint, and delivery starts again there. An exception, or an identifier that is empty, null,
  misnamed or not of this batch: the whole batch again.

It differs from Lambda on purpose: one batch at a time over all shards; a redelivery holds what is left of
its batch and no newer records; answers that the guide does not name fail the batch; and when the attempts
run out it stops with an error, dropping nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.errors import StreamError
from lakehouse.local.lambda_event import Context, to_lambda_record

if TYPE_CHECKING:
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

MAX_EVENT_BYTES = 6 * 1024 * 1024
"""Lambda's limit for the payload of an invocation."""
_PAGE = 1000
"""The most records that GetRecords returns."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0

Handler = Callable[[dict[str, Any], Any], Any]


class DeliveryError(StreamError):
    """A batch failed as often as it may; its records stay in the stream and are delivered again next time."""

    def __init__(self, stream: str, shard: str, first: str, last: str, attempts: int, problem: str) -> None:
        self.shard = shard
        self.first = first
        self.last = last
        self.attempts = attempts
        self.problem = problem
        super().__init__(
            stream,
            f"the handler failed {attempts} times on records {first} to {last} of shard {shard}: {problem}. "
            "Nothing is dropped: mend the handler and pump again.",
        )


@dataclass(frozen=True)
class PumpResult:
    """What one `pump` did.

    records: records that were handled and passed; batches: batches that were delivered; retries: further
    deliveries of a batch or of the rest of one.
    """

    records: int
    batches: int
    retries: int


@dataclass
class _Shard:
    """A shard and how far it is: `checkpoint` is the last sequence number that was handled."""

    id: str
    parent: str | None
    checkpoint: str | None = None
    iterator: str | None = None
    finished: bool = False


@dataclass(frozen=True)
class _Record:
    """One record: its sequence number and its JSON text."""

    sequence: str
    text: str


@dataclass
class _Tally:
    records: int = 0
    batches: int = 0
    retries: int = 0


class StreamPoller:
    """Reads one stream and hands its records to a Lambda handler, from where it stopped the last time.

    streams_client: a boto3 `dynamodbstreams` client. handler: `handler(event, context)`, called with the
    JSON that Lambda would send. batch_size: records a batch. max_attempts: deliveries in a row without
    progress before `DeliveryError`. sleep: called with seconds between attempts.
    """

    def __init__(
        self,
        streams_client: DynamoDBStreamsClient,
        stream_arn: str,
        handler: Handler,
        *,
        batch_size: int = 500,
        max_attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= batch_size <= 10_000:
            raise ValueError(f"batch_size is {batch_size}; Lambda takes 1 to 10000 for DynamoDB streams.")
        if max_attempts < 1:
            raise ValueError(f"max_attempts is {max_attempts}; it must be at least 1.")
        self._client = streams_client
        self._arn = stream_arn
        self._handler = handler
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._shards: dict[str, _Shard] = {}
        self._tally = _Tally()

    @property
    def checkpoints(self) -> dict[str, str | None]:
        """Each known shard's last handled sequence number, None before the first."""
        return {shard.id: shard.checkpoint for shard in self._shards.values()}

    def pump(self) -> PumpResult:
        """Deliver all that the stream holds now; a later call goes on behind it.

        "Now" ends, for an open shard, at the first empty page: a real stream may return one early, and
        then the next call reads on.

        Raises DeliveryError when a batch failed `max_attempts` times, and StreamError when unread records
        have left the stream (it keeps them for 24 hours). After either, or any interruption, the next call
        delivers again whatever was not handled.
        """
        self._tally = _Tally()
        while True:
            self._discover()
            before = self._finished()
            for shard in [each for each in self._shards.values() if self._is_ready(each)]:
                try:
                    self._drain(shard)
                except BaseException:
                    shard.iterator = None  # what was read and not handled is read again, from the checkpoint
                    raise
            if self._finished() == before:  # else the children of the finished ones may be read now
                return PumpResult(self._tally.records, self._tally.batches, self._tally.retries)

    def _discover(self) -> None:
        start: dict[str, str] = {}
        while True:
            page = self._client.describe_stream(StreamArn=self._arn, **start)["StreamDescription"]  # type: ignore[arg-type]
            for shard in page.get("Shards", []):
                name = shard["ShardId"]
                self._shards.setdefault(name, _Shard(name, shard.get("ParentShardId")))
            last = page.get("LastEvaluatedShardId")
            if not last:
                return
            start = {"ExclusiveStartShardId": last}

    def _is_ready(self, shard: _Shard) -> bool:
        parent = self._shards.get(shard.parent or "")  # a parent that is not listed has left the stream
        return not shard.finished and (parent is None or parent.finished)

    def _finished(self) -> int:
        return sum(shard.finished for shard in self._shards.values())

    def _drain(self, shard: _Shard) -> None:
        batch: list[_Record] = []
        size = 0
        last_read = shard.checkpoint
        while True:
            page, closed = self._read(shard, last_read)
            for record in page:
                length = len(record.text.encode()) + 1
                if batch and (len(batch) == self._batch_size or size + length > MAX_EVENT_BYTES - 20):
                    self._deliver(shard, batch)
                    batch, size = [], 0
                batch.append(record)
                size += length
                last_read = record.sequence
            if closed or not page:
                if batch:
                    self._deliver(shard, batch)
                shard.finished = closed
                return

    def _read(self, shard: _Shard, last_read: str | None) -> tuple[list[_Record], bool]:
        """One page behind `last_read`, and whether the shard ends with it."""
        errors = self._client.exceptions
        try:
            for _ in range(3):
                iterator = shard.iterator or self._iterator(shard, last_read)
                try:
                    answer = self._client.get_records(
                        ShardIterator=iterator, Limit=min(_PAGE, self._batch_size)
                    )
                except errors.ExpiredIteratorException:  # 15 minutes after it was made
                    shard.iterator = None
                    continue
                shard.iterator = answer.get("NextShardIterator")
                records = [to_lambda_record(record, self._arn) for record in answer.get("Records", [])]
                page = [_Record(record["dynamodb"]["SequenceNumber"], _json(record)) for record in records]
                return page, shard.iterator is None
        except (errors.TrimmedDataAccessException, errors.ResourceNotFoundException) as error:
            where = f"after {last_read}" if last_read else "from its beginning"
            raise StreamError(
                self._arn,
                f"shard {shard.id} can no longer be read {where} ({error}). A stream keeps its records "
                "for 24 hours: take a new snapshot of the table, then start at a new stream.",
            ) from error
        raise StreamError(self._arn, f"every iterator of shard {shard.id} has expired at once; pump again.")

    def _iterator(self, shard: _Shard, last_read: str | None) -> str:
        request: dict[str, Any] = {"StreamArn": self._arn, "ShardId": shard.id}
        if last_read is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last_read}
        return self._client.get_shard_iterator(**request)["ShardIterator"]

    def _deliver(self, shard: _Shard, batch: Sequence[_Record]) -> None:
        """Call the handler until all of the batch is handled; move the checkpoint as far as it says."""
        self._tally.batches += 1
        attempts = 0
        while True:
            attempts += 1
            done, problem, cause = self._invoke(batch)
            if done:
                shard.checkpoint = batch[done - 1].sequence
                self._tally.records += done
                batch = batch[done:]
                attempts = 1
            if not batch:
                return
            if not done and attempts >= self._max_attempts:
                raise DeliveryError(
                    self._arn, shard.id, batch[0].sequence, batch[-1].sequence, attempts, problem
                ) from cause
            self._tally.retries += 1
            self._sleep(min(_FIRST_PAUSE_SECONDS * 2 ** (attempts - 1), _LONGEST_PAUSE_SECONDS))

    def _invoke(self, batch: Sequence[_Record]) -> tuple[int, str, Exception | None]:
        """Call the handler once: how many records, from the first, are done; what was wrong, if not all."""
        event = json.loads(f'{{"Records":[{",".join(record.text for record in batch)}]}}')
        try:
            answer = json.loads(json.dumps(self._handler(event, Context(str(uuid.uuid4())))))
        except Exception as error:  # noqa: BLE001 - whatever a function raises is a failed invocation
            return 0, f"{type(error).__name__}: {error}", error
        return *_done(answer, [record.sequence for record in batch]), None


def _done(answer: Any, sequences: Sequence[str]) -> tuple[int, str]:
    """What a handler's answer means: how many records, from the first, are done, and what was wrong."""
    if answer is None or answer == {}:
        return len(sequences), ""
    if not isinstance(answer, dict):
        return 0, f"it returned {answer!r:.100}, which is no partial batch response"
    if "batchItemFailures" not in answer:
        return 0, f"it returned {answer!r:.100}, without batchItemFailures"
    failures = answer["batchItemFailures"]
    if failures is None or failures == []:
        return len(sequences), ""
    positions = {sequence: position for position, sequence in enumerate(sequences)}
    lowest = len(sequences)
    for failure in failures if isinstance(failures, list) else [failures]:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in positions:
            return 0, f"it reported {failure!r:.100}, which names no record of the batch"
        lowest = min(lowest, positions[identifier])
    return lowest, f"it reported {sequences[lowest]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
