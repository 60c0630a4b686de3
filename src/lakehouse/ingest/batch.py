"""One batch of a stream: append it to bronze, bring each table up to it, and write it into the books.

The batch function obeys the strictest platform (serverless, Spark Connect): plain data in its closure, the
batch's own session, no cache.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.errors import CheckpointError, StreamError
from lakehouse.ingest import books, bronze, changes, floors, silver
from lakehouse.ingest.bronze import Reach
from lakehouse.ingest.commits import append_once, retrying
from lakehouse.ingest.lease import exclusive
from lakehouse.ingest.silver import Applied, Wrote
from lakehouse.ingest.sources import Source
from lakehouse.settings import Settings
from lakehouse.table import Table

Rows = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's plain data, as it travels in the closure of its batch function.

    tables: those that read the source and are to be brought up to it; their first has the records' key. None
        for the writer's quarantine, which no table reads.
    target: the source's name in bronze. folder: its checkpoint lies there. writer: the name and the identity
        of the checkpoint; known, as the run is, once the lease is held.
    """

    name: str
    target: str
    source: Source
    settings: Settings
    tables: tuple[Table, ...]
    folder: str
    run_id: str = ""
    writer: str = ""

    @property
    def bronze(self) -> str:
        """The quoted name of its bronze table."""
        return self.settings.table("bronze", self.target)


def process_batch(stream: Stream, batch: DataFrame, batch_id: int) -> None:
    """Apply one batch: bronze, each table, the books, each a commit of its own.

    Called again for the same batch it writes only what is missing. A commit that met another writer's makes
    the whole of it be done again.
    """
    started = datetime.now(UTC)
    # A batch is given up before a purge could rely on a floor that was raised since (floors.py), here before
    # each attempt, and during one by whoever runs the stream.
    deadline = time.monotonic() + floors.GIVE_UP_SECONDS
    stamp = floors.micros(started)
    wrote: dict[str, Wrote] = {table.name: [] for table in stream.tables}
    with exclusive(stream.settings.warehouse):

        def attempt() -> None:
            if time.monotonic() > deadline:
                raise given_up(stream.name)
            _apply(stream, batch, batch_id, started, stamp, wrote)

        retrying(attempt, f"batch {batch_id} of {stream.name}")


def given_up(stream: str) -> StreamError:
    """The error of a batch that has worked too long by the tombstone floor that it read."""
    hours = f"{floors.GIVE_UP_SECONDS / 3600:g}"
    return StreamError(
        stream,
        f"a batch took more than {hours} hours and was given up; nothing is lost. Run it again with smaller "
        "batches: --max-files.",
    )


def _apply(
    stream: Stream,
    batch: DataFrame,
    batch_id: int,
    started: datetime,
    stamp: int,
    wrote: Mapping[str, Wrote],
) -> None:
    spark, settings = batch.sparkSession, stream.settings
    rows = stream.source.rows(batch)
    bronze.append(_rows_of(stream)(rows), stream.bronze, stream.writer, batch_id, stamp)
    reach = Reach(stream.writer, batch_id - 1, batch_id)
    tables: Sequence[Table] = stream.tables
    first = silver.prepare(spark, settings, tables[0], stream.target, [reach]) if tables else None
    found = first.look.found if first else changes.found_in(_of_batch(spark, stream, batch_id))
    if found.loaded != stamp:
        # An earlier attempt has appended the batch, or it is empty; or bronze has another one in its place.
        _check_same_objects(stream, batch, rows, batch_id)
        done = books.has_applied(spark, settings, stream.writer, batch_id)
        if not tables and done:
            return
        tables = [t for t in tables if t.name not in done]
    applied: dict[str | None, Applied] = {}
    for table in tables:
        prepared = first
        if prepared is None or prepared.table is not table:
            prepared = silver.prepare(spark, settings, table, stream.target, [reach])
        at = floors.micros(datetime.now(UTC))
        applied[table.name] = silver.apply(spark, settings, prepared, at, wrote[table.name])
    if not stream.tables:
        applied[None] = Applied(found.records, 0, 0, found.records, 0, {})
    if not applied:
        return
    written = books.page(
        spark,
        stream=stream.writer,
        batch_id=batch_id,
        source=stream.target,
        run_id=stream.run_id,
        started=started,
        files=found.files,
        last_changed=found.last_changed,
        applied=applied,
    )
    append_once(written, settings.table("ops", "batches"), writer=stream.writer, version=batch_id)


