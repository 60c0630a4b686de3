"""A table that is rebuilt is what bronze says, and its streams go on where they were."""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, LABEL, TRANSCRIPTS, Lake, assert_same, change, sequence

from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.snapshot import Snapshot, record_complete, state_folder, to_ms
from lakehouse.catalog.set_up import PROPERTIES
from lakehouse.errors import IncompleteBronzeError, LeaseHeldError
from lakehouse.ingest import floors
from lakehouse.ingest.fill import all_latest
from lakehouse.ingest.lease import lease
from lakehouse.operations import completeness
from lakehouse.operations import rebuild as engine
from lakehouse.operations.maintain import maintain
from lakehouse.operations.rebuild import rebuild

THINGS = dataclasses.replace(ITEMS, history=True)
TAKEN = "2026-01-06T00:00:00.000Z"
SNAPSHOT = f"{LABEL}/-{TAKEN}/0001"


def item(at: Any, number: str, **more: Any) -> dict[str, Any]:
    return change(at, site="p", number=number, **more)


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    made = Lake(spark, tmp_path, (THINGS,))
    made.land("items", item(1, "a", note="one"), item(2, "b", note="one"), "no json", change(9, site="p"))
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
    return (Path(lake.settings.stream_folder("items")) / "stream.json").read_text()


def test_a_rebuilt_table_is_what_bronze_says_and_the_stream_goes_on(lake: Lake) -> None:
    right = lake.content(THINGS).localCheckpoint()
    history = lake.history(THINGS).localCheckpoint()
    before = identity(lake)
    spoil(lake)
    lake.land("items", item(6, "d", note="landed, not ingested"))
    folder = lake.settings.stream_folder("items")
    for wait in (0, 0.1):
        with lease(lake.spark, lake.settings, folder, "items"), pytest.raises(LeaseHeldError):
            rebuild(lake.spark, lake.settings, THINGS, complete=True, wait=wait)
    done = rebuild(lake.spark, lake.settings, THINGS, complete=True)
    # a and b are mended, c has come back, the phantom is gone.
    assert (done.basis, done.live_before, done.live_after, done.written) == ("beginning", 2, 2, 4)
    assert (done.tombstones_before, done.tombstones_after) == (1, 1)
    assert_same(lake.content(THINGS), right)
    assert_same(lake.history(THINGS), history)
    assert sorted(row.reason for row in lake.quarantine().collect()) == ["missing_key", "not_json"]
    assert identity(lake) == before
    detail = lake.spark.sql(f"DESCRIBE DETAIL {lake.settings.table('silver', 'items')}").collect()[0]
    assert detail.clusteringColumns == ["site", "number"]
    assert PROPERTIES.items() <= detail.properties.items()
    assert lake.state(THINGS).schema["note"].metadata == {"comment": "Some text."}
    # Whoever follows the table sees the differences alone.
    feed = lake.spark.read.option("readChangeFeed", "true").option("startingVersion", "3")
    changed = feed.table(lake.settings.table("silver", "items")).where("_change_type <> 'update_preimage'")
    found = sorted((row.number, row["_change_type"]) for row in changed.collect())
    assert found == [
        ("a", "update_postimage"),
        ("b", "update_postimage"),
        ("c", "insert"),
        ("phantom", "delete"),
    ]
    # A second one finds nothing that differs.
    assert rebuild(lake.spark, lake.settings, THINGS, complete=True).written == 0
    assert lake.ingest_well()["items"].batches.records == 1
    lake.land("items", item(7, "a", note="three"), item(3, "b", note="late"))
    assert lake.ingest_well()["items"].batches.upserts == 1
    assert {r.number: r.note for r in lake.state(THINGS).where("NOT is_deleted").collect()} == {
        "a": "three",
        "c": "one",
        "d": "landed, not ingested",
    }


def test_a_rebuild_needs_nothing_of_landing(lake: Lake) -> None:
    right = lake.content(THINGS).localCheckpoint()
    spoil(lake)
    shutil.rmtree(Path(lake.settings.landing) / "items")
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert_same(lake.content(THINGS), right)


@pytest.mark.parametrize("point", ["_merge", pytest.param("_judge_anew", marks=pytest.mark.prove)])
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
    assert sorted(row.reason for row in lake.quarantine().collect()) == ["missing_key", "not_json"]


def test_a_rebuild_begins_anew_if_the_table_was_written_to_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = lake.content(THINGS).localCheckpoint()
    spoil(lake)
    real, seen = engine.all_latest, []

    def slow(*given: Any) -> Any:
        rows = real(*given)
        if not seen:
            name = lake.settings.table("silver", THINGS.name)
            lake.spark.sql(f"UPDATE {name} SET note = 'meanwhile' WHERE number = 'a'")
        seen.append(rows)
        return rows

    monkeypatch.setattr(engine, "all_latest", slow)
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert len(seen) == 2
    assert_same(lake.content(THINGS), right)


