"""A state table is a function of what landed: random histories through the reducer and through whole lakes.

`make prove` runs it at full size, with histories that nobody has tried yet. A failure names its seed and the
records of a key; `LAKEHOUSE_SEED` makes the run again.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.spark.histories import (
    COLUMNS,
    History,
    Key,
    Record,
    Row,
    history,
    landed,
    latest,
    note_figures,
    row,
    seed,
    shares,
)
from tests.spark.support import ITEMS, Lake, line

from lakehouse.catalog.set_up import set_up
from lakehouse.gold.run import ingest
from lakehouse.ingest import batch, bronze, silver
from lakehouse.settings import Settings
from lakehouse.sql.select import latest_of, select
from lakehouse.table import Table

EVENTS = 50
"""Records of a history that goes through a lake, duplicates apart."""


@dataclass(frozen=True)
class Size:
    """How much of it is tried."""

    name: str
    short_histories: int
    histories: int
    cuts: int
    seed: int


SMALL = Size("small", 2_000, 40, 1, seed())
FULL = Size("full", 20_000, 500, 20, seed(fresh=True))
SIZES = [SMALL, pytest.param(FULL, marks=pytest.mark.prove)]
CUTS = [
    *((SMALL, cut) for cut in range(SMALL.cuts)),
    *(pytest.param((FULL, cut), marks=pytest.mark.prove) for cut in range(FULL.cuts)),
]


@cache
def _short(size: Size) -> list[History]:
    lengths = random.Random(size.seed)
    return [history(size.seed, n, lengths.randrange(1, 13)) for n in range(size.short_histories)]


@cache
def _long(size: Size) -> list[History]:
    return [history(size.seed, n, EVENTS) for n in range(size.histories)]


def _check(found: dict[Any, Row], expected: dict[Any, Row], size: Size, histories: Iterable[History]) -> None:
    """Both are the same; else one key is told with all that happened to it."""
    if found == expected:
        return
    wrong = [k for k in sorted({*found, *expected}) if found.get(k) != expected.get(k)]
    records = [made for one in histories if one.key == wrong[0][:2] for made in one.records]
    told = "\n".join(map(str, sorted(records, key=lambda r: str(r["_sequence"]))))
    pytest.fail(
        f"LAKEHOUSE_SEED={size.seed}, {size.name}: {len(wrong)} rows are wrong, such as {wrong[0]}\n"
        f"found    {found.get(wrong[0])}\nexpected {expected.get(wrong[0])}\nof these changes:\n{told}"
    )


def _rows(frame: DataFrame) -> list[Row]:
    return [tuple(one) for one in frame.selectExpr(*COLUMNS.split(", ")).collect()]


def _by_key(frame: DataFrame) -> dict[Key, Row]:
    """The rows by key, of which there is one row each."""
    rows = _rows(frame)
    found: dict[Key, Row] = {one[:2]: one for one in rows}
    assert len(found) == len(rows)
    return found


def _text(value: Any) -> str | None:
    """A value as bronze shows it."""
    return value if value is None or isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _state(histories: Iterable[History], ttl_deletes: str = "apply") -> dict[Key, Row]:
    left = {one.key: latest(one.records, ttl_deletes=ttl_deletes) for one in histories}
    return {key: row(made) for key, made in left.items() if made is not None}


# --- the histories and the oracle themselves ---------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_the_histories_hold_what_a_stream_can_bring(size: Size) -> None:
    histories = _long(size)
    assert min(len(one.records) for one in histories) >= EVENTS
    share = shares(landed(random.Random(size.seed), histories))
    assert 0.25 < share.pop("deletes") < 0.4
    assert 0.2 < share.pop("duplicates") < 0.3
    assert all(found > 0.02 for found in share.values()), share
    streams = [{made["_sequence"].partition("/")[0] for made in one.records} for one in histories]
    assert sum(len(labels) > 1 for labels in streams) > len(histories) / 2


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_the_latest_change_tells_what_the_item_is(size: Size) -> None:
    """The order of changes is right, and not only the same for all: what was lost, snapshots bring back."""
    for one in _short(size) + _long(size):
        told = latest(one.records)
        assert told is not None
        where = f"LAKEHOUSE_SEED={size.seed}, {one.key}"
        assert told["is_deleted"] == (one.item is None), where
        assert {**told, **(one.item or {})} == told, where
        # Every change has a sequence of its own, else what a table holds could depend on the order.
        assert len({made["_sequence"] for made in one.records}) == len(one.records), where


# --- the reducer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_the_reducer_keeps_what_the_oracle_keeps(size: Size, spark: SparkSession, tmp_path: Path) -> None:
    started = time.monotonic()
    histories = _short(size)
    records = landed(random.Random(size.seed), histories)
    for part in range(2):
        (tmp_path / f"{part}.ndjson").write_bytes(b"".join(line(r) + b"\n" for r in records[part::2]))
    lines = spark.read.option("lineSep", "\n").text(str(tmp_path)).withColumn("_source_file", F.lit("a file"))
    bronze.of_lines(lines, ITEMS).createOrReplaceTempView("reduced")
    found = _by_key(spark.sql(select(ITEMS, latest_of("reduced", "true"))))
    _check(found, _state(histories), size, histories)
    note_figures(
        proof="reducer",
        size=size.name,
        seed=size.seed,
        histories=len(histories),
        records=len(records),
        seconds=round(time.monotonic() - started, 1),
    )


# --- whole lakes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to land and to ingest the same records."""

    runs: list[list[list[Record]]]
    """Of each run, the objects that land before it."""
    max_files: int
    repeats: bool
    """Whether the last batch of each run but the last comes again in the next, as after a crash."""
    conflicts: bool
    """Whether the first commit of each kind loses to another writer's."""
    jobs: int
    ttl_deletes: str
    deletion_vectors: bool

    @staticmethod
    def of(size: Size, cut: int) -> Way:
        """By chance, but for the circumstances, which take turns."""
        rng = random.Random(f"{size.seed}/{cut}")
        records = landed(rng, _long(size))
        places = sorted(rng.sample(range(1, len(records)), rng.randrange(3, 12)))
        objects = [records[i:j] for i, j in zip([0, *places], [*places, len(records)], strict=True)]
        jobs = 2 if cut % 4 == 1 else 1
        first = rng.randrange(1, len(objects)) if jobs == 1 else len(objects)
        return Way(
            runs=[run for run in (objects[:first], objects[first:]) if run],
            max_files=rng.choice((4, 6, 1000)),
            repeats=cut % 4 in (0, 3),
            conflicts=cut % 4 in (0, 2),
            jobs=jobs,
            ttl_deletes="ignore" if cut % 5 == 2 else "apply",
            deletion_vectors=cut % 4 == 3,
        )


