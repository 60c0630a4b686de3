"""A table made anew from landing is what all of landing says, and the stream goes on where it was."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, LABEL, TRANSCRIPTS, Lake, assert_same, change

from lakehouse import floors
from lakehouse import rebuild as engine
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.snapshot import Snapshot, record_complete, state_folder, to_ms
from lakehouse.catalog import PROPERTIES
from lakehouse.errors import ConfigurationError, IncompleteLandingError, LeaseHeldError
from lakehouse.lease import Lease
from lakehouse.rebuild import rebuild

THINGS = dataclasses.replace(ITEMS, history=True)
TAKEN = "2026-01-06T00:00:00.000Z"
SNAPSHOT = f"{LABEL}/-{TAKEN}/0001"


def item(at: Any, number: str, **more: Any) -> dict[str, Any]:
    return change(at, site="p", number=number, **more)


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    made = Lake(spark, tmp_path, (THINGS,))
    made.land("items", item(1, "a", note="one"), item(2, "b", note="one"), "no json")
    made.land("items", item(3, "a", note="two"), item(4, "b", deleted=True), item(5, "c", note="one"))
    made.ingest_well()
    return made


def spoil(lake: Lake) -> None:
    """As nothing that landed says."""
    name = lake.settings.table("silver", THINGS.name)
    rows = lake.spark.table(name).where("number = 'a'").localCheckpoint()
    more = rows.withColumns({"number": F.lit("phantom"), "note": F.lit("?")})
    kept = lake.spark.table(name).where("number <> 'c'").withColumn("note", F.lit("spoiled"))
    kept.union(more).localCheckpoint().writeTo(name).overwrite(F.col("_sequence") >= F.lit(""))


def identity(lake: Lake) -> str:
    return (Path(lake.settings.checkpoints) / THINGS.name / "stream.json").read_text()


def test_a_rebuilt_table_is_what_landed_and_the_stream_goes_on(lake: Lake) -> None:
    right = lake.content(THINGS).localCheckpoint()
    history = lake.history(THINGS).localCheckpoint()
    before = identity(lake)
    spoil(lake)
    lake.land("items", item(6, "d", note="landed, not ingested"))
    told: list[str] = []
    with Lease(f"{lake.settings.checkpoints}/items", "items"):
        for wait, last in ((0, None), (0.1, "waiting for the stream to stop")):
            with pytest.raises(LeaseHeldError):
                rebuild(lake.spark, lake.settings, THINGS, complete=True, wait=wait, on_progress=told.append)
            assert (told[-1] if told else None) == last
    done = rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert (done.basis, done.live_before, done.live_after, done.tombstones_after) == ("everything", 2, 3, 1)
    assert_same(lake.content(THINGS).where("number <> 'd'"), right)
    assert_same(lake.history(THINGS).where("number <> 'd'"), history)
    # No line is in quarantine twice, and nothing of the new table is left.
    assert lake.quarantine().count() == 1
    assert not list(Path(lake.settings.checkpoints).glob("items_rebuild*"))
    assert not lake.spark.catalog.tableExists(lake.settings.table("silver", "items_rebuild"))
    assert identity(lake) != before
    detail = lake.spark.sql(f"DESCRIBE DETAIL {lake.settings.table('silver', 'items')}").collect()[0]
    assert detail.clusteringColumns == ["site", "number"]
    assert PROPERTIES.items() <= detail.properties.items()
    assert lake.state(THINGS).schema["note"].metadata == {"comment": "Some text."}
    # What the rebuild has read is not read again, what lands next is.
    assert lake.ingest_well()["items"].batches.records == 0
    lake.land("items", item(7, "a", note="three"), item(3, "b", note="late"))
    assert lake.ingest_well()["items"].batches.upserts == 1
    assert {r.number: r.note for r in lake.state(THINGS).where("NOT is_deleted").collect()} == {
        "a": "three",
        "c": "one",
        "d": "landed, not ingested",
    }


@pytest.mark.extra
@pytest.mark.parametrize(
    "point",
    [
        "_hand_over",
        pytest.param("_replace", marks=pytest.mark.prove),
        pytest.param("insert_missing", marks=pytest.mark.prove),
    ],
)
def test_a_rebuild_that_dies_leaves_right_tables_and_is_finished_by_the_next(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    right = lake.content(THINGS).localCheckpoint()
    spoil(lake)
    real = getattr(engine, point)

    def dies(*given: Any, **named: Any) -> None:
        real(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, point, dies)
        with pytest.raises(KeyboardInterrupt):
            rebuild(lake.spark, lake.settings, THINGS, complete=True)
    lake.land("items", item(6, "c", deleted=True))
    lake.ingest_well()
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    lake.ingest_well()
    assert_same(lake.content(THINGS).where("number <> 'c'"), right.where("number <> 'c'"))
    (gone,) = lake.state(THINGS).where("number = 'c'").collect()
    assert gone.is_deleted


@pytest.mark.extra
def test_what_the_floor_turned_away_stays_away_and_a_released_record_comes_along(lake: Lake) -> None:
    now = datetime.now(UTC)
    floors.record(lake.spark, lake.settings, THINGS, datetime(2026, 2, 1, tzinfo=UTC), now)
    released = change(f"{LABEL}/{8:040d}+2026-11-01T00:00:00.000Z", site="p", number="released", note="fresh")
    released["_approxStreamTs"] = to_ms("2026-11-01T00:00:00Z")
    lake.land("items", item(8, "released", note="late"), item(9, "turned away", note="late"))
    lake.ingest_well()
    lake.land("items", released)
    lake.ingest_well()
    right = lake.content(THINGS).localCheckpoint()
    turned_away = "reason = 'below_tombstone_floor'"
    assert lake.quarantine().where(turned_away).count() == 2
    # The rebuild meets it before the stream does, which alone knows that the floor turns it away.
    lake.land("items", item(10, "turned away, and not ingested yet", note="late"))
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert_same(lake.content(THINGS), right)
    assert lake.quarantine().where(turned_away).count() == 3
    lake.ingest_well()
    assert_same(lake.content(THINGS), right)
    assert floors.current(lake.spark, lake.settings, THINGS) == floors.micros(
        datetime(2026, 2, 1, tzinfo=UTC)
    )

    # Tombstones stay, though their changes have left landing.
    for path in Path(lake.settings.landing).rglob("*.gz"):
        path.unlink()
    lake.land("items", item(SNAPSHOT, "a", note="two"), item(SNAPSHOT, "c", note="one"))
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    rows = {r.number: r for r in lake.state(THINGS).collect()}
    assert rows.keys() == {"a", "b", "c"}
    assert (rows["b"].is_deleted, rows["a"].note, rows["a"]._sequence) == (True, "two", SNAPSHOT)


def test_a_rebuild_is_refused_unless_landing_has_a_snapshot_and_all_after_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (THINGS,))
    lake.land("items", item(1, "a", note="one"))
    lake.land("items", item(3, "a", note="two"))

    def refused() -> bool:
        with pytest.raises(IncompleteLandingError, match="lakehouse backfill items"):
            rebuild(lake.spark, lake.settings, THINGS)
        return True

    landing = FolderObjects(Path(lake.settings.landing))
    path = lake.land("items", item(SNAPSHOT, "a", note="two"))
    key = str(path.relative_to(lake.settings.landing))
    snapshot = Snapshot(LABEL, to_ms(TAKEN), 1)
    folder = state_folder("items", snapshot)
    landing.put(f"{folder}/plan.json", b"{}")
    taken = datetime.fromisoformat(TAKEN).timestamp()
    objects = sorted(Path(lake.settings.landing).glob("items/*/*/*.gz"))
    assert refused()  # no snapshot has ended
    record_complete(landing, folder, snapshot, [key, "items/dt=2026-01-06/HH=00/gone.ndjson.gz"])
    assert refused()  # an object of the snapshot is gone
    record_complete(landing, folder, snapshot, [key])
    for each in objects:
        os.utime(each, (taken + 60, taken + 60))
    assert refused()  # nothing shows that no change behind the snapshot is gone
    os.utime(objects[0], (taken - 60, taken - 60))
    ignoring = dataclasses.replace(THINGS, ttl_deletes="ignore")
    with pytest.raises(IncompleteLandingError, match="may lack items that have expired"):
        rebuild(lake.spark, lake.settings, ignoring)
    aside = Path(lake.settings.landing) / "_set_aside" / "items" / "dt=2026-01-05" / "HH=08" / "x.ndjson.gz"
    aside.parent.mkdir(parents=True)
    aside.touch()
    with pytest.raises(IncompleteLandingError, match="set aside"):
        rebuild(lake.spark, lake.settings, THINGS)
    aside.unlink()
    (aside.parents[2] / "README").touch()
    (objects[0].parents[2] / "README").touch()
    lake.ingest_well()
    before = lake.content(THINGS).localCheckpoint()
    (tmp_path / "elsewhere").mkdir()
    empty = dataclasses.replace(lake.settings, landing=str(tmp_path / "elsewhere"))
    with pytest.raises(IncompleteLandingError, match=r"has nothing for it\. Check --landing"):
        rebuild(lake.spark, empty, THINGS, complete=True)
    assert_same(lake.content(THINGS), before)
    # A late record in an older hour hides nothing.
    late = lake.land("items", item(2, "late", note="it"))
    older = objects[0].parents[2] / "dt=2026-01-01" / "HH=00" / late.name
    older.parent.mkdir(parents=True)
    late.rename(older)
    assert rebuild(lake.spark, lake.settings, THINGS).basis == TAKEN


def test_a_table_is_rebuilt_by_one_run_at_a_time_which_takes_nothing_from_another(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another run has left may have been read from objects that are gone, or by another declaration."""
    bad = lake.land("items", item(6, "bogus", note="never was"))

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_replace", dies)
        with pytest.raises(KeyboardInterrupt):
            rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert lake.spark.table(lake.settings.table("silver", "items_rebuild")).where("number = 'bogus'").count()
    bad.unlink()
    held = Lease(f"{lake.settings.checkpoints}/_rebuilds/items", "another")
    with held, pytest.raises(LeaseHeldError, match="rebuild"):
        rebuild(lake.spark, lake.settings, THINGS, complete=True)
    done = rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert (done.live_after, lake.state(THINGS).where("number = 'bogus'").count()) == (2, 0)


