"""Failed batches and quarantined records land by the writer's own code, once, however often redriven."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.lambda_bench.event_source import Held, failed_batch

from change_writer import dynamodb
from change_writer.errors import ConversionError
from lakehouse.aws import redrive as module
from lakehouse.aws.objects import FolderObjects, S3Objects
from lakehouse.aws.redrive import Redriven, find, redrive
from lakehouse.aws.writer import Writer, function_environment, writer_code
from lakehouse.errors import ConfigurationError, PlatformError, SourceError
from lakehouse.local.aws import LocalAws

ROOT = Path(__file__).parents[2]
SOURCES = {"calls", "scorecards", "events"}
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/calls/stream/2026-01-05T08:00:00.000"


def load(name: str) -> dict[str, Any]:
    """One of the project's own events."""
    event: dict[str, Any] = json.loads((ROOT / "tests/fixtures/events" / f"{name}.json").read_text("utf-8"))
    return event


def kinesis_event() -> dict[str, Any]:
    def record(number: int, data: bytes) -> dict[str, Any]:
        content = {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "p",
            "sequenceNumber": str(number),
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": 1_767_870_000.5,
        }
        return {
            "kinesis": content,
            "eventSource": "aws:kinesis",
            "eventID": f"shardId-000000000000:{number}",
            "eventName": "aws:kinesis:record",
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
        }

    return {"Records": [record(1, b'{"a":1}{"a":2}'), record(2, b'{"a":3}')]}


def failed(event: dict[str, Any], *, as_text: bool = True) -> dict[str, Any]:
    """What Lambda keeps of a batch."""
    records = [Held(str(n), "k", 1_767_870_000, body) for n, body in enumerate(event["Records"])]
    arn = event["Records"][0]["eventSourceARN"]
    return failed_batch(arn, "shard", records, "RetryAttemptsExhausted", 3, 1_767_870_600, as_text=as_text)


@dataclass
class Place:
    """A landing bucket and a failure bucket of one test."""

    client: Any
    landing: str
    failures: str

    @property
    def writer(self) -> Writer:
        return Writer({"S3_BUCKET": self.landing, "S3_PREFIX": "landing"}, self.client)

    def keep(self, key: str, what: object, bucket: str | None = None) -> str:
        body = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.client.put_object(Bucket=bucket or self.failures, Key=key, Body=body)
        return key

    def redrive(self, *keys: str, bucket: str | None = None, **how: Any) -> list[Redriven]:
        objects = S3Objects(self.client, bucket or self.failures)
        return redrive(objects, keys, how.pop("writer", self.writer), how.pop("sources", SOURCES), **how)

    def landed(self) -> dict[str, tuple[bytes, Any]]:
        """Content and time of every object in landing, by key."""
        pages = self.client.list_objects_v2(Bucket=self.landing).get("Contents", [])
        bodies = {e["Key"]: self.client.get_object(Bucket=self.landing, Key=e["Key"]) for e in pages}
        return {key: (answer["Body"].read(), answer["LastModified"]) for key, answer in bodies.items()}

    def lines(self, prefix: str) -> list[dict[str, Any]]:
        found = [body for key, (body, _) in self.landed().items() if key.startswith(prefix)]
        return [json.loads(line) for body in found for line in gzip.decompress(body).splitlines()]

    def left(self) -> list[str]:
        return [e["Key"] for e in self.client.list_objects_v2(Bucket=self.failures).get("Contents", [])]

    def as_lambda(self, event: dict[str, Any]) -> None:
        """What the function does with an event, on its first attempt."""
        planned = self.writer.plan(event)
        self.writer.put([*planned.objects, *planned.quarantine])


@pytest.fixture
def place(aws: LocalAws) -> Place:
    client = aws.client("s3")
    names = [f"{name}-{uuid.uuid4().hex}" for name in ("landing", "failures")]
    for name in names:
        client.create_bucket(Bucket=name)
    return Place(client, *names)


def counts(one: Redriven) -> tuple[int, int, int, int, int]:
    return one.records, one.landed, one.already_there, one.quarantined, one.failed


