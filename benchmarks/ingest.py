"""How fast the ingest is, beside the floor and beside the plain way; every ratio from one run.

    uv run python benchmarks/ingest.py [--records 200000] [--keys 20000] [--files 16] [--rounds 3]

floor        Spark reads the same objects with from_json and an explicit schema, and keeps nothing.
parse        the project's own parser over the same lines, nothing kept.
ingest       the whole stream: read, parse, stage, reduce, MERGE, progress; a new table each round.
plain        what a first version looks like: from_json, latest row of each key, one MERGE a batch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lakehouse.catalog import set_up
from lakehouse.ingest import ingest
from lakehouse.local.session import local_session
from lakehouse.local.warehouse import local_settings
from lakehouse.parse import parse_lines
from lakehouse.tables.calls import CALLS

MEMBERS = [c.path.split(".")[1] for c in CALLS.columns if c.path and c.path.startswith("payload.")]
SCHEMA = (
    "callId string, callTimestampUTC string, _eventID string, _eventName string, _sequence string, "
    "_approxStreamTs bigint, is_deleted boolean, updated_at string, "
    f"payload struct<{', '.join(f'{m}: string' for m in MEMBERS)}>"
)


def main() -> None:
    """Parse the arguments, make the input, time each way in turn, print the medians and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_landing(folder / "landing", args.records, args.keys, args.files)
        spark = local_session(folder / "warehouse", memory="6g", quick=False)
        ways: dict[str, Callable[[int], None]] = {
            "floor": lambda _: keep_nothing(
                lines(spark, folder)
                .select(F.from_json("value", SCHEMA).alias("r"))
                .select("r.*", "r.payload.*")
            ),
            "parse": lambda _: keep_nothing(parse_lines(lines(spark, folder), CALLS)),
            "ingest": lambda n: run_ingest(spark, folder, n),
            "plain": lambda n: run_plain(spark, folder, n),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(args.rounds + 1):  # the first round warms Java up
            for name, way in ways.items():
                started = time.perf_counter()
                way(number)
                if number:
                    seconds[name].append(time.perf_counter() - started)
    report(args, seconds)


def make_landing(landing: Path, records: int, keys: int, files: int) -> None:
    """Change records of about 0.9 KB, a tenth of them deletes, keys at random, in equal gz objects."""
    random = Random(7)
    folder = landing / "calls" / "dt=2025-10-08" / "HH=14"
    folder.mkdir(parents=True)
    for file in range(files):
        with gzip.open(folder / f"{file:04d}.ndjson.gz", "wt", compresslevel=1) as out:
            for number in range(file * records // files, (file + 1) * records // files):
                deleted = random.random() < 0.1
                record: dict[str, Any] = {
                    "_eventID": f"{random.getrandbits(128):032x}",
                    "_eventName": "REMOVE" if deleted else "MODIFY",
                    "_sequence": f"2025-10-08T14:00:00.000/{number:040d}",
                    "_approxStreamTs": 1_759_932_000_000 + number,
                    "_ingestTs": 1_759_932_000_000 + number,
                    "is_deleted": deleted,
                    "callId": f"call-{random.randrange(keys):08d}",
                }
                if not deleted:
                    record["callTimestampUTC"] = "2025-10-08T14:34:19Z"
                    record["payload"] = {m: f"{random.getrandbits(64):016x}" for m in MEMBERS} | {
                        "siteId": 7,
                        "tenantId": 12,
                        "queueId": 5,
                    }
                out.write(json.dumps(record, separators=(",", ":")) + "\n")


def lines(spark: SparkSession, folder: Path) -> DataFrame:
    """The landed lines as a batch."""
    text = spark.read.option("recursiveFileLookup", "true").text(str(folder / "landing"))
    return text.select("value", F.lit("x").alias("_source_file"))


def keep_nothing(frame: DataFrame) -> None:
    """Compute every column of every row."""
    frame.write.format("noop").mode("overwrite").save()


def run_ingest(spark: SparkSession, folder: Path, number: int) -> None:
    """The product's stream into a table of its own."""
    table = replace(CALLS, name=f"calls_{number}", view=None)
    settings = local_settings(folder / "warehouse", landing=str(folder / "landing"))
    set_up(spark, settings, [table])
    for result in ingest(spark, settings, [table]):
        if result.error:
            raise result.error


def run_plain(spark: SparkSession, folder: Path, number: int) -> None:
    """A first version: no quarantine, no rescue, no tombstones, no progress."""
    name = f"default.plain_{number}"
    empty = spark.createDataFrame([], SCHEMA)
    empty.write.format("delta").saveAsTable(name)

    def merge(batch: DataFrame, _: int) -> None:
        rows = batch.select(F.from_json("value", SCHEMA).alias("r")).select("r.*")
        newest = Window.partitionBy("callId").orderBy(F.col("_sequence").desc())
        latest = rows.withColumn("n", F.row_number().over(newest)).where("n = 1").drop("n")
        target = DeltaTable.forName(batch.sparkSession, name).alias("t")
        merge = target.merge(latest.alias("s"), "t.callId = s.callId").whenMatchedDelete("s.is_deleted")
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

    stream = spark.readStream.schema("value string").option("recursiveFileLookup", "true")
    query = (
        stream.text(str(folder / "landing" / "calls"))
        .writeStream.foreachBatch(merge)
        .option("checkpointLocation", str(folder / f"plain-{number}"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


def report(args: argparse.Namespace, seconds: dict[str, list[float]]) -> None:
    """Medians, records per second, and ratios to the floor and to the plain way."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{args.records:,} records, {args.keys:,} keys, {args.files} objects, median of {args.rounds}\n")
    print(f"{'':10}{'seconds':>10}{'records/s':>12}{'/ floor':>10}{'/ plain':>10}")
    for name, median in medians.items():
        rate, floor, plain = args.records / median, median / medians["floor"], median / medians["plain"]
        print(f"{name:10}{median:10.2f}{rate:12,.0f}{floor:10.2f}{plain:10.2f}")


if __name__ == "__main__":
    main()
