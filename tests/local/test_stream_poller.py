"""The poller against a DynamoDB table; against a scripted stream for what the local AWS lacks."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from tests.local.support import StreamedTable

from lakehouse.errors import StreamError
from lakehouse.local import poller
from lakehouse.local.aws import LocalAws
from lakehouse.local.lambda_event import to_lambda_record
from lakehouse.local.poller import DeliveryError, PumpResult, StreamPoller


class Recorder:
    """A handler that keeps what it is given, and answers as it is told (then with success)."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.events: list[list[dict[str, Any]]] = []

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(copy.deepcopy(event["Records"]))
        assert context.aws_request_id
        assert context.get_remaining_time_in_millis() > 0
        event["Records"].clear()  # a handler may do what it likes with its copy
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer(self.events[-1]) if callable(answer) else answer

    @property
    def batches(self) -> list[list[str]]:
        return [[record["dynamodb"]["Keys"]["id"]["S"] for record in event] for event in self.events]


def report(*positions: int) -> Any:
    """Answer with the sequence numbers at these positions of the batch."""
    return lambda records: {
        "batchItemFailures": [
            {"itemIdentifier": records[position]["dynamodb"]["SequenceNumber"]} for position in positions
        ]
    }


def no_sleep(seconds: float) -> None:
    pass


def test_every_change_arrives_once_and_in_order(aws: LocalAws, table: StreamedTable) -> None:
    handler = Recorder()
    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, batch_size=2)
    assert reader.pump() == PumpResult(records=0, batches=0, retries=0)
    table.put("a", "b", "c", "d", "e")
    assert reader.pump() == PumpResult(records=5, batches=3, retries=0)
    assert handler.batches == [["a", "b"], ["c", "d"], ["e"]]
    table.put("f")
    assert reader.pump() == PumpResult(records=1, batches=1, retries=0)
    assert reader.pump() == PumpResult(records=0, batches=0, retries=0)
    assert handler.batches[3:] == [["f"]]


def test_a_batch_may_be_larger_than_a_page(
    aws: LocalAws, table: StreamedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "_PAGE", 2)
    table.put("a", "b", "c", "d", "e")
    handler = Recorder()
    StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, batch_size=4).pump()
    assert handler.batches == [["a", "b", "c", "d"], ["e"]]


def test_an_event_holds_at_most_six_megabytes(aws: LocalAws, table: StreamedTable) -> None:
    for number in range(10):
        table.client.put_item(
            TableName=table.name, Item={"id": {"S": str(number)}, "text": {"S": "ü" * 190_000}}
        )
    for number in range(10):  # the old image too: 760 KB a record
        table.client.put_item(
            TableName=table.name, Item={"id": {"S": str(number)}, "text": {"S": "ä" * 190_000}}
        )
    handler = Recorder()
    result = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler).pump()
    assert result.records == 20
    assert [len(batch) for batch in handler.batches] == [13, 7]
    for event in handler.events:
        text = poller._json({"Records": event})
        assert len(text.encode()) <= poller.MAX_EVENT_BYTES


def test_an_event_has_the_form_that_lambda_sends(aws: LocalAws, table: StreamedTable) -> None:
    item = {
        "id": {"S": "a"},
        "binary": {"B": b"\x00\xff"},
        "binaries": {"BS": [b"one", b"two"]},
        "number": {"N": "12345678901234567890.123456789"},
        "nested": {"M": {"list": {"L": [{"B": b"deep"}, {"NULL": True}, {"BOOL": False}]}}},
        "texts": {"SS": ["x", "y"]},
    }
    table.client.put_item(TableName=table.name, Item=item)
    table.client.delete_item(TableName=table.name, Key={"id": {"S": "a"}})
    handler = Recorder()
    before = int(datetime.now(UTC).timestamp()) - 60
    StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler).pump()
    insert, remove = handler.events[0]
    assert set(insert) == {
        "eventID",
        "eventName",
        "eventVersion",
        "eventSource",
        "awsRegion",
        "dynamodb",
        "eventSourceARN",
    }
    assert insert["eventSource"] == "aws:dynamodb"
    assert insert["awsRegion"] == "us-east-1"
    assert insert["eventSourceARN"] == table.stream_arn
    assert (insert["eventName"], remove["eventName"]) == ("INSERT", "REMOVE")
    change = insert["dynamodb"]
    assert isinstance(change["ApproximateCreationDateTime"], int)
    assert change["ApproximateCreationDateTime"] >= before
    assert change["Keys"] == {"id": {"S": "a"}}
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert isinstance(change["SizeBytes"], int)
    assert "OldImage" not in change
    image = change["NewImage"]
    assert image["binary"] == {"B": base64.b64encode(b"\x00\xff").decode()}
    assert image["binaries"] == {"BS": ["b25l", "dHdv"]}
    assert image["number"] == {"N": "12345678901234567890.123456789"}
    assert image["nested"]["M"]["list"]["L"] == [{"B": "ZGVlcA=="}, {"NULL": True}, {"BOOL": False}]
    assert sorted(image["texts"]["SS"]) == ["x", "y"]
    assert remove["dynamodb"]["OldImage"] == image
    assert "NewImage" not in remove["dynamodb"]
    assert remove["dynamodb"]["SequenceNumber"] > change["SequenceNumber"]


