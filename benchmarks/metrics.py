"""What a batch of metric events costs, by the size of the table of events: 10,000 and 1,000,000.

    uv run python benchmarks/metrics.py

Each size has a warehouse of its own with events of sessions and calls, clustered by OPTIMIZE. A batch of 100
events about 20 students is then ingested and followed, the same way every time, and a batch of 100 calls
ingested. Told: seconds of each (medians), and how many files of each table a lookup of its keys reads.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ingest import land
from lakehouse.catalog.set_up import set_up
from lakehouse.gold.followers import followers, refresh_metrics
from lakehouse.ingest.runner import Run, Streaming, run_all
from lakehouse.ingest.stream import source_streams
from lakehouse.local.session import local_session
from lakehouse.settings import Settings
from lakehouse.tables import table
from lakehouse.tables.metric_events import METRIC_EVENTS

SIZES = (10_000, 1_000_000)
STUDENTS = {10_000: 1_000, 1_000_000: 100_000}
TABLES = (METRIC_EVENTS, table("calls"))
BATCHES = 3
FILE_BYTES = 4 * 1024 * 1024
"""Largest file that OPTIMIZE makes here: a million events are many files, as a billion are elsewhere."""


def main() -> None:
    """Measure, print a table."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        spark = local_session(Path(folder) / "spark", quick=False, lasting=True, memory="6g")
        spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(FILE_BYTES))
        rows = [_measure(spark, Path(folder) / str(size), size) for size in SIZES]
    print(
        "| events | files of events, read | files by entity, read | ingest of 100 events, s "
        "| of 100 calls, s | follower, s | refresh, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _measure(spark: SparkSession, folder: Path, size: int) -> tuple[str, ...]:
    settings = Settings(
        landing=str(folder / "landing"),
        checkpoints=str(folder / "checkpoints"),
        bronze=f"bronze_{size}",
        silver=f"silver_{size}",
        gold=f"gold_{size}",
        ops=f"ops_{size}",
        warehouse=str(folder),
        platform="local",
    )
    set_up(spark, settings, TABLES, with_views=False)
    events = settings.table("silver", "metric_events")
    _fill(spark, events, size)
    print(f"{size:,} events", file=sys.stderr)
    refresh_metrics(spark, settings, everything=True)
    by_entity, metrics = (settings.table("silver", name) for name in ("metric_entity_events", "metrics"))
    for name in (events, by_entity, metrics):
        spark.sql(f"OPTIMIZE {name}")
    ids = [r[0] for r in spark.table(events).select("event_id").limit(5).collect()]
    students = [r[0] for r in spark.table(events).select("student_id").limit(5).collect()]
    read = statistics.mean(_files(spark.table(events).where(F.col("event_id") == i)) for i in ids)
    read_by = statistics.mean(_files(spark.table(by_entity).where(F.col("entity_id") == s)) for s in students)
    following = followers(settings, TABLES)
    _run(spark, following)  # looks at everything once
    streams = {
        table.name: [s for s in source_streams(settings, [table]) if s.name == table.source]
        for table in TABLES
    }
    seconds: dict[str, list[float]] = {"metric_events": [], "calls": [], "follower": []}
    for number in range(BATCHES + 1):
        _land(folder / "landing", number, size)
        land(folder / "landing", 100, 1, keys=10_000, first=1_000_000 * number)
        for name, taken in seconds.items():
            taken.append(_run(spark, streams.get(name, following)))
        print(f"  batch {number}: { ({n: round(t[-1], 1) for n, t in seconds.items()}) } s", file=sys.stderr)
    begun = time.monotonic()
    refresh_metrics(spark, settings)
    refreshed = time.monotonic() - begun
    files = [spark.sql(f"DESCRIBE DETAIL {name}").first()["numFiles"] for name in (events, by_entity)]
    return (
        f"{size:,}",
        f"{files[0]:,}, {read:g}",
        f"{files[1]:,}, {read_by:g}",
        *(f"{statistics.median(taken[1:]):.1f}" for taken in seconds.values()),
        f"{refreshed:.1f}",
    )


def _run(spark: SparkSession, streams: list[Streaming]) -> float:
    """Seconds of one run of streams."""
    begun = time.monotonic()
    for result in run_all(spark, streams, Run()):
        if result.error:
            raise result.error
    return time.monotonic() - begun


def _fill(spark: SparkSession, name: str, size: int) -> None:
    """Events of the last 40 days, straight into the state table."""
    students = STUDENTS[size]
    kind = F.element_at(
        F.array(*map(F.lit, ("session_started", "session_completed", "ib_call_logged"))),
        (F.col("id") % 3 + 1).cast("int"),
    )
    student = (F.xxhash64("id") % students + students) % students
    made = {
        "event_id": F.sha1(F.col("id").cast("string")),
        "_sequence": F.format_string("%056d/shardId-000000000000/000000", F.col("id")),
        "is_deleted": F.lit(False),
        "event_type": kind,
        "occurred_at": F.timestamp_micros(
            F.unix_micros(F.current_timestamp())
            - F.pmod(F.xxhash64("id", F.lit(1)), F.lit(40 * 86_400_000_000))
        ),
        "student_id": F.sha1(student.cast("string")),
        "tutor_id": F.when(F.col("id") % 3 != 2, F.sha1((student % 50 + students).cast("string"))),
        "session_id": F.when(F.col("id") % 3 != 2, F.sha1((F.col("id") - F.col("id") % 3).cast("string"))),
    }
    columns = spark.table(name).columns
    missing = {c: F.lit(None) for c in columns if c not in made}
    rows = spark.range(size).select(*((made | missing)[c].alias(c) for c in columns))
    rows.writeTo(name).append()


def _land(landing: Path, number: int, size: int) -> None:
    """One object: 100 events about 20 students who are there, a few minutes ago."""
    import hashlib
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    lines = []
    for index in range(100):
        student = hashlib.sha1(str((index % 20) * 7 % STUDENTS[size]).encode()).hexdigest()
        record = {
            "_eventID": uuid.uuid4().hex,
            "_eventName": "EVENT",
            "_sequence": f"{10**20 + number * 1000 + index:056d}/shardId-000000000001/000000",
            "_approxStreamTs": int(now.timestamp() * 1000),
            "_ingestTs": int(now.timestamp() * 1000),
            "is_deleted": False,
            "event_id": uuid.uuid4().hex,
            "event_type": "ib_call_logged" if index % 10 == 0 else "session_completed",
            "timestamp": (now - timedelta(minutes=index)).isoformat(),
            "payload": {"student_id": student},
        }
        lines.append(json.dumps(record))
    path = landing / "metric_events" / now.strftime("dt=%Y-%m-%d/HH=%H") / f"{number:04d}.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))


def _files(frame: DataFrame) -> int:
    """How many files a query reads."""
    frame.collect()
    leaves = frame._jdf.queryExecution().executedPlan().collectLeaves()
    for index in range(leaves.size()):
        metrics = leaves.apply(index).metrics()
        if metrics.contains("numFiles"):
            return int(metrics.apply("numFiles").value())
    raise AssertionError("the plan reads no files")


if __name__ == "__main__":
    main()