def _lake(spark: SparkSession, folder: Path, table: Table, way: Way) -> Lake:
    lake = Lake(spark, folder, (), max_files=way.max_files)
    lake.tables = (table,)
    lake.settings = dataclasses.replace(lake.settings, deletion_vectors=way.deletion_vectors)
    set_up(spark, lake.settings, lake.tables)
    return lake


def _land(lake: Lake, source: str, objects: Sequence[Sequence[Record]], rng: random.Random) -> None:
    """Land objects in folders, and with modification times, in no order."""
    for records in objects:
        folder = f"dt=2026-01-{rng.randrange(5, 9):02d}/HH={rng.randrange(24):02d}"
        path = Path(lake.settings.landing) / source / folder / f"{rng.getrandbits(64):016x}.ndjson.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"".join(line(r) + b"\n" for r in records), 1))
        stamp = 1_767_880_000 + rng.randrange(9_999)
        os.utime(path, (stamp, stamp))


def _jobs(lake: Lake, table: Table, jobs: int) -> None:
    """Ingest by so many jobs at once, each with checkpoints of its own.

    Without the lock of a warehouse folder, so that their commits really meet.
    """
    if jobs == 1:
        lake.ingest_well(table)
        return
    settings = [lake.settings, dataclasses.replace(lake.settings, checkpoints=str(lake.folder / "others"))]
    errors: list[Any] = []

    def job(own: Settings) -> None:
        unlocked = dataclasses.replace(own, warehouse=None)
        errors.extend(result.error for result in ingest(lake.spark.newSession(), unlocked, [table]))

    threads = [threading.Thread(target=job, args=(own,)) for own in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None] * 2 * len(settings)


