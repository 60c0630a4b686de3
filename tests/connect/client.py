"""The client of the Connect server, a process of its own: one that has a classic session can have no other.

    python -m tests.connect.client GIVEN REPORT

GIVEN is a JSON file with the server's `url`, the `settings`, and where each of the `tables` lies. REPORT is
one with what was seen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.connect.content import held, versions, views
from tests.connect.landed import FLOOR, land_torn

from lakehouse.catalog.set_up import set_up
from lakehouse.errors import StreamError
from lakehouse.gold.run import ingest
from lakehouse.ingest import floors
from lakehouse.ingest.batch import in_time
from lakehouse.ingest.commits import retrying
from lakehouse.ingest.lease import TableLease
from lakehouse.ingest.runner import Result
from lakehouse.ingest.trigger import Trigger
from lakehouse.operations.rebuild import rebuild
from lakehouse.settings import Settings
from lakehouse.tables import TABLES
from lakehouse.tables.calls import CALLS
from lakehouse.tables.scorecards import SCORECARDS

Tried = dict[str, str]
"""What was tried, and the error that it met; `ran` if it met none."""

SETTABLE = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.files.maxPartitionBytes": "134217728",
    "spark.sql.legacy.timeParserPolicy": "EXCEPTION",
    "spark.databricks.execution.timeout": "9000",
}
"""The settings that may be set, and what they are set to."""


def main(given: str, report: str) -> None:
    said = json.loads(Path(given).read_text(encoding="utf-8"))
    settings = Settings(**said["settings"])
    spark = SparkSession.builder.remote(said["url"]).getOrCreate()
    at: dict[str, str] = said["tables"]
    found: dict[str, Any] = {"process": os.getpid(), "session": type(spark).__module__}
    set_up(spark, settings, TABLES)
    floors.record(spark, settings, SCORECARDS, FLOOR, FLOOR)
    found["first"] = _ingested(spark, settings, at) | {"views": views(spark, settings)}
    forgotten = _forget_last_batch(settings, "scorecards")
    found["second"] = _ingested(spark, settings, at)
    found["done again"] = forgotten.exists()
    found["client"] = _try_limits(spark)
    found["worker"] = _try_in_worker(spark, settings)
    found["closures"] = _try_closures(spark)
    found["interval"] = _at_an_interval(spark, settings)
    found["conflict"] = _conflict(spark, settings)
    found["lease"] = _lease(spark, settings)
    found["given up"] = _given_up(spark)
    found["rebuilt"] = _rebuilt(spark, settings)
    torn = land_torn(settings)
    [result, *_] = ingest(spark, settings, [SCORECARDS])
    found["torn"] = {"path": str(torn), "error": type(result.error).__name__, "message": str(result.error)}
    Path(report).write_text(json.dumps(found), encoding="utf-8")


def _given_up(spark: SparkSession) -> str:
    """Work, outside of a stream, that takes longer than the floor may be relied on."""
    wait = F.udf(lambda number: time.sleep(60) or str(number))
    may, floors.GIVE_UP_SECONDS = floors.GIVE_UP_SECONDS, 0.5
    try:
        with in_time(spark, "calls"):
            spark.range(1).select(wait("id")).collect()
    except StreamError as error:
        return str(error)
    finally:
        floors.GIVE_UP_SECONDS = may
    return "it has ended"


def _ingested(spark: SparkSession, settings: Settings, at: dict[str, str]) -> dict[str, Any]:
    """Run every stream to its end; what came of it."""
    results = ingest(spark, settings, TABLES)
    return {
        "streams": _errors(results),
        "records": {result.stream: result.batches.records for result in results},
        "versions": versions(at),
    }


def _errors(results: list[Result]) -> dict[str, str | None]:
    return {r.stream: None if r.error is None else f"{type(r.error).__name__}: {r.error}" for r in results}


def _forget_last_batch(settings: Settings, stream: str) -> Path:
    """Take the last entry from a checkpoint's log of commits, as after a crash before it; its path."""
    commits = Path(settings.stream_folder(stream)) / "checkpoint" / "commits"
    last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
    (commits / str(last)).unlink()
    (commits / f".{last}.crc").unlink(missing_ok=True)
    return commits / str(last)


# --- the limits -----------------------------------------------------------------------------------------


def _try_limits(spark: SparkSession) -> Tried:
    """Try what no batch may do, and the settings that may be set. Travels to the worker by its code."""
    frame = spark.range(1)
    tries: dict[str, Callable[[], Any]] = {
        "cache": frame.cache,
        "persist": frame.persist,
        "unpersist": frame.unpersist,
        "checkpoint": frame.checkpoint,
        "localCheckpoint": frame.localCheckpoint,
        "catalog.cacheTable": lambda: spark.catalog.cacheTable("t"),
        "catalog.uncacheTable": lambda: spark.catalog.uncacheTable("t"),
        "catalog.clearCache": spark.catalog.clearCache,
        "catalog.refreshTable": lambda: spark.catalog.refreshTable("t"),
        "catalog.refreshByPath": lambda: spark.catalog.refreshByPath("/"),
        "createGlobalTempView": lambda: frame.createGlobalTempView("v"),
        "conf.set": lambda: spark.conf.set("spark.databricks.delta.schema.autoMerge.enabled", "true"),
        "conf.unset": lambda: spark.conf.unset("spark.sql.adaptive.enabled"),
        "sparkContext": lambda: spark.sparkContext,
        "rdd": lambda: frame.rdd,
        "_jvm": lambda: spark._jvm,
        "a cast that fails": lambda: frame.select(F.lit("x").cast("int")).collect(),
    }
    statements = (
        "CACHE TABLE t AS SELECT 1",
        "CACHE LAZY TABLE t AS SELECT 1",
        "UNCACHE TABLE t",
        "CLEAR CACHE",
        "REFRESH TABLE t",
        "SET spark.sql.adaptive.enabled = true",
        "RESET",
        "CREATE OR REPLACE GLOBAL TEMPORARY VIEW v AS SELECT 1",
    )
    tries |= {text: lambda text=text: spark.sql(text) for text in statements}
    tries |= {f"set {k}": lambda k=k, v=v: spark.conf.set(k, v) for k, v in SETTABLE.items()}
    tried = {}
    for what, attempt in tries.items():
        try:
            attempt()
            tried[what] = "ran"
        except Exception as error:
            tried[what] = f"{type(error).__name__}: {error}"
    return tried


