"""Ways in which a log and a mark could lose, double or bring back a row, thought of before it was built.

One more is in test_rebuild.py: a tombstone that bronze lacks, and a change that the floor refused.
"""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, TRANSCRIPTS, Lake, change

from lakehouse.errors import CheckpointError, StreamError
from lakehouse.gold.run import ingest
from lakehouse.ingest import floors, silver
from lakehouse.ingest.runner import Batches
from lakehouse.table import Column
from lakehouse.tables import table

COACHING = table("coaching_insights")


def item(at: int, site: str, **more: Any) -> dict[str, Any]:
    return change(at, site=site, number="1", **more)


def test_an_append_that_succeeded_before_a_merge_that_died_with_its_document_rewritten_in_between(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS,))
    lake.write_document("a.json", {"results": {"audio_duration": 5}}, mtime=1_767_000_000)
    lake.write_document("b.json", {"results": {"audio_duration": 6}}, mtime=1_767_000_000)

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the power went off")

    with monkeypatch.context() as patched:
        patched.setattr("lakehouse.ingest.silver.merge", dies)
        assert isinstance(lake.ingest()["transcripts"].error, StreamError)
    # Rewritten to something that is no transcript: the batch that is repeated must not see it instead.
    lake.write_document("a.json", {"neither": "nor"}, mtime=1_767_000_100)
    (lake.documents / "b.json").unlink()
    lake.ingest_well()
    assert {key: row.duration_seconds for key, row in lake.rows(TRANSCRIPTS).items()} == {"a": 5.0, "b": 6.0}
    assert [row.reason for row in lake.quarantine().collect()] == ["unknown_document_shape"]
    assert sorted(row["_document_key"] for row in lake.bronze("transcripts").collect()) == [
        *("a.json", "a.json", "b.json")
    ]
    assert [(book.records, book.upserts, book.quarantined) for book in lake.books()] == [(2, 2, 0), (1, 0, 1)]


def test_a_checkpoint_that_was_restored_from_yesterday_stops_its_stream_and_loses_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,), max_files=1)
    checkpoint = Path(lake.settings.stream_folder("items")) / "checkpoint"
    lake.land("items", item(1, "first"))
    lake.ingest_well()
    shutil.copytree(checkpoint, tmp_path / "yesterday")
    lake.land("items", item(2, "second"))
    lake.land("items", item(3, "third"))
    lake.ingest_well()
    shutil.rmtree(checkpoint)
    shutil.copytree(tmp_path / "yesterday", checkpoint)
    lake.land("items", item(4, "fourth"))
    # The batch of that number has other objects now: Delta would take its append for known, and skip it.
    greedy = dataclasses.replace(lake.settings, max_files=1000)
    error = lake.ingest(settings=greedy)["items"].error
    assert isinstance(error, CheckpointError)
    assert "--from-the-beginning" in str(error)
    assert error.batch_id == 1
    assert set(lake.rows(ITEMS)) == {"first", "second", "third"}
    (again,) = (
        result
        for result in ingest(spark, greedy, (ITEMS,), from_the_beginning=True)
        if result.stream == "items"
    )
    assert (again.error, again.batches) == (None, Batches(files=4, records=4, upserts=1, stale=3))
    assert set(lake.rows(ITEMS)) == {"first", "second", "third", "fourth"}
    assert lake.ingest_well()["items"].batches == Batches()


def test_a_checkpoint_that_was_restored_and_makes_the_same_batches_goes_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,), max_files=1)
    checkpoint = Path(lake.settings.stream_folder("items")) / "checkpoint"
    lake.land("items", item(1, "first"))
    lake.ingest_well()
    shutil.copytree(checkpoint, tmp_path / "yesterday")
    lake.land("items", item(2, "second"))
    lake.ingest_well()
    shutil.rmtree(checkpoint)
    shutil.copytree(tmp_path / "yesterday", checkpoint)
    lake.land("items", item(3, "third"))
    assert lake.ingest_well()["items"].batches == Batches(files=1, records=1, upserts=1)
    assert set(lake.rows(ITEMS)) == {"first", "second", "third"}
    assert lake.bronze("items").count() == 3


def test_a_stream_that_was_restored_whole_does_not_pass_over_a_document_rewritten_meanwhile(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS,))
    folder = Path(lake.settings.stream_folder("transcripts"))
    lake.write_document("z.json", {"results": {"audio_duration": 1}}, mtime=1_767_000_000)
    lake.ingest_well()
    shutil.copytree(folder, tmp_path / "yesterday")
    lake.write_document("a.json", {"results": {"audio_duration": 5}}, mtime=1_767_000_010)
    lake.ingest_well()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "yesterday", folder)
    lake.write_document("a.json", {"results": {"audio_duration": 7}}, mtime=1_767_000_020)
    # The batch of that number, and of that path, is another one: Delta would skip its append.
    assert isinstance(lake.ingest()["transcripts"].error, CheckpointError)
    for result in ingest(spark, lake.settings, (TRANSCRIPTS,), from_the_beginning=True):
        assert result.error is None
    assert lake.rows(TRANSCRIPTS)["a"].duration_seconds == 7.0