def test_what_the_floor_refused_stays_out_and_a_tombstone_that_bronze_lacks_stays_in(lake: Lake) -> None:
    now = datetime.now(UTC)
    floors.record(lake.spark, lake.settings, THINGS, datetime(2026, 2, 1, tzinfo=UTC), now)
    released = change(f"{LABEL}/{8:040d}+2026-11-01T00:00:00.000Z", site="p", number="released", note="fresh")
    released["_approxStreamTs"] = to_ms("2026-11-01T00:00:00Z")
    lake.land("items", item(8, "released", note="late"), item(9, "turned away", note="late"))
    lake.land("items", item(7, "turned away", note="older still"), item(8, "turned away", note="older"))
    lake.ingest_well()
    lake.land("items", released)
    lake.ingest_well()
    # A tombstone of which bronze has nothing, and one above all that bronze has.
    name = lake.settings.table("silver", THINGS.name)
    tombstones = lake.spark.table(name).where("is_deleted").localCheckpoint()
    unknown = tombstones.withColumns({"number": F.lit("erased"), "_sequence": F.lit(sequence(50))})
    above = tombstones.withColumns({"number": F.lit("c"), "_sequence": F.lit(sequence(60))})
    lake.spark.sql(f"DELETE FROM {name} WHERE number = 'c'")
    unknown.union(above).write.format("delta").mode("append").saveAsTable(name)
    right = lake.content(THINGS).localCheckpoint()
    turned_away = "reason = 'below_tombstone_floor'"
    assert lake.quarantine().where(turned_away).count() == 2
    # Nothing of a key that was turned away, and all that led to a later change of one.
    history = lake.history(THINGS).where("number IN ('released', 'turned away')")
    assert sorted(row.note for row in history.collect()) == ["fresh", "late"]

    assert rebuild(lake.spark, lake.settings, THINGS, complete=True).written == 0
    assert_same(lake.content(THINGS), right)
    assert lake.quarantine().where(turned_away).count() == 2
    # What is in bronze and not applied yet is applied first: only so the floor refuses it.
    settings = dataclasses.replace(lake.settings, checkpoints=str(lake.folder / "others"))
    lake.land("items", item(10, "turned away, and not applied yet", note="late"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lakehouse.ingest.silver.merge", lambda *_, **__: 1 / 0)
        assert lake.ingest(settings=settings)["items"].error is not None
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert_same(lake.content(THINGS), right)
    assert lake.quarantine().where(turned_away).count() == 3
    lake.ingest_well()
    assert_same(lake.content(THINGS), right)
    assert floors.current(lake.spark, lake.settings, THINGS) == floors.micros(
        datetime(2026, 2, 1, tzinfo=UTC)
    )


def test_a_refused_change_that_the_table_holds_after_all_stays(lake: Lake) -> None:
    """Two writers, one of which worked by an older floor: one is refused, the other has written it."""
    lake.land("items", item(8, "late", note="it"))
    lake.ingest_well()
    right = lake.content(THINGS).localCheckpoint()

    def refuse(number: str, at: str) -> None:
        lake.spark.sql(
            f"INSERT INTO {lake.settings.table('ops', 'refused')} "
            "(quarantine_id, table_name, source, key, sequence, reason, refused_at) VALUES "
            f"('{number}', 'items', 'items', '[\"p\",\"{number}\"]', '{at}', 'below_tombstone_floor', "
            "current_timestamp())"
        )

    refuse("late", sequence(8))
    history = lake.history(THINGS).localCheckpoint()
    rebuild(lake.spark, lake.settings, THINGS, complete=True)
    assert_same(lake.content(THINGS), right)
    assert history.where("number = 'late'").count() == 1
    # It has written an older one.
    lake.land("items", item(10, "later", note="older"))
    lake.ingest_well()
    lake.land("items", item(11, "later", note="never applied"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lakehouse.ingest.silver.merge", lambda *_, **__: 1 / 0)
        assert lake.ingest()["items"].error is not None
    refuse("later", sequence(11))
    found = all_latest(lake.spark, lake.settings, THINGS).where("number = 'later'").collect()
    assert [row.note for row in found] == ["older"]


def test_a_row_that_a_fresh_read_released_is_rebuilt_though_it_sorts_below_what_was_refused(
    lake: Lake,
) -> None:
    floors.record(lake.spark, lake.settings, THINGS, datetime(2026, 2, 1, tzinfo=UTC), datetime.now(UTC))
    lake.land("items", item(8, "back", note="older"), item(9, "back", note="late"))
    lake.ingest_well()
    fresh = item(SNAPSHOT, "back", note="fresh") | {"_approxStreamTs": to_ms("2026-11-01T00:00:00Z")}
    lake.land("items", fresh)
    lake.ingest_well()
    right = lake.content(THINGS).localCheckpoint()
    assert right.where("number = 'back' AND note = 'fresh'").count() == 1
    lake.spark.sql(f"DELETE FROM {lake.settings.table('silver', THINGS.name)} WHERE number = 'back'")
    assert rebuild(lake.spark, lake.settings, THINGS, complete=True).written == 1
    assert_same(lake.content(THINGS), right)


def test_an_expiry_that_the_table_ignores_by_now_is_no_tombstone_after_a_rebuild(lake: Lake) -> None:
    lake.land("items", item(6, "c", deleted=True) | {"_deleteKind": "ttl"}, item(6, "a", deleted=True))
    lake.ingest_well()
    ignoring = dataclasses.replace(THINGS, ttl_deletes="ignore")
    assert rebuild(lake.spark, lake.settings, ignoring, complete=True).written == 1
    rows = {row.number: (row.note, row.is_deleted) for row in lake.state(ignoring).collect()}
    assert rows == {"a": (None, True), "b": (None, True), "c": ("one", False)}


def test_a_log_that_was_dropped_is_complete_no_more(lake: Lake) -> None:
    completeness.note(lake.spark, lake.settings, "items", completeness.BEGINNING, "somebody's word")
    lake.set_up()
    assert completeness.known(lake.spark, lake.settings, "items").since == completeness.BEGINNING
    lake.spark.sql(f"DROP TABLE {lake.settings.table('bronze', 'items')}")
    shutil.rmtree(lake._place("bronze") / "items", ignore_errors=True)
    lake.set_up()
    right = lake.content(THINGS).localCheckpoint()
    with pytest.raises(IncompleteBronzeError):
        rebuild(lake.spark, lake.settings, THINGS)
    assert_same(lake.content(THINGS), right)


def test_history_keeps_what_was_before_a_change_that_was_turned_away(lake: Lake) -> None:
    lake.land("items", item(6, "c", deleted=True))
    lake.ingest_well()
    before = lake.history(THINGS).localCheckpoint()
    floors.record(lake.spark, lake.settings, THINGS, datetime(2026, 2, 1, tzinfo=UTC), datetime.now(UTC))
    lake.spark.sql(f"DELETE FROM {lake.settings.table('silver', THINGS.name)} WHERE is_deleted")
    lake.land("items", item(7, "c", note="late"), item(8, "c", note="later"))
    lake.ingest_well()
    assert lake.quarantine().where("reason = 'below_tombstone_floor'").count() == 1
    assert_same(lake.history(THINGS), before)


def test_a_rebuild_does_not_bring_purged_tombstones_back(lake: Lake) -> None:
    floors.record(lake.spark, lake.settings, THINGS, datetime(2026, 2, 1, tzinfo=UTC), datetime.now(UTC))
    lake.spark.sql(f"DELETE FROM {lake.settings.table('silver', THINGS.name)} WHERE is_deleted")
    assert rebuild(lake.spark, lake.settings, THINGS, complete=True).tombstones_after == 0


def test_a_rebuild_is_refused_unless_bronze_has_a_snapshot_and_all_after_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (THINGS,))
    lake.land("items", item(1, "a", note="one"))
    lake.land("items", item(3, "a", note="two"))

    def refused() -> bool:
        with pytest.raises(IncompleteBronzeError, match="lakehouse backfill items"):
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
    record_complete(landing, folder, snapshot, [key])
    for each in objects:
        os.utime(each, (taken + 60, taken + 60))
    assert refused()  # bronze has nothing of it yet
    lake.ingest_well()
    (Path(lake.settings.landing) / folder / "done.json").unlink()
    assert refused()  # no snapshot has ended
    record_complete(landing, folder, snapshot, [key])
    assert refused()  # nothing shows that no change behind the snapshot is missing
    os.utime(objects[0], (taken - 60, taken - 60))
    (Path(lake.settings.landing) / folder / "done.json").unlink()
    record_complete(landing, folder, snapshot, [key, "items/dt=2026-01-06/HH=00/gone.ndjson.gz"])
    assert refused()  # an object of the snapshot is not in bronze
    (Path(lake.settings.landing) / folder / "done.json").unlink()
    record_complete(landing, folder, snapshot, [key])
    ignoring = dataclasses.replace(THINGS, ttl_deletes="ignore")
    with pytest.raises(IncompleteBronzeError, match="may lack items that have expired"):
        rebuild(lake.spark, lake.settings, ignoring)
    aside = Path(lake.settings.landing) / "_set_aside" / "items" / "dt=2026-01-05" / "HH=08" / "x.ndjson.gz"
    aside.parent.mkdir(parents=True)
    aside.touch()
    with pytest.raises(IncompleteBronzeError, match="landing restore"):
        rebuild(lake.spark, lake.settings, THINGS)
    # It is noted: the object may be gone by its age, and is missing still.
    aside.unlink()
    with pytest.raises(IncompleteBronzeError, match=r"items/dt=2026-01-05/HH=08/x\.ndjson\.gz"):
        rebuild(lake.spark, lake.settings, THINGS)
    lake.land("items", item(7, "a", note="three"), name="x-restored.ndjson.gz")
    lake.ingest_well()
    assert rebuild(lake.spark, lake.settings, THINGS).basis == TAKEN
    # Landing is not asked again.
    shutil.rmtree(lake.settings.landing)
    assert completeness.known(spark, lake.settings, "items").since == TAKEN
    elsewhere = dataclasses.replace(lake.settings, landing="")
    assert rebuild(lake.spark, elsewhere, THINGS).basis == TAKEN


def test_an_object_that_was_set_aside_is_missing_until_it_is_back_or_something_newer_covers_it(
    lake: Lake,
) -> None:
    def set_aside(name: str) -> str:
        place = f"items/dt=2026-01-05/HH=08/{name}.ndjson.gz"
        path = Path(lake.settings.landing) / "_set_aside" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        # Found by the daily upkeep; then it expires.
        for _ in range(2):
            maintain(lake.spark, lake.settings, [THINGS])
        path.unlink()
        return place

    def known() -> tuple[str | None, set[str]]:
        found = completeness.known(lake.spark, lake.settings, "items")
        return found.since, set(found.missing)

    lost = set_aside("lost")
    assert known() == (None, {lost})
    completeness.note(lake.spark, lake.settings, "items", completeness.BEGINNING, "somebody's word")
    assert known() == ("beginning", set())
    torn = set_aside("torn")
    assert known() == ("beginning", {torn})
    lake.land("items", item(7, "a", note="three"), name="torn-restored.ndjson.gz")
    lake.ingest_well()
    assert known() == ("beginning", set())
    # What came back was torn again, and comes back once more.
    twice = set_aside("twice"), set_aside("twice-restored")
    assert known() == ("beginning", set(twice))
    lake.land("items", item(8, "a", note="four"), name="twice-restored-restored.ndjson.gz")
    lake.ingest_well()
    assert known() == ("beginning", set())
    # A snapshot covers what was missing before it, and nothing else does.
    gone = set_aside("gone")
    landing = FolderObjects(Path(lake.settings.landing))
    for year, covered in ((2026, False), (2999, True)):
        snapshot = Snapshot(LABEL, to_ms(f"{year}-01-05T00:00:00.000Z"), 1)
        folder = state_folder("items", snapshot)
        landing.put(f"{folder}/plan.json", b"{}")
        record_complete(landing, folder, snapshot, ["items/dt=2026-01-05/HH=08/0001.ndjson.gz"])
        maintain(lake.spark, lake.settings, [THINGS])
        assert known() == (("2999-01-05T00:00:00.000Z", set()) if covered else ("beginning", {gone}))


def test_a_table_of_documents_is_rebuilt_from_every_version_that_came(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS,))
    lake.write_document("a.json", {"results": {"audio_duration": 5}}, mtime=1_767_000_000)
    pca = {"ConversationAnalytics": {"GUID": "b", "Duration": 7}}
    lake.write_document("parsed.json", pca, mtime=1_767_000_000, below=lake.pca)
    lake.write_document("strange.json", {"neither": "nor"}, mtime=1_767_000_000)
    lake.ingest_well()
    lake.write_document("a.json", {"results": {"audio_duration": 6}}, mtime=1_767_000_005)
    lake.ingest_well()
    right = lake.content(TRANSCRIPTS).localCheckpoint()
    assert sorted(row.duration_seconds for row in right.collect()) == [6.0, 7.0]
    name = lake.settings.table("silver", TRANSCRIPTS.name)
    spark.table(name).limit(0).write.format("delta").mode("overwrite").saveAsTable(name)
    shutil.rmtree(lake.documents)
    done = rebuild(spark, lake.settings, TRANSCRIPTS)
    assert (done.basis, done.live_before, done.live_after, done.written) == ("documents", 0, 2, 2)
    assert_same(lake.content(TRANSCRIPTS), right)
    assert [row.reason for row in lake.quarantine().collect()] == ["unknown_document_shape"]
    lake.documents.mkdir()
    pca = {"ConversationAnalytics": {"GUID": "c"}}
    lake.write_document("parsed.json", pca, mtime=1_767_000_009, below=lake.pca)
    assert lake.ingest_well()["pca_calls"].batches.upserts == 1
