"""A snapshot is begun only if it leaves no gap between itself and the stream."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from tests.local.export_support import THINGS
from tests.local.support import StreamedTable

from lakehouse.aws.client import aws_client
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.snapshot import TRIM_HORIZON, Begun, Snapshot, begin, claim, lambda_mappings, to_ms
from lakehouse.errors import ConfigurationError, PlatformError, SnapshotRefusedError, SourceError
from lakehouse.table import Column
from lakehouse.tables import table as declared

LABEL = "2026-01-05T08:00:00.123"
TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/things"
ARN = f"{TABLE_ARN}/stream/{LABEL}"
ENABLED = datetime(2026, 1, 5, 8, 0, 0, 123_000, tzinfo=UTC)
NOW = datetime(2026, 1, 8, 12, 0, 0, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def _ms(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _client(service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )


class Dynamo:
    """A client of DynamoDB that answers DescribeTable, each time at its own time."""

    def __init__(self) -> None:
        self.client = _client("dynamodb")
        self.stub = Stubber(self.client)
        self.stub.activate()

    def answers(self, *times: datetime, **members: Any) -> Any:
        for at in times or (NOW,):
            table = {
                "TableName": "things",
                "TableArn": TABLE_ARN,
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": kind}
                    for name, kind in {"s": "B", "id": "S", "guid": "S"}.items()
                ],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
                "LatestStreamLabel": LABEL,
                "LatestStreamArn": ARN,
                "ItemCount": 7,
                **members,
            }
            told = {name: value for name, value in table.items() if value is not None}
            metadata = {"HTTPHeaders": {"date": format_datetime(at, usegmt=True)}}
            self.stub.add_response("describe_table", {"Table": told, "ResponseMetadata": metadata})
        return self.client


@pytest.fixture
def dynamo() -> Iterator[Dynamo]:
    made = Dynamo()
    yield made
    made.stub.assert_no_pending_responses()
    made.client.close()


def _mapping(position: str, modified: datetime, state: str = "Enabled") -> dict[str, Any]:
    return {"State": state, "StartingPosition": position, "LastModified": modified}


def test_the_time_is_dynamodbs_and_the_label_the_streams(dynamo: Dynamo) -> None:
    begun = begin(dynamo.answers(), THINGS, "things", consumer_from=TRIM_HORIZON)
    assert begun == Begun(Snapshot(LABEL, _ms(NOW)), TABLE_ARN, {"id": "S"}, 7)
    assert begun.snapshot.sequence == f"{LABEL}/-2026-01-08T12:00:00.000Z"


def test_keys_come_in_the_order_of_the_key_schema(dynamo: Dynamo) -> None:
    # The table's own order of columns may be another one.
    two = dataclasses.replace(
        THINGS, keys=("sort", "id"), columns=(Column("sort", "string", "Sort.", "s"), *THINGS.columns)
    )
    schema = [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"}]
    client = dynamo.answers(KeySchema=schema)
    keys = begin(client, two, "things", consumer_from=TRIM_HORIZON).keys
    assert list(keys.items()) == [("id", "S"), ("s", "B")]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (
            {"StreamSpecification": None, "LatestStreamArn": None, "LatestStreamLabel": None},
            "it has no stream, so",
        ),
        # A stream that was switched off keeps its label for a day.
        ({"StreamSpecification": {"StreamEnabled": False}}, "it has no stream, so"),
        ({"StreamSpecification": None}, "it has no stream, so"),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
            "its stream carries KEYS_ONLY",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"}},
            "its stream carries OLD_IMAGE",
        ),
    ],
)
def test_a_stream_that_would_not_tell_of_changes_is_refused(
    dynamo: Dynamo, members: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SnapshotRefusedError, match=rf"{problem}.*Enable a stream with NEW_AND_OLD_IMAGES"):
        begin(dynamo.answers(**members), THINGS, "things", consumer_from=TRIM_HORIZON)


@pytest.mark.parametrize("taken_ms", [_ms(ENABLED) - 1, _ms(ENABLED), _ms(ENABLED - DAY)])
def test_a_snapshot_that_is_not_later_than_the_stream_is_refused(dynamo: Dynamo, taken_ms: int) -> None:
    with pytest.raises(
        SnapshotRefusedError, match=r"was enabled at .*123Z, not before .*Take a new snapshot"
    ):
        begin(dynamo.answers(), THINGS, "things", taken_ms=taken_ms, consumer_from=TRIM_HORIZON)


def test_a_snapshot_that_was_taken_a_moment_after_the_stream_is_none_too_early(dynamo: Dynamo) -> None:
    begun = begin(dynamo.answers(), THINGS, "things", taken_ms=_ms(ENABLED) + 1, consumer_from=TRIM_HORIZON)
    assert begun.snapshot.sequence == f"{LABEL}/-2026-01-05T08:00:00.124Z"


def test_a_stream_that_was_enabled_in_the_same_second_is_waited_for(dynamo: Dynamo) -> None:
    second = ENABLED.replace(microsecond=0)
    client = dynamo.answers(second, second, second + timedelta(seconds=1))
    slept: list[float] = []
    begun = begin(client, THINGS, "things", consumer_from=TRIM_HORIZON, sleep=slept.append)
    assert begun.snapshot.time_ms == _ms(second) + 1000
    assert slept == [1.0, 1.0]


def test_another_key_is_refused(dynamo: Dynamo) -> None:
    schema = [{"AttributeName": "guid", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}]
    with pytest.raises(ConfigurationError, match=r"has the key guid, id; table 'things' .* key id\. Check"):
        begin(dynamo.answers(KeySchema=schema), THINGS, "things", consumer_from=TRIM_HORIZON)


def test_a_snapshot_of_the_future_is_refused(dynamo: Dynamo) -> None:
    with pytest.raises(SnapshotRefusedError, match="DynamoDB's clock says 2026-01-08T12:00"):
        begin(dynamo.answers(), THINGS, "things", taken_ms=_ms(NOW + DAY), consumer_from=TRIM_HORIZON)


def test_the_region_is_the_one_that_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(PlatformError, match="Set AWS_REGION"):
        aws_client("dynamodb")
    monkeypatch.setenv("AWS_REGION", "eu-central-2")
    assert aws_client("dynamodb").meta.region_name == "eu-central-2"


def test_a_table_of_documents_is_refused(dynamo: Dynamo) -> None:
    with pytest.raises(ConfigurationError, match="nothing to backfill"):
        begin(dynamo.client, declared("transcripts"), "things")


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_a_table_that_dynamodb_does_not_show_is_a_source_error(dynamo: Dynamo, code: str) -> None:
    dynamo.stub.add_client_error("describe_table", code)
    with pytest.raises(SourceError, match=rf"DynamoDB table things: .*{code}"):
        begin(dynamo.client, THINGS, "things", consumer_from=TRIM_HORIZON)


def test_a_name_that_cannot_be_and_a_server_that_is_not_there_are_source_errors() -> None:
    for name in ("", "things"):
        with pytest.raises(SourceError, match=f"DynamoDB table {name}"):
            begin(_client("dynamodb"), THINGS, name, consumer_from=TRIM_HORIZON)


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        (TRIM_HORIZON, False),
        ("2026-01-08T12:00:00Z", False),
        ("2026-01-08T13:00:00+01:00", False),
        ("2026-01-08T12:00:00", False),
        ("2020-01-01", False),
        ("2026-01-08T12:00:00.001Z", True),
        ("2026-01-09", True),
    ],
)
def test_the_writer_must_land_the_stream_since_the_snapshot_or_longer(
    dynamo: Dynamo, told: str, refused: bool
) -> None:
    client = dynamo.answers()
    if refused:
        with pytest.raises(SnapshotRefusedError, match=r"landed since 2026-.* only, later than the snapshot"):
            begin(client, THINGS, "things", consumer_from=told)
    else:
        assert begin(client, THINGS, "things", consumer_from=told).snapshot.time_ms == _ms(NOW)


def test_a_time_that_is_none_is_a_configuration_error(dynamo: Dynamo) -> None:
    with pytest.raises(ConfigurationError, match="'yesterday' is no time"):
        begin(dynamo.answers(), THINGS, "things", consumer_from="yesterday")


ACCEPTED = {
    # It began to read a day before it was last changed, or has for longer.
    "trim horizon": [_mapping("TRIM_HORIZON", NOW)],
    "trim horizon, changed a day later": [_mapping("TRIM_HORIZON", NOW + DAY)],
    "trim horizon, of old": [_mapping("TRIM_HORIZON", ENABLED)],
    "latest": [_mapping("LATEST", NOW - 10 * MINUTE)],
    "latest, of old": [_mapping("LATEST", ENABLED)],
    "and others that do not read": [
        _mapping("LATEST", NOW, "Disabled"),
        _mapping("TRIM_HORIZON", NOW),
        _mapping("LATEST", NOW, "Creating"),
    ],
}
REFUSED = {
    "trim horizon, changed later still": ([_mapping("TRIM_HORIZON", NOW + DAY + MINUTE)], "landed since"),
    "latest, a moment ago": ([_mapping("LATEST", NOW)], "landed since 2026-01-08T12:10:00.000Z only"),
    "latest, minutes ago": ([_mapping("LATEST", NOW - 9 * MINUTE)], "landed since"),
    "one of two reads for too short": (
        [_mapping("TRIM_HORIZON", ENABLED), _mapping("LATEST", NOW)],
        "landed since 2026-01-08T12:10:00.000Z only.*: --consumer-from",
    ),
    "disabled": (
        [_mapping("TRIM_HORIZON", ENABLED, "Disabled"), _mapping("LATEST", ENABLED, "Creating")],
        r"no enabled event source mapping reads its stream \(found: Disabled, Creating\)",
    ),
    "none": ([], r"no enabled event source mapping reads its stream\. Say since when"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_mappings_that_read_since_the_snapshot_or_longer_are_enough(dynamo: Dynamo, case: str) -> None:
    asked: list[str] = []

    def mappings(stream: str) -> list[dict[str, Any]]:
        asked.append(stream)
        return ACCEPTED[case]

    assert begin(dynamo.answers(), THINGS, "things", mappings=mappings).snapshot.time_ms == _ms(NOW)
    assert asked == [ARN]


@pytest.mark.parametrize("case", REFUSED)
def test_mappings_that_may_leave_a_gap_are_refused(dynamo: Dynamo, case: str) -> None:
    mappings, problem = REFUSED[case]
    with pytest.raises(SnapshotRefusedError, match=problem):
        begin(dynamo.answers(), THINGS, "things", mappings=lambda _: mappings)


def test_nobody_to_ask_is_refused(dynamo: Dynamo) -> None:
    with pytest.raises(SnapshotRefusedError, match="no enabled event source mapping"):
        begin(dynamo.answers(), THINGS, "things")


def test_lambda_is_asked_for_every_page(dynamo: Dynamo) -> None:
    client = _client("lambda")
    with Stubber(client) as stub:
        for page, more in (
            (_mapping("LATEST", NOW, "Disabled"), {"NextMarker": "2"}),
            (_mapping("LATEST", ENABLED), {}),
        ):
            marker = {} if more else {"Marker": "2"}
            stub.add_response(
                "list_event_source_mappings",
                {"EventSourceMappings": [page], **more},
                {"EventSourceArn": ARN, **marker},
            )
        begin(dynamo.answers(), THINGS, "things", mappings=lambda_mappings(client))
        stub.assert_no_pending_responses()
    client.close()


def test_a_lambda_that_does_not_say_is_refused(dynamo: Dynamo) -> None:
    client = _client("lambda")
    with Stubber(client) as stub:
        stub.add_client_error("list_event_source_mappings", "AccessDeniedException")
        with pytest.raises(SnapshotRefusedError, match=r"AccessDenied.*Say since when the writer lands it"):
            begin(dynamo.answers(), THINGS, "things", mappings=lambda_mappings(client))
    with pytest.raises(SnapshotRefusedError, match=r"Could not connect.*Say since when"):
        begin(dynamo.answers(), THINGS, "things", mappings=lambda_mappings(client))
    client.close()


def test_the_local_dynamodb_answers_as_the_stub_does(table: StreamedTable) -> None:
    label = table.stream_arn.rpartition("/")[2]
    begun = begin(table.client, THINGS, table.name, consumer_from=TRIM_HORIZON)
    assert (begun.snapshot.label, begun.keys) == (label, {"id": "S"})
    assert to_ms(f"{label}Z") < begun.snapshot.time_ms <= time.time() * 1000
    table.client.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    with pytest.raises(SnapshotRefusedError, match="it has no stream"):
        begin(table.client, THINGS, table.name, consumer_from=TRIM_HORIZON)


def test_no_time_is_claimed_twice(tmp_path: Path) -> None:
    lock, calls = threading.Lock(), count()

    def begin_now() -> Begun:
        with lock:  # three in each second
            return Begun(Snapshot(LABEL, _ms(NOW) + next(calls) // 3 * 1000), TABLE_ARN, {"id": "S"}, 0)

    objects = FolderObjects(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(objects, "things", begin_now, {"n": n}), range(16)))
    assert len({begun.snapshot.time_ms for begun, _ in claims}) == 16
    assert len({folder for _, folder in claims}) == 16
    for number, (begun, folder) in enumerate(claims):
        plan = json.loads(objects.get(f"{folder}/plan.json") or b"")
        assert plan["n"] == number
        assert (plan["label"], to_ms(plan["time"]), plan["keys"]) == (
            LABEL,
            begun.snapshot.time_ms,
            {"id": "S"},
        )
        assert folder.startswith("_backfills/things/2026")