def test_an_expiry_keeps_its_user_identity_in_lambdas_spelling() -> None:
    record = {
        "eventID": "1",
        "eventName": "REMOVE",
        "userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"},
        "dynamodb": {"ApproximateCreationDateTime": datetime(2026, 1, 2, tzinfo=UTC), "Keys": {}},
    }
    converted = to_lambda_record(record, "arn")
    assert converted["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert converted["dynamodb"]["ApproximateCreationDateTime"] == 1767312000


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_an_empty_answer_is_success(aws: LocalAws, table: StreamedTable, answer: Any) -> None:
    table.put("a", "b")
    handler = Recorder(answer)
    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, sleep=no_sleep)
    assert reader.pump() == PumpResult(records=2, batches=1, retries=0)


def test_delivery_starts_again_at_the_lowest_number_that_was_reported(
    aws: LocalAws, table: StreamedTable
) -> None:
    table.put("a", "b", "c", "d")
    handler = Recorder(report(3, 1), report(0), None)
    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, sleep=no_sleep)
    assert reader.pump() == PumpResult(records=4, batches=1, retries=2)
    assert handler.batches == [["a", "b", "c", "d"], ["b", "c", "d"], ["b", "c", "d"]]


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("no luck"),
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"identifier": "1"}]},
        {"batchItemFailures": [{"itemIdentifier": "1"}]},
        {"batchItemFailures": "1"},
        {"batchItemFailure": []},
        {"batchItemFailures": [{"itemIdentifier": datetime(2026, 1, 1, tzinfo=UTC)}]},
        "done",
    ],
)
def test_a_failure_or_a_bad_answer_delivers_the_whole_batch_again(
    aws: LocalAws, table: StreamedTable, answer: Any
) -> None:
    table.put("a", "b")
    handler = Recorder(answer)
    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, sleep=no_sleep)
    assert reader.pump() == PumpResult(records=2, batches=1, retries=1)
    assert handler.batches == [["a", "b"]] * 2


def test_a_batch_that_never_succeeds_stops_the_poller_and_is_not_dropped(
    aws: LocalAws, table: StreamedTable
) -> None:
    table.put("a", "b", "c", "d")
    pauses: list[float] = []
    handler = Recorder(None, *[ValueError("poison")] * 4)
    reader = StreamPoller(
        aws.client("dynamodbstreams"),
        table.stream_arn,
        handler,
        batch_size=2,
        max_attempts=4,
        sleep=pauses.append,
    )
    with pytest.raises(DeliveryError, match=r"failed 4 times on records .*: ValueError: poison") as raised:
        reader.pump()
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.attempts == 4
    assert pauses == [0.1, 0.2, 0.4]
    (checkpoint,) = reader.checkpoints.values()
    assert checkpoint == handler.events[0][1]["dynamodb"]["SequenceNumber"]
    assert reader.pump() == PumpResult(records=2, batches=1, retries=0)
    assert handler.batches == [["a", "b"], *[["c", "d"]] * 5]


def test_progress_starts_the_attempts_anew(aws: LocalAws, table: StreamedTable) -> None:
    table.put("a", "b", "c", "d")
    handler = Recorder(report(1), report(1), report(1))
    reader = StreamPoller(
        aws.client("dynamodbstreams"), table.stream_arn, handler, max_attempts=2, sleep=no_sleep
    )
    assert reader.pump() == PumpResult(records=4, batches=1, retries=3)
    assert handler.batches == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"], ["d"]]


def test_an_interruption_leaves_what_was_not_handled_for_the_next_call(
    aws: LocalAws, table: StreamedTable
) -> None:
    table.put("a", "b", "c")
    seen: list[str] = []

    def handler(event: dict[str, Any], context: Any) -> None:
        seen.append(event["Records"][0]["dynamodb"]["Keys"]["id"]["S"])
        if seen == ["a", "b"]:
            raise KeyboardInterrupt

    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        reader.pump()
    assert reader.pump().records == 2
    assert seen == ["a", "b", "b", "c"]


def test_a_stream_that_was_switched_off_is_read_to_its_end(aws: LocalAws, table: StreamedTable) -> None:
    handler = Recorder()
    reader = StreamPoller(aws.client("dynamodbstreams"), table.stream_arn, handler)
    table.put("a", "b")
    reader.pump()
    table.put("c")
    table.client.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    assert reader.pump().records == 1
    assert reader.pump().records == 0
    assert handler.batches == [["a", "b"], ["c"]]


@pytest.mark.parametrize(("batch_size", "max_attempts"), [(0, 5), (10_001, 5), (100, 0)])
def test_limits_are_checked_when_it_is_made(batch_size: int, max_attempts: int) -> None:
    client: Any = None
    with pytest.raises(ValueError, match=r"must be at least 1|Lambda takes 1 to 10000"):
        StreamPoller(client, "arn", print, batch_size=batch_size, max_attempts=max_attempts)


