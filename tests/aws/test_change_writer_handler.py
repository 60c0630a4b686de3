"""The handler against a local S3: what lands, what is quarantined, what is delivered again."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import re
from typing import Any

import boto3
import pytest
from aws_support import LAMBDA, Landing, load_event
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from change_writer import handler
from change_writer.encode import (
    ConvertedRecord,
    Metadata,
    canonical_json,
    change_record_line,
    object_name,
)
from change_writer.errors import (
    LandingError,
    NotAStreamEventError,
    SettingsError,
    UnsupportedStreamViewError,
)
from change_writer.handler import STREAM_KINDS, StreamKind, lambda_handler
from change_writer.landing import CONFLICT_ATTEMPTS, s3_client

DONE: dict[str, Any] = {"batchItemFailures": []}


def invoke(event: object) -> dict[str, list[dict[str, str]]]:
    return lambda_handler(event, None)


def summary(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one INFO line of the last invocation."""
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    fields: dict[str, Any] = json.loads(line)
    return fields


class _Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self) -> list[bytes]:
        return [self.data]


def answer(status: int, code: str) -> AWSResponse:
    body = f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    return AWSResponse("http://127.0.0.1", status, {"content-type": "application/xml"}, _Body(body))


class Faults:
    """Answers for the next puts: an AWSResponse, an exception, or None to let the put through."""

    def __init__(self) -> None:
        self.script: list[AWSResponse | Exception | None] = []
        self.keys: list[str] = []

    def __call__(self, request: Any, **_: Any) -> AWSResponse | None:
        self.keys.append(request.url)
        fault = self.script.pop(0) if self.script else None
        if isinstance(fault, Exception):
            raise fault
        return fault


