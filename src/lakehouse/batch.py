"""One batch of a stream: parse it once, stage it, then write state, history, quarantine and progress.

The batch function obeys the strictest platform (serverless, Spark Connect): plain data in its closure, the
batch's own session, no cache. Records are staged as Parquet; every sink of the batch reads that.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from lakehouse import events, floors, ops
from lakehouse.changes import latest_changes
from lakehouse.errors import StreamError
from lakehouse.gold.derived import after_state, before_state
from lakehouse.lease import exclusive
from lakehouse.merge import (
    KEY_LITERALS,
    Applied,
    append_once,
    insert_missing,
    left_below_floor,
    merge_latest,
    retrying,
)
from lakehouse.parse import parse_documents, parse_lines
from lakehouse.settings import Settings
from lakehouse.sources import Source, stored
from lakehouse.table import Table

BELOW_FLOOR = "below_tombstone_floor"
"""Reason of a record whose key may have had a tombstone that was purged."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's plain data, as it travels in the closure of its batch function.

    `table` is None for the stream over the writer's quarantine. `writer` is the name and the identity of
    the checkpoint; known once the lease is held.
    """

    name: str
    source: Source
    settings: Settings
    table: Table | None
    folder: str
    run_id: str
    writer: str = ""
    rebuilding: bool = False
    """Leave out what the tombstone floor turned away: it is in quarantine, and stays there."""
    held: bool = False
    """Whoever runs the stream holds its checkpoint already."""


def process_batch(stream: Stream, batch: DataFrame, batch_id: int) -> None:
    """Apply one batch: stage it, then state, history, quarantine and progress, each a commit of its own.

    Called again for the same batch it writes only what is missing. A commit that met another writer's
    makes the whole of it be done again.
    """
    started = datetime.now(UTC)
    # Read once, before anything else: a batch is given up before a purge could rely on a floor that was
    # raised since (floors.py), here before each attempt, and during one by whoever runs the stream.
    deadline, floor = time.monotonic() + floors.GIVE_UP_SECONDS, None
    if stream.table is not None and stream.table.format == "changes":
        floor = floors.current(batch.sparkSession, stream.settings, stream.table)
    staged = _stage(stream, batch, floor)
    # An attempt that loses its last commit has made the first ones: what those wrote still counts.
    applied: list[Applied] = []
    with exclusive(stream.settings.warehouse):
        what = f"batch {batch_id} of {stream.name}"

        def attempt() -> None:
            if time.monotonic() > deadline:
                raise given_up(stream.name)
            _apply(stream, staged, batch_id, started, floor, applied)

        retrying(attempt, what)


def given_up(stream: str) -> StreamError:
    """The error of a batch that has worked too long by the tombstone floor that it read."""
    hours = f"{floors.GIVE_UP_SECONDS / 3600:g}"
    return StreamError(
        stream,
        f"a batch took more than {hours} hours and was given up; nothing is lost. Run it again with smaller "
        "batches: --max-files.",
    )


def _stage(stream: Stream, batch: DataFrame, floor: int | None) -> DataFrame:
    rows = stream.source.rows(batch)
    if stream.table is None:
        parsed = _parse_writer_quarantine(rows)
    elif stream.table.format == "documents":
        parsed = parse_documents(rows, stream.table)
    elif stream.rebuilding:
        parsed = _without_turned_away(stream, parse_lines(rows, stream.table, keep_raw=F.lit(True)))
    else:
        parsed = parse_lines(rows, stream.table, keep_raw=None if floor is None else floors.is_below(floor))
    return stored(parsed, f"{stream.folder}/staged")


def _apply(
    stream: Stream,
    staged: DataFrame,
    batch_id: int,
    started: datetime,
    floor: int | None,
    applied: list[Applied],
) -> None:
    spark, settings, table = staged.sparkSession, stream.settings, stream.table
    bad = F.col("_problem").isNotNull()
    counts = _count(staged, bad, table, floor)
    quarantined = [staged.where(bad)] if counts.bad else []
    valid = counts.records - counts.bad
    if valid and table is not None:
        changes = staged.where(~bad)
        now = datetime.now(UTC)
        among = _few(changes, table.keys[0]) if valid <= KEY_LITERALS else None
        counting = _counting(changes, table)
        before_state(spark, settings, table, counting, stream.folder, among)
        latest = latest_changes(counting, table.keys)
        columns = [c.name for c in table.all_columns if c.name != "_applied_at"]
        applied.append(
            merge_latest(spark, settings, table, latest.select(columns), now, floor=floor, among=among)
        )
        after_state(spark, settings, table, counting, among)
        if floor is not None and counts.below:
            quarantined.append(_below_floor(left_below_floor(spark, settings, table, latest, floor)))
        if table.history:
            stamp = floors.instant(now).alias("_applied_at")
            target = settings.table("silver", table.history_name)
            versions = changes.select(*columns, stamp)
            insert_missing(spark, target, versions, (*table.keys, "_sequence"), among=among)
    put_aside = _put_aside(stream, quarantined, batch_id)
    upserts, deletes = sum(a.upserts for a in applied), sum(a.deletes for a in applied)
    progress = {
        "stream": stream.writer,
        "batch_id": batch_id,
        "table_name": table.name if table else None,
        "run_id": stream.run_id,
        "started_at": started,
        "finished_at": datetime.now(UTC),
        "files": counts.files,
        "records": counts.records,
        "upserts": upserts,
        "deletes": deletes,
        "stale": counts.records - upserts - deletes - put_aside,
        "quarantined": put_aside,
        "rescued": counts.rescued,
        "violations": dict(sum((Counter(a.violations) for a in applied), Counter())) or None,
    }
    schema = ", ".join(f"{c.name} {c.type}" for c in ops.BATCHES if c.name in progress)
    row = spark.createDataFrame([progress], schema)
    row = row.withColumn("last_changed_at", F.timestamp_micros(F.lit(counts.last_changed).cast("bigint")))
    append_once(row, settings.table("ops", "batches"), writer=stream.writer, version=batch_id)


def _count(staged: DataFrame, bad: Column, table: Table | None, floor: int | None) -> Row:
    upsert = ~bad & ~F.col("is_deleted") if table else F.lit(False)
    below = F.lit(False) if floor is None else upsert & floors.is_below(floor)
    counts = staged.agg(
        F.count("*").alias("records"),
        F.count_if(bad).alias("bad"),
        F.count_if(below).alias("below"),
        F.count_if(~bad & F.col("_rescued_data").isNotNull()).alias("rescued"),
        # As a number: a timestamp would pass through Python's local time, which has gaps and an end.
        F.unix_micros(F.max(F.when(~bad, F.col("_changed_at")))).alias("last_changed"),
        F.count_distinct("_source_file").alias("files"),
    ).first()
    assert counts is not None
    return counts


def _counting(changes: DataFrame, table: Table) -> DataFrame:
    """The changes that decide on the state: without the expiries that the table ignores."""
    if table.ttl_deletes == "apply":
        return changes
    return changes.where(~(F.col("is_deleted") & F.col("_delete_kind").eqNullSafe("ttl")))


def _few(changes: DataFrame, key: str) -> list[Any]:
    return [row[0] for row in changes.select(key).distinct().collect()]


def _below_floor(left: DataFrame) -> DataFrame:
    detail = (
        "its key is not in the table, and a delete of it may have been purged; release it by a fresh read"
    )
    return left.withColumns({"_problem": F.lit(BELOW_FLOOR), "_detail": F.lit(detail)})


# --- quarantine ------------------------------------------------------------------------------------


def _put_aside(stream: Stream, frames: list[DataFrame], batch_id: int) -> int:
    """Put records into quarantine, each once; returns how many there are."""
    parts = [_quarantine_rows(stream, frame, batch_id) for frame in frames]
    if not parts:
        return 0
    rows = reduce(DataFrame.unionByName, parts)
    count = rows.count()
    if count:
        target = stream.settings.table("ops", "quarantine_records")
        insert_missing(rows.sparkSession, target, rows, ("quarantine_id",))
    return count


def _without_turned_away(stream: Stream, parsed: DataFrame) -> DataFrame:
    records = parsed.sparkSession.table(stream.settings.table("ops", "quarantine_records"))
    ids = records.where(F.col("reason") == BELOW_FLOOR).select("quarantine_id")
    marked = parsed.withColumn("_id", _quarantine_id(stream)[0])
    return marked.join(ids, marked["_id"] == ids["quarantine_id"], "left_anti").drop("_id")


def _quarantine_id(stream: Stream) -> tuple[Column, Column, Column]:
    """Id, source and object of records: the id from what a record is and where it lies, so that a replay
    finds it."""
    folder = stream.settings.landing if stream.table is None or stream.table.format == "changes" else ""
    below = re.sub(r"^([a-z0-9]+:)?/*", "", folder)
    path = F.regexp_replace("_source_file", r"^([a-z0-9]+:)?/*", "")
    where = F.when(
        path.startswith(below + "/"), path.substr(F.lit(len(below) + 2), F.length(path))
    ).otherwise(path)
    source = F.col("_source") if stream.table is None else F.lit(stream.table.source)
    # As bytes: a line that is no UTF-8 must not share its id with another one.
    place = F.to_json(F.struct(source.alias("source"), where.alias("object")))
    identity = F.concat(place.cast("binary"), F.col("_raw").cast("binary"))
    return F.sha2(identity, 256), source, where


def _quarantine_rows(stream: Stream, bad: DataFrame, batch_id: int) -> DataFrame:
    """Rows of ops.quarantine_records."""
    name, source, where = _quarantine_id(stream)
    return bad.select(
        name.alias("quarantine_id"),
        source.alias("source"),
        F.col("_problem").alias("reason"),
        F.col("_detail").alias("detail"),
        where.alias("object"),
        F.col("_raw").alias("raw"),
        F.current_timestamp().alias("quarantined_at"),
        F.lit(stream.writer).alias("stream"),
        F.lit(batch_id).cast("bigint").alias("batch_id"),
    )


def _parse_writer_quarantine(lines: DataFrame) -> DataFrame:
    """Lines of the writer's raw quarantine: what it could not convert, each a row of ops.quarantine."""
    said = F.from_json("value", "source string, reason string, detail string")
    folder = F.regexp_extract("_source_file", rf"/{events.QUARANTINE_FOLDER}/([^/]+)/", 1)
    return lines.select(
        F.coalesce(said["source"], folder).alias("_source"),
        F.coalesce(said["reason"], F.lit("not_json")).alias("_problem"),
        said["detail"].alias("_detail"),
        F.col("value").alias("_raw"),
        "_source_file",
        F.lit(None).cast("string").alias("_rescued_data"),
        F.lit(None).cast("timestamp").alias("_changed_at"),
    )
