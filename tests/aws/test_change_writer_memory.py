"""An invocation takes no more records than its memory holds, and names the first that it has left."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
from typing import Any

import pytest
from aws_support import Landing, load_event

from change_writer import handler
from change_writer.encode import Names
from change_writer.handler import STREAM_KINDS, lambda_handler, make_plan
from change_writer.settings import parse_settings

MB = 1024 * 1024


def record(number: int, data: bytes) -> dict[str, Any]:
    return {
        "kinesis": {
            "partitionKey": "p",
            "sequenceNumber": str(number),
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": 1_767_870_000,
        },
        "eventSource": "aws:kinesis",
        "eventID": f"shardId-000000000000:{number}",
        "eventName": "aws:kinesis:record",
        "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
    }


@pytest.mark.parametrize(
    ("characters", "taken", "most"),
    [
        pytest.param("x" * 8 * MB, 8, 192 * MB, id="a byte each"),
        pytest.param("x" * (12 * MB - 100) + "\U0001d11e", 6, 400 * MB, id="four bytes each"),
    ],
)
def test_a_batch_of_small_gzips_stays_within_memory(characters: str, taken: int, most: int) -> None:
    """30 records of a few kB, which hold hundreds of MB. The function has 512."""
    data = gzip.compress(json.dumps({"text": characters}, ensure_ascii=False).encode())
    records = [record(n, data) for n in range(30)]
    tracemalloc.start()
    try:
        plan = make_plan(STREAM_KINDS["aws:kinesis"], records, parse_settings({"S3_BUCKET": "bucket"}), 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plan.left == taken
    assert sum(one.lines for one in plan.objects) == taken
    assert not plan.quarantined
    assert peak < most


def test_names_are_kept_for_the_next_event_only_while_they_are_short() -> None:
    names = Names()
    tracemalloc.start()
    try:
        for number in range(2000):
            assert names[f"{number}" * 5000].endswith('":')
            assert names[f"{number}"] == f'"{number}":'
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(names) == 2000
    assert now < MB


def test_every_event_that_is_no_gzip_is_taken_whole() -> None:
    """6 MB of the plainest records: what Lambda hands over at once is far from enough."""
    (first, *_) = load_event("calls-changes")["Records"]
    count = 6 * MB // len(json.dumps(first))
    assert count > 5_000
    plan = make_plan(
        STREAM_KINDS["aws:dynamodb"], [first] * count, parse_settings({"S3_BUCKET": "bucket"}), 0
    )
    assert plan.left is None


def test_what_was_left_comes_again_until_all_has_landed(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "ENOUGH_BYTES", 1000)
    records = [record(n, json.dumps({"text": "x" * 400, "n": n}).encode()) for n in range(7)]
    records[3]["kinesis"]["data"] = "no base64 " * 100  # quarantined records count too
    deliveries = []
    for _ in range(10):
        deliveries.append(len(records))
        failures = lambda_handler({"Records": records}, None)["batchItemFailures"]
        if not failures:
            break
        numbers = [one["kinesis"]["sequenceNumber"] for one in records]
        records = records[numbers.index(failures[0]["itemIdentifier"]) :]
    assert deliveries == [7, 5, 3, 1]
    assert sorted(line["n"] for line in landing.all_lines("landing/events/")) == [0, 1, 2, 4, 5, 6]
    assert len(landing.all_lines("landing/_quarantine/events/")) == 1


def test_it_does_not_stop_before_a_record_that_cannot_be_named(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "ENOUGH_BYTES", 1)
    records = [record(n, b"{}") for n in range(3)]
    records[1]["kinesis"]["sequenceNumber"] = None
    assert lambda_handler({"Records": records}, None) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert len(landing.all_lines("landing/_quarantine/events/")) == 1