def _try_in_worker(spark: SparkSession, settings: Settings) -> Any:
    """The same in a batch function, and what its process is."""
    folder = Path(settings.checkpoints).with_name("probe")
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.txt").write_text("one line\n", encoding="utf-8")
    seen = str(folder / "seen.json")

    def look(batch: DataFrame, batch_id: int) -> None:
        about = {"tried": _try_limits(batch.sparkSession), "process": os.getpid(), "rows": batch.count()}
        about |= {"environment": dict(os.environ), "session": type(batch.sparkSession).__module__}
        Path(seen).write_text(json.dumps(about), encoding="utf-8")

    stream = spark.readStream.text(str(folder / "in")).writeStream.foreachBatch(look)
    query = stream.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()
    query.awaitTermination()
    return json.loads(Path(seen).read_text(encoding="utf-8"))


def _try_closures(spark: SparkSession) -> Tried:
    """Hand over batch functions that have more than plain data in their closure."""
    lock, frame, number = threading.Lock(), spark.range(1), 1
    held = {"a session": spark, "a frame": frame, "a lock": lock, "plain data": number}
    tried = {}
    for name, thing in held.items():

        def on_batch(batch: DataFrame, batch_id: int, thing: Any = thing) -> None:
            print(thing)

        try:
            spark.readStream.format("rate").load().writeStream.foreachBatch(on_batch)
            tried[name] = "ran"
        except Exception as error:
            tried[name] = f"{type(error).__name__}: {error}"
    return tried


def _at_an_interval(spark: SparkSession, settings: Settings) -> dict[str, str | None]:
    """Run streams with a trigger that serverless compute does not have."""
    stop = threading.Event()
    trigger = Trigger.parse("30 seconds")
    return _errors(ingest(spark, settings, [CALLS], trigger, on_end=lambda _: stop.set(), stop=stop))


# --- two writers ----------------------------------------------------------------------------------------


def _conflict(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """A MERGE that another commit overtakes while it reads its source; `retrying` makes it again."""
    folder = Path(settings.checkpoints).with_name("conflict")
    folder.mkdir()
    reads, overtaken = str(folder / "reads"), str(folder / "overtaken")
    name = settings.table("ops", "two_writers")
    spark.sql(f"CREATE TABLE {name} (k INT, v STRING) USING DELTA")
    spark.sql(f"INSERT INTO {name} VALUES (1, 'old')")

    @F.udf("int")
    def slow(key: int) -> int:
        Path(reads).touch()
        for _ in range(600):
            if Path(overtaken).exists():
                return key
            time.sleep(0.1)
        raise TimeoutError("nobody has overtaken this MERGE")

    errors: list[str] = []

    def merge() -> None:
        source = spark.sql("SELECT 1 AS k").select(slow("k").alias("k"))
        try:
            (
                DeltaTable.forName(spark, name)
                .alias("t")
                .merge(source.alias("s"), F.col("t.k") == F.col("s.k"))
                .whenMatchedUpdate(set={"v": F.concat("t.v", F.lit(" and merged"))})
                .execute()
            )
        except Exception as error:
            errors.append(str(error)[:300])
            raise

    writer = threading.Thread(target=lambda: retrying(merge, "the MERGE", sleep=lambda _: None), daemon=True)
    writer.start()
    while writer.is_alive() and not Path(reads).exists():
        time.sleep(0.05)
    spark.sql(f"UPDATE {name} SET v = 'new'")
    Path(overtaken).touch()
    writer.join()
    return {"errors": errors, "rows": [list(row) for row in spark.table(name).collect()]}


# --- what a stream needs beside -----------------------------------------------------------------------------


def _lease(spark: SparkSession, settings: Settings) -> Tried:
    """Take the lease that Databricks has, which is a row, twice at once and again."""
    tried = {}

    def attempt(what: str) -> TableLease:
        lease = TableLease(spark, settings.table("ops", "leases"), "a checkpoint", "calls")
        try:
            with lease:
                lease.check()
                if what == "first":
                    attempt("while it is held")
            tried[what] = "ran"
        except Exception as error:
            tried[what] = f"{type(error).__name__}: {error}"
        return lease

    attempt("first")
    attempt("after it was given up")
    return tried


def _rebuilt(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """Change rows of a state table by hand, and rebuild it; how many rows that wrote, and what it holds."""
    name = settings.table("silver", CALLS.name)
    spark.sql(f"UPDATE {name} SET direction = 'lost' WHERE call_id = 'c5'")
    spark.sql(f"DELETE FROM {name} WHERE call_id = 'c6'")
    wrong = held(spark.table(name))
    done = rebuild(spark, settings, CALLS, complete=True)
    return {"written": done.written, "wrong": wrong, "held": held(spark.table(name))}


if __name__ == "__main__":
    main(*sys.argv[1:])