@pytest.fixture
def faults(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults for the function's own client; pauses between retries are skipped."""
    script = Faults()
    s3_client().meta.events.register("before-send.s3.PutObject", script)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return script


# --- landing ----------------------------------------------------------------------------------------


def test_an_event_lands_as_one_object_of_its_source(landing: Landing) -> None:
    event = load_event("calls-changes")
    assert invoke(event) == DONE
    ids = [record["eventID"] for record in event["Records"]]
    key = f"landing/calls/dt=2026-01-08/HH=11/{object_name(ids)}.ndjson.gz"
    assert landing.object_keys() == [key]
    rows = landing.lines(key)
    assert [row["_eventID"] for row in rows] == ids
    assert [row["is_deleted"] for row in rows] == [False, False, False, True]


def test_an_object_is_ndjson_by_type_and_gzip_by_name_alone(landing: Landing) -> None:
    invoke(load_event("calls-changes"))
    head = landing.client.head_object(Bucket=landing.bucket, Key=landing.object_keys()[0])
    assert head["ContentType"] == "application/x-ndjson"
    assert "ContentEncoding" not in head or head["ContentEncoding"] == ""


def test_the_ingest_time_is_the_writer_s_clock(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("change_writer.handler.time.time_ns", lambda: 1_767_900_000_123_999_999)
    invoke(load_event("calls-expired"))
    assert landing.lines(landing.object_keys()[0])[0]["_ingestTs"] == 1_767_900_000_123


def test_a_redelivery_lands_nothing_new_and_succeeds(
    landing: Landing, caplog: pytest.LogCaptureFixture
) -> None:
    event = load_event("calls-changes")
    invoke(event)
    (key,) = landing.object_keys()
    before = landing.client.get_object(Bucket=landing.bucket, Key=key)["Body"].read()
    caplog.clear()
    assert invoke(event) == DONE
    assert landing.object_keys() == [key]
    assert landing.client.get_object(Bucket=landing.bucket, Key=key)["Body"].read() == before
    assert (summary(caplog)["objects"], summary(caplog)["already_there"]) == (1, 1)


def test_the_end_of_an_invocation_is_logged_in_counts(
    landing: Landing, caplog: pytest.LogCaptureFixture
) -> None:
    landing.configure(MAX_RECORDS="3")
    invoke(load_event("calls-changes"))
    sizes = [entry["Size"] for entry in landing.client.list_objects_v2(Bucket=landing.bucket)["Contents"]]
    assert summary(caplog) == {
        "message": "batch landed",
        "records": 4,
        "tombstones": 1,
        "quarantined": 0,
        "objects": 2,
        "bytes": sum(sizes),
        "already_there": 0,
    }


def test_a_stream_of_the_local_dynamodb_lands(landing: Landing) -> None:
    """Records as boto3 gives them (bytes, datetimes) go the same way as Lambda's JSON."""
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName=landing.bucket,
        KeySchema=[{"AttributeName": "callId", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "callId", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    key = {"callId": {"S": "a"}}
    image = key | {"raw": {"B": b"\x00\x01*A"}, "n": {"N": "0.1"}, "tags": {"SS": ["b", "a"]}}
    dynamodb.put_item(TableName=landing.bucket, Item=image)
    dynamodb.delete_item(TableName=landing.bucket, Key=key)
    streams = boto3.client("dynamodbstreams")
    arn = streams.list_streams(TableName=landing.bucket)["Streams"][0]["StreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = streams.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    landing.configure(SOURCE_MAP=f"{landing.bucket}=calls")
    assert invoke({"Records": [{**record, "eventSourceARN": arn} for record in records]}) == DONE
    upsert, tombstone = landing.all_lines("landing/calls/dt=")
    assert (upsert["callId"], upsert["raw"], upsert["n"], upsert["tags"]) == (
        "a",
        "AAEqQQ==",
        0.1,
        ["a", "b"],
    )
    assert upsert["_approxStreamTs"] % 1000 == 0
    assert (tombstone["callId"], tombstone["is_deleted"], tombstone["_deleteKind"]) == ("a", True, "user")
    assert upsert["_sequence"] < tombstone["_sequence"]
    assert landing.all_lines("landing/_quarantine") == []


# --- quarantine -------------------------------------------------------------------------------------


def test_the_good_neighbours_of_a_bad_record_land(landing: Landing, caplog: pytest.LogCaptureFixture) -> None:
    event = load_event("scorecards-one-bad-number")
    assert invoke(event) == DONE
    good, bad = event["Records"][::2], event["Records"][1]
    good_key = f"landing/scorecards/dt=2026-01-08/HH=11/{object_name([r['eventID'] for r in good])}.ndjson.gz"
    bad_key = (
        f"landing/_quarantine/scorecards/dt=2026-01-08/HH=11/{object_name([canonical_json(bad)])}.ndjson.gz"
    )
    assert landing.object_keys() == sorted([good_key, bad_key])
    assert [row["guid"] for row in landing.lines(good_key)] == [
        "5f0c1c5e-2c39-4a53-9d2a-6d1f7a4f0001",
        "g-3",
    ]
    assert landing.lines(bad_key) == [
        {
            "source": "scorecards",
            "reason": "bad_number",
            "detail": "attribute overallScore: not a number",
            "eventID": bad["eventID"],
            "record": bad,
        }
    ]
    assert summary(caplog)["quarantined"] == 1
    warnings = [json.loads(r.getMessage()) for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        {"message": "records quarantined", "source": "scorecards", "reason": "bad_number", "count": 1}
    ]


def test_the_log_never_holds_what_an_item_holds(landing: Landing, caplog: pytest.LogCaptureFixture) -> None:
    event = load_event("scorecards-one-bad-number")
    event["Records"][1]["dynamodb"]["NewImage"]["scores"] = {"M": {"Ada Example": {"N": "Ada Example"}}}
    with caplog.at_level(logging.DEBUG):
        invoke(event)
    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "change_writer")
    assert "bad_number" in text
    for secret in ("Ada Example", "said so", "g-2", "overallScore"):
        assert secret not in text


def test_a_quarantined_record_makes_the_same_object_when_it_comes_again(landing: Landing) -> None:
    event = load_event("scorecards-one-bad-number")
    event["Records"] = event["Records"][1:2]
    invoke(event)
    (key,) = landing.object_keys()
    before = landing.client.get_object(Bucket=landing.bucket, Key=key)["Body"].read()
    landing.client.delete_object(Bucket=landing.bucket, Key=key)
    reordered = {"Records": [dict(reversed(event["Records"][0].items()))]}
    assert invoke(reordered) == DONE
    assert landing.object_keys() == [key]
    assert landing.client.get_object(Bucket=landing.bucket, Key=key)["Body"].read() == before


def test_a_record_whose_table_cannot_be_told_is_quarantined_under_unknown(landing: Landing) -> None:
    event = load_event("calls-expired")
    event["Records"][0]["eventSourceARN"] = "stream-ARN"
    assert invoke(event) == DONE
    assert [key.rsplit("/", 1)[0] for key in landing.object_keys()] == [
        "landing/_quarantine/unknown/dt=2026-01-08/HH=11"
    ]
    assert landing.all_lines("")[0]["reason"] == "bad_stream_arn"


def test_a_record_whose_label_is_wrong_is_quarantined_under_its_table(landing: Landing) -> None:
    event = load_event("calls-expired")
    event["Records"][0]["eventSourceARN"] = event["Records"][0]["eventSourceARN"].replace("2026", "latest")
    landing.configure(SOURCE_MAP="calls=phone")
    assert invoke(event) == DONE
    assert landing.object_keys()[0].startswith("landing/_quarantine/phone/dt=2026-01-08/HH=11/")


def test_the_folder_of_quarantine_is_the_first_creation_time_that_can_be_read(landing: Landing) -> None:
    event = load_event("calls-changes")
    for record in event["Records"]:
        del record["dynamodb"]["Keys"]
    del event["Records"][0]["dynamodb"]
    event["Records"][1]["dynamodb"]["ApproximateCreationDateTime"] = "soon"
    event["Records"][2]["dynamodb"]["ApproximateCreationDateTime"] += 3600
    assert invoke(event) == DONE
    assert landing.object_keys()[0].startswith("landing/_quarantine/calls/dt=2026-01-08/HH=12/")
    assert [row["reason"] for row in landing.all_lines("")] == ["missing_dynamodb"] + ["missing_keys"] * 3


def test_a_record_without_any_time_is_quarantined_in_1970(landing: Landing) -> None:
    event = load_event("calls-expired")
    event["Records"][0]["dynamodb"] = None
    assert invoke(event) == DONE
    assert landing.object_keys()[0].startswith("landing/_quarantine/calls/dt=1970-01-01/HH=00/")


def test_what_json_can_hardly_hold_is_quarantined_whole(landing: Landing) -> None:
    event = load_event("calls-expired")
    record = event["Records"][0]
    record["dynamodb"]["Keys"] = {"callId": {"S": "\ud800"}}
    record["dynamodb"]["OldImage"] = {"raw": {"B": b"\x00\x01*A"}}
    assert invoke(event) == DONE
    (row,) = landing.all_lines("landing/_quarantine")
    assert row["reason"] == "not_utf8"
    assert row["record"]["dynamodb"]["Keys"] == {"callId": {"S": "\ud800"}}
    assert row["record"]["dynamodb"]["OldImage"] == {"raw": {"B": {"B64": "AAEqQQ=="}}}


def test_a_record_too_deep_to_convert_still_lands_raw(landing: Landing) -> None:
    event = load_event("calls-changes")
    deep: dict[str, Any] = {"NULL": True}
    for _ in range(5_000):
        deep = {"L": [deep]}
    event["Records"][1]["dynamodb"]["NewImage"]["deep"] = deep
    assert invoke(event) == DONE
    (key,) = [key for key in landing.object_keys() if "_quarantine" in key]
    body = landing.client.get_object(Bucket=landing.bucket, Key=key)["Body"].read()
    text = gzip.decompress(body)
    assert b'"reason":"too_deep"' in text
    assert b'{"L":[' * 5_000 + b'{"NULL":true}' + b"]}" * 5_000 in text
    assert len(landing.all_lines("landing/calls/")) == 3


def test_a_fault_of_the_converter_itself_does_not_block_the_shard(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("Ada Example")

    monkeypatch.setattr("change_writer.dynamodb.convert", broken)
    assert invoke(load_event("calls-expired")) == DONE
    (row,) = landing.all_lines("")
    assert (row["reason"], row["detail"]) == (
        "unexpected_error",
        "ZeroDivisionError while converting the record",
    )
    assert "Ada Example" not in caplog.text


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (None, "NoneType"),
        ("text", "str"),
        ([], "list"),
        ({}, "no list of Records"),
        ({"Records": None}, "no list of Records"),
        ({"Records": {}}, "no list of Records"),
        ({"Records": ["x"]}, "record 0 has eventSource None"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "record 0 has eventSource 'aws:s3'"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "record 0 has eventSource None"),
        ({"records": [], "deliveryStreamArn": "arn"}, "a Firehose event"),
        ({"Records": [{"eventSource": ["aws:dynamodb"]}]}, "record 0 has eventSource"),
    ],
)
def test_an_event_that_is_not_of_a_stream_is_refused(landing: Landing, event: object, found: str) -> None:
    with pytest.raises(NotAStreamEventError) as caught:
        invoke(event)
    assert found in str(caught.value)
    assert "'aws:dynamodb'" in str(caught.value)
    assert "'aws:kinesis'" in str(caught.value)
    assert landing.object_keys() == []


def test_another_kind_of_stream_is_one_more_entry(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several change records of one stream record share its place, and kinds are never mixed."""

    def twice(record: Any, ingest_ts_ms: int) -> list[ConvertedRecord]:
        metadata = Metadata(record["eventID"], "EVENT", "1", None, ingest_ts_ms)
        ids = [f"{record['eventID']}#{place}" for place in range(2)]
        return [
            ConvertedRecord("clicks", m, change_record_line(m, [("n", "1")]))
            for m in (metadata._replace(event_id=event_id) for event_id in ids)
        ]

    kind = StreamKind(
        refuse_unsupported=lambda records: None,
        convert=twice,
        origin=lambda record: "clicks",
        created_ms=lambda record: None,
        sequence_number=lambda record: "1",
    )
    monkeypatch.setitem(STREAM_KINDS, "example:clicks", kind)  # type: ignore[arg-type]
    event = {"Records": [{"eventSource": "example:clicks", "eventID": "e"}]}
    assert invoke(event) == DONE
    assert [row["_eventID"] for row in landing.all_lines("landing/clicks/")] == ["e#0", "e#1"]
    with pytest.raises(NotAStreamEventError, match="record 1 is of another kind"):
        invoke({"Records": event["Records"] + load_event("calls-changes")["Records"]})


def test_one_foreign_record_refuses_the_event_before_anything_lands(landing: Landing) -> None:
    event = load_event("calls-changes")
    event["Records"][3]["eventSource"] = "aws:sqs"
    with pytest.raises(NotAStreamEventError, match="record 3 has eventSource 'aws:sqs'"):
        invoke(event)
    assert landing.object_keys() == []


def test_an_event_without_records_is_done(landing: Landing) -> None:
    assert invoke({"Records": []}) == DONE
    assert landing.object_keys() == []


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images_is_refused_before_anything_lands(landing: Landing, view: str) -> None:
    event = load_event("calls-changes")
    event["Records"][3]["dynamodb"]["StreamViewType"] = view
    with pytest.raises(UnsupportedStreamViewError) as caught:
        invoke(event)
    message = str(caught.value)
    assert event["Records"][3]["eventSourceARN"] in message
    assert f"table calls has view type {view}" in message
    assert "Recreate the stream with StreamViewType NEW_AND_OLD_IMAGES" in message
    assert landing.object_keys() == []


def test_the_keys_only_fixture_is_refused(landing: Landing) -> None:
    with pytest.raises(UnsupportedStreamViewError, match="KEYS_ONLY"):
        invoke(load_event("calls-keys-only"))


def test_a_stream_of_new_images_alone_is_enough(landing: Landing) -> None:
    event = load_event("calls-changes")
    for record in event["Records"]:
        record["dynamodb"]["StreamViewType"] = "NEW_IMAGE"
        record["dynamodb"].pop("OldImage", None)
    assert invoke(event) == DONE
    assert len(landing.all_lines("landing/calls/")) == 4


def test_a_table_that_needs_a_mapping_stops_its_stream_until_it_has_one(landing: Landing) -> None:
    event = json.loads(json.dumps(load_event("calls-changes")).replace("table/calls", "table/_calls"))
    with pytest.raises(SettingsError, match="_calls=<source>"):
        invoke(event)
    assert landing.object_keys() == []
    landing.configure(SOURCE_MAP="_calls=calls")
    assert invoke(event) == DONE
    assert landing.object_keys()[0].startswith("landing/calls/")


def test_wrong_settings_are_raised(landing: Landing) -> None:
    landing.configure(MAX_RECORDS="lots")
    with pytest.raises(SettingsError, match="MAX_RECORDS is 'lots'"):
        invoke(load_event("calls-changes"))


# --- trouble with S3 --------------------------------------------------------------------------------


def numbers(event: dict[str, Any]) -> list[str]:
    return [record["dynamodb"]["SequenceNumber"] for record in event["Records"]]


def failed_at(number: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": number}]}


def test_the_client_is_made_once(landing: Landing) -> None:
    assert s3_client() is s3_client()


def test_the_client_gives_up_before_lambda_does(landing: Landing) -> None:
    """Killed, the function answers for nothing of the batch."""
    config: Any = s3_client().meta.config
    template = (LAMBDA / "template.yaml").read_text("utf-8")
    seconds = int(re.findall(r"  TimeoutSeconds:\n    Type: Number\n    Default: (\d+)", template)[0])
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) < seconds


def test_passing_trouble_is_retried_until_the_object_is_there(landing: Landing, faults: Faults) -> None:
    faults.script = [answer(503, "SlowDown"), answer(500, "InternalError")]
    assert invoke(load_event("calls-changes")) == DONE
    assert len(landing.object_keys()) == 1
    assert len(faults.keys) == 3


def test_a_conflict_with_another_put_is_retried(landing: Landing, faults: Faults) -> None:
    faults.script = [answer(409, "ConditionalRequestConflict")] * (CONFLICT_ATTEMPTS - 1)
    assert invoke(load_event("calls-changes")) == DONE
    assert len(landing.object_keys()) == 1
    assert len(faults.keys) == CONFLICT_ATTEMPTS


def test_a_conflict_that_turns_out_to_be_our_own_object_is_success(landing: Landing, faults: Faults) -> None:
    faults.script = [answer(409, "ConditionalRequestConflict"), answer(412, "PreconditionFailed")]
    assert invoke(load_event("calls-changes")) == DONE
    assert len(faults.keys) == 2


def test_a_put_whose_answer_was_lost_is_success(
    landing: Landing, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    invoke(load_event("calls-changes"))
    caplog.clear()
    faults.script = [ReadTimeoutError(endpoint_url="http://127.0.0.1")]
    assert invoke(load_event("calls-changes")) == DONE
    assert summary(caplog)["already_there"] == 1


def test_a_conflict_without_end_fails_the_batch(landing: Landing, faults: Faults) -> None:
    event = load_event("calls-changes")
    faults.script = [answer(409, "ConditionalRequestConflict")] * 50
    assert invoke(event) == failed_at(numbers(event)[0])
    assert len(faults.keys) == CONFLICT_ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "code", "puts"),
    [
        (answer(503, "SlowDown"), "SlowDown", 4),
        (answer(403, "AccessDenied"), "AccessDenied", 1),
        (answer(404, "NoSuchBucket"), "NoSuchBucket", 1),
        (answer(409, "OperationAborted"), "OperationAborted", CONFLICT_ATTEMPTS),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1"), "EndpointConnectionError", 4),
    ],
)
def test_lasting_trouble_reports_the_first_record(
    landing: Landing, faults: Faults, caplog: pytest.LogCaptureFixture, fault: Any, code: str, puts: int
) -> None:
    event = load_event("calls-changes")
    faults.script = [fault] * 50
    assert invoke(event) == failed_at(numbers(event)[0])
    assert landing.object_keys() == []
    (line,) = [json.loads(r.getMessage()) for r in caplog.records if r.levelno == logging.ERROR]
    assert line["bucket"] == landing.bucket
    assert line["key"].startswith("landing/calls/dt=2026-01-08/HH=11/")
    assert (line["message"], line["code"]) == ("put failed", code)
    assert len(faults.keys) == puts
    assert summary(caplog)["message"] == "batch landed in part"


def test_a_missing_bucket_is_trouble_with_s3(landing: Landing) -> None:
    event = load_event("calls-changes")
    landing.configure(S3_BUCKET="no-such-bucket")
    assert invoke(event) == failed_at(numbers(event)[0])


@pytest.mark.parametrize("first_to_fail", [0, 1, 2, 3])
def test_what_landed_before_the_trouble_is_not_asked_for_again(
    landing: Landing, faults: Faults, first_to_fail: int
) -> None:
    event = load_event("calls-changes")
    landing.configure(MAX_RECORDS="1")
    faults.script = [None] * first_to_fail + [answer(403, "AccessDenied")]
    assert invoke(event) == failed_at(numbers(event)[first_to_fail])
    assert len(landing.object_keys()) == first_to_fail
    faults.script = []
    assert invoke({"Records": event["Records"][first_to_fail:]}) == DONE
    rows = landing.all_lines("landing/calls/")
    assert sorted(row["_eventID"] for row in rows) == [record["eventID"] for record in event["Records"]]


def test_what_s3_refused_comes_again_before_what_was_not_taken(
    landing: Landing, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = load_event("calls-changes")
    landing.configure(MAX_RECORDS="1")
    line, *_ = STREAM_KINDS["aws:dynamodb"].convert(event["Records"][0], 0)
    monkeypatch.setattr(handler, "ENOUGH_BYTES", len(line.line) + 50)  # one line is not enough, two are
    faults.script = [None, answer(403, "AccessDenied")]
    assert invoke(event) == failed_at(numbers(event)[1])
    assert len(landing.object_keys()) == 1
    faults.script = []
    assert invoke(event) == failed_at(numbers(event)[2])


def test_quarantine_that_did_not_land_is_reported_too(landing: Landing, faults: Faults) -> None:
    event = load_event("scorecards-one-bad-number")
    faults.script = [None, answer(403, "AccessDenied")]
    assert invoke(event) == failed_at(numbers(event)[1])
    assert [key.split("/")[1] for key in landing.object_keys()] == ["scorecards"]


def test_the_first_record_is_reported_even_if_later_ones_could_have_landed(
    landing: Landing, faults: Faults
) -> None:
    event = load_event("scorecards-one-bad-number")
    event["Records"][0], event["Records"][1] = event["Records"][1], event["Records"][0]
    faults.script = [answer(403, "AccessDenied")]
    assert invoke(event) == failed_at(numbers(event)[0])
    assert landing.object_keys() == []


@pytest.mark.parametrize("number", [None, "", 5, "not a number"])
def test_a_record_that_cannot_be_named_brings_the_whole_batch_again(
    landing: Landing, faults: Faults, number: object
) -> None:
    event = copy.deepcopy(load_event("calls-changes"))
    event["Records"][0]["dynamodb"]["SequenceNumber"] = number
    faults.script = [answer(403, "AccessDenied")]
    with pytest.raises(LandingError, match=r"Record 0 .*AccessDenied.*whole batch") as caught:
        invoke(event)
    assert caught.value.transient
