"""How fast the ingest is, as a user runs it, beside a stream written by hand; every ratio from one run.

    uv run python benchmarks/ingest.py [--records 200000] [--rounds 3] [bulk] [small] [warm] [keys] [wide]

bulk   `lakehouse ingest calls` into a new warehouse, a whole command, and benchmarks/by_hand.py, in turn.
       Records of 0.9 KB with an attribute that no column names; one has 15,000 attributes.
small  the same with 10,000 objects of ten records.
warm   a batch of 100 records in a session that has done some: processor time of Java and of this process,
       beside that of the bare Delta writes: one append to bronze, one MERGE, one append to the books, of rows
       that are made before the clock starts.
keys   a batch of 100 random keys into tables of 10,000 and of a million rows, with deletion vectors.
wide   a batch of ten items of 15,000 attributes, and one of as many bytes in one attribute, in every table of
       change records.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.ingest import bronze
from lakehouse.ingest.batch import Stream, process_batch
from lakehouse.ingest.bronze import Reach, within
from lakehouse.ingest.commits import append_once, same
from lakehouse.ingest.sources import lines_of
from lakehouse.local.session import stop_local_session
from lakehouse.local.warehouse import local_settings, open_warehouse
from lakehouse.sql.select import latest_of, select
from lakehouse.table import Column
from lakehouse.tables import TABLES, table

CALLS = table("calls")
FILE_BYTES = 16 * 1024 * 1024
"""Largest file of a filled table: so that a million rows are some files, as a billion are many elsewhere."""

TEXTS = (
    *("agentId", "agentName", "allocation", "direction", "file_name", "firstOrFollowUp", "medium", "program"),
    *("queueName", "sessionId", "siteName", "s3_bucket"),
)


def record(random: Random, number: int, keys: int) -> dict[str, Any]:
    """A change record of about 0.9 KB, a tenth of them deletes, with an attribute that no column names."""
    deleted = random.random() < 0.1
    made: dict[str, Any] = {
        "_eventID": f"{random.getrandbits(128):032x}",
        "_eventName": "REMOVE" if deleted else "MODIFY",
        "_sequence": f"2025-10-08T14:00:00.000/{number:040d}",
        "_approxStreamTs": 1_759_932_000_000 + number,
        "_ingestTs": 1_759_932_000_000 + number,
        "is_deleted": deleted,
        "callId": f"call-{random.randrange(keys):08d}",
    }
    if not deleted:
        made["callTimestampUTC"] = "2025-10-08T14:34:19Z"
        made["brandNew"] = {"text": f"{random.getrandbits(256):064x}"}
        made["payload"] = {name: f"{random.getrandbits(64):016x}" for name in TEXTS}
        made["payload"] |= {"siteId": 7, "tenantId": 12, "queueId": 5}
    return made


def land(landing: Path, records: int, objects: int, *, keys: int, first: int = 0, wide: bool = False) -> None:
    """Records in equal gz objects; `wide`: the last one has 15,000 attributes."""
    random = Random(first + 7)
    folder = landing / "calls" / "dt=2025-10-08" / "HH=14"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(objects):
        with gzip.open(folder / f"{first:08d}-{number:05d}.ndjson.gz", "wt", compresslevel=1) as out:
            for n in range(number * records // objects, (number + 1) * records // objects):
                made = record(random, first + n, keys)
                if wide and n == records - 1:
                    made |= {f"attribute{a}": f"value {a}" for a in range(15_000)}
                out.write(json.dumps(made, separators=(",", ":")) + "\n")


# --- whole commands ----------------------------------------------------------------------------------


def whole(landing: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of both commands, in turn, each into a warehouse of its own."""
    seconds: dict[str, list[float]] = {"lakehouse ingest calls": [], "by hand": []}
    for number in range(rounds):
        for name, taken in seconds.items():
            to = str(folder / f"{name.replace(' ', '-')}-{number}")
            here = Path(__file__).with_name("by_hand.py")
            ours = [sys.executable, "-m", "lakehouse.cli", "ingest", "calls", "--landing", str(landing)]
            command = (
                [*ours, "--warehouse", to]
                if name.startswith("lake")
                else [sys.executable, str(here), str(landing), to]
            )
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            taken.append(time.perf_counter() - started)
    return seconds


# --- warm batches ------------------------------------------------------------------------------------


