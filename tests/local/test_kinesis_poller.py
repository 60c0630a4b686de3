"""The poller against a Kinesis stream, and a scripted one for what the local AWS lacks; the demo's events."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import gzip
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from change_writer import landing as writer_landing
from change_writer import settings as writer_settings
from change_writer.handler import lambda_handler
from lakehouse.demo import source
from lakehouse.demo.sample_metrics import STREAM, Event, sample_metrics
from lakehouse.demo.source import BUCKET, SOURCE_MAP, Chain
from lakehouse.errors import SourceError, StreamError
from lakehouse.local import kinesis_poller
from lakehouse.local.aws import REGION, LocalAws
from lakehouse.local.kinesis_poller import KinesisPoller, to_lambda_record
from lakehouse.local.poller import MAX_EVENT_BYTES, DeliveryError, PumpResult

SHARDS = ["shardId-000000000000", "shardId-000000000001"]
SPLIT = 2**127
"""The first hash key of the second shard."""


@dataclass
class Stream:
    """A Kinesis stream of two shards."""

    client: Any
    name: str
    arn: str

    def put(self, shard: int, *texts: str) -> None:
        for text in texts:
            self.client.put_record(
                StreamName=self.name,
                Data=text.encode(),
                PartitionKey="key",
                ExplicitHashKey=str(shard * SPLIT),
            )


@pytest.fixture
def stream(aws: LocalAws) -> Stream:
    client, name = aws.client("kinesis"), f"stream-{uuid.uuid4().hex}"
    client.create_stream(StreamName=name, ShardCount=2)
    summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    return Stream(client, name, summary["StreamARN"])


class Recorder:
    """A handler that keeps what it is given, and answers as it is told (then with success)."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.events: list[list[dict[str, Any]]] = []

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(copy.deepcopy(event["Records"]))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer(self.events[-1]) if callable(answer) else answer

    @property
    def batches(self) -> list[list[str]]:
        return [
            [base64.b64decode(record["kinesis"]["data"]).decode() for record in event]
            for event in self.events
        ]


def report(position: int) -> Any:
    """Answer with the sequence number at this position of the batch."""
    return lambda records: {
        "batchItemFailures": [{"itemIdentifier": records[position]["kinesis"]["sequenceNumber"]}]
    }


def no_sleep(seconds: float) -> None:
    pass


# --- a stream of the local AWS ----------------------------------------------------------------------


def test_every_record_arrives_once_in_the_order_of_its_shard(stream: Stream) -> None:
    handler = Recorder()
    reader = KinesisPoller(stream.client, stream.arn, handler, batch_size=2)
    assert reader.pump() == PumpResult(records=0, batches=0, retries=0)
    stream.put(0, "a", "b", "c")
    stream.put(1, "x")
    stream.put(0, "d")
    assert reader.pump() == PumpResult(records=5, batches=3, retries=0)
    assert handler.batches == [["a", "b"], ["c", "d"], ["x"]]
    stream.put(1, "y")
    assert reader.pump() == PumpResult(records=1, batches=1, retries=0)
    assert reader.pump() == PumpResult(records=0, batches=0, retries=0)
    assert handler.batches[3:] == [["y"]]
    assert list(reader.checkpoints) == SHARDS