@pytest.mark.extra
def test_a_table_of_documents_is_rebuilt_from_all_its_places_or_not_at_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS,))
    lake.write_document("a.json", {"results": {"audio_duration": 5}}, mtime=1_767_000_000)
    pca = {"ConversationAnalytics": {"GUID": "b", "Duration": 7}}
    lake.write_document("parsed.json", pca, mtime=1_767_000_000, below=lake.pca)
    lake.ingest_well()
    right = lake.content(TRANSCRIPTS).localCheckpoint()
    assert right.count() == 2

    for places in ({}, {"transcripts": str(lake.documents)}, {"pca_calls": str(lake.pca)}):
        settings = dataclasses.replace(lake.settings, documents=places)
        with pytest.raises(ConfigurationError, match=r"'(transcripts|pca_calls)' too, .* say where they lie"):
            rebuild(spark, settings, TRANSCRIPTS)
    assert_same(lake.content(TRANSCRIPTS), right)

    name = lake.settings.table("silver", TRANSCRIPTS.name)
    spark.table(name).limit(0).write.format("delta").mode("overwrite").saveAsTable(name)
    done = rebuild(spark, lake.settings, TRANSCRIPTS)
    assert (done.live_before, done.live_after) == (0, 2)
    assert_same(lake.content(TRANSCRIPTS), right)
    assert not list(Path(lake.settings.checkpoints).glob("transcripts_rebuild*"))
    # The local listing of documents has moved with the checkpoint: they are read once more, to no effect.
    assert [r.batches.upserts for r in lake.ingest_well().values()] == [0, 0, 0]
    pca = {"ConversationAnalytics": {"GUID": "c"}}
    lake.write_document("parsed.json", pca, mtime=1_767_000_009, below=lake.pca)
    assert lake.ingest_well()["transcripts_pca_calls"].batches.upserts == 1
