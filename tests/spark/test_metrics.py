"""Metrics against a plain reading of the rules (demo/metric_figures.py), written by another hand."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.metric_sets import AS_OF_TIMES, landed_line, random_events
from tests.spark.support import CHANGED_AT, Lake, event, lines_frame, show_times

from lakehouse.demo.metric_figures import DAY, MetricEvent, MetricRow, metric_event, metrics
from lakehouse.gold.followers import refresh_metrics
from lakehouse.gold.metrics import entity_events, metrics_of
from lakehouse.gold.tables import ENTITY
from lakehouse.ingest.bronze import of_lines
from lakehouse.operations.rebuild import rebuild
from lakehouse.sql.select import MISFITS, latest_of, select
from lakehouse.tables.metric_events import METRIC_EVENTS

NOW = 1_767_870_000_000_000


def figures(frame: DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of gold.metrics by entity, times as microseconds."""
    times = [F.unix_micros(c).alias(c) for c in ("as_of", "last_event_at")]
    rows = frame.select(*(c for c in frame.columns if c not in ("as_of", "last_event_at")), *times).collect()
    found = {(r.entity_type, r.entity_id, r.region): r.asDict() for r in rows}
    assert len(found) == len(rows), "an entity twice"
    return {e: {k: v for k, v in row.items() if k not in ENTITY} for e, row in found.items()}


def _expected(rows: Mapping[Any, MetricRow]) -> dict[Any, dict[str, Any]]:
    return {entity: asdict(row) for entity, row in rows.items()}


def _assertfigures(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    wrong = {e for e in {*found, *expected} if found.get(e) != expected.get(e)}
    for entity in sorted(wrong)[:3]:
        print(entity, "\n  tables:", found.get(entity), "\n  oracle:", expected.get(entity))
    assert not wrong, f"{len(wrong)} of {len(expected)} entities differ"


def _in_bronze(spark: SparkSession, lines: DataFrame) -> DataFrame:
    """Lines as bronze has them, in a view named bronze_events."""
    bronze = of_lines(lines, METRIC_EVENTS).selectExpr("*", "'events' AS _stream", "0L AS _batch_id")
    bronze.createOrReplaceTempView("bronze_events")
    return bronze


def _latest(spark: SparkSession) -> DataFrame:
    """The latest change of every event in that view, as the table has it."""
    return spark.sql(select(METRIC_EVENTS, latest_of("bronze_events", "true"), beside=True))


def _events_frame(spark: SparkSession, events: Iterable[MetricEvent]) -> DataFrame:
    bronze = _in_bronze(spark, lines_frame(spark, (landed_line(e) for e in events)))
    assert bronze.where("_problem IS NOT NULL OR _key IS NULL").isEmpty()
    return entity_events(_latest(spark))


def test_metrics_are_the_oracles_on_a_thousand_random_sets_at_every_time(
    spark: SparkSession, tmp_path: Path
) -> None:
    sets = [random_events(seed, f"set{seed}", NOW) for seed in range(1000)]
    _events_frame(spark, (e for one in sets for e in one)).write.parquet(str(tmp_path / "events"))
    events = spark.read.parquet(str(tmp_path / "events"))
    for as_of in AS_OF_TIMES(NOW):
        expected: dict[Any, Any] = {}
        for one in sets:
            expected |= _expected(metrics(one, as_of))
        assert len(expected) > 1000
        _assertfigures(figures(metrics_of(events, as_of)), expected)


@pytest.mark.parametrize(
    ("figure", "kind", "days"),
    [
        ("sessions_7d", "session_completed", 7),
        ("sessions_14d", "session_started", 14),
        ("sessions_30d", "session_completed", 30),
        ("ib_calls_7d", "ib_call_logged", 7),
        ("ib_calls_14d", "ib_call_logged", 14),
    ],
)
def test_a_window_ends_with_its_last_microsecond_and_begins_behind_its_first(
    spark: SparkSession, figure: str, kind: str, days: int
) -> None:
    edges = {"too old": NOW - days * DAY, "oldest": NOW - days * DAY + 1, "newest": NOW, "future": NOW + 1}
    events = [
        MetricEvent(name, kind, at, f"{n:056d}/shardId-000000000000/000000", student_id=name)
        for n, (name, at) in enumerate(edges.items())
    ]
    found = figures(metrics_of(_events_frame(spark, events), NOW))
    assert {e[1]: row[figure] for e, row in found.items()} == {"too old": 0, "oldest": 1, "newest": 1}


class Told:
    """What has been landed so far, to ask the oracle for it."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.events: list[MetricEvent] = []

    def land(self, events: Iterable[MetricEvent]) -> None:
        lines = [landed_line(e) for e in events]
        self.events += filter(
            None, (metric_event(json.loads(json.dumps(line), parse_float=Decimal)) for line in lines)
        )
        self.lake.land("metric_events", *lines)

    def check(self, *, at: int | None = None) -> None:
        """Every row is the oracle's at its own time; none is missing that was there by `at`."""
        found = figures(self.lake.gold("metrics"))
        by_time: dict[int, dict[Any, Any]] = {}
        for row in found.values():
            by_time.setdefault(row["as_of"], _expected(metrics(self.events, row["as_of"])))
        _assertfigures(found, {e: by_time[row["as_of"]].get(e) for e, row in found.items()})
        if at is not None:
            ignored = {"as_of": at}
            now = {e: row | ignored for e, row in _expected(metrics(self.events, at)).items()}
            _assertfigures({e: row | ignored for e, row in found.items()}, now)


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path, (METRIC_EVENTS,), max_files=1)


