"""Reconcile finds what a state table has wrong, says nothing else, and mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.local.support import ITEM_KEYS, create_table
from tests.spark.support import ITEMS, Lake, change, sequence

from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.scan import backfill_scan
from lakehouse.aws.source import DynamoSource
from lakehouse.errors import ConfigurationError
from lakehouse.local.aws import LocalAws
from lakehouse.reconcile import Reconciled, reconcile
from lakehouse.tables.transcripts import TRANSCRIPTS

NAME = "prod-items"


class Place:
    """A DynamoDB table and the lake that is made from it."""

    def __init__(self, aws: LocalAws, spark: SparkSession, folder: Path) -> None:
        self.dynamodb = aws.client("dynamodb")
        self.label = create_table(self.dynamodb, NAME, ITEM_KEYS)
        self.lake = Lake(spark, folder, (ITEMS,))
        self.landing = FolderObjects(Path(self.lake.settings.landing))
        Path(self.lake.settings.landing).mkdir()

    def put(self, number: str, **more: Any) -> None:
        item = {"site": {"S": "p"}, "number": {"S": number}, "note": {"S": "source"}, **more}
        self.dynamodb.put_item(TableName=NAME, Item=item)

    def land(self, at: int, number: str, **more: Any) -> None:
        self.lake.land("items", change(sequence(at, self.label), site="p", number=number, **more))

    def reconcile(self, wait: Any = lambda: None, **more: Any) -> Reconciled:
        reader = Reader(self.dynamodb, ITEMS, NAME, "trim-horizon")
        source = DynamoSource(reader, self.landing)
        return reconcile(self.lake.spark, self.lake.settings, ITEMS, source, wait, **more)

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
    place.lake.ingest_well()
    place.put("unseen")
    found = place.reconcile()
    assert (found.missing, found.stale, found.phantom, found.unsettled) == (2, 3, 1, 0)
    assert (found.verdict, found.repaired) == ("differ", 0)
    told = {(e["kind"], e["number"]) for e in json.loads(found.examples)}
    assert told == {
        ("missing", "unseen"),
        ("missing", "buried"),
        ("stale", "stale"),
        ("stale", "dated"),
        ("stale", "mine"),
        ("phantom", "phantom"),
    }
    before = place.rows()
    assert place.reconcile(repair=True).repaired == 6
    assert place.rows() == before
    # Behind the repair's read, but ingested together with it.
    place.put("mine", note={"S": "changed meanwhile"})
    place.land(3, "mine", note="changed meanwhile")
    place.lake.ingest_well()
    sources = ("same", "stale", "buried", "odd", "dated", "unseen")
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


def test_a_table_of_documents_has_no_source_to_compare_with(place: Place) -> None:
    source = DynamoSource(Reader(place.dynamodb, TRANSCRIPTS, NAME))
    with pytest.raises(ConfigurationError, match="made from documents"):
        reconcile(place.lake.spark, place.lake.settings, TRANSCRIPTS, source, lambda: None)
