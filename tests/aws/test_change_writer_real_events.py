"""The change writer and the sample events that AWS and its tools publish."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_support import REAL_EVENTS, Landing

from change_writer.errors import NotAStreamEventError, UnsupportedStreamViewError
from change_writer.handler import lambda_handler

pytestmark = pytest.mark.skipif(
    not REAL_EVENTS.is_dir(), reason="the sample events are not beside the repository"
)
DONE: dict[str, Any] = {"batchItemFailures": []}
LABEL = "2016-12-01T00:00:00.000"


def text_of(name: str) -> str:
    return (REAL_EVENTS / f"{name}.json").read_text(encoding="utf-8")


def event_of(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(text_of(name))
    return event


TESTED = {
    "aws-lambda-go.dynamodb-event",
    "aws-lambda-go.dynamodb-event-malformed.2",
    "aws-lambda-go.dynamodb-time-window-event",
    "aws-lambda-rust.ddb-to-kinesis-record-optional-fields",
    "composed.ttl-remove",
    "lambda-dev-guide.dynamodb-record",
    "localstack.ddb_to_kinesis_destination_record",
    "localstack.esm_insert_modify_lambda_event",
    "localstack.keys_only_view",
    "localstack.update_item_noop_suppressed",
    "powertools-python.dynamoStreamEvent",
    "sam-cli.DynamoDBUpdate.template",
}


def test_every_sample_file_is_tested_here() -> None:
    assert {path.name.removesuffix(".json") for path in REAL_EVENTS.glob("*.json")} == TESTED


def test_the_sample_of_aws_lambda_go_lands_with_every_type(landing: Landing) -> None:
    assert lambda_handler(event_of("aws-lambda-go.dynamodb-event"), None) == DONE
    assert [key.rsplit("/", 1)[0] for key in landing.object_keys()] == [
        "landing/Example-Table/dt=2016-12-02/HH=01"
    ]
    first, second = landing.all_lines("")
    assert first == {
        "_eventID": "f07f8ca4b0b26cb9c4e5e77e69f274ee",
        "_eventName": "INSERT",
        "_sequence": f"{LABEL}/0000000000000001405400000000002063282832",
        "_approxStreamTs": 1_480_642_020_000,
        "_ingestTs": first["_ingestTs"],
        "is_deleted": False,
        "updated_at": 1_480_642_020_000,
        "key": "binary",
        "val": "data",
        "asdf1": "AAEqQQ==",
        "asdf2": ["AAEqQQ==", "QSoBAA=="],
    }
    expected = {
        "b2": "test",
        "BinarySet": ["AAEqQQ==", "AAEqQQ=="],
        "Boolean": True,
        "List": ["Cookies", "Coffee", 3.14159],
        "Map": {"Name": "Joe", "Age": 35},
        "FloatNumber": 123.45,
        "IntegerNumber": 123,
        "NumberSet": [567.8, 1234],
        "Null": None,
        "String": "Hello",
        "StringSet": ["Giraffe", "Zebra"],
        "EmptyStringSet": [],
    }
    assert {name: second[name] for name in expected} == expected


def test_the_sample_of_an_expiry_lands_as_a_ttl_tombstone(landing: Landing) -> None:
    assert lambda_handler(event_of("composed.ttl-remove"), None) == DONE
    (row,) = landing.all_lines("landing/Example-Table/dt=2016-12-02/HH=01/")
    assert row == {
        "_eventID": "3",
        "_eventName": "REMOVE",
        "_sequence": f"{LABEL}/0000000000000001405400000000002063282833",
        "_approxStreamTs": 1_480_642_020_000,
        "_ingestTs": row["_ingestTs"],
        "is_deleted": True,
        "_deleteKind": "ttl",
        "updated_at": 1_480_642_020_000,
        "Id": 101,
    }


def events_in(name: str) -> list[dict[str, Any]]:
    """The events of a sample file, those that a recording holds included."""
    content = event_of(name)
    if name == "localstack.esm_insert_modify_lambda_event":
        return list(content["lambda-multiple-log-events"])
    if name == "localstack.update_item_noop_suppressed":
        return [content["get-records"]]
    return [content]


@pytest.mark.parametrize(
    ("name", "folder", "event_ids"),
    [
        ("aws-lambda-go.dynamodb-time-window-event", "dt=2016-12-02/HH=01", ["1", "2", "3"]),
        ("lambda-dev-guide.dynamodb-record", "dt=1970-01-01/HH=00", ["1", "2"]),
        ("powertools-python.dynamoStreamEvent", "dt=2023-09-06/HH=10", ["1", "2"]),
        (
            "sam-cli.DynamoDBUpdate.template",
            "dt=2015-04-09/HH=00",
            [
                "c4ca4238a0b923820dcc509a6f75849b",
                "c81e728d9d4c2f636f067f89cc14862c",
                "eccbc87e4b5ce2fe28308fd9f2a7baf3",
            ],
        ),
        (
            "localstack.esm_insert_modify_lambda_event",
            "dt=1970-01-01/HH=00",
            ["<event-i-d:1>", "<event-i-d:2>"],
        ),
        (
            "localstack.update_item_noop_suppressed",
            "dt=1970-01-01/HH=00",
            ["<event-i-d:1>", "<event-i-d:2>"],
        ),
    ],
)
def test_records_with_made_up_stream_arns_are_quarantined_whole(
    landing: Landing, name: str, folder: str, event_ids: list[str]
) -> None:
    events = events_in(name)
    for event in events:
        assert lambda_handler(event, None) == DONE
    assert {key.rsplit("/", 1)[0] for key in landing.object_keys()} == {
        f"landing/_quarantine/unknown/{folder}"
    }
    rows = sorted(landing.all_lines(""), key=lambda row: str(row["eventID"]))
    assert [row["reason"] for row in rows] == ["bad_stream_arn"] * len(event_ids)
    assert [row["eventID"] for row in rows] == event_ids
    assert [row["record"] for row in rows] == [record for event in events for record in event["Records"]]


def test_the_sample_of_keys_only_is_refused(landing: Landing) -> None:
    with pytest.raises(UnsupportedStreamViewError, match="view type KEYS_ONLY"):
        lambda_handler(event_of("localstack.keys_only_view")["get-records"], None)
    assert landing.object_keys() == []


@pytest.mark.parametrize(
    "name",
    [
        "aws-lambda-rust.ddb-to-kinesis-record-optional-fields",
        "localstack.ddb_to_kinesis_destination_record",
        "localstack.esm_insert_modify_lambda_event",
        "localstack.keys_only_view",
        "localstack.update_item_noop_suppressed",
    ],
)
def test_what_is_no_lambda_event_is_refused(landing: Landing, name: str) -> None:
    with pytest.raises(NotAStreamEventError, match="no list of Records"):
        lambda_handler(event_of(name), None)
    assert landing.object_keys() == []


def test_the_malformed_sample_is_not_json_and_refused_as_text(landing: Landing) -> None:
    text = text_of("aws-lambda-go.dynamodb-event-malformed.2")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(NotAStreamEventError, match="of type str"):
        lambda_handler(text, None)
    assert landing.object_keys() == []
