"""Streams of one run: each on a thread of its own, under a lease, until it ends; and started again where it
is to keep going.

What a stream reads and does is its own business: those of sources are in stream.py.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from lakehouse.errors import LakehouseError, LeaseHeldError
from lakehouse.ingest import floors
from lakehouse.ingest.batch import given_up
from lakehouse.ingest.failures import explain, note_failure
from lakehouse.ingest.lease import Lease
from lakehouse.ingest.trigger import ONCE, Trigger
from lakehouse.settings import Settings

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


@dataclass(frozen=True, slots=True)
class Run:
    """What the streams of one run have in common.

    Args:
        trigger: once, for all there is, or every so often.
        wait: seconds to wait for a checkpoint that another process holds.
        on_end: told of each stream as it ends, on that stream's thread; with an interval the stream is
            then started again if it had failed.
        on_progress: told of the rows read since the last call.
        stop: set it to stop the streams after the batch at hand.
    """

    trigger: Trigger = ONCE
    wait: float = 0.0
    on_end: Callable[[Result], None] = lambda _: None
    on_progress: Callable[[str, int], None] = lambda _stream, _rows: None
    stop: threading.Event = field(default_factory=threading.Event)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class Streaming:
    """A stream of a run.

    Args:
        target: what it reads, by its name in the books.
        work: runs it until it ends, and raises what it fails of; called again where it is to keep going.
        done: what this run's batches did to each table.
        may_be_held: that another process holds its checkpoint is no error.
        reads_documents: and not landed change records.
    """

    name: str
    target: str
    settings: Settings
    work: Callable[[SparkSession, Run], None]
    done: Callable[[SparkSession, Run], dict[str, Batches]]
    may_be_held: bool = False
    reads_documents: bool = False


def run_all(spark: SparkSession, streams: Sequence[Streaming], run: Run) -> list[Result]:
    """Run streams until they end. One that fails leaves the others at work; its result has the error."""
    results: list[Result] = []

    def keep_running(stream: Streaming) -> None:
        pause = RESTART_SECONDS[0]
        while True:
            result = _attempt(spark, stream, run)
            run.on_end(result)
            # A stream that is to keep going is started again, whatever stopped it: its cause may be mended
            # (an object set aside, a lease given up), and the other streams must not be ended for it.
            if run.trigger.every is None or run.stop.wait(pause):
                break
            pause = min(2 * pause, RESTART_SECONDS[1])
        results.append(result)

    threads = [
        threading.Thread(target=keep_running, args=(s,), name=f"stream-{s.name}", daemon=True)
        for s in streams
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # interrupted: whatever is cut off now is repeated by the next run
        run.stop.set()
        raise
    order = {s.name: i for i, s in enumerate(streams)}
    return sorted(results, key=lambda r: order[r.stream])


def _attempt(spark: SparkSession, stream: Streaming, run: Run) -> Result:
    started = time.monotonic()
    error: LakehouseError | None = None
    done: dict[str, Batches] = {}
    try:
        try:
            stream.work(spark, run)
        finally:
            done = stream.done(spark, run)
    except LeaseHeldError as caught:
        error = None if stream.may_be_held else caught
    except LakehouseError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001 - the edge of a thread: what is not caught here is lost
        error = explain(stream, caught)
    if error is not None and not isinstance(error, LeaseHeldError):
        note_failure(spark, stream, run.run_id, error)
    return Result(stream.name, done, time.monotonic() - started, error)


# --- checkpoints ---------------------------------------------------------------------------------------


def identity(folder: str) -> tuple[str, bool]:
    """What tells this checkpoint from an earlier one in the same folder, and whether it is new.

    With a new checkpoint batch numbers start again, and must not be taken for batches that are in bronze.
    """
    path = Path(folder) / "stream.json"
    is_new = not (path.exists() and (Path(folder) / "checkpoint" / "metadata").exists())
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"identity": uuid.uuid4().hex[:12]}), encoding="utf-8")
    found: str = json.loads(path.read_text(encoding="utf-8"))["identity"]
    return found, is_new


def forget(folder: str) -> None:
    """Take a stream's checkpoint away.

    Under another name first: a run that is killed leaves nothing that looks whole, and is not.
    """
    for part in ("checkpoint", "found"):
        there, doomed = Path(folder) / part, Path(folder) / f".{part}.removed"
        shutil.rmtree(doomed, ignore_errors=True)
        if there.exists():
            there.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


# --- a query -------------------------------------------------------------------------------------------


def drive(
    frame: DataFrame,
    work: Callable[[DataFrame, int], None],
    *,
    name: str,
    folder: str,
    run: Run,
    holding: Lease,
    trigger: Trigger,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Start a query and stay with it until it ends, fails, is to stop, or takes too long over a batch.

    Args:
        frame: the streaming frame.
        work: the batch function; plain data in its closure, as over Connect it runs in another process.
        folder: the checkpoint lies in it.
        holding: the checkpoint's lease.
        trigger: `run`'s, or once.
        look: called once every interval: to find new objects, where the platform does not.
    """
    # Over Connect the function works on a copy of this list, and the error comes as text.
    failed: list[LakehouseError] = []

    def on_batch(batch: DataFrame, batch_id: int) -> None:
        try:
            work(batch, batch_id)
        except LakehouseError as error:
            failed.append(error)
            raise

    writer = frame.writeStream.foreachBatch(on_batch).queryName(f"lakehouse-{name}")
    writer = writer.option("checkpointLocation", f"{folder}/checkpoint")
    every = trigger.every
    writer = writer.trigger(processingTime=every) if every else writer.trigger(availableNow=True)
    query = _started(writer)
    try:
        _stay(query, name, run, holding, trigger, look)
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


def _stay(
    query: StreamingQuery, name: str, run: Run, holding: Lease, trigger: Trigger, look: Callable[[], None]
) -> None:
    last_batch, looked = -1, time.monotonic()
    at_work_since = looked
    asked_at: int | None = None
    while not query.awaitTermination(1):
        holding.check()
        if trigger.every and time.monotonic() - looked >= trigger.seconds:
            look()
            looked = time.monotonic()
        progress = query.lastProgress
        if progress and progress["batchId"] != last_batch:
            last_batch, at_work_since = progress["batchId"], time.monotonic()
            # As an attribute: over Connect the item is None, and the sum is in the sources alone.
            run.on_progress(name, progress.numInputRows)
        busy = bool((query.status or {}).get("isTriggerActive"))
        if not busy:
            at_work_since = time.monotonic()
        elif time.monotonic() - at_work_since > floors.GIVE_UP_SECONDS:
            raise given_up(name)
        if run.stop.is_set():
            asked_at = last_batch if asked_at is None else asked_at
            # After the batch at hand: a trigger of available-now is active for all of its batches.
            if last_batch != asked_at or not busy:
                break
