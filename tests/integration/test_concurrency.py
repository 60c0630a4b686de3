"""Many writers at once: what they make of a table is what one of them would have made.

In each round two ingests with checkpoints of their own work on one table, while the stream's objects and
those of a real backfill scan land, `maintain` purges tombstones whose older changes come in late, and
OPTIMIZE and VACUUM rewrite and remove files. State and history are compared with the oracle each time.

The rounds run as threads of one process, without a warehouse folder. There `lakehouse.ingest.lease.exclusive`
lets
everybody through, as with Unity Catalog: Delta's own commits exclude each other within one Java process, the
loser is told, and its whole batch is made again. On a warehouse folder `exclusive` is a lock on a file, which
lets one batch at a time in, of this process or of another, so nothing ever conflicts; that case has a test
with two real processes.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import random
import re
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.integration.crash_process import THINGS, small_pages
from tests.integration.test_crashes import (
    BAD_LINES,
    CHANGES,
    LANDED,
    LINES,
    assert_books,
    assert_quarantine,
    assert_tables,
    by_key,
    dynamodb_table,
    land,
    new_settings,
    open_again,
    start,
)
from tests.spark.histories import Record, key_of, latest, note_figures
from tests.spark.support import LABEL, change, line, sequence

from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.scan import ReadLimit, backfill_scan
from lakehouse.catalog.set_up import set_up
from lakehouse.gold.run import ingest
from lakehouse.ingest import floors
from lakehouse.ingest.commits import retrying
from lakehouse.local.aws import LocalAws
from lakehouse.operations.maintain import maintain
from lakehouse.settings import LAYERS, Settings
from lakehouse.sql.views import BELOW_FLOOR

KEYS, SCANNED = 30, 12
PARTS = 6
"""Objects that the stream lands in a round; some before it begins."""

BEGINNING = datetime(2026, 2, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RETENTION = timedelta(days=THINGS.tombstone_retention_days)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server:
        yield server


# --- two processes ---------------------------------------------------------------------------------------


@pytest.mark.prove
def test_two_processes_on_one_warehouse_make_the_rows_that_one_would(
    spark: SparkSession, tmp_path: Path
) -> None:
    settings = new_settings(tmp_path / "warehouse")
    land(Path(settings.landing), LANDED)
    set_up(spark, settings, (THINGS,))
    begun = time.monotonic()
    both = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        own = dataclasses.replace(settings, checkpoints=str(tmp_path / name / "checkpoints"))
        both.append(start(own, "-", beside=tmp_path / name))
    for child in both:
        assert child.ended()[0] == 0, child.said.read_text()[-3000:]
    open_again(spark, settings)
    assert_tables(spark, settings, CHANGES)
    assert_quarantine(spark, settings, BAD_LINES)
    assert_books(spark, settings, LINES + LINES)
    seconds = round(time.monotonic() - begun, 1)
    note_figures(proof="concurrency", what="two ingest processes", rounds=1, seconds=seconds, outcome="equal")


# --- rounds ----------------------------------------------------------------------------------------------


@dataclass
class Table:
    """A table that everybody works on, round after round, and what each of them sees of the time.

    A round is two days. Its doomed keys are deleted 13 days before it, so that in the next round, whose floor
    is settled before anybody begins, their tombstones go, while their older changes come in late.
    """

    spark: SparkSession
    folder: Path
    client: Any
    name: str
    label: str
    random: random.Random
    settings: Settings = field(init=False)
    round: int = 0
    numbers: int = 0
    sums: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        local = new_settings(self.folder)
        self.settings = dataclasses.replace(local, warehouse=None)
        Path(local.landing).mkdir(parents=True)
        set_up(self.spark, self.settings, (THINGS,))
        # What is younger may belong to a commit that is being made. (VACUUM's own RETAIN knows whole hours.)
        for name in (self.table(), self.bronze):
            kept = "'delta.deletedFileRetentionDuration' = 'interval 1 minute'"
            self.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({kept})")

    @property
    def now(self) -> datetime:
        return BEGINNING + 2 * self.round * DAY

    def table(self, name: str = THINGS.name) -> str:
        return self.settings.table("silver", name)

    @property
    def bronze(self) -> str:
        return self.settings.table("bronze", THINGS.source)

    # --- what lands ------------------------------------------------------------------------------------

    def changes(self) -> list[Record]:
        """A round's changes by the stream: updates, deletes and re-creations, doomed keys, late changes."""
        rng = self.random
        made: list[Record] = []
        made += [
            self._change(f"key {rng.randrange(KEYS)}", self.now, deleted=rng.random() < 0.35)
            for _ in range(2 * KEYS)
        ]
        for n in range(SCANNED):  # a snapshot beats the first of these streams and loses to the second
            label = rng.choice((LABEL, self.label, None))
            if label:
                made.append(self._change(f"scanned {n}", self.now, label=label))
        for n in range(5):
            doomed, at = f"doomed {self.round}/{n}", self.now - 13 * DAY
            made += [self._change(doomed, at), self._change(doomed, at, deleted=True)]
            if self.round:
                made.append(self._late(n))
        made += rng.sample(made, len(made) // 4)
        rng.shuffle(made)
        return made

    def _change(
        self,
        number: str,
        at: datetime,
        *,
        deleted: bool = False,
        label: str = LABEL,
        order: int | None = None,
    ) -> Record:
        self.numbers += 10
        order = self.numbers if order is None else order
        ms = round(at.timestamp() * 1000)
        more = {} if deleted else {"note": f"{order} of {label}", "amount": order}
        item = {"site": number.partition(" ")[0], "number": number, "_approxStreamTs": ms, "updated_at": ms}
        return change(sequence(order, label), deleted=deleted, **item, **more)

    def _late(self, n: int) -> Record:
        """Older than the tombstone of a doomed key of the round before."""
        return self._change(f"doomed {self.round - 1}/{n}", self.now - 15 * DAY, order=5)

    def land(self, part: int, records: list[Record]) -> None:
        key = f"items/dt=2026-01-05/HH=08/{self.round:03d}-{part}.ndjson.gz"
        # In the order of landing, whatever the clock: nobody's checkpoint minds.
        land(Path(self.settings.landing), {key: [*map(line, records), b"no json"]})

    # --- who works -------------------------------------------------------------------------------------

    def run(self) -> None:
        """One round: everybody at once, then what is left."""
        floors.record(self.spark, self.settings, THINGS, self.now - RETENTION, self.now - 25 * HOUR)
        records = self.changes()
        parts = [records[n::PARTS] for n in range(PARTS)]
        for n in range(PARTS // 2):
            self.land(n, parts[n])
        everybody = threading.Barrier(5)
        pauses = [self.random.uniform(0, 3) for _ in range(3)]
        errors: list[BaseException] = []

        def work(do: Callable[[], None]) -> threading.Thread:
            def guarded() -> None:
                try:
                    everybody.wait()
                    do()
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=guarded)
            thread.start()
            return thread

        def landing() -> None:
            for n in range(PARTS // 2, PARTS):
                self.land(n, parts[n])
                time.sleep(pauses[0] / PARTS)
            self.scan()

        def upkeep() -> None:
            time.sleep(pauses[1])
            self.purge()

        def files() -> None:
            time.sleep(pauses[2])
            self.rewrite_files()

        ingests = [lambda: self.ingest("one", max_files=100), lambda: self.ingest("two", max_files=8)]
        threads = [work(do) for do in (*ingests, landing, upkeep, files)]
        for thread in threads:
            thread.join()
        assert not errors, errors
        # What came in too late for both of them; the other one meets it in the next round.
        self.ingest("one", max_files=100)
        self.purge()

    def ingest(self, name: str, *, max_files: int) -> None:
        """Ingest what has landed, with a checkpoint of that name."""
        checkpoints = str(self.folder / f"checkpoints-{name}")
        settings = dataclasses.replace(self.settings, checkpoints=checkpoints, max_files=max_files)
        for result in ingest(self.spark.newSession(), settings, (THINGS,)):
            if result.error is not None:
                raise result.error
        self.sums[f"ingests {name}"] += 1

    def scan(self) -> None:
        self.client.put_item(
            TableName=self.name,
            Item={
                "site": {"S": "scanned"},
                "number": {"S": f"scanned {self.round}"},
                "note": {"S": f"round {self.round}"},
            },
        )
        landing = FolderObjects(Path(self.settings.landing))
        backfill_scan(
            self.client, landing, THINGS, self.name, segments=2, object_bytes=1, consumer_from="trim-horizon"
        )
        self.sums["scans"] += 1

    def purge(self) -> None:
        (done,) = maintain(self.spark, self.settings, [THINGS], now=self.now + HOUR)
        self.sums["purged"] += done.purged
        assert done.duplicate_keys == 0

    def rewrite_files(self) -> None:
        """As Delta's own upkeep does; OPTIMIZE is made again, as an ingest's batch is, if it lost."""
        name = self.bronze if self.round % 3 == 2 else self.table()
        told = retrying(lambda: self.spark.sql(f"OPTIMIZE {name}").first(), f"OPTIMIZE {name}")
        assert told is not None
        self.sums["optimized"] += told.metrics.numFilesRemoved > 0
        before = self._files()
        self.spark.sql(f"VACUUM {name}")
        self.sums["vacuumed files"] += len(before - self._files())

    def _files(self) -> set[Path]:
        schema = self.spark.catalog.getDatabase(self.settings.silver).locationUri
        return set(Path(schema.removeprefix("file:")).glob("*/*.parquet"))

    # --- what must have become of it -------------------------------------------------------------------

    def check(self) -> None:
        """The tables are what the oracle reads out of everything that has ever landed."""
        records: list[Record] = []
        bad = set()
        landing = Path(self.settings.landing)
        for path in landing.glob("items/*/*/*.gz"):
            for text in gzip.decompress(path.read_bytes()).splitlines():
                if text == b"no json":
                    bad.add((path.relative_to(landing).as_posix(), "no json"))
                else:
                    records.append(json.loads(text))
        limit = (self.now - RETENTION - HOUR).timestamp() * 1000
        last = {key: latest(of) or {} for key, of in by_key(records).items()}
        gone = {key for key, made in last.items() if made["is_deleted"] and made["_approxStreamTs"] < limit}
        assert_tables(self.spark, self.settings, records, frozenset(gone))

        rows = self.spark.table(self.settings.table("ops", "quarantine")).select("reason", "object", "raw")
        found = rows.collect()
        assert Counter((r.object, r.raw) for r in found if r.reason == "not_json") == Counter(bad)
        late = [(r.object, key_of(json.loads(r.raw))) for r in found if r.reason == BELOW_FLOOR]
        assert len(late) + len(bad) == len(found)
        assert len(set(late)) == len(late)
        assert {key for _, key in late} <= gone
        assert_books(self.spark, self.settings)
        self.sums["kept out"] = len(late)


class Conflicts(logging.Handler):
    """Counts the commits that lost to another one, by whose they were."""

    def __init__(self) -> None:
        super().__init__()
        self.met: Counter[str] = Counter()
        self.most_attempts = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        found = re.search(r"met another writer \(attempt (\d+)", text)
        if found:
            self.met[text.split()[0]] += 1
            self.most_attempts = max(self.most_attempts, int(found[1]))


@pytest.fixture
def conflicts() -> Iterator[Conflicts]:
    handler, logger = Conflicts(), logging.getLogger("lakehouse.ingest.commits")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "rounds", [pytest.param(1, marks=pytest.mark.extra), pytest.param(20, marks=pytest.mark.prove)]
)
def test_whoever_works_at_once_the_tables_hold_what_landed(
    spark: SparkSession,
    aws: LocalAws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    conflicts: Conflicts,
    rounds: int,
) -> None:
    seed = int(os.environ.get("LAKEHOUSE_SEED", random.randrange(10**6)))
    print(f"LAKEHOUSE_SEED={seed}")
    monkeypatch.setattr(ReadLimit, "page", small_pages)
    name, client = f"scanned-{uuid.uuid4().hex[:8]}", aws.client("dynamodb")
    dynamodb_table(aws, name, {("scanned", f"scanned {n}"): "at first" for n in range(SCANNED)})
    label = client.describe_table(TableName=name)["Table"]["LatestStreamLabel"]
    table = Table(spark, tmp_path, client, name, label, random.Random(seed))
    begun = time.monotonic()
    try:
        # Each round purges what the one before has doomed, so there is one more of them.
        for number in range(rounds + 1):
            table.round = number
            table.run()
            table.check()
    finally:
        for layer in LAYERS:
            spark.sql(f"DROP SCHEMA IF EXISTS {table.settings.schema(layer)} CASCADE")
    assert table.sums["purged"] >= 5 * rounds
    shutil.rmtree(tmp_path, ignore_errors=True)
    note_figures(
        proof="concurrency",
        what="two ingests, backfill, purge, OPTIMIZE and VACUUM at once",
        rounds=rounds + 1,
        seed=seed,
        **{name.replace(" ", "_"): count for name, count in table.sums.items()},
        conflicts=dict(conflicts.met),
        most_attempts=conflicts.most_attempts,
        seconds=round(time.monotonic() - begun, 1),
        outcome="equal",
    )