# --- failed batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
@pytest.mark.parametrize(("name", "changes"), [("calls-changes", 4), ("kinesis", 3)])
def test_a_failed_batch_lands_as_the_function_would_land_it(
    place: Place, aws: LocalAws, name: str, changes: int, as_text: bool
) -> None:
    event = kinesis_event() if name == "kinesis" else load(name)
    key = place.keep("aws/lambda/m/s/2026/01/08/a", failed(event, as_text=as_text))
    (told,) = place.redrive(key)
    assert told.done
    assert (told.kind, told.object) == ("failed batch", f"s3://{place.failures}/{key}")
    assert counts(told) == (len(event["Records"]), changes, 0, 0, 0)
    by_redrive = place.landed()

    other = Place(place.client, f"other-{uuid.uuid4().hex}", place.failures)
    place.client.create_bucket(Bucket=other.landing)
    other.as_lambda(event)
    assert {*by_redrive} == {*other.landed()}
    assert len(place.lines("landing/")) == changes


def test_again_it_lands_nothing_and_writes_nothing(place: Place) -> None:
    key = place.keep("a", failed(load("calls-changes")))
    place.redrive(key)
    before = place.landed()
    (told,) = place.redrive(key)
    assert told.done
    assert counts(told) == (4, 0, 4, 0, 0)
    assert place.landed() == before
    assert place.left() == ["a"]


def test_what_had_landed_before_the_batch_failed_is_told_apart(place: Place) -> None:
    event = load("calls-changes")
    cut = Writer({"S3_BUCKET": place.landing, "S3_PREFIX": "landing", "MAX_RECORDS": "2"}, place.client)
    cut.put(cut.plan(event).objects[:1])
    (told,) = place.redrive(place.keep("a", failed(event)), writer=cut)
    assert counts(told) == (4, 2, 2, 0, 0)


def test_its_bad_records_are_in_quarantine_then_and_it_is_done(place: Place) -> None:
    event = load("scorecards-one-bad-number")
    key = place.keep("a", failed(event))
    for landed, there in ((len(event["Records"]) - 1, 0), (0, len(event["Records"]) - 1)):
        (told,) = place.redrive(key)
        assert told.done
        assert counts(told) == (len(event["Records"]), landed, there, 1, 0)
    (line,) = place.lines("landing/_quarantine/")
    assert line["reason"] == "bad_number"


def test_a_batch_is_deleted_once_all_of_it_has_landed(place: Place) -> None:
    good = place.keep("good", failed(load("calls-changes")))
    short = failed(load("calls-expired"))
    short["DDBStreamBatchInfo"]["batchSize"] += 2
    kept = place.keep("short", short)
    told = place.redrive(good, kept, delete=True)
    assert [one.deleted for one in told] == [True, False]
    assert place.left() == ["short"]
    assert told[1].failed == 2
    assert "holds 1 records of 3" in (told[1].problem or "")
    assert len(place.lines("landing/calls/")) == 5  # what there is has landed all the same


def test_a_batch_of_which_the_function_takes_a_part_at_once_lands_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("change_writer.handler.ENOUGH_BYTES", 1)
    (told,) = place.redrive(place.keep("a", failed(load("calls-changes"))))
    assert counts(told) == (4, 4, 0, 0, 0)
    assert len(place.landed()) == 4


def test_a_dry_run_counts_and_changes_nothing(place: Place) -> None:
    key = place.keep("a", failed(load("scorecards-one-bad-number")))
    (told,) = place.redrive(key, dry_run=True, delete=True)
    assert (told.landed, told.quarantined, told.failed, told.deleted) == (told.records - 1, 1, 0, False)
    assert place.landed() == {}
    assert place.left() == ["a"]


def test_what_s3_does_not_take_has_failed_and_comes_with_the_next_attempt(place: Place) -> None:
    key = place.keep("a", failed(load("calls-changes")))
    nowhere = Writer({"S3_BUCKET": f"not-there-{uuid.uuid4().hex}"}, place.client)
    (told,) = place.redrive(key, writer=nowhere, delete=True)
    assert not told.done
    assert counts(told) == (4, 0, 0, 0, 4)
    assert "NoSuchBucket" in (told.problem or "")
    assert place.left() == ["a"]
    assert place.redrive(key)[0].landed == 4