Shards = dict[str, tuple[str | None, bool, list[str]]]


class ScriptedStream:
    """The streams API over shards given as data: `{shard: (parent, closed, [sequence, …])}`, in that order.

    It lists one shard a page, and its iterators expire after `lives` uses.
    """

    exceptions = SimpleNamespace(
        ExpiredIteratorException=type("ExpiredIteratorException", (Exception,), {}),
        TrimmedDataAccessException=type("TrimmedDataAccessException", (Exception,), {}),
        ResourceNotFoundException=type("ResourceNotFoundException", (Exception,), {}),
    )

    def __init__(self, shards: Shards, lives: int = 1000) -> None:
        self.shards = shards
        self.lives = lives
        self.requests: list[tuple[str, str | None]] = []

    def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str | None = None) -> Any:  # noqa: N803
        names = list(self.shards)
        position = names.index(ExclusiveStartShardId) + 1 if ExclusiveStartShardId else 0
        shard: dict[str, Any] = {"ShardId": names[position]}
        if self.shards[names[position]][0]:
            shard["ParentShardId"] = self.shards[names[position]][0]
        page: dict[str, Any] = {"Shards": [shard]}
        if position + 1 < len(names):
            page["LastEvaluatedShardId"] = names[position]
        return {"StreamDescription": page}

    def get_shard_iterator(self, ShardId: str, SequenceNumber: str | None = None, **rest: str) -> Any:  # noqa: N803
        self.requests.append((rest["ShardIteratorType"], SequenceNumber))
        sequences = self.shards[ShardId][2]
        if SequenceNumber is not None and SequenceNumber not in sequences:
            raise self.exceptions.TrimmedDataAccessException("trimmed")
        position = sequences.index(SequenceNumber) + 1 if SequenceNumber else 0
        return {"ShardIterator": f"{ShardId}/{position}/{self.lives}"}

    def get_records(self, ShardIterator: str, Limit: int) -> Any:  # noqa: N803
        name, position, lives = ShardIterator.split("/")
        if lives == "0":
            raise self.exceptions.ExpiredIteratorException("expired")
        _, closed, sequences = self.shards[name]
        end = int(position) + Limit
        answer: dict[str, Any] = {
            "Records": [
                {"dynamodb": {"SequenceNumber": sequence, "Keys": {"id": {"S": sequence}}}}
                for sequence in sequences[int(position) : end]
            ]
        }
        if not (closed and end >= len(sequences)):
            answer["NextShardIterator"] = f"{name}/{min(end, len(sequences))}/{int(lives) - 1}"
        return answer


def test_a_parent_is_read_to_its_end_before_its_children() -> None:
    stream: Any = ScriptedStream(
        {
            "grandchild": ("child", False, ["5", "6"]),
            "child": ("parent", True, ["3", "4"]),
            "parent": ("gone", True, ["1", "2"]),
            "other": (None, False, ["9"]),
        }
    )
    handler = Recorder()
    reader = StreamPoller(stream, "arn", handler)
    assert reader.pump() == PumpResult(records=7, batches=4, retries=0)
    order = [sequence for batch in handler.batches for sequence in batch if sequence != "9"]
    assert order == ["1", "2", "3", "4", "5", "6"]


def test_the_children_of_an_open_shard_wait() -> None:
    shards: Shards = {"parent": (None, False, ["1"]), "child": ("parent", False, ["2"])}
    stream: Any = ScriptedStream(shards)
    handler = Recorder()
    reader = StreamPoller(stream, "arn", handler)
    reader.pump()
    assert handler.batches == [["1"]]
    shards["parent"] = (None, True, ["1"])
    reader.pump()
    assert handler.batches == [["1"], ["2"]]


def test_no_batch_holds_records_of_two_shards() -> None:
    stream: Any = ScriptedStream({"one": (None, False, ["1"]), "two": (None, False, ["2"])})
    handler = Recorder()
    StreamPoller(stream, "arn", handler).pump()
    assert handler.batches == [["1"], ["2"]]


def test_an_expired_iterator_is_renewed_behind_the_last_record_that_was_read() -> None:
    stream: Any = ScriptedStream({"one": (None, False, ["1", "2", "3"])}, lives=1)
    handler = Recorder()
    reader = StreamPoller(stream, "arn", handler, batch_size=1)
    assert reader.pump().records == 3
    assert handler.batches == [["1"], ["2"], ["3"]]
    assert stream.requests[:3] == [
        ("TRIM_HORIZON", None),
        ("AFTER_SEQUENCE_NUMBER", "1"),
        ("AFTER_SEQUENCE_NUMBER", "2"),
    ]


def test_records_that_have_left_the_stream_unread_are_an_error() -> None:
    shards: Shards = {"one": (None, False, ["1", "2"])}
    stream: Any = ScriptedStream(shards, lives=2)
    reader = StreamPoller(stream, "arn", Recorder())
    reader.pump()
    shards["one"] = (None, False, ["8", "9"])
    with pytest.raises(StreamError, match=r"shard one can no longer be read after 2 .* take a new snapshot"):
        reader.pump()
