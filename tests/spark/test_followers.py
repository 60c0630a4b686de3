"""Followers: whatever happens to the table that is followed, gold is right; what is cheap costs nothing."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import Lake
from tests.spark.test_metrics import Told, call, figures

from lakehouse.demo.metric_figures import DAY, MetricEvent
from lakehouse.errors import LeaseHeldError
from lakehouse.gold import entities, followers
from lakehouse.gold.followers import FOLLOWERS, Follower, refresh_metrics
from lakehouse.gold.run import ingest
from lakehouse.ingest.runner import Result, Run, run_all
from lakehouse.ingest.stream import source_streams
from lakehouse.ingest.trigger import Trigger
from lakehouse.operations.rebuild import rebuild
from lakehouse.table import Column
from lakehouse.tables.coaching_insights import coaching_insights
from lakehouse.tables.metric_events import METRIC_EVENTS

COACHING = coaching_insights()


@pytest.fixture
def told(spark: SparkSession, tmp_path: Path) -> Told:
    return Told(Lake(spark, tmp_path, (METRIC_EVENTS,)))


def only_sources(lake: Lake) -> None:
    """Ingest, and let nothing follow."""
    assert [r.error for r in run_all(lake.spark, source_streams(lake.settings, lake.tables), Run())] == [
        None
    ] * 2


def commits(lake: Lake) -> dict[str, int]:
    """How often something was committed to what the followers write."""
    names = [("silver", n) for n in ("metric_entity_events", "metrics", "alerts")] + [("ops", "followed")]
    found = {}
    for layer, name in names:
        log = Path(str(lake.settings.location(layer, name)), "_delta_log")  # type: ignore[arg-type]
        found[name] = max(int(p.stem) for p in log.glob("*.json") if p.stem.isdigit())
    return found


def alerts(lake: Lake) -> list[dict[str, Any]]:
    rows = lake.spark.table(lake.settings.table("silver", "alerts"))
    times = [F.unix_micros(c).alias(c) for c in ("opened_at", "closed_at")]
    return sorted(
        (row.asDict() for row in rows.select("alert_id", "entity_id", "alert_type", *times).collect()),
        key=lambda row: row["entity_id"],
    )


def three_calls(student: str, at: int, *, first: int = 0) -> list[MetricEvent]:
    return [call(f"{student}-{n}", student, at - n * 1000, number=first + n) for n in range(3)]


def test_a_rebuild_mends_gold_and_closes_no_alert_to_open_it_again(told: Told) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land([*three_calls("anna", now - DAY), *three_calls("berta", now - DAY)])
    lake.ingest_well()
    right = alerts(lake)
    assert [row["closed_at"] for row in right] == [None, None]
    silver = lake.settings.table("silver", "metric_events")
    # As nothing says that came: an event too few, and one that is somebody else's.
    lake.spark.sql(f"DELETE FROM {silver} WHERE event_id = 'anna-0'")
    lake.spark.sql(f"UPDATE {silver} SET student_id = 'clara' WHERE event_id = 'berta-2'")
    rebuild(lake.spark, lake.settings, METRIC_EVENTS, complete=True)
    lake.ingest_well()
    told.check(at=None)
    assert set(figures(lake.gold("metrics"))) == {("student", "anna", ""), ("student", "berta", "")}
    assert alerts(lake) == right


def test_what_leaves_the_events_as_they_were_costs_nothing(told: Told) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land(three_calls("anna", now - DAY))
    lake.ingest_well()
    told.land([call("more", "anna", now)])
    lake.ingest_well()
    silver = lake.settings.table("silver", "metric_events")
    lake.spark.sql(f"OPTIMIZE {silver}")
    before = commits(lake)
    lake.ingest_well()
    assert commits(lake) == before
    # A tombstone that comes and is purged, a column that is filled and that metrics do not read.
    tombstone = (
        lake.spark.table(silver)
        .limit(1)
        .withColumns(
            {"event_id": F.lit("gone"), "student_id": F.lit(None).cast("string"), "is_deleted": F.lit(True)}
        )
    )
    tombstone.write.format("delta").mode("append").saveAsTable(silver)
    lake.spark.sql(f"DELETE FROM {silver} WHERE is_deleted")
    lake.spark.sql(f"UPDATE {silver} SET _event_name = 'FILLED'")
    lake.ingest_well()
    assert commits(lake) == before | {"followed": before["followed"] + 1}
    told.check()


@pytest.mark.parametrize("gone", ["the files of changes", "the log", "the table", "the checkpoint"])
def test_a_feed_that_is_gone_is_made_up_for_by_one_look_at_everything(
    told: Told, caplog: pytest.LogCaptureFixture, gone: str
) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land([call("moves", "anna", now - DAY, number=1), call("other", "berta", now - DAY)])
    lake.ingest_well()
    told.land([call("moves", "clara", now - DAY, number=2)])
    only_sources(lake)
    told.land([call("late", "berta", now - 2 * DAY)])
    only_sources(lake)
    folder = Path(str(lake.settings.location("silver", "metric_events")))
    if gone == "the files of changes":
        shutil.rmtree(folder / "_change_data")
        for path in folder.glob("*.parquet"):  # as VACUUM does with what no version of today needs
            if str(path.name) not in {Path(f).name for f in lake.state(METRIC_EVENTS).inputFiles()}:
                path.unlink()
    elif gone == "the log":
        lake.spark.sql(f"OPTIMIZE {lake.settings.table('silver', 'metric_events')}")
        _checkpoint_and_forget(lake, folder)
    elif gone == "the table":
        rows = lake.state(METRIC_EVENTS).localCheckpoint()
        lake.spark.sql(f"DROP TABLE {lake.settings.table('silver', 'metric_events')}")
        shutil.rmtree(folder)
        lake.set_up()
        rows.write.format("delta").mode("append").saveAsTable(lake.settings.table("silver", "metric_events"))
    else:
        shutil.rmtree(lake.settings.follower_folder("metrics"))
    with caplog.at_level(logging.WARNING, logger="lakehouse"):
        lake.ingest_well()
    assert sum("looked at whole" in r.getMessage() for r in caplog.records) == (gone != "the checkpoint")
    assert set(figures(lake.gold("metrics"))) == {("student", "berta", ""), ("student", "clara", "")}
    told.check()
    told.land([call("next", "clara", now)])
    lake.ingest_well()
    told.check()


def _checkpoint_and_forget(lake: Lake, folder: Path) -> None:
    """The log up to its last version goes, as after its retention."""
    log = lake.spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(  # type: ignore[union-attr]
        lake.spark._jsparkSession, str(folder)
    )
    log.checkpoint()
    versions = sorted(p for p in (folder / "_delta_log").glob("*.json") if p.stem.isdigit())
    for path in versions[:-1]:
        path.unlink()
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
    lake.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


def test_a_column_that_is_gained_stops_nothing(told: Told) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land([call("one", "anna", now - DAY)])
    lake.ingest_well()
    told.land([call("two", "anna", now)])
    only_sources(lake)
    more = dataclasses.replace(
        METRIC_EVENTS,
        columns=(*METRIC_EVENTS.columns, Column("more", "string", "More.", "payload.session_id")),
    )
    lake.tables = (more,)
    lake.set_up()
    told.land([call("three", "berta", now)])
    lake.ingest_well()
    told.check(at=None)
    assert {e[1]: row["ib_calls_7d"] for e, row in figures(lake.gold("metrics")).items()} == {
        "anna": 2,
        "berta": 1,
    }


@pytest.mark.parametrize(
    "dies_in", ["_bring_up_to", "apply_conditions", "_merge_metrics", "append_once", "start"]
)
def test_a_follower_that_dies_between_its_commits_is_finished_by_the_next_run(
    told: Told, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land([call("moves", "anna", now - DAY, number=1), *three_calls("berta", now - DAY, first=5)])
    if dies_in != "start":
        lake.ingest_well()
    told.land([call("moves", "clara", now - DAY, number=2), *three_calls("dora", now - DAY, first=9)])

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("the power went off")

    module = followers if dies_in in ("append_once", "start") else entities
    with monkeypatch.context() as patched:
        patched.setattr(module, "drive" if dies_in == "start" else dies_in, die)
        results = lake.ingest()
    assert results["metric_events"].error is None
    assert "the power went off" in str(results["metrics"].error)
    lake.ingest_well()
    told.check()
    assert {e[1] for e in figures(lake.gold("metrics"))} == {"berta", "clara", "dora"}
    found = [(row["entity_id"], row["opened_at"], row["closed_at"]) for row in alerts(lake)]
    assert found == [("berta", now - DAY, None), ("dora", now - DAY, None)]
    rows = lake.spark.table(lake.settings.table("ops", "followed")).collect()
    assert len({(row.stream, row.batch_id) for row in rows}) == len(rows)


def test_a_follower_that_keeps_going_follows_ages_and_keeps_others_out(told: Told) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land(three_calls("anna", now - DAY))
    lake.ingest_well()
    # As after fifteen days: three calls that nobody has aged.
    metrics, later = lake.settings.table("silver", "metrics"), now - 20 * DAY
    lake.spark.sql(f"UPDATE {metrics} SET as_of = timestamp_micros({later}), ib_calls_14d = 7")
    stop, results = threading.Event(), []
    run = threading.Thread(
        target=lambda: results.extend(
            ingest(lake.spark, lake.settings, lake.tables, Trigger("1 second"), stop=stop)
        )
    )
    run.start()
    try:
        _until(lambda: figures(lake.gold("metrics"))[("student", "anna", "")]["ib_calls_14d"] == 3)
        with pytest.raises(LeaseHeldError, match="metrics"):
            refresh_metrics(lake.spark, lake.settings)
        told.land(three_calls("berta", now))
        _until(lambda: len(alerts(lake)) == 2)
    finally:
        stop.set()
        run.join()
    assert [r.error for r in results] == [None] * 3
    told.check()


def _until(holds: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_followers_of_tables_that_are_not_named_stay_out(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (METRIC_EVENTS, COACHING))
    ran = [set(lake.ingest_well(table)) & set(FOLLOWERS) for table in lake.tables]
    assert ran == [{"metrics"}, {"insight_alerts"}]


def _coached(score: str) -> dict[str, Any]:
    trends = {"spk_0": {"SentimentScore": "1"}, "spk_1": {"SentimentScore": score}}
    return {"ConversationAnalytics": {"GUID": "g", "Duration": "100", "SentimentTrends": trends}}


def test_insights_that_a_rebuild_takes_away_or_brings_close_and_open_their_alert(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (COACHING,))
    for name in ("a", "b"):
        lake.write_document(f"{name}.json", _coached("-4"), mtime=1_767_880_000, below=lake.pca)
    lake.ingest_well()
    first = alerts(lake)
    assert [row["closed_at"] for row in first] == [None, None]
    silver = lake.settings.table("silver", COACHING.name)
    # One kind of the two: what the alert is about is found by its call, not by what has changed alone.
    lake.spark.sql(f"UPDATE {silver} SET priority = 'medium' WHERE s3_key = 'b.json'")
    lake.ingest_well()
    assert [row["closed_at"] is None for row in alerts(lake)] == [True, False]
    rebuild(lake.spark, lake.settings, COACHING)
    lake.ingest_well()
    found = alerts(lake)
    assert [row["closed_at"] is None for row in found if row["entity_id"].endswith("a.json")] == [True]
    assert sum(row["closed_at"] is None for row in found) == 2
    lake.spark.sql(f"DELETE FROM {silver} WHERE s3_key = 'a.json'")
    lake.ingest_well()
    assert [row["closed_at"] for row in alerts(lake) if row["entity_id"].endswith("a.json")] != [None]


def test_the_log_of_followers_says_how_far_gold_is(told: Told) -> None:
    lake, now = told.lake, time.time_ns() // 1000
    told.land(three_calls("anna", now - DAY))
    lake.ingest_well()
    told.land([call("x", "berta", now)])
    began = datetime.now(UTC)
    result: Result = lake.ingest_well()["metrics"]
    assert (result.batches.records, result.batches.upserts) == (1, 1)
    row = lake.spark.table(lake.settings.table("ops", "followed")).orderBy(F.desc("finished_at")).first()
    assert row is not None
    assert (row.follower, row.table_name, row.changes, row.entities) == ("metrics", "metric_events", 1, 1)
    times = lake.spark.table(lake.settings.table("ops", "followed")).select(
        F.unix_micros(F.max("committed_at"))
    )
    assert times.collect()[0][0] >= began.timestamp() * 1e6 - 1e6
    since = json.loads((Path(Follower("metrics", lake.settings).folder) / "since.json").read_text())
    assert since["version"] > 0