def test_what_s3_does_not_take_into_quarantine_is_not_done(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.keep("a", failed(load("scorecards-one-bad-number")))
    real = place.client.put_object

    def refuse(**arguments: Any) -> Any:
        if "_quarantine" in arguments["Key"]:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        return real(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place.client, "put_object", refuse)
        (told,) = place.redrive(key, delete=True)
    assert counts(told) == (told.records, told.records - 1, 0, 0, 1)
    assert "AccessDenied" in (told.problem or "")
    assert place.left() == ["a"]
    assert place.redrive(key, delete=True)[0].deleted


def test_a_record_of_no_table_goes_to_quarantine_as_unknown(place: Place) -> None:
    event = load("calls-changes")
    whole = failed(event)
    del event["Records"][0]["eventSourceARN"]
    whole["payload"] = json.dumps(event)
    (told,) = place.redrive(place.keep("a", whole), delete=True)
    assert told.deleted
    assert counts(told) == (4, 3, 0, 1, 0)
    assert len(place.lines("landing/_quarantine/unknown/")) == 1


@pytest.mark.parametrize("size", [None, "4", ...])
def test_a_batch_that_does_not_say_how_many_it_held_is_kept(place: Place, size: Any) -> None:
    told_of = failed(load("calls-changes"))
    told_of["DDBStreamBatchInfo"]["batchSize"] = size
    if size is ...:
        del told_of["DDBStreamBatchInfo"]["batchSize"]
    (told,) = place.redrive(place.keep("a", told_of), delete=True)
    assert counts(told) == (4, 4, 0, 0, 0)
    assert "does not say of how many" in (told.problem or "")
    assert place.left() == ["a"]


def test_what_no_table_reads_is_refused_before_anything_lands(place: Place) -> None:
    key = place.keep("a", failed(load("calls-changes")))
    (told,) = place.redrive(key, sources={"scorecards"})
    assert "--source-map calls=SOURCE" in (told.problem or "")
    assert counts(told) == (4, 0, 0, 0, 4)
    assert place.landed() == {}
    wrong = Writer({"S3_BUCKET": place.landing, "SOURCE_MAP": "calls=cals"}, place.client)
    (told,) = place.redrive(key, sources={"scorecards"}, writer=wrong)
    assert "as source 'cals'" in (told.problem or "")
    assert "--source-map calls=SOURCE" in (told.problem or "")
    mapped = Writer({"S3_BUCKET": place.landing, "SOURCE_MAP": "calls=scorecards"}, place.client)
    (told,) = place.redrive(key, sources={"scorecards"}, writer=mapped)
    assert told.landed == 4
    assert all(name.startswith("scorecards/") for name in place.landed())


def test_an_event_that_the_writer_refuses_has_failed_as_a_whole(place: Place) -> None:
    event = load("calls-keys-only")
    (told,) = place.redrive(place.keep("a", failed(event)))
    assert told.failed == told.records == len(event["Records"])
    assert "NEW_AND_OLD_IMAGES" in (told.problem or "")


def test_many_objects_are_told_in_their_order_with_progress(place: Place) -> None:
    event = load("calls-changes")
    keys = []
    for number in range(20):
        record = copy.deepcopy(event["Records"][0])
        record["eventID"] = f"event {number}"
        keys.append(place.keep(f"{number:02}", failed({"Records": [record]})))
    seen: list[tuple[int, int]] = []
    told = place.redrive(*keys, on_progress=lambda done, total: seen.append((done, total)))
    assert [one.object.rpartition("/")[2] for one in told] == keys
    assert seen == [(number + 1, 20) for number in range(20)]
    assert {line["_eventID"] for line in place.lines("landing/calls/")} == {f"event {n}" for n in range(20)}


# --- quarantine ----------------------------------------------------------------------------------------


@pytest.fixture
def mended(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Quarantines three records of four by a writer with a fault; to be called when the fault is mended."""
    real = dynamodb.convert

    def faulty(record: Any, ingest_ts_ms: int) -> Any:
        if record["eventName"] != "INSERT":
            raise KeyError("a fault of the writer itself")
        return real(record, ingest_ts_ms)

    monkeypatch.setattr(dynamodb, "convert", faulty)
    place.as_lambda(load("calls-changes"))
    return lambda: monkeypatch.setattr(dynamodb, "convert", real)


def quarantine_object(place: Place) -> str:
    (key,) = (key for key in place.landed() if "_quarantine" in key)
    return key


def test_records_that_a_mended_writer_can_convert_land(place: Place, mended: Callable[[], None]) -> None:
    key = quarantine_object(place)
    aside = len(place.lines("landing/_quarantine/"))
    before = place.landed()
    mended()
    (told,) = place.redrive(key, bucket=place.landing, delete=True)
    assert (told.kind, told.done, told.deleted) == ("quarantine", True, False)
    assert counts(told) == (aside, aside, 0, 0, 0)
    event = load("calls-changes")
    assert {line["_eventID"] for line in place.lines("landing/calls/")} == {
        record["eventID"] for record in event["Records"]
    }
    after = place.landed()
    assert {key: after[key] for key in before} == before  # what had landed stays, quarantine too
    (again,) = place.redrive(key, bucket=place.landing)
    assert counts(again) == (aside, 0, aside, 0, 0)
    assert place.landed() == after


def test_records_that_still_cannot_be_converted_stay_where_they_are(
    place: Place, mended: Callable[[], None]
) -> None:
    key = quarantine_object(place)
    before = place.landed()
    for _ in range(2):
        (told,) = place.redrive(key, bucket=place.landing)
        assert not told.done
        assert (told.landed, told.failed, told.quarantined) == (0, 0, told.records)
        assert "quarantine list" in (told.problem or "")
        assert place.landed() == before


def test_of_an_object_some_land_and_the_others_stay(
    place: Place, mended: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = quarantine_object(place)
    mended()
    real = dynamodb.convert

    def still(record: Any, ingest_ts_ms: int) -> Any:
        if record["eventName"] == "REMOVE":
            raise ConversionError("bad_keys", "as yet")
        return real(record, ingest_ts_ms)

    monkeypatch.setattr(dynamodb, "convert", still)
    (told,) = place.redrive(key, bucket=place.landing)
    assert (told.landed, told.quarantined, told.done) == (told.records - 1, 1, False)
    assert quarantine_object(place) == key  # and no second one


# --- other objects -------------------------------------------------------------------------------------


def without_payload() -> dict[str, Any]:
    told = failed(load("calls-changes"))
    del told["payload"]
    return told


def change_record() -> bytes:
    return gzip.compress(b'{"_eventID":"e","_sequence":"s","reason":"of the item"}\n')


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "neither a failed batch nor a quarantine object"),
        (b"text", "neither a failed batch nor a quarantine object"),
        (b"[1]", "neither a failed batch nor a quarantine object"),
        (b'{"Records": []}', "neither a failed batch nor a quarantine object"),
        (b"[" * 100_000, "neither a failed batch nor a quarantine object"),
        (change_record(), "neither a failed batch nor a quarantine object"),
        (gzip.compress(b""), "neither a failed batch nor a quarantine object"),
        (gzip.compress(b'{"source":"calls","reason":"x","record":{}}\n' * 99)[:-9], "torn or damaged"),
        (gzip.compress(b" " * (module.MAX_INFLATED_BYTES + 1)), "inflates to more than"),
        (json.dumps(without_payload()).encode(), "4 records, 0 to 3 of shard shard of arn:aws:dynamodb"),
        (json.dumps(without_payload() | {"payload": "{"}).encode(), "no `payload` that can be read"),
        (json.dumps(without_payload() | {"payload": "null"}).encode(), "no `payload` that can be read"),
        (json.dumps(without_payload() | {"payload": 7}).encode(), "no `payload` that can be read"),
    ],
)
def test_an_object_of_another_kind_is_told_and_left(place: Place, body: bytes, says: str) -> None:
    good = place.keep("b", failed(load("calls-changes")))
    told, after = place.redrive(place.keep("a", body), good, delete=True)
    assert (told.kind, told.done) == ("unknown", False)
    assert says in (told.problem or "")
    assert place.left() == ["a"]
    assert after.landed == 4  # its neighbours are redriven


def test_lines_of_quarantine_without_a_record_are_counted(place: Place, mended: Callable[[], None]) -> None:
    key = quarantine_object(place)
    good = gzip.decompress(place.landed()[key][0])
    records = good.count(b"\n")
    mended()
    for extra in (b"no json", b"[]", b'{"reason":"x","record":[]}', b'{"record":{}}'):
        (told,) = place.redrive(place.keep("a", gzip.compress(good + extra + b"\n")))
        assert (told.records, told.failed, told.done) == (records + 1, 1, False)
        assert "1 of its lines hold no record" in (told.problem or "")


def test_an_object_that_is_gone_or_cannot_be_read_does_not_stop_the_others(place: Place) -> None:
    good = place.keep("b", failed(load("calls-changes")))
    told, after = place.redrive("gone", good)
    assert "It is gone" in (told.problem or "")
    assert after.done


# --- which objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_an_object_or_all_below_a_folder_and_since_when(place: Place, tmp_path: Path, kind: str) -> None:
    objects = S3Objects(place.client, place.failures) if kind == "bucket" else FolderObjects(tmp_path)
    keys = ["aws/one/a", "aws/one/b/c", "aws/one-more/d", "e"]
    for key in keys:
        objects.put(key, b"x")
    assert sorted(find(objects, "")) == sorted(keys)
    assert find(objects, "aws/one") == ["aws/one/a", "aws/one/b/c"]
    assert find(objects, "aws/one/a") == ["aws/one/a"]
    assert find(objects, "nothing") == []
    now = datetime.now(UTC)
    assert find(objects, "aws/one", now - timedelta(minutes=5)) == ["aws/one/a", "aws/one/b/c"]
    assert find(objects, "aws/one", now + timedelta(minutes=5)) == []
    ((_, written),) = objects.listed("aws/one/a")
    assert find(objects, "aws/one/a", written) == ["aws/one/a"]


def test_what_consoles_put_for_a_folder_is_no_object(place: Place) -> None:
    place.keep("aws/lambda/", b"")
    assert find(S3Objects(place.client, place.failures), "aws") == []


# --- the writer's code ---------------------------------------------------------------------------------


def test_the_archive_that_is_deployed_will_do(tmp_path: Path) -> None:
    archive = tmp_path / "change_writer.zip"
    subprocess.run([sys.executable, ROOT / "lambda/build.py", "--output", archive], check=True)
    code = "import sys; from pathlib import Path; from lakehouse.aws.writer import *; "
    code += "print(writer_code(Path(sys.argv[1])).lambda_handler.__name__)"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, archive], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "lambda_handler"


def test_code_that_is_not_there_and_a_second_copy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="name the folder or archive with --writer"):
        writer_code(tmp_path)
    (tmp_path / "change_writer").mkdir()
    try:
        with pytest.raises(PlatformError, match="Another copy of the writer is in use"):
            writer_code(tmp_path)
    finally:
        sys.path.remove(str(tmp_path))


def test_settings_that_are_wrong_are_told(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="S3_BUCKET is not set"):
        Writer({}, place.client)


def test_the_settings_of_a_function_are_asked_from_lambda() -> None:
    import boto3
    from botocore.stub import Stubber

    client = boto3.session.Session("a", "b", region_name="eu-west-1").client("lambda")
    with Stubber(client) as stubbed:
        variables = {"S3_BUCKET": "landing", "S3_PREFIX": "p"}
        asked = {"FunctionName": "change-writer"}
        stubbed.add_response("get_function_configuration", {"Environment": {"Variables": variables}}, asked)
        assert function_environment(client, "change-writer") == variables
        stubbed.add_client_error("get_function_configuration", "ResourceNotFoundException", "not here")
        with pytest.raises(SourceError, match=r"Lambda function change-writer: .*not here"):
            function_environment(client, "change-writer")
