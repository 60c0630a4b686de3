"""The simulator does what the Lambda developer guide says; each part names its page."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.lambda_bench import event_source
from tests.lambda_bench.event_source import (
    EventSource,
    FunctionError,
    Held,
    Settings,
    Shard,
    ThrottledError,
    failed_batch,
    meaning,
)

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/calls/stream/2026-01-05T08:00:00.000"
OK: dict[str, Any] = {"batchItemFailures": []}

Function = Callable[[list[int]], Any]
"""Called with the numbers of an event's records; what it returns or raises is the answer."""


def held(*numbers: int, key: str = "k", arrived: float = 0, size: int = 0) -> list[Held]:
    return [Held(str(n), key, arrived, {"n": n, "pad": "x" * size}) for n in numbers]


def failing(*numbers: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": str(number)} for number in numbers]}


class Played:
    """A mapping that has run to its end: what was delivered, and what went to the destination."""

    def __init__(
        self,
        function: Function,
        shards: list[Shard],
        *,
        destination: bool = True,
        text: bool = True,
        starts_anew: float = 0,
        most_turns: int = 10_000,
        **settings: Any,
    ) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.source = EventSource(
            ARN,
            shards,
            Settings(**settings),
            lambda event: function([record["n"] for record in event["Records"]]),
            put=self._put if destination else None,
            payload_as_text=text,
            starts_anew=starts_anew,
        )
        self.source.run(most_turns)

    def _put(self, key: str, body: bytes) -> None:
        self.objects[key] = json.loads(body)

    @property
    def delivered(self) -> list[list[int]]:
        return [[int(n) for n in one.sequences] for one in self.source.deliveries]

    @property
    def times(self) -> list[float]:
        return [one.at for one in self.source.deliveries]

    @property
    def discarded(self) -> list[list[int]]:
        return [[r["n"] for r in json.loads(one["payload"])["Records"]] for one in self.objects.values()]


def one_shard(*records: Held) -> list[Shard]:
    return [Shard("s", (), list(records))]


def fails_with(*poison: int) -> Function:
    """Raises if it is given one of these."""

    def function(numbers: list[int]) -> Any:
        if {*numbers} & {*poison}:
            raise FunctionError("poison")
        return OK

    return function


def reports(*poison: int) -> Function:
    """Handles what stands before the first of these, and reports that."""
    return lambda numbers: failing(*[n for n in numbers if n in poison][:1])


# --- batches: with-ddb, "Polling and batching streams" -------------------------------------------------


def test_a_batch_is_full_by_number() -> None:
    played = Played(lambda _: OK, one_shard(*held(*range(7))), batch_size=3)
    assert played.delivered == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_batch_is_full_by_bytes() -> None:
    played = Played(lambda _: OK, one_shard(*held(*range(5), size=3_000_000)), batch_size=100)
    assert played.delivered == [[0, 1], [2, 3], [4]]


def test_without_a_window_a_batch_holds_what_has_arrived() -> None:
    records = [*held(0, 1, arrived=10), *held(2, arrived=10.1), *held(3, arrived=30)]
    played = Played(lambda _: OK, one_shard(*records))
    assert played.delivered == [[0, 1], [2], [3]]
    assert played.times == [10, 10.5, 30]  # the second waits for the invocation under way


def test_a_window_gathers_until_it_ends_or_the_batch_is_full() -> None:
    records = [*held(0, arrived=10), *held(1, arrived=14), *held(2, arrived=16), *held(3, 4, arrived=17)]
    played = Played(lambda _: OK, one_shard(*records), batching_window=5, batch_size=3)
    assert played.delivered == [[0, 1], [2, 3, 4]]
    assert played.times == [15, 17]


# --- answers: services-ddb-batchfailurereporting, "Success and failure conditions" ----------------------


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_these_answers_are_complete_success(answer: Any) -> None:
    assert meaning(answer, ["1", "2"]) == "ok"


@pytest.mark.parametrize(
    "failures",
    [
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"identifier": "2"}],
        [{"itemIdentifier": "99"}],
        [{"itemIdentifier": "2"}, {"itemIdentifier": ""}],
        [{}],
    ],
)
def test_these_answers_are_complete_failure(failures: Any) -> None:
    assert meaning({"batchItemFailures": failures}, ["1", "2"]) == "failed"


def test_of_several_identifiers_the_lowest_is_the_checkpoint() -> None:
    assert meaning(failing(3, 2), ["1", "2", "3"]) == 1
    answers = iter([failing(4, 2), OK])
    played = Played(lambda _: next(answers), one_shard(*held(*range(6))))
    assert played.delivered == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5]]


