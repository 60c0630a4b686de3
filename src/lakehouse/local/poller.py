"""A small stand-in for Lambda's event source mapping: what every stream needs, and DynamoDB Streams.

Rules, from the AWS Lambda Developer Guide ("Using Lambda with Amazon DynamoDB", "Using Lambda with Kinesis",
"Configuring partial batch response") and the DynamoDB Developer Guide ("Working with Streams"):

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

import abc
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
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
class Shard:
    """A shard and how far it is: `checkpoint` is the last sequence number that was handled."""

    id: str
    parents: tuple[str, ...]
    checkpoint: str | None = None
    iterator: str | None = None
    finished: bool = False


@dataclass(frozen=True)
class Page:
    """What one GetRecords answered.

    records: the sequence number of each record, and its form in Lambda's event; iterator: where to read on,
    None at the shard's end; behind: whether there is more, though this page may be empty.
    """

    records: Sequence[tuple[str, dict[str, Any]]]
    iterator: str | None
    behind: bool = False


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


class Poller(abc.ABC):
    """Reads one stream and hands its records to a Lambda handler, from where it stopped the last time.

    client: the boto3 client that reads the stream. handler: `handler(event, context)`, called with the
    JSON that Lambda would send. batch_size: records a batch. max_attempts: deliveries in a row without
    progress before `DeliveryError`. sleep: called with seconds between attempts.
    """

    def __init__(
        self,
        client: Any,
        stream_arn: str,
        handler: Handler,
        *,
        batch_size: int = 500,
        max_attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= batch_size <= 10_000:
            raise ValueError(f"batch_size is {batch_size}; Lambda takes 1 to 10000 for streams.")
        if max_attempts < 1:
            raise ValueError(f"max_attempts is {max_attempts}; it must be at least 1.")
        self._client = client
        self._arn = stream_arn
        self._handler = handler
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._shards: dict[str, Shard] = {}
        self._tally = _Tally()

    @abc.abstractmethod
    def _list_shards(self) -> Iterator[Shard]:
        """Every shard that the stream has now."""

    @abc.abstractmethod
    def _iterator(self, shard: Shard, last_read: str | None) -> str:
        """An iterator behind `last_read`, or at the oldest record of the shard."""

    @abc.abstractmethod
    def _get(self, shard: Shard, iterator: str) -> Page:
        """The next page of the shard."""

    @abc.abstractmethod
    def _lost(self) -> tuple[tuple[type[Exception], ...], str]:
        """What the client raises when unread records have left the stream, and what to do then."""

    @property
    def checkpoints(self) -> dict[str, str | None]:
        """Each known shard's last handled sequence number, None before the first."""
        return {shard.id: shard.checkpoint for shard in self._shards.values()}

    def pump(self) -> PumpResult:
        """Deliver all that the stream holds now; a later call goes on behind it.

        "Now" ends, for an open shard, at the first empty page that does not say that there is more: a real
        stream may return one early, and then the next call reads on.

        Raises DeliveryError when a batch failed `max_attempts` times, and StreamError when unread records
        have left the stream. After either, or any interruption, the next call delivers again whatever was
        not handled.
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
        for shard in self._list_shards():
            self._shards.setdefault(shard.id, shard)

    def _is_ready(self, shard: Shard) -> bool:
        # A parent that is not listed has left the stream.
        parents = [self._shards[name] for name in shard.parents if name in self._shards]
        return not shard.finished and all(parent.finished for parent in parents)

    def _finished(self) -> int:
        return sum(shard.finished for shard in self._shards.values())

    def _drain(self, shard: Shard) -> None:
        batch: list[_Record] = []
        size = 0
        last_read = shard.checkpoint
        while True:
            records, page = self._read(shard, last_read)
            for record in records:
                length = len(record.text.encode()) + 1
                if batch and (len(batch) == self._batch_size or size + length > MAX_EVENT_BYTES - 20):
                    self._deliver(shard, batch)
                    batch, size = [], 0
                batch.append(record)
                size += length
                last_read = record.sequence
            closed = page.iterator is None
            if closed or not (records or page.behind):
                if batch:
                    self._deliver(shard, batch)
                shard.finished = closed
                return

    def _read(self, shard: Shard, last_read: str | None) -> tuple[list[_Record], Page]:
        """One page behind `last_read`: its records as text, and the page."""
        lost, advice = self._lost()
        try:
            for _ in range(3):
                iterator = shard.iterator or self._iterator(shard, last_read)
                try:
                    page = self._get(shard, iterator)
                except self._client.exceptions.ExpiredIteratorException:  # minutes after it was made
                    shard.iterator = None
                    continue
                shard.iterator = page.iterator
                return [_Record(sequence, _json(record)) for sequence, record in page.records], page
        except lost as error:
            where = f"after {last_read}" if last_read else "from its beginning"
            raise StreamError(
                self._arn, f"shard {shard.id} can no longer be read {where} ({error}). {advice}"
            ) from error
        raise StreamError(self._arn, f"every iterator of shard {shard.id} has expired at once; pump again.")

    def _deliver(self, shard: Shard, batch: Sequence[_Record]) -> None:
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


class StreamPoller(Poller):
    """Reads a DynamoDB stream; its client is a boto3 `dynamodbstreams` client."""

    _client: DynamoDBStreamsClient

    def _list_shards(self) -> Iterator[Shard]:
        start: dict[str, str] = {}
        while True:
            page = self._client.describe_stream(StreamArn=self._arn, **start)["StreamDescription"]  # type: ignore[arg-type]
            for shard in page.get("Shards", []):
                parent = shard.get("ParentShardId")
                yield Shard(shard["ShardId"], (parent,) if parent else ())
            last = page.get("LastEvaluatedShardId")
            if not last:
                return
            start = {"ExclusiveStartShardId": last}

    def _iterator(self, shard: Shard, last_read: str | None) -> str:
        request: dict[str, Any] = {"StreamArn": self._arn, "ShardId": shard.id}
        if last_read is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last_read}
        return self._client.get_shard_iterator(**request)["ShardIterator"]

    def _get(self, shard: Shard, iterator: str) -> Page:  # noqa: ARG002
        answer = self._client.get_records(ShardIterator=iterator, Limit=min(_PAGE, self._batch_size))
        records = [to_lambda_record(record, self._arn) for record in answer.get("Records", [])]
        numbered = [(record["dynamodb"]["SequenceNumber"], record) for record in records]
        return Page(numbered, answer.get("NextShardIterator"))

    def _lost(self) -> tuple[tuple[type[Exception], ...], str]:
        errors = self._client.exceptions
        return (errors.TrimmedDataAccessException, errors.ResourceNotFoundException), (
            "A stream keeps its records for 24 hours: take a new snapshot of the table, then start at a new "
            "stream."
        )


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