def catch_up(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    source: str,
    run_id: str,
    *,
    is_new: bool = False,
) -> None:
    """Bring tables up to what bronze has of a source.

    So one that was declared later fills itself, and one that an earlier run did not name, or whose MERGE
    failed where another one's went well, gets what it has missed. The caller holds the source's checkpoints.

    Args:
        is_new: the checkpoint has never been used: another one may have left batches that are in no book.
    """
    if not _behind(spark, settings, tables, source, is_new):
        return
    with exclusive(settings.warehouse):
        # Once more: the source's other stream may have done it meanwhile.
        for table, reaches in _behind(spark, settings, tables, source, is_new):
            _reach(spark, settings, table, source, run_id, reaches)


def _behind(
    spark: SparkSession, settings: Settings, tables: Sequence[Table], source: str, is_new: bool
) -> list[tuple[Table, list[Reach]]]:
    """The tables that lack batches of bronze, and which."""
    heads = books.heads_in_bronze(spark, settings, source) if is_new else {}
    if is_new and not heads:
        return []
    progress = books.progress(spark, settings, source)
    if not is_new:
        unmarked = any(table.name not in progress.marks for table in tables)
        heads = books.heads_in_bronze(spark, settings, source) if unmarked else dict(progress.heads)
    found = ((table, books.behind(progress.marks.get(table.name, {}), heads)) for table in tables)
    return [(table, reaches) for table, reaches in found if reaches]


def _reach(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    source: str,
    run_id: str,
    reaches: Sequence[Reach],
) -> None:
    """Apply batches of bronze to a table, and write them into the books."""
    started = datetime.now(UTC)
    wrote: Wrote = []

    def work() -> Applied:
        prepared = silver.prepare(spark, settings, table, source, reaches)
        return silver.apply(spark, settings, prepared, floors.micros(datetime.now(UTC)), wrote)

    with in_time(spark, table.name):
        done = retrying(work, f"catching up of {table.name}")
    for number, reach in enumerate(reaches):
        # The counts stand with one of the streams; the others have their marks alone.
        row = books.page(
            spark,
            stream=reach.stream,
            batch_id=reach.upto,
            source=source,
            run_id=run_id,
            started=started,
            files=0,
            last_changed=None,
            applied={table.name: Applied(0, 0, 0, 0, 0, {}) if number else done},
        )
        row.write.format("delta").mode("append").saveAsTable(settings.table("ops", "batches"))


@contextmanager
def in_time(spark: SparkSession, name: str) -> Iterator[None]:
    """Give work up that goes on when the floor that it read may no longer be relied on; no stream watches it.

    Over Connect alone, as on Databricks: a classic session interrupts what it has started in the same thread,
    and on one machine the lock of the warehouse keeps a purge out while the work goes on.

    Raises:
        StreamError: it was given up.
    """
    tag, ended, late = f"lakehouse-{uuid.uuid4().hex}", threading.Event(), threading.Event()

    def watch() -> None:
        pause = floors.GIVE_UP_SECONDS
        while not ended.wait(pause):
            late.set()
            spark.interruptTag(tag)  # what runs just now; something else may follow
            pause = 1.0

    watcher = threading.Thread(target=watch, name=f"deadline-{name}", daemon=True)
    spark.addTag(tag)
    watcher.start()
    try:
        yield
    except PySparkException as error:
        if late.is_set():
            raise given_up(name) from error
        raise
    finally:
        ended.set()
        watcher.join()
        spark.removeTag(tag)


def _rows_of(stream: Stream) -> Rows:
    """What makes rows of bronze out of the source's rows."""
    if not stream.tables:
        return bronze.of_writer_quarantine
    if stream.tables[0].format == "documents":
        return bronze.of_documents
    return lambda lines: bronze.of_lines(lines, stream.tables[0])


def _of_batch(spark: SparkSession, stream: Stream, batch_id: int) -> DataFrame:
    mine = (F.col("_stream") == stream.writer) & (F.col("_batch_id") == batch_id)
    return spark.table(stream.bronze).where(mine)


def _check_same_objects(stream: Stream, batch: DataFrame, rows: DataFrame, batch_id: int) -> None:
    """Raise CheckpointError unless bronze has this very batch.

    What the batch reads now must be there; what is there, the batch must name. A document that was rewritten
    or removed since is named by the batch, and read no more.
    """
    named = stream.source.names(batch)
    there = _of_batch(batch.sparkSession, stream, batch_id).select(named.columns).distinct()
    now = rows.select(named.columns).distinct()
    strange = now.exceptAll(there).union(there.exceptAll(named)).limit(1).collect()
    if strange:
        raise CheckpointError(stream.name, stream.folder, batch_id, strange[0][0])
