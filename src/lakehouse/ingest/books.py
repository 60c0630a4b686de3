"""The books of the streams: what each batch did to each table, which is also how far each table has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.ingest import floors
from lakehouse.ingest.bronze import Reach
from lakehouse.ingest.silver import Applied
from lakehouse.settings import Settings
from lakehouse.table import Table


def page(
    spark: SparkSession,
    *,
    stream: str,
    batch_id: int,
    source: str,
    run_id: str,
    started: datetime,
    files: int,
    last_changed: int | None,
    applied: Mapping[str | None, Applied],
) -> DataFrame:
    """Rows of ops.batches: one for each table that has applied the batch; None where no table reads it."""
    rows = [
        {
            "stream": stream,
            "batch_id": batch_id,
            "source": source,
            "table_name": table,
            "run_id": run_id,
            "files": files,
            "records": done.records,
            "upserts": done.upserts,
            "deletes": done.deletes,
            "stale": done.stale,
            "quarantined": done.quarantined,
            "misfits": done.misfits,
            "violations": done.violations or None,
        }
        for table, done in applied.items()
    ]
    schema = ", ".join(f"{c.name} {c.type}" for c in ops.BATCHES if c.name in rows[0])
    # Times as numbers: they would pass through Python's local time, which has gaps and an end.
    times = {
        "started_at": floors.instant(started),
        "finished_at": floors.instant(datetime.now(UTC)),
        "last_changed_at": F.timestamp_micros(F.lit(last_changed).cast("bigint")),
    }
    frame = spark.createDataFrame(rows, schema).withColumns(times)
    return frame.select(*(c.name for c in ops.BATCHES))


@dataclass(frozen=True, slots=True)
class Progress:
    """The last batch of a source by stream (`heads`), and by table and stream (`marks`)."""

    heads: Mapping[str, int]
    marks: Mapping[str, Mapping[str, int]]


def progress(spark: SparkSession, settings: Settings, source: str) -> Progress:
    """What the books tell of a source. Marks from before a table was created (anew) count for nothing.

    A batch that no table has applied is in no book. While a stream's checkpoint is the one that it was, that
    is enough: what is missing is repeated by the stream.
    """
    declared = spark.table(settings.table("ops", "declarations"))
    made = declared.groupBy("table_name").agg(F.max("made_at").alias("made_at"))
    batches = spark.table(settings.table("ops", "batches")).where(F.col("source") == source)
    counts = F.coalesce(F.col("finished_at") >= F.col("made_at"), F.lit(True))
    rows = (
        batches.join(made, "table_name", "left")
        .groupBy("stream", "table_name")
        .agg(F.max("batch_id").alias("head"), F.max(F.when(counts, F.col("batch_id"))).alias("mark"))
        .collect()
    )
    heads: dict[str, int] = {}
    marks: dict[str, dict[str, int]] = {}
    for row in rows:
        heads[row.stream] = max(row.head, heads.get(row.stream, -1))
        if row.mark is not None:
            marks.setdefault(row.table_name, {})[row.stream] = row.mark
    return Progress(heads, marks)


def heads_in_bronze(spark: SparkSession, settings: Settings, source: str) -> dict[str, int]:
    """The last batch of each stream, out of bronze itself."""
    bronze = spark.table(settings.table("bronze", source))
    rows = bronze.groupBy("_stream").agg(F.max("_batch_id").alias("head")).collect()
    return {row["_stream"]: row.head for row in rows}


def behind(marks: Mapping[str, int], heads: Mapping[str, int]) -> list[Reach]:
    """What lies between a table's marks and the heads of its source's streams."""
    return [
        Reach(stream, marks.get(stream, -1), head)
        for stream, head in sorted(heads.items())
        if head > marks.get(stream, -1)
    ]


def is_behind(spark: SparkSession, settings: Settings, table: Table) -> bool:
    """Whether other tables of the table's source have applied batches that it has not."""
    known = progress(spark, settings, table.source)
    return bool(behind(known.marks.get(table.name, {}), known.heads))


def has_applied(spark: SparkSession, settings: Settings, stream: str, batch_id: int) -> set[str | None]:
    """Which tables have applied a batch; asked where a batch is repeated."""
    mine = (F.col("stream") == stream) & (F.col("batch_id") == batch_id)
    rows = spark.table(settings.table("ops", "batches")).where(mine).select("table_name").collect()
    return {row.table_name for row in rows}