def test_without_the_setting_a_partial_answer_is_success() -> None:
    # "these responses will not be processed by Lambda unless the feature is explicitly turned on"
    played = Played(reports(1), one_shard(*held(0, 1, 2)), report_failures=False)
    assert played.delivered == [[0, 1, 2]]


# --- splitting: the same page, "Bisecting a batch"; services-dynamodb-errors ----------------------------


def test_a_batch_that_fails_is_split_in_two_in_order() -> None:
    played = Played(fails_with(2), one_shard(*held(*range(4))), bisect=True, maximum_retry_attempts=0)
    assert played.delivered == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    assert played.discarded == [[2]]


def test_splitting_does_not_consume_the_retries() -> None:
    played = Played(fails_with(2), one_shard(*held(*range(4))), bisect=True, maximum_retry_attempts=1)
    assert played.delivered == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [2], [3]]


def test_a_partial_answer_splits_at_the_number_that_it_names() -> None:
    answers = iter([failing(3), OK])
    played = Played(
        lambda _: next(answers), one_shard(*held(*range(5))), bisect=True, maximum_retry_attempts=0
    )
    assert played.delivered == [[0, 1, 2, 3, 4], [3, 4]]
    assert played.discarded == []


def test_partial_answers_and_splitting_together_give_up_one_record() -> None:
    played = Played(reports(2), one_shard(*held(*range(6))), bisect=True, maximum_retry_attempts=2)
    assert played.discarded == [[2]]


def test_partial_answers_alone_give_up_what_is_behind_too() -> None:
    played = Played(reports(2), one_shard(*held(*range(6))), maximum_retry_attempts=2)
    assert played.discarded == [[2, 3, 4, 5]]


# --- giving up: services-dynamodb-errors, kinesis-on-failure-destination --------------------------------


def test_retries_run_out_and_the_shard_goes_on() -> None:
    played = Played(fails_with(1), one_shard(*held(*range(4))), batch_size=2, maximum_retry_attempts=2)
    assert played.delivered == [[0, 1], [0, 1], [0, 1], [2, 3]]
    (told,) = played.objects.values()
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 3


def test_without_end_it_is_tried_until_the_record_is_too_old() -> None:
    played = Played(fails_with(0), one_shard(*held(0)), maximum_record_age=3600)
    (told,) = played.objects.values()
    assert told["requestContext"]["condition"] == "RecordAgeExceeded"
    assert len(played.delivered) > 30
    assert max(played.times) <= 3600


def test_records_that_are_too_old_are_not_tried() -> None:
    # The next batch waits until the first is given up; its own records are too old by then.
    records = [*held(0, 1, arrived=0), *held(2, arrived=100_000)]
    played = Played(fails_with(0), one_shard(*records), batch_size=1, maximum_record_age=60)
    assert [1] not in played.delivered
    assert played.delivered[-1] == [2]
    assert played.discarded == [[0], [1]]


def test_throttling_is_no_attempt() -> None:
    refusals = iter([True, True, True, False])

    def function(_: list[int]) -> Any:
        if next(refusals):
            raise ThrottledError
        return OK

    played = Played(function, one_shard(*held(0)), maximum_retry_attempts=0)
    assert [one.outcome for one in played.source.deliveries] == ["throttled"] * 3 + ["ok"]
    assert played.objects == {}


def test_without_a_destination_what_is_given_up_is_lost() -> None:
    played = Played(fails_with(0), one_shard(*held(0, 1)), destination=False, maximum_retry_attempts=0)
    assert [one.sequence for one in played.source.lost] == ["0", "1"]


def test_a_stream_drops_its_records_after_a_day() -> None:
    # DynamoDB developer guide, "Change data capture for DynamoDB Streams": 24 hours.
    played = Played(fails_with(0), one_shard(*held(0)))
    assert [one.sequence for one in played.source.lost] == ["0"]
    assert 86_000 < max(played.times) <= event_source.RETENTION_SECONDS


def test_what_is_given_up_lies_where_the_guide_says() -> None:
    played = Played(fails_with(7), one_shard(*held(7, arrived=90_061)), maximum_retry_attempts=0)
    ((key, told),) = played.objects.items()
    identity = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(rf"aws/lambda/{identity}/s/1970/01/02/1970-01-02T01\.01\.01-{identity}", key)
    assert told["DDBStreamBatchInfo"] == {
        "shardId": "s",
        "startSequenceNumber": "7",
        "endSequenceNumber": "7",
        "approximateArrivalOfFirstRecord": "1970-01-02T01:01:01.000Z",
        "approximateArrivalOfLastRecord": "1970-01-02T01:01:01.000Z",
        "batchSize": 1,
        "streamArn": ARN,
    }
    assert json.loads(told["payload"]) == {"Records": [{"n": 7, "pad": ""}]}


