"""The streams: one per table and source, from there to the state table, and one for the writer's quarantine.
Where landing has Parquet objects too, a table of change records has a second one for those.

A stream is a file source, a checkpoint with a lease, and a batch function (batch.py).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import events, floors
from lakehouse.batch import Stream, given_up, process_batch
from lakehouse.errors import (
    ConfigurationError,
    CorruptObjectError,
    LakehouseError,
    LeaseHeldError,
    StreamError,
)
from lakehouse.gold.derived import after_rebuild
from lakehouse.lease import Lease, exclusive
from lakehouse.settings import Settings
from lakehouse.sources import UNKNOWN_SCHEMA, LandedFormat, Source, lines_of, source_of
from lakehouse.table import Table

RESTART_SECONDS = (10.0, 300.0)
"""The first and the longest pause before a stream that stopped is started again."""

WRITER_QUARANTINE = "quarantine"
"""Name of the stream over the raw objects of the writer."""


_UNITS = {"second": 1, "minute": 60, "hour": 3600}

_starting = threading.Lock()
"""Held by the stream that starts. Over Connect a start makes the process that its batches run in, for which
Spark waits no longer than 10 s: of many at once, on a few cores, none would be in time."""

MESSAGE_LIMIT = 4000
"""How much of an error's message ops.failures keeps, in characters."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a stream looks for new objects: once for all there is (`every` None), or every so often."""

    every: str | None = None

    @classmethod
    def parse(cls, text: str) -> Trigger:
        """`available-now`, or an interval such as `30 seconds`.

        Raises:
            ConfigurationError: neither of the two.
        """
        if text == "available-now":
            return cls()
        if re.fullmatch(rf"[1-9]\d* ({'|'.join(_UNITS)})s?", text):
            return cls(text)
        raise ConfigurationError(
            f"{text!r} is no trigger: use available-now, or an interval such as '30 seconds'."
        )

    @property
    def seconds(self) -> int:
        """The interval in seconds; 0 for once."""
        if self.every is None:
            return 0
        number, unit = self.every.split()
        return int(number) * _UNITS[unit.rstrip("s")]


@dataclass(frozen=True, slots=True)
class Batches:
    """What the batches of one stream did in one run. All counts are of records but `files`."""

    files: int = 0
    records: int = 0
    upserts: int = 0
    deletes: int = 0
    stale: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """How one stream ended. `error` is None if it came to its end."""

    stream: str
    batches: Batches
    seconds: float
    error: LakehouseError | None = None


def ingest(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    trigger: Trigger = Trigger(),
    *,
    wait: float = 0.0,
    rebuilding: bool = False,
    held: bool = False,
    on_end: Callable[[Result], None] = lambda _: None,
    on_progress: Callable[[str, int], None] = lambda _stream, _rows: None,
    stop: threading.Event | None = None,
) -> list[Result]:
    """Run the streams of the tables, and the stream over the writer's quarantine, until they end.

    One stream's failure leaves the others at work; its result carries the error. A table whose
    documents have no configured location is passed over.

    Args:
        wait: seconds to wait for a checkpoint that another process holds.
        rebuilding: leave out what the tombstone floor turned away when it came in.
        held: the caller holds the checkpoints of the tables' streams.
        on_end: told of each stream as it ends, on that stream's thread; with an interval the stream is
            then started again if it had failed.
        on_progress: told of the records read since the last call.
        stop: set it to stop the streams after the batch at hand.
    """
    run_id = uuid.uuid4().hex
    stop = stop or threading.Event()
    found = (_stream_of(settings, t, name, run_id) for t in tables for name in stream_names(settings, t))
    streams = [replace(s, rebuilding=rebuilding, held=held) for s in found if s is not None]
    streams.append(_writer_quarantine(settings, run_id))
    results: list[Result] = []

    def run(stream: Stream) -> None:
        pause = RESTART_SECONDS[0]
        while True:
            result = _attempt(spark, stream, trigger, wait, on_progress, stop)
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
    batches = Batches()
    try:
        try:
            _run(spark, stream, trigger, wait, on_progress, stop)
        finally:
            batches = _sum(spark, stream)
    except LeaseHeldError as caught:
        # The writer's quarantine is every run's business: whoever holds it reads it for all.
        error = None if stream.table is None else caught
    except LakehouseError as caught:
        error = caught
    except PySparkException as caught:
        error = _explain(stream, caught)
    except Exception as caught:  # noqa: BLE001 - the edge of a thread: what is not caught here is lost
        error = StreamError(stream.name, f"{type(caught).__name__}: {caught}")
    if error is not None and not isinstance(error, LeaseHeldError):
        _note_failure(spark, stream, error)
    return Result(stream.name, batches, time.monotonic() - started, error)


# --- one stream ------------------------------------------------------------------------------------


PARQUET = "_parquet"
"""Ends the name of the stream that reads a table's Parquet objects."""


def stream_names(settings: Settings, table: Table) -> tuple[str, ...]:
    """Names of a table's streams, which are those of their checkpoints' folders."""
    second = settings.parquet and table.format == "changes"
    return (*table.streams, *(name + PARQUET for name in table.streams if second))


