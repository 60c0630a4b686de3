"""A change that must not be applied as it is leaves quarantine through a fresh read of its item."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from tests.local.support import ITEM_KEYS, create_table
from tests.spark.support import ITEMS, Lake, change, sequence

from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.release import fresh_read
from lakehouse.errors import SnapshotRefusedError
from lakehouse.ingest import floors
from lakehouse.local.aws import LocalAws
from lakehouse.operations import quarantine
from lakehouse.operations.quarantine import Filter

NAME = "prod-items"
FLOOR = datetime(2026, 2, 1, tzinfo=UTC)
"""Above the time of every change of `support.change`, below today."""


def key(number: str) -> dict[str, Any]:
    return {"site": {"S": "p"}, "number": {"S": number}}


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server:
        create_table(server.client("dynamodb"), NAME, ITEM_KEYS)
        for number in ("old stream", "this stream", "raw"):
            server.client("dynamodb").put_item(TableName=NAME, Item={**key(number), "note": {"S": "now"}})
        yield server


@pytest.fixture(scope="module")
def label(aws: LocalAws) -> str:
    return aws.client("dynamodb").describe_table(TableName=NAME)["Table"]["LatestStreamLabel"]


def report(table_name: str, label: str, keys: Any, number: str = "7") -> dict[str, Any]:
    """A record that the writer could not convert, as it lands."""
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table_name}/stream/{label}"
    record = {"dynamodb": {"Keys": keys, "SequenceNumber": number}, "eventSourceARN": arn}
    return {"source": "items", "reason": "bad_number", "detail": "no number", "record": record}


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, label: str) -> Lake:
    made = Lake(spark, tmp_path_factory.mktemp("release"), (ITEMS,))
    floors.record(spark, made.settings, ITEMS, FLOOR, datetime.now(UTC))
    made.land(
        "items",
        change(3, site="p", number="old stream", note="late"),
        change(sequence(3, label), site="p", number="this stream", note="late"),
        change(4, site="p", number="gone", note="late"),
        change(sequence(1, "2999-01-01T00:00:00.000"), site="p", number="later", note="?"),
        change(5, site="p", number="x" * 3000, note="no key that DynamoDB has"),
    )
    made.land(
        "_quarantine/items",
        report(NAME, label, key("raw")),
        report("another-table", label, key("raw")),
        report(NAME, label, {"site": {"S": "p"}}),
        report(NAME, "no label", key("raw")),
        report(NAME, label, key("raw"), number="seven"),
    )
    made.ingest_well()
    return made


def requeue(lake: Lake, aws: LocalAws | None, **more: Any) -> quarantine.Outcome:
    landing = FolderObjects(Path(lake.settings.landing))
    options = {"consumer_from": "trim-horizon"} | more
    reader = Reader(aws.client("dynamodb"), ITEMS, NAME, **options) if aws else None
    fresh = fresh_read({"items": reader}.__getitem__, landing) if reader else None
    return quarantine.requeue(lake.spark, lake.settings, Filter(), (ITEMS,), landing.put_new, fresh=fresh)


def rows(lake: Lake) -> dict[str, Row]:
    return {row.number: row for row in lake.state(ITEMS).collect()}


def test_a_record_below_the_floor_is_released_only_through_a_fresh_read(
    lake: Lake, aws: LocalAws, label: str
) -> None:
    open_before = lake.quarantine().where("status = 'open'").count()
    assert open_before == 10
    assert rows(lake) == {}

    outcome = requeue(lake, None)
    assert outcome.decided == []
    assert all("--table-name" in refused.because for refused in outcome.refused)
    # What changes behind the read would be lost.
    with pytest.raises(SnapshotRefusedError):
        requeue(lake, aws, consumer_from="2999-01-01T00:00:00Z")
    assert lake.quarantine().where("status = 'open'").count() == open_before

    outcome = requeue(lake, aws)
    because = sorted(refused.because for refused in outcome.refused)
    assert [text.partition(",")[0] for text in because] == [
        "it is of DynamoDB table another-table: give that as --table-name",
        "it is of a later stream than prod-items has: check --table-name",
        "its key cannot be read",
        "its key cannot be read",
        "its place in the order of changes is unknown: write the item again",
        "its place in the order of changes is unknown: write the item again",
    ]
    assert len(outcome.decided) == 4

    lake.ingest_well()
    found = rows(lake)
    assert {name: row.note for name, row in found.items() if not row.is_deleted} == {
        "old stream": "now",
        "this stream": "now",
        "raw": "now",
    }
    assert found["gone"].is_deleted
    # Above the lost change, below the next one of the stream that is enabled.
    assert found["this stream"]._event_name == "REPAIR"
    assert sequence(3, label) < found["this stream"]._sequence < sequence(4, label)
    assert sequence(7, label) < found["raw"]._sequence < sequence(8, label)
    assert found["old stream"]._event_name == "SNAPSHOT"
    assert f"{label}/-" < found["old stream"]._sequence < sequence(0, label)
    assert lake.quarantine().where("status = 'open'").count() == 6

    # The stream's next change wins, an older one that comes late loses, and nothing opens again.
    lake.land("items", change(sequence(4, label), site="p", number="this stream", note="next"))
    lake.land("items", change(sequence(2, label), site="p", number="this stream", note="older"))
    lake.land("items", change(4, site="p", number="old stream", note="older"))
    lake.ingest_well()
    assert {n: r.note for n, r in rows(lake).items()} == {
        "old stream": "now",
        "this stream": "next",
        "raw": "now",
        "gone": None,
    }
    lake.forget_last_batch(ITEMS)
    lake.ingest_well()
    assert lake.quarantine().where("status = 'open'").count() == 6


def test_giving_the_command_again_after_a_crash_before_the_decision_reads_anew(
    lake: Lake, aws: LocalAws, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land("items", change(1, site="p", number="twice", note="late"))
    lake.ingest_well()
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "_decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            requeue(lake, aws)
    aws.client("dynamodb").put_item(TableName=NAME, Item={**key("twice"), "note": {"S": "meanwhile"}})
    assert len(requeue(lake, aws).decided) == 1
    lake.ingest_well()
    assert rows(lake)["twice"].note == "meanwhile"
    plans = Path(lake.settings.landing).glob("_backfills/items/*/plan.json")
    assert {json.loads(path.read_text())["kind"] for path in plans} == {"fresh_read"}


def test_where_expiries_are_ignored_an_item_that_is_gone_lands_nothing(aws: LocalAws, tmp_path: Path) -> None:
    keeping = dataclasses.replace(ITEMS, ttl_deletes="ignore")
    reader = Reader(aws.client("dynamodb"), keeping, NAME, "trim-horizon")
    lost = [
        quarantine.Lost(f"q{n}", sequence(3), attributes={"site": "p", "number": n}) for n in ("raw", "-")
    ]
    outcome = fresh_read(lambda _: reader, FolderObjects(tmp_path))("items", lost)
    assert [decided.quarantine_id for decided in outcome.decided] == ["qraw"]
    assert "maybe expired" in outcome.refused[0].because
    (landed,) = tmp_path.glob("items/*/*/*.gz")
    assert gzip.decompress(landed.read_bytes()).count(b"\n") == 1
