"""Nothing is lost: random streams through the writer, while S3 fails, answers are lost and shards split.

After each run every record of its stream is looked for, one by one: it is in landing, in the failure
destination or in quarantine. The failed batches are redriven while S3 still has faults, then without; then
all that landed is ingested, and the tables are what the oracle says. `make prove` plays more runs, which
nobody has tried yet; `LAKEHOUSE_SEED` plays them again.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.lambda_bench.faulty_s3 import FAULTS
from tests.lambda_bench.runs import (
    FAILURES,
    LANDING,
    PREFIX,
    Bench,
    Places,
    Run,
    chance,
    look,
    play,
    problems,
)
from tests.spark.histories import COLUMNS, Record, key_of, latest, note_figures, row, seed
from tests.spark.support import ITEMS, Lake

from change_writer import landing as writer_landing
from lakehouse.aws.objects import S3Objects
from lakehouse.aws.redrive import Redriven, find, redrive
from lakehouse.aws.writer import Writer
from lakehouse.tables.metric_events import METRIC_EVENTS

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Played:
    """All runs of one size."""

    name: str
    seed: int
    runs: list[Run] = field(default_factory=list)
    after: list[Places] = field(default_factory=list)
    """Where everything was when each run had ended, and then when its failed batches had been redriven."""
    redriven: list[Places] = field(default_factory=list)
    puts: Counter[str] = field(default_factory=Counter)
    redrives: Counter[str] = field(default_factory=Counter)
    seconds: float = 0

    def told(self, run: Run) -> str:
        return f"LAKEHOUSE_SEED={self.seed}, {self.name}, {run.traffic.source}"


SIZES = {"small": 30, "full": 400}


@pytest.fixture(
    scope="module", params=["small", pytest.param("full", marks=pytest.mark.prove)], ids=lambda name: name
)
def played(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Played]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer_landing, "_FIRST_PAUSE_SECONDS", 0.001)  # redrive runs in this process
        yield from _played(request, bench)


def _played(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Played]:
    name: str = request.param
    made = Played(name, seed(fresh=name == "full"))
    before = Counter(bench.faulty.counts)
    started = time.monotonic()
    for number in range(SIZES[name]):
        run = play(bench, made.seed, number)
        made.runs.append(run)
        made.after.append(look(bench, run))
        made.redrives += _redrive(bench, run, random.Random(f"{made.seed}/{number}/redrive"))
        made.redriven.append(look(bench, run))
    made.seconds = time.monotonic() - started
    made.puts = bench.faulty.counts - before
    yield made
    s3 = bench.aws.client("s3")
    for bucket in (LANDING, FAILURES):  # the next size begins anew
        objects = S3Objects(s3, bucket)
        for key in list(objects.keys("")):
            objects.delete(key)


def _redrive(bench: Bench, run: Run, rng: random.Random) -> Counter[str]:
    """Redrive what failed: while S3 has faults, then without, then once more: nothing may be left to do."""
    environ = {"S3_BUCKET": LANDING, "S3_PREFIX": PREFIX, "MAX_RECORDS": rng.choice(("1", "5", "2000"))}
    failures = S3Objects(bench.aws.client("s3"), FAILURES)
    keys = find(failures, run.mapping) if run.mapping else []
    sources = {run.traffic.source}
    if not keys:
        return Counter()
    bench.faulty.plan = lambda key: chance(rng, 0.2)
    try:
        first = redrive(failures, keys, Writer(environ, bench.faulty_client()), sources)
    finally:
        bench.faulty.plan = lambda key: None
    clean = Writer(environ, bench.aws.client("s3"))
    second = redrive(failures, keys, clean, sources)
    third = redrive(failures, keys, clean, sources, delete=True)
    assert all(one.done for one in second + third)
    assert all(one.landed == 0 and one.deleted for one in third), "a redrive that is repeated lands nothing"
    assert list(find(failures, run.mapping)) == []
    for one in (*first, *second, *third):
        parts = one.landed + one.already_there + one.quarantined + one.failed
        assert parts >= one.records
        if run.traffic.kind == "dynamodb":
            assert parts == one.records, one
    return _counted(first, second)


def _counted(first: list[Redriven], second: list[Redriven]) -> Counter[str]:
    return Counter(
        objects=len(first),
        records=sum(one.records for one in first),
        left_at_first=sum(not one.done for one in first),
        landed=sum(one.landed for one in first + second),
    )


# --- record by record -----------------------------------------------------------------------------------


def test_every_record_is_in_landing_in_the_failure_destination_or_in_quarantine(played: Played) -> None:
    totals: Counter[str] = Counter()
    for run, after, redriven in zip(played.runs, played.after, played.redriven, strict=True):
        assert run.lost == [], played.told(run)
        assert problems(run, after, redriven=False) == [], played.told(run)
        assert problems(run, redriven, redriven=True) == [], f"{played.told(run)}, redriven"
        sent = set(run.traffic.expected)
        places = [set(after.landed), set(after.failed), set(after.quarantined)]
        assert set.union(*places) == sent
        totals += Counter(
            records=len(sent),
            changes=sum(map(len, run.traffic.expected.values())),
            landed=len(places[0]),
            in_failure_destination=len(places[1]),
            there_alone=len(places[1] - places[0] - places[2]),
            quarantined=len(places[2]),
            landed_again=_landed_again(after),
            moves=run.traffic.moves,
        )
    deliveries: Counter[str] = sum((run.deliveries for run in played.runs), Counter())
    note_figures(
        proof="faults",
        size=played.name,
        seed=played.seed,
        runs=len(played.runs),
        **{name: totals[name] for name in ("records", "changes", "landed", "landed_again", "quarantined")},
        in_failure_destination=totals["in_failure_destination"],
        there_alone=totals["there_alone"],
        shard_moves=totals["moves"],
        invocations=sum(deliveries[name] for name in ("ok", "failed", "from")),
        failed=deliveries["failed"],
        in_part=deliveries["from"],
        answers_lost=deliveries["answers lost"],
        puts=played.puts["puts"],
        faults=sum(played.puts[name] for name in FAULTS),
        redriven=played.redrives["objects"],
        seconds=round(played.seconds, 1),
    )


def _landed_again(found: Places) -> int:
    """Change records that lie in more than one object, but for the first of each."""
    lines = [line["_eventID"] for lines in found.landed.values() for line in lines]
    return len(lines) - len({*lines})


def test_the_runs_hold_what_they_are_to_prove(played: Played) -> None:
    """None of it may be missing by chance: every fault, every kind of failure, every place."""
    assert len(played.runs) == SIZES[played.name]
    assert all(played.puts[fault] for fault in FAULTS), played.puts
    deliveries: Counter[str] = sum((run.deliveries for run in played.runs), Counter())
    assert all(deliveries[name] > 10 for name in ("ok", "failed", "from", "throttled", "answers lost"))
    kinds = Counter(run.traffic.kind for run in played.runs)
    assert min(kinds["dynamodb"], kinds["kinesis"]) >= 10
    for kind in kinds:
        of_kind = [i for i, run in enumerate(played.runs) if run.traffic.kind == kind]
        assert sum(played.runs[i].traffic.moves for i in of_kind) > 10
        alone = [{*played.after[i].failed} - {*played.after[i].landed} for i in of_kind]
        assert sum(map(bool, alone)) > 2
        assert sum(map(len, alone)) > 5
        assert sum(len(played.after[i].quarantined) for i in of_kind) > 5
        assert sum(_landed_again(played.after[i]) for i in of_kind) > 5
    merged = [shard for run in played.runs for shard in run.traffic.shards if len(shard.parents) > 1]
    assert merged
    assert played.redrives["objects"] > 20
    assert played.redrives["left_at_first"] > 3


def test_a_run_is_the_same_again(bench: Bench, played: Played) -> None:
    run = played.runs[7]
    again = play(bench, played.seed, 7)
    assert again.traffic == run.traffic
    assert again.settings == run.settings


# --- what would be noticed ------------------------------------------------------------------------------


def test_a_record_that_is_taken_away_is_noticed(played: Played) -> None:
    for place in ("landed", "quarantined"):
        index = next(i for i, found in enumerate(played.redriven) if getattr(found, place))
        run, found = played.runs[index], dataclasses.replace(played.redriven[index])
        kept = dict(getattr(found, place))
        gone = next(iter(kept))
        del kept[gone]
        setattr(found, place, Counter(kept) if place == "quarantined" else kept)
        (wrong,) = problems(run, found, redriven=True)
        assert gone in wrong
        assert "nowhere" in wrong


# --- the tables -----------------------------------------------------------------------------------------


def test_after_redrive_and_ingest_the_tables_are_the_oracles(
    played: Played, spark: SparkSession, tmp_path: Path
) -> None:
    # Under another name, so that no metrics are worked out of the events: those have tests of their own.
    events_table = dataclasses.replace(METRIC_EVENTS, name="events")
    lake = Lake(spark, tmp_path / "lake", (ITEMS, events_table))
    sources = {"dynamodb": "items", "kinesis": "metric_events"}
    # As SOURCE_MAP would have it: all tables are one source. Keys, and these names, are of each run alone.
    # Objects of ten runs lie in one, but for the first few: gzip is the same end to end, Spark is quicker.
    for run, found in zip(played.runs, played.redriven, strict=True):
        for key, body in found.bodies.items():
            folder = (
                key.removeprefix(f"{PREFIX}/").partition(run.traffic.source)[0] + sources[run.traffic.kind]
            )
            name = (
                f"{run.number}-{key.rpartition('/')[2]}"
                if run.number < 3
                else f"{run.number // 10}.ndjson.gz"
            )
            path = Path(lake.settings.landing) / folder / "dt=2026-01-05" / "HH=08" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(body)
    lake.ingest_well()

    changes = [(r.traffic.kind, c) for r in played.runs for cs in r.traffic.expected.values() for c in cs]
    of_items = [change for kind, change in changes if kind == "dynamodb"]
    by_key: dict[tuple[str, str], list[Record]] = {}
    for change in of_items:
        by_key.setdefault(key_of(change), []).append(change)
    state = {key: row(latest(made) or {}) for key, made in by_key.items()}
    assert _rows(lake.state(ITEMS)) == sorted(state.values(), key=str)
    assert _rows(lake.history(ITEMS)) == sorted(map(row, of_items), key=str)

    events: dict[str, Record] = {}
    for change in (change for kind, change in changes if kind == "kinesis"):
        name = change.get("event_id") or change["payload"].get("event_id") or change["_eventID"]
        if name not in events or events[name]["_sequence"] < change["_sequence"]:
            events[name] = change
    found_events = lake.state(events_table).selectExpr(
        "event_id", "event_type", "student_id", "session_id", "tutor_rating", "_sequence", "is_deleted"
    )
    expected = {
        (name, "session_completed", told["student_id"], told["session_id"], 4, made["_sequence"], False)
        for name, made in events.items()
        for told in [made["payload"]]
    }
    assert {tuple(one) for one in found_events.collect()} == expected
    assert found_events.count() == len(expected)

    aside = [json.loads(one.raw)["record"]["eventID"] for one in lake.quarantine().select("raw").collect()]
    assert set(aside) == set().union(*(run.traffic.bad for run in played.runs))


def _rows(frame: Any) -> list[Any]:
    return sorted((tuple(one) for one in frame.selectExpr(*COLUMNS.split(", ")).collect()), key=str)