def _stream_of(settings: Settings, table: Table, name: str, run_id: str) -> Stream | None:
    folder = f"{settings.checkpoints}/{name}"
    source: Source | None
    landed: LandedFormat
    if name in table.streams:
        table, landed = table.streams[name], "ndjson"
    else:
        table, landed = table.streams[name.removesuffix(PARQUET)], "parquet"
    if table.format == "documents":
        source = source_of(settings, table.source, folder)
    else:
        source = lines_of(settings, table.source, landed)
    if source is None:
        return None
    return Stream(name, source, settings, table, folder, run_id)


def _writer_quarantine(settings: Settings, run_id: str) -> Stream:
    folder = f"{settings.checkpoints}/{WRITER_QUARANTINE}"
    source = lines_of(settings, events.QUARANTINE_FOLDER)
    return Stream(WRITER_QUARANTINE, source, settings, None, folder, run_id)


def _identity(folder: str) -> str:
    """What tells this checkpoint from an earlier one in the same folder: with a new checkpoint batch
    numbers start again, and must not be taken for batches that are already in ops.batches."""
    path = Path(folder) / "stream.json"
    if not (path.exists() and (Path(folder) / "checkpoint" / "metadata").exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"identity": uuid.uuid4().hex[:12]}), encoding="utf-8")
    identity: str = json.loads(path.read_text(encoding="utf-8"))["identity"]
    return identity


def _run(
    spark: SparkSession,
    stream: Stream,
    trigger: Trigger,
    wait: float,
    on_progress: Callable[[str, int], None],
    stop: threading.Event,
) -> None:
    with nullcontext() if stream.held else Lease(stream.folder, stream.name, wait=wait) as lease:
        named = replace(stream, writer=f"{stream.name}/{_identity(stream.folder)}")

        def on_batch(batch: DataFrame, batch_id: int) -> None:
            process_batch(named, batch, batch_id)

        if stream.table is not None:
            after_rebuild(
                spark, stream.settings, stream.table
            )  # of a rebuild that died before it had done that
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
        with _starting:
            query = writer.start()
        last_batch, looked = -1, time.monotonic()
        at_work_since = looked
        asked_at: int | None = None
        try:
            while not query.awaitTermination(1):
                if lease is not None:
                    lease.check()
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
        finally:
            query.stop()


def _sum(spark: SparkSession, stream: Stream) -> Batches:
    """What this run's batches of the stream did, from ops.batches."""
    names = list(Batches.__dataclass_fields__)
    mine = (F.col("run_id") == stream.run_id) & F.col("stream").startswith(f"{stream.name}/")
    row = (
        spark.table(stream.settings.table("ops", "batches"))
        .where(mine)
        .agg(*(F.coalesce(F.sum(n), F.lit(0)).alias(n) for n in names))
        .first()
    )
    assert row is not None
    return Batches(**row.asDict())


def _note_failure(spark: SparkSession, stream: Stream, error: LakehouseError) -> None:
    """Add the failure to ops.failures, for those who are not looking at this run.

    It raises nothing: the error itself must reach whoever started this, also where it was Spark that ended.
    """
    target = stream.settings.table("ops", "failures")
    try:
        if not spark.catalog.tableExists(target):
            log.warning("%s is not there, and takes no failures: run jobs/setup.py", target)
            return
        row = spark.range(1).select(
            F.lit(stream.name).alias("stream"),
            F.lit(stream.table.name if stream.table else None).alias("table_name"),
            F.lit(stream.run_id).alias("run_id"),
            F.current_timestamp().alias("failed_at"),
            F.lit(type(error).__name__).alias("error"),
            F.lit(str(error)[:MESSAGE_LIMIT]).alias("message"),
        )
        with exclusive(stream.settings.warehouse):
            row.write.format("delta").mode("append").saveAsTable(target)
    except Exception as caught:  # noqa: BLE001 - whatever keeps it from being noted
        log.warning("%s is not in ops.failures: %s: %s", error, type(caught).__name__, caught)


def _explain(stream: Stream, error: PySparkException) -> LakehouseError:
    """Turn Spark's error into ours: a landed object that cannot be read, or a stream that stopped."""
    text = str(error)
    found = re.search(r"FAILED_READ_FILE[^\]]*\][^:]*?(?:file|path)[: ]+(\S+?)\.?(?:\s|$)", text)
    if found and stream.table is not None and stream.table.format == "documents":
        return StreamError(stream.name, f"{unquote(found[1])} cannot be read. Mend or remove that document.")
    if found:
        detail = (
            "the object is torn or corrupt" if found[1].endswith((".gz", ".parquet")) else "it cannot be read"
        )
        return CorruptObjectError(stream.name, unquote(found[1]), detail)
    _, refused, after = text.partition(UNKNOWN_SCHEMA)
    if refused:
        said, _ = json.JSONDecoder().raw_decode(after)
        detail = (
            f"its schema is {said.get('version', 'not told')}, and this version of lakehouse reads "
            f"{events.PARQUET_SCHEMA}: update lakehouse, if a newer writer landed it"
        )
        return CorruptObjectError(stream.name, said["_source_file"], detail)
    # An error in the batch function comes wrapped in a Python traceback; its own line is the last one.
    raised = re.findall(r"(?m)^[\w.]+(?:Error|Exception): (.+)$", text)
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return StreamError(stream.name, (raised[-1] if raised else first)[:1000])
