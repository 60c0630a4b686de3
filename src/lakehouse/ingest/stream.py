"""The streams: one per source, from there to bronze and on to the tables that read it, and one for the
writer's quarantine. Where landing has Parquet objects too, a source of change records has a second one for
those.

A stream is a file source, a checkpoint with a lease, and a batch function (batch.py).
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from lakehouse import change_record
from lakehouse.catalog.bronze import WRITER_QUARANTINE
from lakehouse.errors import (
    LakehouseError,
    LeaseHeldError,
    StreamError,
)
from lakehouse.gold.derived import after_rebuild
from lakehouse.ingest import floors
from lakehouse.ingest.batch import Stream, catch_up, given_up, process_batch
from lakehouse.ingest.failures import explain, note_failure
from lakehouse.ingest.lease import lease
from lakehouse.ingest.sources import Source, lines_of, source_of
from lakehouse.ingest.trigger import ONCE, Trigger
from lakehouse.settings import Settings
from lakehouse.table import Table

RESTART_SECONDS = (10.0, 300.0)
"""The first and the longest pause before a stream that stopped is started again."""


_starting = threading.Lock()
"""Held by the stream that starts. Over Connect a start makes the process that its batches run in, for which
Spark waits no longer than 10 s: of many at once, on a few cores, none would be in time."""

STARTS = 5
"""How often a stream is started whose process was not in time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batches:
    """What the batches of one stream did in one run. All counts are of records but `files`."""

    files: int = 0
    records: int = 0
    upserts: int = 0
    deletes: int = 0
    stale: int = 0
    quarantined: int = 0

    def __add__(self, other: Batches) -> Batches:
        return Batches(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Result:
    """How one stream ended, and what its batches did to each table. `error` is None if it came to its end."""

    stream: str
    tables: Mapping[str, Batches]
    seconds: float
    error: LakehouseError | None = None

    @property
    def batches(self) -> Batches:
        """What came in, and what became of it in all tables together."""
        return sum(self.tables.values(), Batches())

    def cells(self) -> Iterator[tuple[str, ...]]:
        """A row for each table, to be shown: name (and stream, if that has several), counts, seconds."""
        for table, b in self.tables.items():
            name = table if len(self.tables) == 1 else f"{table} ({self.stream})"
            counts = (b.files, b.records, b.upserts, b.deletes, b.stale, b.quarantined)
            yield (name, *(f"{n:,}" for n in counts), f"{self.seconds:.1f}")


def ingest(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    trigger: Trigger = ONCE,
    *,
    wait: float = 0.0,
    from_the_beginning: bool = False,
    on_end: Callable[[Result], None] = lambda _: None,
    on_progress: Callable[[str, int], None] = lambda _stream, _rows: None,
    stop: threading.Event | None = None,
) -> list[Result]:
    """Run the streams of the tables' sources, and the stream over the writer's quarantine, until they end.

    One stream's failure leaves the others at work; its result carries the error. A source whose documents
    have no configured location is passed over.

    Args:
        wait: seconds to wait for a checkpoint that another process holds.
        from_the_beginning: take the streams' checkpoints away first, so that all of landing is read into
            bronze again; what is there already changes nothing.
        on_end: told of each stream as it ends, on that stream's thread; with an interval the stream is
            then started again if it had failed.
        on_progress: told of the records read since the last call.
        stop: set it to stop the streams after the batch at hand.
    """
    run_id = uuid.uuid4().hex
    stop = stop or threading.Event()
    again = from_the_beginning
    streams = [replace(s, from_the_beginning=again) for s in _streams(settings, tables, run_id)]
    streams.append(_writer_quarantine(settings, run_id))
    results: list[Result] = []

    def run(stream: Stream) -> None:
        pause = RESTART_SECONDS[0]
        while True:
            result = _attempt(spark, stream, trigger, wait, on_progress, stop)
            stream = replace(stream, from_the_beginning=False)  # once is enough
            on_end(result)
            # A stream that is to keep going is started again, whatever stopped it: its cause may be mended
            # (an object set aside, a lease given up), and the other streams must not be ended for it.
            if trigger.every is None or stop.wait(pause):
                break
            pause = min(2 * pause, RESTART_SECONDS[1])
        results.append(result)

    threads = [threading.Thread(target=run, args=(s,), name=f"stream-{s.name}", daemon=True) for s in streams]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # interrupted: whatever is cut off now is repeated by the next run
        stop.set()
        raise
    order = {s.name: i for i, s in enumerate(streams)}
    return sorted(results, key=lambda r: order[r.stream])


def _attempt(
    spark: SparkSession,
    stream: Stream,
    trigger: Trigger,
    wait: float,
    on_progress: Callable[[str, int], None],
    stop: threading.Event,
) -> Result:
    started = time.monotonic()
    error: LakehouseError | None = None
    batches: dict[str, Batches] = {}
    try:
        try:
            _run(spark, stream, trigger, wait, on_progress, stop)
        finally:
            batches = _sum(spark, stream)
    except LeaseHeldError as caught:
        # The writer's quarantine is every run's business: whoever holds it reads it for all.
        error = caught if stream.tables else None
    except LakehouseError as caught:
        error = caught
    except PySparkException as caught:
        error = explain(stream, caught)
    except Exception as caught:  # noqa: BLE001 - the edge of a thread: what is not caught here is lost
        error = StreamError(stream.name, f"{type(caught).__name__}: {caught}")
    if error is not None and not isinstance(error, LeaseHeldError):
        note_failure(spark, stream, error)
    return Result(stream.name, batches, time.monotonic() - started, error)


# --- one stream ------------------------------------------------------------------------------------


PARQUET = "_parquet"
"""Ends the name of the stream that reads a source's Parquet objects."""


def stream_names(settings: Settings, table: Table) -> tuple[str, ...]:
    """Names of the streams that a table is fed by, which are those of their checkpoints' folders."""
    second = settings.parquet and table.format == "changes"
    return (*table.sources, *(name + PARQUET for name in table.sources if second))


def _streams(settings: Settings, tables: Sequence[Table], run_id: str) -> Iterator[Stream]:
    """A stream for each source that one of the tables reads."""
    for name in dict.fromkeys(name for table in tables for name in stream_names(settings, table)):
        target = name.removesuffix(PARQUET)
        fed = tuple(table for table in tables if target in table.sources)
        folder = settings.stream_folder(name)
        source: Source | None
        if fed[0].format == "documents":
            source = source_of(settings, target, folder)
        else:
            source = lines_of(settings, target, "ndjson" if name == target else "parquet")
        if source is not None:
            yield Stream(name, target, source, settings, fed, folder, run_id)


def _writer_quarantine(settings: Settings, run_id: str) -> Stream:
    source = lines_of(settings, change_record.QUARANTINE_FOLDER)
    folder = settings.stream_folder(WRITER_QUARANTINE)
    return Stream(WRITER_QUARANTINE, WRITER_QUARANTINE, source, settings, (), folder, run_id)


def _identity(folder: str) -> tuple[str, bool]:
    """What tells this checkpoint from an earlier one in the same folder, and whether it is new.

    With a new checkpoint batch numbers start again, and must not be taken for batches that are in bronze.
    """
    path = Path(folder) / "stream.json"
    is_new = not (path.exists() and (Path(folder) / "checkpoint" / "metadata").exists())
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"identity": uuid.uuid4().hex[:12]}), encoding="utf-8")
    identity: str = json.loads(path.read_text(encoding="utf-8"))["identity"]
    return identity, is_new


