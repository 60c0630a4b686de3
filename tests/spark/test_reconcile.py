"""Reconcile finds what a state table has wrong, says nothing else, and mends it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.local.export_support import write_export
from tests.local.support import ITEM_KEYS, create_table
from tests.spark.support import ITEMS, TRANSCRIPTS, Lake, change, sequence

from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import FolderObjects, open_objects
from lakehouse.aws.scan import backfill_scan
from lakehouse.aws.snapshot import to_ms
from lakehouse.aws.source import DynamoSource
from lakehouse.errors import ConfigurationError
from lakehouse.local.aws import LocalAws
from lakehouse.operations.rebuild import rebuild
from lakehouse.operations.reconcile import Reconciled, _content, reconcile
from lakehouse.table import Column, Table

NAME = "prod-items"


class Place:
    """A DynamoDB table and the lake that is made from it."""

    def __init__(self, aws: LocalAws, spark: SparkSession, folder: Path, table: Table = ITEMS) -> None:
        self.table = table
        self.dynamodb = aws.client("dynamodb")
        self.label = create_table(self.dynamodb, NAME, ITEM_KEYS)
        self.lake = Lake(spark, folder, (table,))
        self.landing = FolderObjects(Path(self.lake.settings.landing))
        Path(self.lake.settings.landing).mkdir()

    def put(self, number: str, **more: Any) -> None:
        item = {"site": {"S": "p"}, "number": {"S": number}, "note": {"S": "source"}, **more}
        self.dynamodb.put_item(TableName=NAME, Item=item)

    def land(self, at: int, number: str, **more: Any) -> None:
        self.lake.land("items", change(sequence(at, self.label), site="p", number=number, **more))

    def reconcile(self, wait: Any = lambda: None, **more: Any) -> Reconciled:
        reader = Reader(self.dynamodb, self.table, NAME, "trim-horizon")
        source = DynamoSource(reader, self.landing)
        return reconcile(self.lake.spark, self.lake.settings, self.table, source, wait, **more)

    def rows(self) -> dict[str, str | None]:
        live = self.lake.state(ITEMS).where("NOT is_deleted").collect()
        return {row.number: row.note for row in live}


@pytest.fixture(scope="module")
def place(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with LocalAws() as aws:
        made = Place(aws, spark, tmp_path_factory.mktemp("reconcile"))
        odd = {
            "unknown": {"M": {"b": {"N": "1.50"}, "a": {"L": [{"NULL": True}]}}},
            "amount": {"S": "no number"},
        }
        for number in ("same", "stale", "buried", "mine"):
            made.put(number)
        made.put("odd", **odd)
        made.put("dated", updated_at={"S": "2026-01-01"})
        backfill_scan(made.dynamodb, made.landing, ITEMS, NAME, consumer_from="trim-horizon")
        made.lake.ingest_well()
        yield made


def test_a_table_that_is_its_source_agrees_whatever_its_items_hold(place: Place) -> None:
    found = place.reconcile()
    assert (found.verdict, found.source_items, found.live_rows) == ("agree", 6, 6)
    # From the stream an item has another record, and so another time: not another content.
    place.land(1, "same", note="source")
    place.lake.ingest_well()
    assert place.reconcile().verdict == "agree"


def test_each_drift_is_found_and_mended_and_a_change_that_comes_in_meanwhile_wins(place: Place) -> None:
    place.land(2, "stale", note="drifted")
    place.land(2, "buried", deleted=True)
    place.land(2, "phantom", note="no such item")
    place.land(2, "dated", note="source", updated_at="2025-12-31")
    place.land(2, "mine", note="drifted")
    place.land(2, "undated", note="source", updated_at="2025-12-31")
    # Longer than a key may be.
    place.land(2, "no key" * 200, note="no such item")
    place.lake.ingest_well()
    place.put("unseen")
    place.put("undated")
    found = place.reconcile()
    assert (found.missing, found.stale, found.phantom, found.unsettled) == (2, 4, 2, 0)
    assert (found.verdict, found.repaired) == ("differ", 0)
    told = {(e["kind"], e["number"]) for e in json.loads(found.examples)}
    assert told == {
        ("missing", "unseen"),
        ("missing", "buried"),
        ("stale", "stale"),
        ("stale", "dated"),
        ("stale", "mine"),
        ("stale", "undated"),
        ("phantom", "no key" * 200),
        ("phantom", "phantom"),
    }
    before = place.rows()
    assert place.reconcile(repair=True).repaired == 8
    assert place.rows() == before
    # Behind the repair's read, but ingested together with it.
    place.put("mine", note={"S": "changed meanwhile"})
    place.land(3, "mine", note="changed meanwhile")
    place.lake.ingest_well()
    sources = ("same", "stale", "buried", "odd", "dated", "unseen", "undated")
    assert place.rows() == {**dict.fromkeys(sources, "source"), "mine": "changed meanwhile"}
    assert place.reconcile().verdict == "agree"

    books = place.lake.spark.table(place.lake.settings.table("ops", "reconciliations")).collect()
    assert sorted(row.verdict for row in books if row.verdict != "agree") == ["differ", "repaired"]
    assert not list((Path(place.lake.settings.checkpoints) / "_reconcile").iterdir())


def test_what_moves_between_two_looks_is_no_difference(place: Place) -> None:
    place.put("late")  # landed and ingested before the second look
    place.put("moving")
    moves = iter(range(10, 20))

    def wait() -> None:
        n = next(moves)
        place.land(n, "late", note="source")
        # The source is always one change ahead of the table.
        place.put("moving", amount={"N": str(n)})
        place.land(n, "moving", note="source", amount=n - 1)
        place.lake.ingest_well()

    found = place.reconcile(wait)
    assert (found.verdict, found.unsettled) == ("agree", 1)


@pytest.mark.extra
def test_a_repair_of_a_row_that_was_lost_outlives_a_rebuild(spark: SparkSession, tmp_path: Path) -> None:
    """The history knows of changes that a snapshot of this stream would stand below."""
    table = dataclasses.replace(ITEMS, history=True)
    with LocalAws() as aws:
        place = Place(aws, spark, tmp_path, table)
        place.land(5, "lost", note="old")
        place.land(6, "kept", note="source")
        place.lake.ingest_well()
        place.put("lost")
        place.put("kept")
        name = place.lake.settings.table("silver", table.name)
        spark.sql(f"DELETE FROM {name} WHERE number = 'lost'")
        assert place.reconcile(repair=True).missing == 1
        place.lake.ingest_well()
        assert place.rows() == {"lost": "source", "kept": "source"}
        current = place.lake.gold("items_history").where("is_current").select("number", "note").collect()
        assert {row.number: row.note for row in current} == place.rows()
        rebuild(spark, place.lake.settings, table, complete=True)
        assert place.rows() == {"lost": "source", "kept": "source"}
        assert place.reconcile().verdict == "agree"


def test_a_difference_of_a_microsecond_is_one(spark: SparkSession) -> None:
    stamped = (
        Column("at", "timestamp", "A time.", "at"),
        Column("local", "timestamp_ntz", "Another.", "local"),
    )
    table = dataclasses.replace(ITEMS, columns=(*ITEMS.columns, *stamped))
    rows = [
        ("2026-01-01 00:00:00.123456", "2026-01-01 00:00:00"),
        ("2026-01-01 00:00:00.123457", "2026-01-01 00:00:00"),
    ]
    rows += [("2026-01-01 00:00:00.123456", "2026-01-01 00:00:00.000001")]
    frame = spark.createDataFrame(rows, "at string, local string").selectExpr(
        "'s' AS site", "'n' AS number", "'x' AS note", "1L AS amount", "cast(at AS timestamp) AS at",
        "cast(local AS timestamp_ntz) AS local",
    )  # fmt: skip
    assert frame.select(_content(table)).distinct().count() == 3


def test_an_incremental_export_is_no_whole_table(place: Place, tmp_path: Path) -> None:
    export = write_export(tmp_path, NAME, to_ms(f"{place.label}Z") + 5, [[]], incremental=True)
    source = DynamoSource(
        Reader(place.dynamodb, ITEMS, NAME, "trim-horizon"), None, open_objects(str(export))
    )
    with pytest.raises(ConfigurationError, match="Take a full one"):
        reconcile(place.lake.spark, place.lake.settings, ITEMS, source, lambda: None)


def test_a_table_of_documents_has_no_source_to_compare_with(place: Place) -> None:
    source = DynamoSource(Reader(place.dynamodb, TRANSCRIPTS, NAME))
    with pytest.raises(ConfigurationError, match="made from documents"):
        reconcile(place.lake.spark, place.lake.settings, TRANSCRIPTS, source, lambda: None)