def _moved_events(told: Told) -> list[MetricEvent]:
    entities: dict[str, set[Any]] = defaultdict(set)
    for one in told.events:
        entities[one.event_id].add(one.student_id)
    return [e for e in told.events if len(entities[e.event_id]) > 1]


AGES = (timedelta(hours=6), timedelta(days=7, microseconds=1), timedelta(days=31), -timedelta(days=3))


@pytest.mark.parametrize(
    "ages",
    [pytest.param(AGES[1::2], marks=pytest.mark.extra), pytest.param(AGES, marks=pytest.mark.prove)],
    ids=len,
)
def test_batches_and_ageing_end_at_the_oraclesfigures(lake: Lake, ages: Sequence[timedelta]) -> None:
    now = time.time_ns() // 1000
    told = Told(lake)
    events = [e for seed in range(60) for e in random_events(seed, f"batch{seed}", now)]
    random.Random(4).shuffle(events)
    third = len(events) // 3
    for part in (events[:third], events[third : 2 * third], [*events[2 * third :], *events[: third // 2]]):
        told.land(part)
    lake.ingest_well()
    assert _moved_events(told), "no event has gone from one student to another"
    told.check()
    for after in ages:
        at = datetime.now(UTC) + after
        refresh_metrics(lake.spark, lake.settings, at)
        told.check(at=round(at.timestamp() * 1e6))
    before = figures(lake.gold("metrics"))
    assert refresh_metrics(lake.spark, lake.settings, at) == 0
    rebuild(lake.spark, lake.settings, METRIC_EVENTS, complete=True)
    refresh_metrics(lake.spark, lake.settings, at)
    drop = {"as_of"}
    assert _without(figures(lake.gold("metrics")), drop) == _without(before, drop)


def _without(rows: Mapping[Any, Mapping[str, Any]], names: set[str]) -> dict[Any, Any]:
    return {e: {k: v for k, v in row.items() if k not in names} for e, row in rows.items()}


def test_a_batch_touches_the_entities_of_its_events_alone(lake: Lake) -> None:
    now = time.time_ns() // 1000
    told = Told(lake)
    told.land([call("one", "anna", now - DAY), call("two", "berta", now - DAY)])
    lake.ingest_well()
    first = figures(lake.gold("metrics"))
    told.land([call("three", "anna", now - 2 * DAY)])
    lake.ingest_well()
    second = figures(lake.gold("metrics"))
    anna, berta = (("student", name, "") for name in ("anna", "berta"))
    assert second[berta] == first[berta]
    assert (first[anna]["ib_calls_7d"], second[anna]["ib_calls_7d"]) == (1, 2)
    assert second[anna]["as_of"] > first[anna]["as_of"]
    told.check()


@pytest.mark.extra
def test_an_event_that_comes_again_as_another_students_leaves_the_first_one(lake: Lake) -> None:
    now = time.time_ns() // 1000
    told = Told(lake)
    told.land([call("call", "anna", now - DAY, number=1)])
    lake.ingest_well()
    told.land([call("call", "berta", now - DAY, number=2)])
    lake.ingest_well()
    assert set(figures(lake.gold("metrics"))) == {("student", "berta", "")}
    told.land([call("call", "clara", now - DAY, number=1), call("other", "anna", now - DAY)])
    lake.ingest_well()
    assert set(figures(lake.gold("metrics"))) == {("student", "berta", ""), ("student", "anna", "")}
    told.check()


def test_a_batch_that_is_repeated_after_a_crash_changes_no_figure(lake: Lake) -> None:
    now = time.time_ns() // 1000
    told = Told(lake)
    told.land([call(str(n), "anna", now - n * DAY) for n in range(20)])
    lake.ingest_well()
    lake.forget_last_batch(METRIC_EVENTS)
    lake.ingest_well()
    told.check()


def call(event_id: str, student: str, at: int, *, number: int = 5) -> MetricEvent:
    return MetricEvent(
        event_id, "ib_call_logged", at, f"{number:056d}/shardId-000000000000/000000", student_id=student
    )


EVENTS: dict[str, dict[str, Any]] = {
    "nothing": event(1, student_id="anna", more={"a": [1, 2.50]}, health_score=1.5),
    "text": event(2) | {"payload": json.dumps({"student_id": "anna", "more": 1, "health_score": "1.50005"})},
    "flat": {k: v for k, v in event(3).items() if k != "payload"} | {"student_id": "anna", "health_score": 1},
    "inside": event(4) | {"payload": {"event_id": "inside", "subject": "Maths"}},
    "both": event(5, event_id="outside") | {"payload": {"event_id": "other"}},
    "same": event(6, event_id="same") | {"payload": {"event_id": "same"}},
    "empty": event(7, event_id="") | {"payload": '{"event_id": "inside the text"}'},
    "empty both": event(8, event_id="", event_type="", timestamp="") | {"payload": {"event_id": ""}},
    "no text": event(9) | {"event_id": {"a": 1}, "payload": {"event_id": 17}},
    "no object": event(10, event_id="no object") | {"payload": ["anna"]},
    "zone": event(11, event_id="zone", timestamp="2026-01-08T12:30:00+02:00"),
    "no zone": event(12, event_id="no zone", timestamp="2026-01-08T12:30:00.25"),
}


@pytest.mark.parametrize(
    ("name", "event_id", "student", "health"),
    [
        ("nothing", "shardId-000000000000:1#0", "anna", "1.5000"),
        ("text", "shardId-000000000000:2#0", "anna", "1.5001"),
        ("flat", "shardId-000000000000:3#0", None, None),
        ("inside", "inside", None, None),
        ("both", "outside", None, None),
        ("same", "same", None, None),
        ("empty", "inside the text", None, None),
        ("empty both", "shardId-000000000000:8#0", None, None),
        ("no object", "no object", None, None),
        ("zone", "zone", None, None),
        ("no zone", "no zone", None, None),
    ],
)
def test_an_event_is_an_envelope(
    events: Events, name: str, event_id: str, student: str | None, health: str | None
) -> None:
    row = events.rows[EVENTS[name]["_sequence"]]
    assert (row.event_id, row.student_id) == (event_id, student)
    assert (row.health_score and str(row.health_score)) == health
    assert row[MISFITS] == (name == "no object")
    assert row.event_type == "unknown"
    at = {"zone": "2026-01-08 10:30:00", "no zone": "2026-01-08 12:30:00.25"}
    assert row.occurred_at == at.get(name, CHANGED_AT)


def test_an_id_that_is_no_scalar_is_refused_and_no_other_is_taken_in_its_place(events: Events) -> None:
    number = EVENTS["no text"]["_sequence"]
    assert number not in events.rows
    assert events.keys[number] is None
    assert set(events.rows) == set(events.keys) - {number}


@pytest.mark.parametrize("name", EVENTS)
def test_what_no_column_reads_is_in_bronze(events: Events, name: str) -> None:
    assert events.records[EVENTS[name]["_sequence"]] == EVENTS[name]


@dataclass(frozen=True)
class Events:
    """By sequence: the rows of the table, the keys and the records in bronze."""

    rows: dict[str, Row]
    keys: dict[str, str | None]
    records: dict[str, Any]


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> Events:
    bronze = _in_bronze(spark, lines_frame(spark, EVENTS.values()))
    assert bronze.where("_problem IS NOT NULL").isEmpty()
    there = bronze.select("_sequence", "_key", F.to_json("item").alias("item")).collect()
    return Events(
        {row._sequence: row for row in show_times(_latest(spark)).collect()},
        {row._sequence: row._key for row in there},
        {row._sequence: json.loads(row.item) for row in there},
    )
