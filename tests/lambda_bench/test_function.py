"""The function under the real runtime client: how it answers, raises, dies, and meets each fault of S3."""

from __future__ import annotations

import json
import os
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lambda_bench.event_source import FunctionError
from tests.lambda_bench.faulty_s3 import FAULTS, Fault
from tests.lambda_bench.function import HANDLER, LAMBDA, Function
from tests.lambda_bench.runs import LANDING, Bench, Run, look, problems
from tests.lambda_bench.traffic import Kind, Traffic, traffic
from tests.local.support import assert_listens_on_loopback_alone

DONE: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture
def sent() -> Traffic:
    return sample("dynamodb")


def sample(kind: Kind, records: int = 6) -> Traffic:
    """A stream of its own for each test."""
    rng = random.Random(4)
    return traffic(rng, kind, f"one-{uuid.uuid4().hex[:8]}", records)


def event(sent: Traffic) -> dict[str, Any]:
    return {"Records": [record.body for shard in sent.shards for record in shard.records]}


def numbers(sent: Traffic) -> list[str]:
    return [record.sequence for shard in sent.shards for record in shard.records]


def left(bench: Bench, sent: Traffic) -> tuple[list[str], dict[str, bytes]]:
    """What is not as it has to be, and the objects that there are."""
    found = look(bench, Run(0, random.Random(0), sent, settings=None))  # type: ignore[arg-type]
    return problems(Run(0, random.Random(0), sent, settings=None), found, redriven=True), found.bodies  # type: ignore[arg-type]


@pytest.fixture
def faults(bench: Bench) -> Iterator[list[Fault | None]]:
    """What befalls the next puts, in order."""
    script: list[Fault | None] = []
    bench.faulty.plan = lambda key: script.pop(0) if script else None
    yield script
    bench.faulty.plan = lambda key: None


def test_the_handler_is_the_one_of_the_template() -> None:
    assert f"Handler: {HANDLER}\n" in (LAMBDA / "template.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["dynamodb", "kinesis"])
def test_an_event_lands_and_again_lands_nothing_new(bench: Bench, kind: Kind) -> None:
    sent = sample(kind, 20)
    function = bench.functions[1]
    assert function(event(sent)) == DONE
    wrong, objects = left(bench, sent)
    assert wrong == []
    assert function(event(sent)) == DONE
    assert left(bench, sent) == ([], objects)


def test_its_metrics_name_the_function(bench: Bench, sent: Traffic) -> None:
    function = bench.functions[1]
    function(event(sent))
    lines = [json.loads(text) for text in function.log.read_text().splitlines() if sent.source in text]
    assert [(line["FunctionName"], line["Records"]) for line in lines] == [("change-writer", 6)]


def test_what_it_raises_is_told_by_its_type(bench: Bench) -> None:
    function = bench.functions[1]
    starts = function.starts
    with pytest.raises(FunctionError, match="NotAStreamEventError: Not a stream event"):
        function({"Records": [{"eventSource": "aws:sqs"}]})
    assert function(event(sample("dynamodb"))) == DONE
    assert function.starts == max(starts, 1)  # an error does not end the process


def test_a_function_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Function({}, tmp_path) as function, pytest.raises(FunctionError, match="S3_BUCKET is not set"):
        function(event(sample("dynamodb")))


def test_everything_listens_on_this_machine_alone(bench: Bench, sent: Traffic) -> None:
    bench.functions[0](event(sent))
    assert_listens_on_loopback_alone(os.getpid())


# --- one fault after the other -------------------------------------------------------------------------

TRIED_AGAIN_BY_NOBODY = {"forbidden", "killed"}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in TRIED_AGAIN_BY_NOBODY])
def test_one_fault_is_got_over_and_every_record_lands_once(
    bench: Bench, sent: Traffic, faults: list[Fault | None], fault: Fault
) -> None:
    faults.append(fault)
    before = bench.faulty.counts[fault]
    assert bench.functions[1](event(sent)) == DONE
    assert bench.faulty.counts[fault] == before + 1
    wrong, objects = left(bench, sent)
    assert wrong == []
    assert faults == []
    landed = [key for key in objects if "_quarantine" not in key]
    assert len(landed) == 1


def test_what_s3_refuses_is_named_from_its_first_record_on(
    bench: Bench, sent: Traffic, faults: list[Fault | None]
) -> None:
    faults += [None, "forbidden"]
    answer = bench.functions[0](event(sent))  # 4 records an object
    assert answer == {"batchItemFailures": [{"itemIdentifier": numbers(sent)[4]}]}
    wrong, objects = left(bench, sent)
    assert len(objects) == 1
    assert len(wrong) == 2
    assert bench.functions[0](event(sent)) == DONE
    assert left(bench, sent)[0] == []


@pytest.mark.parametrize("fault", ["slow down", "internal error", "conflict", "closed before", "no answer"])
def test_an_s3_that_stays_away_fails_the_batch_and_nothing_is_claimed(
    bench: Bench, sent: Traffic, faults: list[Fault | None], fault: Fault
) -> None:
    faults += [fault] * 30
    answer = bench.functions[1](event(sent))
    assert answer == {"batchItemFailures": [{"itemIdentifier": numbers(sent)[0]}]}
    assert len(faults) < 30
    faults.clear()
    assert left(bench, sent)[1] == {}
    assert bench.functions[1](event(sent)) == DONE
    assert left(bench, sent)[0] == []


def test_a_function_that_is_killed_after_a_put_lands_the_rest_when_it_is_asked_again(
    bench: Bench, sent: Traffic, faults: list[Fault | None]
) -> None:
    function = bench.functions[0]
    function(event(sample("dynamodb")))  # so that it runs
    bench.faulty.on_kill = function.kill
    faults.append("killed")
    starts = function.starts
    with pytest.raises(FunctionError, match=re.escape("Runtime.ExitError")):
        function(event(sent))
    _, objects = left(bench, sent)
    assert len(objects) == 1  # stored, though nobody was told
    assert function(event(sent)) == DONE
    assert function.starts == starts + 1
    wrong, after = left(bench, sent)
    assert wrong == []
    assert {key: after[key] for key in objects} == objects


def test_an_object_that_is_there_is_never_written_again(bench: Bench, sent: Traffic) -> None:
    function = bench.functions[1]
    function(event(sent))
    s3 = bench.aws.client("s3")
    (key, *_) = left(bench, sent)[1]
    s3.put_object(Bucket=LANDING, Key=key, Body=b"somebody else's")
    assert function(event(sent)) == DONE
    assert s3.get_object(Bucket=LANDING, Key=key)["Body"].read() == b"somebody else's"