def test_of_a_kinesis_stream_the_member_has_another_name_and_the_payload_may_be_an_object() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/events"
    told = failed_batch(arn, "s", held(1, 2), "RecordAgeExceeded", 0, 5.25, as_text=False)
    assert told["KinesisBatchInfo"]["batchSize"] == 2
    assert told["timestamp"] == "1970-01-01T00:00:05.250Z"
    assert [record["n"] for record in told["payload"]["Records"]] == [1, 2]


# --- shards: with-kinesis, services-kinesis-create; DynamoDB, "Reading and processing a stream" ----------


def test_shards_are_read_side_by_side() -> None:
    shards = [
        Shard(name, (), [*held(n, arrived=0), *held(n + 1, arrived=5)]) for name, n in (("a", 0), ("b", 10))
    ]
    played = Played(lambda _: OK, shards, batch_size=1)
    assert {tuple(one) for one in played.delivered[:2]} == {(0,), (10,)}
    assert {tuple(one) for one in played.delivered[2:]} == {(1,), (11,)}


def test_a_shard_that_fails_does_not_hold_up_another() -> None:
    shards = [Shard("a", (), held(0)), Shard("b", (), held(1, arrived=50))]
    played = Played(fails_with(0), shards, maximum_record_age=3600)
    at = {tuple(one): time for one, time in zip(played.delivered, played.times, strict=True)}
    assert at[1,] == 50


def test_children_are_read_after_all_of_their_parents() -> None:
    shards = [
        Shard("child", ("a", "b"), held(100, arrived=500)),
        Shard("grandchild", ("child",), held(200, arrived=400)),
        Shard("a", (), held(0, 1)),
        Shard("b", (), held(10)),
    ]
    played = Played(fails_with(10), shards, maximum_record_age=600, batch_size=1)
    order = [numbers[0] for numbers in played.delivered if numbers != [10]]
    assert order == [0, 1, 100, 200]
    assert played.times[-1] > 600  # when b's record was given up at last


def test_batches_of_a_shard_go_side_by_side_in_order_of_each_key() -> None:
    keys = [f"k{n % 6}" for n in range(60)]
    records = [Held(str(n), key, 0, {"n": n}) for n, key in enumerate(keys)]
    rng = random.Random(5)

    def function(numbers: list[int]) -> Any:
        if rng.random() < 0.3:
            raise FunctionError("now and then")
        return OK

    played = Played(function, one_shard(*records), parallelization=3, batch_size=4)
    done: dict[str, list[int]] = {}
    for one in played.source.deliveries:
        if one.outcome == "ok":
            for number in map(int, one.sequences):
                done.setdefault(keys[number], []).append(number)
    assert sorted(number for numbers in done.values() for number in numbers) == list(range(60))
    assert all(numbers == sorted(numbers) for numbers in done.values())
    # Side by side: the whole does not come in the order of the shard.
    flat = [int(n) for one in played.source.deliveries for n in one.sequences]
    assert flat != sorted(flat)


def test_an_invocation_whose_answer_is_lost_comes_again() -> None:
    # with-ddb: "Event source mappings process each event at least once".
    answered = iter([False, True])

    def function(_: list[int]) -> Any:
        if not next(answered):
            raise FunctionError("its answer was lost")
        return OK

    assert Played(function, one_shard(*held(0, 1))).delivered == [[0, 1], [0, 1]]


def test_a_mapping_that_starts_anew_delivers_again_from_its_checkpoint_and_cuts_anew() -> None:
    # The same sentence: another poller takes over where the last checkpoint was written.
    records = [Held(str(n), "k", n / 2, {"n": n}) for n in range(200)]
    rng = random.Random(3)

    def function(_: list[int]) -> Any:
        if rng.random() < 0.3:
            raise FunctionError("now and then")
        return OK

    played = Played(function, one_shard(*records), bisect=True, starts_anew=0.3)
    handled = [int(n) for one in played.source.deliveries if one.outcome == "ok" for n in one.sequences]
    assert {*handled} == {*range(200)}
    assert len(handled) > 200
    begun: dict[int, int] = {}
    grown = 0
    for numbers in played.delivered:
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        grown += len(numbers) > begun.get(numbers[0], len(numbers))
        begun[numbers[0]] = len(numbers)
    assert grown > 3  # what came before in a smaller batch


def test_it_does_not_go_on_for_ever() -> None:
    with pytest.raises(AssertionError, match="3 turns"):
        Played(lambda _: OK, one_shard(*held(*range(9))), batch_size=1, most_turns=3)