def _lose_first_commits(patched: pytest.MonkeyPatch) -> None:
    """The first append to bronze, the first MERGE and the first page of the books come too late."""
    for module, name in ((bronze, "append_once"), (silver, "merge"), (batch, "append_once")):
        patched.setattr(module, name, _late_once(getattr(module, name)))


def _late_once(commit: Callable[..., Any]) -> Callable[..., Any]:
    conflicts = iter([PySparkException("[DELTA_CONCURRENT_APPEND] another writer was faster")])

    def late(*args: Any, **more: Any) -> Any:
        for conflict in conflicts:
            raise conflict
        return commit(*args, **more)

    return late


@pytest.mark.parametrize("size_and_cut", CUTS, ids=lambda one: f"{one[0].name}-{one[1]:02d}")
def test_whatever_the_cut_the_tables_hold_what_landed(
    size_and_cut: tuple[Size, int], spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, cut = size_and_cut
    started = time.monotonic()
    histories, way = _long(size), Way.of(size, cut)
    rng = random.Random(f"{size.seed}/{cut}/landing")
    table = dataclasses.replace(ITEMS, history=True, ttl_deletes=way.ttl_deletes)
    lake = _lake(spark, tmp_path / "lake", table, way)
    with monkeypatch.context() as patched:
        if way.conflicts:
            _lose_first_commits(patched)
        for number, run in enumerate(way.runs):
            if number and way.repeats:
                lake.forget_last_batch(table)
            _land(lake, table.source, run, rng)
            _jobs(lake, table, way.jobs)

    _check(_by_key(lake.state(table)), _state(histories, way.ttl_deletes), size, histories)
    kept = _rows(lake.history(table))
    found = {one[:3]: one for one in kept}
    assert len(found) == len(kept)
    expected = {
        (*one.key, made["_sequence"]): row(made)
        for one in histories
        for made in one.records
        if way.ttl_deletes == "apply" or made.get("_deleteKind") != "ttl"
    }
    _check(found, expected, size, histories)
    assert lake.quarantine().isEmpty()
    books = lake.books()
    objects, records = sum(map(len, way.runs)), sum(len(one) for run in way.runs for one in run)
    # Of two jobs that begin at once the one applies what the other has brought to bronze, too.
    assert sum(book.records for book in books) >= records * way.jobs
    assert way.jobs > 1 or sum(book.records for book in books) == records
    assert sum(book.files for book in books) == objects * way.jobs
    bronze_rows = lake.bronze(table.source)
    assert bronze_rows.count() == records * way.jobs
    # What no column names is there too.
    more = bronze_rows.selectExpr("_key", "_sequence", "try_variant_get(item, '$.more', 'string') AS more")
    assert {tuple(one) for one in more.distinct().collect()} == {
        (
            json.dumps(one.key, separators=(",", ":"), ensure_ascii=False),
            made["_sequence"],
            _text(made.get("more")),
        )
        for one in histories
        for made in one.records
    }
    # Whichever job was first had an empty table before it; what a repeated attempt finds done counts too.
    assert any(book.upserts + book.deletes for book in books if book.batch_id == 0)
    note_figures(
        proof="lake",
        size=size.name,
        seed=size.seed,
        cut=cut,
        histories=len(histories),
        events=len(expected),
        records=records,
        objects=objects,
        batches=len(books),
        runs=len(way.runs),
        repeats=way.repeats,
        conflicts=way.conflicts,
        jobs=way.jobs,
        ttl_deletes=way.ttl_deletes,
        deletion_vectors=way.deletion_vectors,
        seconds=round(time.monotonic() - started, 1),
    )
    shutil.rmtree(lake.folder)