class Warm:
    """A session, and batches of 100 in it, by the project and as bare writes."""

    def __init__(self, folder: Path, *, as_on_databricks: bool = False) -> None:
        (folder / "landing").mkdir(parents=True)
        self.folder = folder
        settings = local_settings(folder / "warehouse", landing=str(folder / "landing"))
        self.settings = replace(settings, deletion_vectors=as_on_databricks)
        self.spark = open_warehouse(self.settings, (CALLS,), with_views=False)
        self.java = int(self.spark._jvm.java.lang.ProcessHandle.current().pid())  # type: ignore[union-attr]
        source = lines_of(self.settings, "calls")
        name = f"calls/{uuid.uuid4().hex[:12]}"
        self.stream = Stream("calls", "calls", source, self.settings, (CALLS,), str(folder), "run", name)
        self.number = 0

    def processor(self) -> float:
        """Seconds of processor that Java and this process have taken."""
        fields = Path(f"/proc/{self.java}/stat").read_text().rpartition(")")[2].split()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + own.ru_utime + own.ru_stime

    def lines(self, keys: int) -> DataFrame:
        """The next object of 100 records, as a batch."""
        self.number += 1
        place = self.folder / f"batch-{self.number}"
        land(place, 100, 1, keys=keys, first=1_000_000 * self.number)
        text = self.spark.read.option("recursiveFileLookup", "true").option("lineSep", "\n").text(str(place))
        return text.select("value", F.col("_metadata.file_path").alias("_source_file"))

    def batch(self, keys: int) -> tuple[float, float]:
        """One batch of the project: seconds, and seconds of processor."""
        lines, number = self.lines(keys), self.number
        return self.clock(lambda: process_batch(self.stream, lines, number))

    def bare(self, keys: int) -> tuple[float, float]:
        """The same writes, of rows that are there already."""
        lines, number, spark = self.lines(keys), self.number, self.spark
        stored = str(self.folder / f"stored-{number}")
        bronze.of_lines(lines, CALLS).drop("value").write.parquet(stored)
        rows = spark.read.parquet(stored)
        bronze.append(rows, f"{self.settings.schema('ops')}.scratch", "scratch/000000000000", number, number)
        where = within([Reach("scratch/000000000000", number - 1, number)])
        spark.sql(
            f"CREATE OR REPLACE TEMP VIEW scratch AS SELECT * FROM {self.settings.schema('ops')}.scratch"
        )
        latest = spark.sql(select(CALLS, latest_of("scratch", where)))
        latest.write.parquet(stored + "-latest")
        changes = spark.read.parquet(stored + "-latest").withColumn("_applied_at", F.current_timestamp())
        values = {f"`{c.name}`": F.col(f"s.{c.name}") for c in CALLS.all_columns}
        books = spark.table(self.settings.table("ops", "batches")).limit(1).localCheckpoint()

        def write() -> None:
            bronze.append(rows, self.stream.bronze, "bare/000000000000", number, number)
            (
                DeltaTable.forName(spark, self.settings.table("silver", "calls"))
                .alias("t")
                .merge(changes.alias("s"), same(CALLS.keys))
                .whenMatchedUpdate(condition=F.col("s._sequence") > F.col("t._sequence"), set=values)  # type: ignore[arg-type]
                .whenNotMatchedInsert(values=values)  # type: ignore[arg-type]
                .execute()
            )
            append_once(books, self.settings.table("ops", "batches"), writer="bare", version=number)

        return self.clock(write)

    def clock(self, work: Callable[[], None]) -> tuple[float, float]:
        """Seconds, and seconds of processor, of some work."""
        started, before = time.perf_counter(), self.processor()
        work()
        return time.perf_counter() - started, self.processor() - before

    def fill(self, rows: int) -> None:
        """Make the state table one of so many rows."""
        name = self.settings.table("silver", "calls")
        known = {
            "call_id": "concat('call-', lpad(CAST(id AS STRING), 8, '0'))",
            "_sequence": "concat('2025-10-08T14:00:00.000/', repeat('0', 40))",
            "is_deleted": "false",
        }

        def made(column: Column) -> str:
            text = "sha2(CAST(id AS STRING), 256)" if column.type == "string" else "NULL"
            return f"{known.get(column.name, f'CAST({text} AS {column.type})')} AS `{column.name}`"

        columns = [made(column) for column in CALLS.all_columns]
        self.spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(FILE_BYTES))
        self.spark.sql(f"DELETE FROM {name}")
        self.spark.range(rows).selectExpr(*columns).write.format("delta").mode("append").saveAsTable(name)
        self.spark.sql(f"OPTIMIZE {name}")