def test_an_event_has_the_form_that_lambda_sends(stream: Stream) -> None:
    raw = bytes(range(256))
    put = stream.client.put_record(StreamName=stream.name, Data=raw, PartitionKey="Größe")
    handler = Recorder()
    before = dt.datetime.now(dt.UTC).timestamp() - 60
    KinesisPoller(stream.client, stream.arn, handler).pump()
    ((record,),) = handler.events
    arrived = record["kinesis"].pop("approximateArrivalTimestamp")
    assert isinstance(arrived, float)
    assert before < arrived < before + 120
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "Größe",
            "sequenceNumber": put["SequenceNumber"],
            "data": base64.b64encode(raw).decode(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{put['ShardId']}:{put['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/local",
        "awsRegion": REGION,
        "eventSourceARN": stream.arn,
    }
    assert stream.arn == f"arn:aws:kinesis:{REGION}:000000000000:stream/{stream.name}"


def test_a_time_of_arrival_has_milliseconds() -> None:
    record = {
        "Data": b"",
        "PartitionKey": "k",
        "SequenceNumber": "1",
        "ApproximateArrivalTimestamp": dt.datetime(2018, 12, 17, 22, 10, 50, 987000, dt.UTC),
    }
    kinesis = to_lambda_record(record, SHARDS[0], "arn:aws:kinesis:us-east-2:1:stream/s")["kinesis"]
    assert json.dumps(kinesis["approximateArrivalTimestamp"]) == "1545084650.987"


def test_a_batch_may_be_larger_than_a_page(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinesis_poller, "_PAGE", 2)
    stream.put(0, "a", "b", "c", "d", "e")
    handler = Recorder()
    KinesisPoller(stream.client, stream.arn, handler, batch_size=4).pump()
    assert handler.batches == [["a", "b", "c", "d"], ["e"]]


def test_an_event_holds_at_most_six_megabytes(stream: Stream) -> None:
    stream.put(0, *["x" * 900_000] * 10)  # 1.2 MB each as base64
    handler = Recorder()
    assert KinesisPoller(stream.client, stream.arn, handler).pump().records == 10
    assert [len(event) for event in handler.events] == [5, 5]
    assert all(len(json.dumps({"Records": event})) <= MAX_EVENT_BYTES for event in handler.events)


def test_delivery_starts_again_at_the_number_that_was_reported(stream: Stream) -> None:
    stream.put(0, "a", "b", "c")
    stream.put(1, "x")
    handler = Recorder(report(1), ValueError("no luck"), None)
    reader = KinesisPoller(stream.client, stream.arn, handler, sleep=no_sleep)
    assert reader.pump() == PumpResult(records=4, batches=2, retries=2)
    assert handler.batches == [["a", "b", "c"], ["b", "c"], ["b", "c"], ["x"]]


def test_a_batch_that_never_succeeds_is_not_dropped_and_read_again_from_the_checkpoint(
    stream: Stream,
) -> None:
    stream.put(0, "a", "b", "c")
    handler = Recorder(None, *[ValueError("poison")] * 2)
    reader = KinesisPoller(stream.client, stream.arn, handler, batch_size=1, max_attempts=2, sleep=no_sleep)
    with pytest.raises(DeliveryError, match=r"failed 2 times on records .* of shard shardId-0+: ValueError"):
        reader.pump()
    assert reader.checkpoints[SHARDS[0]] == handler.events[0][0]["kinesis"]["sequenceNumber"]
    assert reader.pump().records == 2
    assert handler.batches == [["a"], ["b"], ["b"], ["b"], ["c"]]


def test_a_stream_that_is_gone_is_an_error(stream: Stream) -> None:
    reader = KinesisPoller(stream.client, stream.arn, Recorder())
    reader.pump()
    reader._list_shards = lambda: iter(())  # type: ignore[method-assign]
    stream.client.delete_stream(StreamName=stream.name)
    with pytest.raises(StreamError, match=r"shard shardId-0+ can no longer be read from its beginning"):
        reader.pump()


# --- a scripted stream ------------------------------------------------------------------------------

Shards = dict[str, tuple[tuple[str, ...], bool, list[str]]]


class ScriptedStream:
    """The Kinesis API over shards given as data: `{shard: (parents, closed, [text, …])}`, in that order.

    It lists one shard a page; iterators expire after `lives` uses; where `sparse`, every other page is
    empty and says that there is more.
    """

    exceptions = SimpleNamespace(
        ExpiredIteratorException=type("ExpiredIteratorException", (Exception,), {}),
        ResourceNotFoundException=type("ResourceNotFoundException", (Exception,), {}),
    )

    def __init__(self, shards: Shards, *, lives: int = 1000, sparse: bool = False) -> None:
        self.shards = shards
        self.lives = lives
        self.sparse = sparse
        self.reads = 0
        self.iterators: list[tuple[str, str | None]] = []

    def list_shards(self, StreamARN: str | None = None, NextToken: str | None = None) -> Any:  # noqa: N803
        assert (StreamARN is None) != (NextToken is None)
        names = list(self.shards)
        place = int(NextToken or 0)
        parents = self.shards[names[place]][0]
        shard = {"ShardId": names[place]}
        shard |= dict(zip(("ParentShardId", "AdjacentParentShardId"), parents, strict=False))
        return {"Shards": [shard]} | ({"NextToken": str(place + 1)} if place + 1 < len(names) else {})

    def get_shard_iterator(self, ShardId: str, StartingSequenceNumber: str | None = None, **rest: str) -> Any:  # noqa: N803
        self.iterators.append((rest["ShardIteratorType"], StartingSequenceNumber))
        place = int(StartingSequenceNumber) + 1 if StartingSequenceNumber else 0
        return {"ShardIterator": f"{ShardId}/{place}/{self.lives}"}

    def get_records(self, StreamARN: str, ShardIterator: str, Limit: int) -> Any:  # noqa: N803
        name, place, lives = ShardIterator.split("/")
        if lives == "0":
            raise self.exceptions.ExpiredIteratorException("expired")
        _, closed, texts = self.shards[name]
        self.reads += 1
        start = int(place)
        end = start if self.sparse and self.reads % 2 else min(start + Limit, len(texts))
        arrived = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)
        answer: dict[str, Any] = {
            "Records": [
                {
                    "SequenceNumber": str(number),
                    "Data": texts[number].encode(),
                    "PartitionKey": "k",
                    "ApproximateArrivalTimestamp": arrived,
                }
                for number in range(start, end)
            ],
            "MillisBehindLatest": 0 if end == len(texts) else 5,
        }
        if not (closed and end == len(texts)):
            answer["NextShardIterator"] = f"{name}/{end}/{int(lives) - 1}"
        return answer


def pump(stream: Any, **options: Any) -> list[list[str]]:
    handler = Recorder()
    KinesisPoller(stream, "arn:aws:kinesis:r:1:stream/s", handler, **options).pump()
    return handler.batches


def test_both_parents_of_a_merged_shard_are_read_before_it() -> None:
    shards: Shards = {
        "merged": (("left", "right"), False, ["5"]),
        "left": (("gone",), True, ["1", "2"]),
        "right": ((), True, ["3", "4"]),
    }
    assert pump(ScriptedStream(shards)) == [["1", "2"], ["3", "4"], ["5"]]


def test_a_merged_shard_waits_while_one_parent_is_open() -> None:
    shards: Shards = {
        "left": ((), True, ["1"]),
        "right": ((), False, []),
        "merged": (("left", "right"), False, ["2"]),
    }
    assert pump(ScriptedStream(shards)) == [["1"]]


def test_the_halves_of_a_split_shard_wait_for_it() -> None:
    shards: Shards = {
        "low": (("whole",), False, ["2"]),
        "high": (("whole",), False, ["3"]),
        "whole": ((), True, ["1"]),
    }
    assert pump(ScriptedStream(shards)) == [["1"], ["2"], ["3"]]


def test_an_empty_page_is_not_the_end_while_the_stream_says_that_there_is_more() -> None:
    shards: Shards = {"one": ((), False, list("abcdef"))}
    assert pump(ScriptedStream(shards, sparse=True), batch_size=2) == [["a", "b"], ["c", "d"], ["e", "f"]]


def test_an_expired_iterator_is_renewed_behind_the_last_record_that_was_read() -> None:
    stream = ScriptedStream({"one": ((), False, ["a", "b", "c"])}, lives=1)
    assert pump(stream, batch_size=1) == [["a"], ["b"], ["c"]]
    assert stream.iterators[:3] == [
        ("TRIM_HORIZON", None),
        ("AFTER_SEQUENCE_NUMBER", "0"),
        ("AFTER_SEQUENCE_NUMBER", "1"),
    ]


# --- the demo's stream, through the writer ----------------------------------------------------------

NOW = dt.datetime(2026, 1, 9, 12, 34, 56, 789012, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def chain_aws() -> Iterator[LocalAws]:
    """A server of this test's own: a chain's tables have fixed names."""
    with LocalAws() as server:
        yield server


@pytest.fixture
def chain(chain_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    variables = chain_aws.environment | {
        "S3_BUCKET": BUCKET,
        "S3_PREFIX": "landing",
        "SOURCE_MAP": SOURCE_MAP,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    caches = (writer_settings.get_settings, writer_landing.s3_client)
    for cache in caches:
        cache.cache_clear()
    yield Chain(chain_aws, lambda_handler)
    for cache in caches:
        cache.cache_clear()


def landed(aws: LocalAws, folder: str) -> list[dict[str, Any]]:
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"landing/{folder}/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    bodies = [gzip.decompress(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]
    return [json.loads(line, parse_float=Decimal) for body in bodies for line in body.splitlines()]


def test_every_event_of_the_demo_lands_as_it_is_in_the_stream(chain: Chain) -> None:
    records = list(sample_metrics(NOW, students=20))
    written, pumped, read = [], [], []
    half = len(records) // 2
    for part in (records[:half], records[half:]):
        chain.write(part, written.append)
        chain.pump(pumped.append)
    assert sum(written) == sum(pumped) == chain.counted["Event"] == chain.counted["delivered"] == len(records)
    assert chain.counted["retries"] == 0
    told = chain.events(read.append)
    assert sum(read) == len(records)
    rows = landed(chain.aws, "metric_events")
    added = {"_eventName", "_ingestTs", "is_deleted", "updated_at"}
    found = [{name: value for name, value in row.items() if name not in added} for row in rows]
    by_sequence = sorted(found, key=lambda row: str(row["_sequence"]))
    assert by_sequence == sorted(told, key=lambda row: str(row["_sequence"]))
    assert len({row["_eventID"] for row in rows}) == len(rows) > len(records)
    assert {row["_sequence"].split("/")[1] for row in rows} == set(SHARDS)
    assert [row["reason"] for row in landed(chain.aws, "_quarantine/metric_events")] == ["not_json"]


class Busy:
    """A Kinesis that takes only some of what it is sent: so many entries of each call."""

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.calls: list[list[bytes]] = []

    def client(self, service: str) -> Any:
        assert service == "kinesis"
        return self

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> Any:  # noqa: N803
        self.calls.append([record["Data"] for record in Records])
        take = self.takes.pop(0) if self.takes else len(Records)
        answers = [
            {"SequenceNumber": "1", "ShardId": SHARDS[0]}
            if place < take
            else {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
            for place in range(len(Records))
        ]
        return {"FailedRecordCount": len(Records) - take, "Records": answers}


def put_all(busy: Busy, *events: Event) -> None:
    chain = object.__new__(Chain)
    chain.aws = busy  # type: ignore[assignment]
    chain._put_events(events)


def some(*texts: str) -> list[Event]:
    return [Event(STREAM, "key", text.encode()) for text in texts]


def test_only_what_was_not_taken_is_put_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", no_sleep)
    busy = Busy(1, 0, 1)
    put_all(busy, *some("a", "b", "c"))
    assert busy.calls == [[b"a", b"b", b"c"], [b"b", b"c"], [b"b", b"c"], [b"c"]]


def test_events_that_are_never_taken_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", no_sleep)
    with pytest.raises(SourceError, match=r"metric-events: 2 events were not taken\."):
        put_all(Busy(*[0] * 100), *some("a", "b"))


def test_events_are_put_in_batches_of_the_sizes_that_kinesis_takes() -> None:
    busy = Busy()
    put_all(busy, *some(*map(str, range(1001))))
    assert [len(call) for call in busy.calls] == [500, 500, 1]
    assert [int(data) for call in busy.calls for data in call] == list(range(1001))
    busy = Busy()
    put_all(busy, *some(*["x" * 999_000] * 6))
    assert [len(call) for call in busy.calls] == [5, 1]
    put_all(busy, *some("a"), Event("other", "key", b"b"))
    assert busy.calls[2:] == [[b"a"], [b"b"]]
    assert source._PUT_BYTES < 5 * 1024 * 1024