def _forget(folder: str) -> None:
    """Take a stream's checkpoint away.

    Under another name first: a run that is killed leaves nothing that looks whole, and is not.
    """
    for part in ("checkpoint", "found"):
        there, doomed = Path(folder) / part, Path(folder) / f".{part}.removed"
        shutil.rmtree(doomed, ignore_errors=True)
        if there.exists():
            there.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _run(
    spark: SparkSession,
    stream: Stream,
    trigger: Trigger,
    wait: float,
    on_progress: Callable[[str, int], None],
    stop: threading.Event,
) -> None:
    folder, name = stream.folder, stream.name
    with lease(spark, stream.settings, folder, name, wait=wait) as holding:
        if stream.from_the_beginning:
            _forget(folder)
        identity, is_new = _identity(stream.folder)
        named = replace(stream, writer=f"{stream.name}/{identity}", is_new=is_new)

        # Over Connect the function works on a copy of this list, and the error comes as text.
        failed: list[LakehouseError] = []

        def on_batch(batch: DataFrame, batch_id: int) -> None:
            try:
                process_batch(named, batch, batch_id)
            except LakehouseError as error:
                failed.append(error)
                raise

        for table in stream.tables:
            after_rebuild(spark, stream.settings, table)  # of a rebuild that died before it had done that
        if stream.tables:
            at = (stream.target, stream.folder, stream.run_id)
            catch_up(spark, stream.settings, stream.tables, *at, is_new=is_new)
        stream.source.discover(spark)
        writer = (
            stream.source.stream(spark)
            .writeStream.foreachBatch(on_batch)
            .queryName(f"lakehouse-{stream.name}")
        )
        writer = writer.option("checkpointLocation", f"{stream.folder}/checkpoint")
        writer = (
            writer.trigger(processingTime=trigger.every)
            if trigger.every
            else writer.trigger(availableNow=True)
        )
        query = _started(writer)
        last_batch, looked = -1, time.monotonic()
        at_work_since = looked
        asked_at: int | None = None
        try:
            while not query.awaitTermination(1):
                holding.check()
                if trigger.every and time.monotonic() - looked >= trigger.seconds:
                    stream.source.discover(spark)
                    looked = time.monotonic()
                progress = query.lastProgress
                if progress and progress["batchId"] != last_batch:
                    last_batch, at_work_since = progress["batchId"], time.monotonic()
                    # As an attribute: over Connect the item is None, and the sum is in the sources alone.
                    on_progress(stream.name, progress.numInputRows)
                busy = bool((query.status or {}).get("isTriggerActive"))
                if not busy:
                    at_work_since = time.monotonic()
                elif time.monotonic() - at_work_since > floors.GIVE_UP_SECONDS:
                    raise given_up(stream.name)
                if stop.is_set():
                    asked_at = last_batch if asked_at is None else asked_at
                    # After the batch at hand: a trigger of available-now is active for all of its batches.
                    if last_batch != asked_at or not busy:
                        break
        except PySparkException as error:
            if failed:
                raise failed[-1] from error
            raise
        finally:
            query.stop()