def median(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of seconds, and of seconds of processor."""
    return statistics.median(v[0] for v in values), statistics.median(v[1] for v in values)


def main() -> None:
    """Parse the arguments, make the input, time each way in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["bulk", "small", "warm", "keys", "wide"])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes = {"bulk": (args.records, 16, True), "small": (100_000, 10_000, False)}
        for what, (records, objects, wide) in shapes.items():
            if what in args.what:
                land(folder / what, records, objects, keys=records // 10, wide=wide)
                print(f"{what}: {records:,} records in {objects:,} objects, whole commands, seconds")
                show(whole(folder / what, folder / f"{what}-into", args.rounds))
        if "warm" in args.what:
            measure_warm(Warm(folder / "warm"), args)
            stop_local_session()
        if "keys" in args.what:
            measure_keys(Warm(folder / "keys", as_on_databricks=True), args)
            stop_local_session()
        if "wide" in args.what:
            measure_wide(folder / "wide", max(5, args.rounds))


def measure_warm(warm: Warm, args: argparse.Namespace) -> None:
    """Batches of 100 in one session."""
    for _ in range(12):
        warm.batch(keys=20_000)
    found: dict[str, list[tuple[float, float]]] = {"lakehouse": [], "bare writes": []}
    for _ in range(max(5, args.rounds)):
        found["lakehouse"].append(warm.batch(keys=20_000))
        found["bare writes"].append(warm.bare(keys=20_000))
    print("\nwarm: a batch of 100 records, medians")
    ours, bare = median(found["lakehouse"]), median(found["bare writes"])
    for name, (seconds, processor) in (("lakehouse", ours), ("bare writes", bare)):
        print(f"  {name:24}{seconds:8.2f} s{processor:8.2f} s of processor")
    print(f"  ratio {ours[1] / bare[1]:.2f} of processor, {ours[0] / bare[0]:.2f} of time")


def measure_keys(warm: Warm, args: argparse.Namespace) -> None:
    """Batches of 100 random keys into tables of some sizes, with deletion vectors, as on Databricks."""
    for _ in range(8):
        warm.batch(keys=20_000)
    print("\nkeys: a batch of 100 random keys, by rows of the table, medians")
    for rows in args.rows:
        warm.fill(rows)
        seconds, processor = median([warm.batch(keys=rows) for _ in range(max(5, args.rounds))])
        print(f"  {rows:>12,} rows{seconds:8.2f} s{processor:8.2f} s of processor", flush=True)


def measure_wide(folder: Path, rounds: int) -> None:
    """Batches of wide items beside batches of as many bytes, in one session, in turn."""
    (folder / "landing").mkdir(parents=True)
    settings = local_settings(folder / "warehouse", landing=str(folder / "landing"))
    tables = [each for each in TABLES if each.format == "changes"]
    spark = open_warehouse(settings, tables, with_views=False)
    print("\nwide: a batch of ten items of 15,000 attributes, and of as many bytes in one, medians")
    attributes = {f"attribute{n}": f"value {n}" for n in range(15_000)}
    one = {"attribute": "x" * len(json.dumps(attributes))}
    for number, each in enumerate(tables):
        source = lines_of(settings, each.source)
        writer = f"{each.source}/{number:012d}"
        stream = Stream(each.source, each.source, source, settings, (each,), str(folder), "run", writer)
        taken: dict[str, list[float]] = {"wide": [], "narrow": []}
        for batch_id in range(2 * rounds + 2):
            name, more = ("wide", attributes) if batch_id % 2 else ("narrow", one)
            place = folder / each.source / f"{batch_id}"
            place.mkdir(parents=True)
            with gzip.open(place / "x.ndjson.gz", "wt", compresslevel=1) as out:
                for n in range(10):
                    keys = {
                        column.paths[0].split(".")[0]: f"{n}" for column in each.columns[: len(each.keys)]
                    }
                    made = record(Random(n), 100 * batch_id + n, 10) | {"is_deleted": False} | keys | more
                    out.write(json.dumps(made) + "\n")
            text = spark.read.option("recursiveFileLookup", "true").option("lineSep", "\n").text(str(place))
            lines = text.select("value", F.col("_metadata.file_path").alias("_source_file"))
            started = time.perf_counter()
            process_batch(stream, lines, batch_id)
            if batch_id > 1:
                taken[name].append(time.perf_counter() - started)
        wide, narrow = statistics.median(taken["wide"]), statistics.median(taken["narrow"])
        print(f"  {each.name:24}{wide:8.2f} s, {narrow:8.2f} s   ratio {wide / narrow:.2f}")


def show(seconds: dict[str, list[float]]) -> None:
    """Medians, and the ratio of the first to the second."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        print(f"  {name:24}{medians[name]:8.1f}   ({', '.join(f'{s:.1f}' for s in taken)})")
    ours, plain = medians.values()
    print(f"  ratio {ours / plain:.2f}")


if __name__ == "__main__":
    main()
