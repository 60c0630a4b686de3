"""The crash matrix: a real process is killed at each point of its work, and what comes next makes it right.

Each point has a warehouse of its own, a copy of one that was made once. A child process
(`crash_process.py`) works on it until it is killed there. Then the work is given again, in this process's own
Spark session, with nothing in its way, and the tables must hold what the oracle reads out of what has landed;
quarantine has each bad line once for each object, and the books have each batch once.

By default one point runs, `make prove` runs all of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from gzip import compress
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.integration import crash_process
from tests.integration.crash_process import THINGS, Point, requeue_all, scan, small_pages
from tests.local.support import ITEM_KEYS, create_table
from tests.spark.histories import COLUMNS, Record, history, key_of, landed, latest, note_figures, row
from tests.spark.metric_sets import landed_line
from tests.spark.support import change, line, versions_of

from lakehouse.aws.scan import ReadLimit
from lakehouse.catalog.set_up import set_up
from lakehouse.demo.metric_figures import DAY as DAY_MICROS
from lakehouse.demo.metric_figures import MetricEvent
from lakehouse.gold.run import ingest
from lakehouse.ingest import floors
from lakehouse.local.aws import LocalAws
from lakehouse.local.warehouse import attach
from lakehouse.operations.maintain import maintain
from lakehouse.operations.rebuild import rebuild
from lakehouse.settings import LAYERS, Settings
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.tables.metric_events import METRIC_EVENTS

SEED = 20261121
OBJECTS, MAX_FILES = 4, 2
NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
"""Every change was made in January, more than the retention of 14 days before it."""
RETIRED = NOW - timedelta(days=THINGS.tombstone_retention_days)
DAY = timedelta(hours=25)

KEYLESS = json.dumps(change(7, site="no number"), sort_keys=True, separators=(",", ":"))
"""A good line that the table cannot take, as bronze tells it."""
BAD = ["no json", '["no object"]', '{"site": "no number", "_sequence": "x"}', '{"torn": "', KEYLESS]
REPORTS = [
    json.dumps({"source": "items", "reason": "bad_number", "detail": f"number {n}", "record": {"eventID": n}})
    for n in range(2)
]
"""Lines of the writer's quarantine."""

BY_DEFAULT = {"before the checkpoint's commit"}


def points(wanted: Iterable[Point]) -> pytest.MarkDecorator:
    """One test for each point."""
    full_size = {p: () if p.name in BY_DEFAULT else (pytest.mark.prove,) for p in wanted}
    return pytest.mark.parametrize(
        "point", [pytest.param(p, id=p.name, marks=marks) for p, marks in full_size.items()]
    )


# --- what lands, and what must become of it -------------------------------------------------------------

HISTORIES = [history(SEED, number, 6) for number in range(14)]
CHANGES = [made for one in HISTORIES for made in one.records]


def _objects() -> dict[str, list[bytes]]:
    """Lines by the object that they land in: every change at least once, in any order, and bad lines."""
    rng = random.Random(SEED)
    records = landed(rng, HISTORIES)
    found: dict[str, list[bytes]] = {}
    for number in range(OBJECTS):
        lines = [line(made) for made in records[number::OBJECTS]]
        for bad in [*rng.sample(BAD[:-1], 2) * rng.choice((1, 2)), KEYLESS]:
            lines.insert(rng.randrange(len(lines)), line(bad))
        found[f"items/dt=2026-01-05/HH=08/{number}.ndjson.gz"] = lines
    return found


LANDED = _objects()
REPORTED = "_quarantine/items/dt=2026-01-05/HH=08/0.ndjson.gz"
"""The object with the lines of the writer's quarantine; it lands where that matters."""

BAD_LINES = {(key, text.decode()) for key, lines in LANDED.items() for text in lines if text.decode() in BAD}
LINES = Counter({"items": sum(len(held) for key, held in LANDED.items() if key.startswith("items/"))})


def land(landing: Path, objects: Mapping[str, Sequence[bytes]]) -> None:
    """Land objects, each a second newer than the one before."""
    for number, (key, lines) in enumerate(objects.items()):
        path = landing / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compress(b"".join(text + b"\n" for text in lines)))
        os.utime(path, (1_767_880_000 + number, 1_767_880_000 + number))