def test_a_delete_of_unknown_time_before_its_older_update_with_a_floor(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    floors.record(spark, lake.settings, ITEMS, datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC))
    lake.land("items", item(2, "gone", deleted=True) | {"_approxStreamTs": None})
    lake.ingest_well()
    lake.land("items", item(1, "gone", note="older"))  # above the floor
    lake.ingest_well()
    assert lake.rows(ITEMS)["gone"].is_deleted


def test_one_table_is_named_and_its_sibling_later(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS, COACHING))
    sad = {
        "ConversationAnalytics": {
            "GUID": "g",
            "Duration": 7,
            "SentimentTrends": {"spk_0": {"SentimentScore": -3}},
        }
    }
    lake.write_document("a.json", sad, mtime=1_767_000_000, below=lake.pca)
    lake.ingest_well(COACHING)
    assert (lake.state(COACHING).where("NOT is_deleted").count(), lake.state(TRANSCRIPTS).count()) == (1, 0)
    # Bronze has it: the document itself is not needed any more.
    (lake.pca / "a.json").unlink()
    lake.write_document(
        "b.json", {"ConversationAnalytics": {"GUID": "h"}}, mtime=1_767_000_000, below=lake.pca
    )
    lake.ingest_well(TRANSCRIPTS)
    assert set(lake.rows(TRANSCRIPTS)) == {"g", "h"}
    # And the other way round, in a run that names both.
    result = lake.ingest_well()["pca_calls"]
    assert (result.tables["transcripts"], result.tables["coaching_insights"].records) == (Batches(), 7)
    assert lake.state(COACHING).count() == 14
    assert lake.ingest_well()["pca_calls"].batches == Batches()


def test_a_table_that_is_declared_later_fills_itself_on_its_first_run(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", item(1, "a", note="old"), item(2, "b"), item(3, "b", deleted=True), "no json")
    lake.ingest_well()
    lake.land("items", item(4, "a", note="new"), change(5, site="keyless"))
    lake.ingest_well()
    shutil.rmtree(Path(lake.settings.landing) / "items")
    more = dataclasses.replace(
        ITEMS, name="more", columns=(*ITEMS.columns, Column("text", "string", "It again.", "note"))
    )
    lake.tables = (ITEMS, more)
    lake.set_up()
    result = lake.ingest_well(more)["items"]
    assert result.batches == Batches(records=6, upserts=1, deletes=1, stale=2, quarantined=2)
    rows = lake.rows(more)
    assert (rows["a"].note, rows["a"].text, rows["b"].is_deleted) == ("new", "new", True)
    refused = {row.reason: row.refused_by for row in lake.quarantine().collect()}
    assert refused == {"not_json": None, "missing_key": ["items", "more"]}
    lake.land("items", item(6, "a", note="newest"))
    lake.ingest_well()
    assert (lake.rows(more)["a"].note, lake.rows(ITEMS)["a"].note) == ("newest", "newest")


def test_a_table_that_was_dropped_fills_itself_again(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", item(1, "a", note="it"))
    lake.ingest_well()
    # Everyday upkeep has raised a floor; of the table that is made anew it says nothing.
    floors.record(spark, lake.settings, ITEMS, datetime(2026, 3, 1, tzinfo=UTC), datetime.now(UTC))
    spark.sql(f"DROP TABLE {lake.settings.table('silver', 'items')}")
    shutil.rmtree(str(lake.settings.location("silver", "items")))
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    lake.set_up()
    spark.conf.set("spark.sql.session.timeZone", str(zone))
    # Its old marks are in the books still, and count for nothing.
    assert lake.ingest_well()["items"].batches == Batches(records=1, upserts=1)
    assert lake.rows(ITEMS)["a"].note == "it"


def test_a_merge_that_failed_where_its_siblings_went_well_is_made_up_for(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(ITEMS, name="other")
    lake = Lake(spark, tmp_path, (ITEMS, other))
    lake.land("items", item(1, "a", note="it"))
    real = silver.merge

    def dies(*given: Any, **named: Any) -> int:
        if given[2].name == "other":
            raise RuntimeError("the power went off")
        return real(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(silver, "merge", dies)
        assert lake.ingest()["items"].error is not None
    assert (lake.state(ITEMS).count(), lake.state(other).count(), lake.books()) == (1, 0, [])
    lake.ingest_well()
    assert lake.rows(other)["a"].note == "it"
    assert {book.table_name: book.upserts for book in lake.books()} == {"items": 0, "other": 1}
    assert lake.bronze("items").count() == 1