def _started(writer: DataStreamWriter) -> StreamingQuery:
    """Start a stream; again if a busy machine had its process not ready in time, before anything was read."""
    for _ in range(STARTS - 1):
        try:
            with _starting:
                return writer.start()
        except PySparkException as error:
            if "Python worker failed to connect back" not in str(error):
                raise
            log.warning("Spark has not waited for the process of a stream's batches; starting it again")
    with _starting:
        return writer.start()


def _sum(spark: SparkSession, stream: Stream) -> dict[str, Batches]:
    """What this run's batches of the stream did to each table, from ops.batches."""
    names = list(Batches.__dataclass_fields__)
    mine = (F.col("run_id") == stream.run_id) & (F.col("source") == stream.target)
    rows = (
        spark.table(stream.settings.table("ops", "batches"))
        .where(mine & F.col("stream").startswith(f"{stream.name}/"))
        .groupBy(F.coalesce("table_name", F.lit(stream.name)).alias("table_name"))
        .agg(*(F.coalesce(F.sum(n), F.lit(0)).alias(n) for n in names))
        .collect()
    )
    done = {row.table_name: Batches(*(row[n] for n in names)) for row in rows}
    told = [table.name for table in stream.tables] or [stream.name]
    return {name: done.get(name, Batches()) for name in told}