def by_key(changes: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """The changes of each key."""
    found: dict[tuple[str, str], list[Record]] = {}
    for made in changes:
        found.setdefault(key_of(made), []).append(made)
    return found


def assert_tables(
    spark: SparkSession, settings: Settings, changes: Iterable[Record], purged: frozenset[Any] = frozenset()
) -> None:
    """State and history hold what the oracle reads out of the changes, the keys that were purged aside."""
    changes = list(changes)
    wanted = [row(latest(of) or {}) for key, of in by_key(changes).items() if key not in purged]
    every = {(key_of(made), made["_sequence"]): row(made) for made in changes}
    history = {
        THINGS.name: (spark.table(settings.table("silver", THINGS.name)), wanted),
        THINGS.history_name: (versions_of(spark, settings, THINGS), every.values()),
    }
    for name, (frame, rows) in history.items():
        found = frame.selectExpr(*_columns()).collect()
        differing = Counter(map(tuple, found))
        differing.subtract(Counter(rows))
        assert not {r: n for r, n in differing.items() if n}, f"{name}: found more (1) or less (-1)"


def _columns() -> list[str]:
    return COLUMNS.split(", ")


def assert_quarantine(spark: SparkSession, settings: Settings, expected: Iterable[tuple[str, str]]) -> None:
    """Quarantine has each of the lines (object, text) once."""
    rows = spark.table(settings.table("ops", "quarantine")).select("object", "raw").collect()
    assert Counter(map(tuple, rows)) == Counter(expected)


def assert_books(spark: SparkSession, settings: Settings, records: Mapping[str, int] | None = None) -> None:
    """The books have each batch once, in every row the records add up, and those of a stream are all."""
    rows = spark.table(settings.table("ops", "batches")).collect()
    assert len({(r.stream, r.batch_id, r.table_name) for r in rows}) == len(rows)
    assert all(r.records == r.upserts + r.deletes + r.stale + r.quarantined for r in rows)
    if records is not None:
        sums: Counter[str] = Counter()
        for r in rows:
            sums[r.stream.partition("/")[0]] += r.records
        assert sums == records


# --- warehouses ------------------------------------------------------------------------------------------


def new_settings(folder: Path, max_files: int = MAX_FILES) -> Settings:
    """Settings of a warehouse in the folder; its schemas have names of their own in a session of many."""
    own = uuid.uuid4().hex[:8]
    return Settings(
        landing=str(folder / "landing"),
        checkpoints=str(folder / "checkpoints"),
        bronze=f"bronze_{own}",
        silver=f"silver_{own}",
        gold=f"gold_{own}",
        ops=f"ops_{own}",
        warehouse=str(folder),
        platform="local",
        max_files=max_files,
        deletion_vectors=False,
    )


def copied(made: Settings, folder: Path, max_files: int | None = None) -> Settings:
    """A copy of a warehouse and of what has landed. Its checkpoints stay behind: they name landed objects."""
    settings = new_settings(folder, max_files or made.max_files)
    for layer in LAYERS:
        shutil.copytree(made.location(layer) or "", settings.location(layer) or "")
    shutil.copytree(made.landing, settings.landing)
    return settings


def open_again(spark: SparkSession, settings: Settings) -> None:
    """What `open_warehouse` does in a new session."""
    attach(spark, settings)
    set_up(spark, settings, (THINGS,))


def ingest_well(spark: SparkSession, settings: Settings) -> None:
    """An ingest in which no stream may fail."""
    for result in ingest(spark, settings, (THINGS,)):
        if result.error is not None:
            raise result.error


def versions(settings: Settings) -> dict[str, int]:
    """How many commits each table has."""
    root = Path(settings.warehouse or "") / "tables"
    found = Counter(path.parts[-3] for path in root.glob("*/*/_delta_log/*[0-9].json"))
    return {name: found[name] for name in sorted(found)}


@pytest.fixture(scope="module")
def unused(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse with tables and nothing in them; all has landed."""
    settings = new_settings(tmp_path_factory.mktemp("unused"))
    land(Path(settings.landing), LANDED)
    set_up(spark, settings, (THINGS,))
    return settings


@pytest.fixture(scope="module")
def full(spark: SparkSession, unused: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse in which all that has landed is ingested."""
    settings = copied(unused, tmp_path_factory.mktemp("full") / "warehouse", max_files=OBJECTS)
    open_again(spark, settings)
    ingest_well(spark, settings)
    assert_tables(spark, settings, CHANGES)
    assert_quarantine(spark, settings, BAD_LINES)
    assert_books(spark, settings, LINES)
    return settings


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def dynamodb_table(aws: LocalAws, name: str, items: Mapping[tuple[str, str], str]) -> None:
    """A DynamoDB table with a stream; items are keys and their note."""
    client = aws.client("dynamodb")
    create_table(client, name, ITEM_KEYS)
    for (site, number), note in items.items():
        item = {"site": {"S": site}, "number": {"S": number}, "note": {"S": note}}
        client.put_item(TableName=name, Item=item)


# --- a process that is killed --------------------------------------------------------------------------


@dataclass(frozen=True)
class Child:
    """A process of `crash_process.py`, with a process group of its own."""

    process: subprocess.Popen[bytes]
    said: Path

    def ended(self) -> tuple[int, float]:
        """Wait for it, and for the Java process that it leaves behind: (exit status, seconds Java took)."""
        try:
            status = self.process.wait(timeout=200)
            gone = time.monotonic()
            while _group(self.process.pid):
                assert time.monotonic() < gone + 60, "Java does not end"
                time.sleep(0.02)
            return status, time.monotonic() - gone
        finally:
            for pid in _group(self.process.pid):
                os.kill(pid, signal.SIGKILL)


def _group(number: int) -> list[int]:
    """The processes of a group that are at work."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(group) == number and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def start(settings: Settings, name: str, *arguments: Any, beside: Path | None = None) -> Child:
    """Start a process that works on the warehouse, up to the point of that name, or with `-` to its end."""
    folder = beside or Path(settings.warehouse or "")
    told = folder / "settings.json"
    told.write_text(json.dumps(dataclasses.asdict(settings)))
    said = folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, crash_process.__file__, name, str(told), *map(json.dumps, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(process, said)


def dies(point: Point, settings: Settings, *arguments: Any) -> dict[str, Any]:
    """Run a process until it is killed at the point; figures of it."""
    before, started = versions(settings), time.monotonic()
    child = start(settings, point.name, *arguments)
    status, outlived = child.ended()
    marker = child.said.with_name("died-at")
    assert (status, marker.exists() and marker.read_text()) == (-signal.SIGKILL, point.name), (
        child.said.read_text()[-3000:]
    )
    commits = {name: n - before.get(name, 0) for name, n in versions(settings).items()}
    return {
        "point": point.name,
        "work": point.work,
        "commits_before_death": {name: n for name, n in commits.items() if n},
        "seconds": round(time.monotonic() - started, 1),
        "java_outlived_seconds": round(outlived, 1),
    }


# --- ingest ----------------------------------------------------------------------------------------------


@points((*crash_process.INGEST, *crash_process.MOMENTS))
def test_an_ingest_that_is_killed_is_finished_by_the_next(
    spark: SparkSession, unused: Settings, tmp_path: Path, point: Point
) -> None:
    settings = copied(unused, tmp_path / "warehouse")
    if point.empty:
        shutil.rmtree(tmp_path / "warehouse" / "tables")
    bad, lines = set(BAD_LINES), dict(LINES)
    if "writer" in point.name:
        land(Path(settings.landing), {REPORTED: [line(report) for report in REPORTS]})
        bad |= {(REPORTED, report) for report in REPORTS}
        lines["writer_quarantine"] = len(REPORTS)
    figures = dies(point, settings)
    open_again(spark, settings)
    ingest_well(spark, settings)
    assert_tables(spark, settings, CHANGES)
    assert_quarantine(spark, settings, bad)
    assert_books(spark, settings, lines)
    note_figures(proof="crashes", **figures, outcome="equal")


@pytest.mark.prove
def test_a_checkpoint_that_lost_its_last_commit_repeats_a_batch_in_vain(
    spark: SparkSession, full: Settings, tmp_path: Path
) -> None:
    settings = copied(full, tmp_path / "warehouse")
    open_again(spark, settings)
    ingest_well(spark, settings)  # under a checkpoint of its own, in which everything comes again
    before = versions(settings)
    commits = Path(settings.stream_folder(THINGS.source)) / "checkpoint" / "commits"
    last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
    for path in (commits / str(last), commits / f".{last}.crc"):
        path.unlink(missing_ok=True)
    ingest_well(spark, settings)
    assert_tables(spark, settings, CHANGES)
    assert_quarantine(spark, settings, BAD_LINES)
    assert_books(spark, settings, LINES + LINES)
    assert versions(settings)["batches"] == before["batches"]
    note_figures(proof="crashes", point="the checkpoint's last commit entry is deleted", outcome="equal")


# --- upkeep ----------------------------------------------------------------------------------------------


def _purged() -> dict[tuple[str, str], list[Record]]:
    """The keys whose tombstone is to go, and their changes. One of unknown time stays."""
    found = {}
    for key, of in by_key(CHANGES).items():
        last = latest(of)
        if last and last["is_deleted"] and last.get("_approxStreamTs") is not None:
            found[key] = of
    return found


@points(crash_process.MAINTAIN)
def test_upkeep_that_is_killed_is_finished_by_the_next_and_nothing_comes_back(
    spark: SparkSession, full: Settings, tmp_path: Path, point: Point
) -> None:
    settings, gone = copied(full, tmp_path / "warehouse"), _purged()
    open_again(spark, settings)
    if "purge" in point.name:
        floors.record(spark, settings, THINGS, RETIRED, NOW - DAY)
    figures = dies(point, settings, NOW.isoformat())
    maintain(spark, settings, [THINGS], now=NOW)
    assert floors.current(spark, settings, THINGS) == floors.micros(RETIRED)
    (done,) = maintain(spark, settings, [THINGS], now=NOW + DAY)
    assert done.duplicate_keys == 0
    assert_tables(spark, settings, CHANGES, frozenset(gone))

    # Whatever comes late for a key whose tombstone is gone stays out.
    late = [line(made) for made in CHANGES if not made["is_deleted"]]
    key = "items/dt=2026-01-05/HH=08/late.ndjson.gz"
    settings = dataclasses.replace(settings, landing=str(tmp_path / "late"))
    land(tmp_path / "late", {key: late})
    ingest_well(spark, settings)
    assert_tables(spark, settings, CHANGES, frozenset(gone))
    below = spark.table(settings.table("ops", "quarantine")).where(F.col("reason") == BELOW_FLOOR)
    found = [key_of(json.loads(r.raw)) for r in below.collect()]
    upserts = {k for k, of in gone.items() if any(not made["is_deleted"] for made in of)}
    assert len(upserts) > 1
    assert Counter(found) == Counter(upserts)
    note_figures(proof="crashes", **figures, outcome="equal", purged=len(gone))


# --- out of quarantine -----------------------------------------------------------------------------------


def _decisions(spark: SparkSession, settings: Settings) -> Counter[str]:
    """How many decisions there are on each record."""
    rows = spark.table(settings.table("ops", "quarantine_decisions")).collect()
    return Counter(r.quarantine_id for r in rows)


@points(crash_process.REQUEUE)
def test_a_requeue_that_is_killed_lands_and_decides_each_record_once(
    spark: SparkSession, full: Settings, tmp_path: Path, point: Point
) -> None:
    settings = copied(full, tmp_path / "warehouse")
    figures = dies(point, settings)
    open_again(spark, settings)
    requeue_all(spark, settings, None)
    decided = _decisions(spark, settings)
    assert (len(decided), set(decided.values())) == (len(BAD_LINES), {1})
    landing = Path(settings.landing)
    new = {p.relative_to(landing).as_posix() for p in landing.glob("items/*/*/*.gz")} - LANDED.keys()
    assert len(new) == len(BAD_LINES)

    # Nobody has mended them: each is put aside anew, out of its own object. What was put aside stays so.
    ingest_well(spark, settings)
    assert_tables(spark, settings, CHANGES)
    rows = spark.table(settings.table("ops", "quarantine")).collect()
    assert {(r.object, r.raw) for r in rows if r.object not in new} == BAD_LINES
    assert Counter(r.raw for r in rows if r.object in new) == Counter(text for _, text in BAD_LINES)
    assert len(rows) == 2 * len(BAD_LINES)
    assert {r.status for r in rows if r.object not in new} == {"requeued"}
    assert_books(spark, settings)
    note_figures(proof="crashes", **figures, outcome="equal")


@points(crash_process.FRESH_READ)
def test_a_release_that_is_killed_ends_in_what_the_source_has(
    spark: SparkSession, full: Settings, tmp_path: Path, aws: LocalAws, point: Point
) -> None:
    settings = copied(full, tmp_path / "warehouse")
    settings = dataclasses.replace(settings, landing=str(tmp_path / "late"))
    open_again(spark, settings)
    floors.record(spark, settings, THINGS, NOW, NOW)
    late = [change(n, site="late", number=text, note="late") for n, text in ((3, "there"), (4, "gone"))]
    land(tmp_path / "late", {"items/dt=2026-01-05/HH=08/late.ndjson.gz": [line(made) for made in late]})
    ingest_well(spark, settings)
    name = f"fresh-{settings.silver}"
    dynamodb_table(aws, name, {("late", "there"): "now"})

    figures = dies(point, settings, name)
    requeue_all(spark, settings, name)
    ingest_well(spark, settings)
    below = spark.table(settings.table("ops", "quarantine")).where(F.col("reason") == BELOW_FLOOR).collect()
    assert Counter((key_of(json.loads(r.raw)), r.status) for r in below) == {
        (("late", text), "requeued"): 1 for text in ("there", "gone")
    }
    assert set(_decisions(spark, settings).values()) == {1}
    state = spark.table(settings.table("silver", THINGS.name)).where("site = 'late'").collect()
    rows = {r.number: (r.note, r.is_deleted) for r in state}
    assert rows == {"there": ("now", False), "gone": (None, True)}
    assert_books(spark, settings)
    note_figures(proof="crashes", **figures, outcome="equal")


# --- backfill --------------------------------------------------------------------------------------------


@pytest.mark.prove
def test_a_backfill_that_is_killed_anywhere_ends_in_what_the_source_has(
    spark: SparkSession, unused: Settings, tmp_path: Path, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each point has a DynamoDB table of its own; what they land goes into one state table."""
    monkeypatch.setattr(ReadLimit, "page", small_pages)
    settings = copied(unused, tmp_path / "warehouse")
    all_landing = Path(settings.landing)
    shutil.rmtree(all_landing)
    source: dict[tuple[str, str], str] = {}
    told = []
    for number, point in enumerate(crash_process.SCAN):
        items = {(f"point {number} site {n % 7}", str(n)): f"note {n}" for n in range(40)}
        name = f"scan-{number}-{settings.silver}"
        dynamodb_table(aws, name, items)
        own = dataclasses.replace(settings, landing=str(tmp_path / str(number) / "landing"))
        Path(own.landing).mkdir(parents=True)
        own = dataclasses.replace(own, warehouse=str(tmp_path / str(number)))
        figures = dies(point, own, name)
        objects = len(list(Path(own.landing).glob("items/*/*/*.gz")))
        done = scan(own, name)
        # A scan whose end was recorded is not gone on with: the next one is new.
        assert done.resumed == (point.name not in ("after a scan is claimed", "after a scan is done"))
        told.append({**figures, "objects_before_death": objects, "objects": done.objects})
        for path in Path(own.landing).glob("items/*/*/*.gz"):
            to = all_landing / path.relative_to(own.landing)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
        source |= items
    open_again(spark, settings)
    ingest_well(spark, dataclasses.replace(settings, max_files=1000))
    state = spark.table(settings.table("silver", THINGS.name)).collect()
    assert Counter((r.site, r.number, r.note, r.is_deleted) for r in state) == Counter(
        (*key, note, False) for key, note in source.items()
    )
    changes = versions_of(spark, settings, THINGS)
    assert changes.select("site", "number", "_sequence").distinct().count() == changes.count()
    for figures in told:
        note_figures(proof="crashes", **figures, outcome="equal")


# --- rebuild ---------------------------------------------------------------------------------------------


@points(crash_process.REBUILD)
def test_a_rebuild_that_is_killed_is_finished_by_the_next(
    spark: SparkSession, full: Settings, tmp_path: Path, point: Point
) -> None:
    settings = copied(full, tmp_path / "warehouse")
    open_again(spark, settings)
    ingest_well(spark, settings)  # so that there is a checkpoint to replace
    _spoil(spark, settings)
    figures = dies(point, settings)
    # What lands meanwhile must not be lost either: its stream goes on, whatever the rebuild left behind.
    more = [change(n, site="landed meanwhile", number=str(n), note="it") for n in range(1, 3)]
    land(Path(settings.landing), {"items/dt=2026-01-05/HH=09/more.ndjson.gz": [line(made) for made in more]})
    open_again(spark, settings)
    ingest_well(spark, settings)
    rebuild(spark, settings, THINGS, complete=True)
    ingest_well(spark, settings)
    assert_tables(spark, settings, [*CHANGES, *more])
    assert_quarantine(spark, settings, BAD_LINES)
    assert_books(spark, settings)
    note_figures(proof="crashes", **figures, outcome="equal")


def _spoil(spark: SparkSession, settings: Settings) -> None:
    """Have the state table say of live rows what nothing that landed says."""
    name = settings.table("silver", THINGS.name)
    note = F.when(F.col("is_deleted"), F.col("note")).otherwise("spoiled")
    spark.table(name).withColumn("note", note).write.format("delta").mode("overwrite").saveAsTable(name)


# --- followers -------------------------------------------------------------------------------------------


def _events(student: str, first: int, *, at: int) -> list[MetricEvent]:
    """Three calls of a student, so that an alert is opened."""
    sequence = "{:056d}/shardId-000000000000/000000"
    return [
        MetricEvent(
            f"{student}-{n}", "ib_call_logged", at - n, sequence.format(first + n), student_id=student
        )
        for n in range(3)
    ]


def _follow_well(spark: SparkSession, settings: Settings) -> None:
    for result in ingest(spark, settings, (METRIC_EVENTS,)):
        if result.error is not None:
            raise result.error


@points((*crash_process.FOLLOW, *crash_process.START_OVER))
def test_a_follower_that_is_killed_is_finished_by_the_next_run(
    spark: SparkSession, tmp_path: Path, point: Point
) -> None:
    settings, at = new_settings(tmp_path / "warehouse"), time.time_ns() // 1000 - DAY_MICROS
    set_up(spark, settings, (METRIC_EVENTS,))
    first = [*_events("anna", 1, at=at), *_events("berta", 11, at=at)]
    land(Path(settings.landing), {_EVENTS.format(1): [line(landed_line(e)) for e in first]})
    if point not in crash_process.START_OVER:
        _follow_well(spark, settings)
    # One of anna's comes again as clara's, who has two more: one alert ends, one is opened.
    more = _events("clara", 21, at=at)
    moved = dataclasses.replace(more[0], event_id="anna-0")
    land(Path(settings.landing), {_EVENTS.format(2): [line(landed_line(e)) for e in [moved, *more[1:]]]})
    figures = dies(point, settings)
    _attach_events(spark, settings)
    _follow_well(spark, settings)
    alerts = spark.table(settings.table("gold", "alerts"))
    opened = F.unix_micros("opened_at").alias("opened_at")
    found = {
        r.entity_id: (r.opened_at, r.closed_at)
        for r in alerts.select("entity_id", "closed_at", opened).collect()
    }
    assert found.keys() - {"anna"} == {"berta", "clara"}
    assert all(found[name] == (at, None) for name in ("berta", "clara"))
    assert "anna" not in found or found["anna"][1] is not None
    metrics = spark.table(settings.table("gold", "metrics")).select("entity_id", "ib_calls_14d").collect()
    assert sorted(map(tuple, metrics)) == [("anna", 2), ("berta", 3), ("clara", 3)]
    rows = spark.table(settings.table("ops", "followed")).collect()
    assert len({(r.stream, r.batch_id) for r in rows}) == len(rows)
    note_figures(proof="crashes", **figures, outcome="equal")


_EVENTS = "metric_events/dt=2026-01-05/HH=08/{}.ndjson.gz"


def _attach_events(spark: SparkSession, settings: Settings) -> None:
    attach(spark, settings)
    set_up(spark, settings, (METRIC_EVENTS,))
