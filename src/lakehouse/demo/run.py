"""The whole chain on one machine: DynamoDB, its streams, the writer, S3, the ingest, the analysts' answer.

Everything is the product's own code but the platform under it: DynamoDB and S3 are served by this
machine, the streams are pumped by a small poller, tables lie in a folder. Nothing here can reach a real
account. Expiry deletes are simulated: no local DynamoDB marks them, so the demo deletes the item and
marks its stream record as DynamoDB would.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from lakehouse.aws.writer import writer_code
from lakehouse.demo.answers import ANALYSTS_QUERY, answers, plain_grid, show
from lakehouse.demo.metric_answers import Listener, metric_answers
from lakehouse.demo.sample_day import Operation, sample_day
from lakehouse.demo.sample_items import sample_items
from lakehouse.demo.sample_metrics import Event, sample_metrics
from lakehouse.demo.source import BUCKET, DOCUMENTS, SOURCE_MAP, Chain
from lakehouse.errors import ConfigurationError
from lakehouse.local.aws import LocalAws
from lakehouse.local.poller import Handler

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakehouse.ingest.runner import Result
    from lakehouse.settings import Settings

__all__ = ["ANALYSTS_QUERY", "DAY", "run_demo"]

DAY = dt.date(2025, 10, 8)
MARK = ".lakehouse-demo"


def run_demo(console: Console, warehouse: Path, *, calls: int, seed: int) -> bool:
    """Run it, show it, and return whether the tables agree with the source.

    Raises:
        ConfigurationError: the warehouse folder holds something that is not an earlier demo's.
        PlatformError: Java, the jars, the writer's code or the local AWS are missing.
    """
    handler = load_writer()
    _clear(warehouse)
    started = time.monotonic()
    day = list(sample_day(DAY, seed=seed, calls=calls))
    # Items are shown for a week from their own time, so they are of these days.
    items = list(sample_items(dt.datetime.now(dt.UTC), seed=seed, items=max(20, 3 * calls // 10)))
    events = list(sample_metrics(dt.datetime.now(dt.UTC), seed=seed, students=max(20, calls // 25)))
    morning: list[Operation | Event] = []
    afternoon: list[Operation | Event] = []
    parts: tuple[Sequence[Operation | Event], ...] = (day, items, events)
    for part in parts:
        morning += part[: len(part) // 2]
        afternoon += part[len(part) // 2 :]
    with (
        LocalAws() as aws,
        writer_environment(aws),
        writer_log(handler, warehouse) as logged,
        _bars(console) as bars,
    ):
        chain = Chain(aws, logged)
        spark, settings = _open(bars, warehouse, aws)
        for name, part in (("morning", morning), ("afternoon", afternoon)):
            chain.write(part, bars.track(f"{name}: writing to DynamoDB and S3", len(part)))
            chain.pump(bars.track(f"{name}: streams → writer → landing", None))
            _ingest(console, bars, spark, settings, name)
        listener = Listener(aws)
        bars.track("refreshing metrics, publishing alerts", None)
        as_of = _age_and_publish(spark, settings, listener)
        live, documents = chain.source(bars.track("reading the source back", None))
        told = chain.events(bars.track("reading the events back", None))
        found = answers(spark, live, documents, DAY)
        found += metric_answers(spark, told, documents, listener.arrived(), as_of)
    agree = True
    for answer in found:
        show(console, answer)
        agree &= answer.agrees
    seconds = time.monotonic() - started
    _show_end(console, warehouse, [*day, *items, *events], chain.counted["delivered"], agree, seconds)
    return agree


# --- the lakehouse side ----------------------------------------------------------------------------


def _open(bars: _Bars, warehouse: Path, aws: LocalAws) -> tuple[SparkSession, Settings]:
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES

    step = bars.track("starting Spark, creating tables", None)
    settings = local_settings(
        warehouse,
        landing=f"s3a://{BUCKET}/landing",
        documents={source: f"s3a://{BUCKET}/{folder}" for source, folder in DOCUMENTS.items()},
    )
    spark = open_warehouse(settings, TABLES, s3=aws.s3_endpoint)
    step(0)
    return spark, settings


def _ingest(console: Console, bars: _Bars, spark: SparkSession, settings: Settings, part: str) -> None:
    from lakehouse.gold.run import ingest
    from lakehouse.tables import TABLES

    step = bars.track(f"{part}: ingesting", None)
    results = ingest(spark, settings, TABLES, on_progress=lambda _stream, rows: step(rows))
    bars.clear()
    console.print(_grid(f"Ingested, {part}", results))
    for result in results:
        if result.error:
            raise result.error


def _age_and_publish(spark: SparkSession, settings: Settings, listener: Listener) -> int:
    """Bring metrics and alerts up to now, put the alerts on the bus; returns that time in microseconds."""
    from lakehouse.gold.followers import refresh_metrics
    from lakehouse.gold.outbox import publish_due
    from lakehouse.ingest.floors import micros

    as_of = dt.datetime.now(dt.UTC)
    refresh_metrics(spark, settings, as_of)
    publish_due(spark, settings, listener.bus.put)
    return micros(as_of)


def _grid(title: str, results: Iterable[Result]) -> Grid:
    grid = plain_grid(title)
    grid.add_column("table", overflow="fold")
    for name in ("files", "records", "upserts", "deletes", "stale", "quarantined", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    for result in results:
        for cells in result.cells():
            grid.add_row(*cells)
    return grid


# --- around it ----------------------------------------------------------------------------------------


def _show_end(
    console: Console,
    warehouse: Path,
    operations: Sequence[Operation | Event],
    delivered: int,
    agree: bool,
    seconds: float,
) -> None:
    kinds = Counter(type(o).__name__ for o in operations)
    console.print(
        f"\n{kinds['Put']:,} puts, {kinds['Update']:,} updates, {kinds['Delete']:,} deletes, "
        f"{kinds['Expire']:,} expiries (simulated), {kinds['Document']:,} documents, "
        f"{kinds['Event']:,} events; {delivered:,} stream records delivered; {seconds:.0f} s in all.",
        highlight=False,
    )
    if agree:
        console.print("[bold green]The tables and the source agree.[/]")
    else:
        console.print("[bold red]The tables and the source do not agree.[/]")
    home = "" if warehouse == Path("lakehouse-demo") else f" --warehouse {warehouse}"
    deleted = "SELECT _delete_kind, count(*) FROM silver.calls WHERE is_deleted GROUP BY 1"
    set_apart = "SELECT source, reason, count(*) FROM ops.quarantine GROUP BY 1, 2"
    console.print(f"\nThe warehouse lies in {warehouse}. Try next:", highlight=False, soft_wrap=True)
    console.print(f"  uv run lakehouse tables{home}", highlight=False, soft_wrap=True, markup=False)
    for query in ("SELECT * FROM gold.calls LIMIT 5", deleted, set_apart):
        line = f'  uv run lakehouse sql{home} "{query}"'
        console.print(line, highlight=False, soft_wrap=True, markup=False)


class _Bars:
    """Progress bars of one step after the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def track(self, what: str, total: int | None) -> Callable[[int], None]:
        """Begin a step; returns the function that moves it on."""
        self.clear()
        task = self._progress.add_task(what, total=total)
        return lambda done: self._progress.advance(task, done)

    def clear(self) -> None:
        """End the step that is shown."""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)


@contextmanager
def _bars(console: Console) -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bars(progress)


def load_writer() -> Handler:
    """The Lambda's handler, from the checkout: it is deployed as a folder and is no part of the package."""
    handler: Handler = writer_code().lambda_handler
    return handler


@contextmanager
def writer_environment(aws: LocalAws) -> Iterator[None]:
    """The environment that the function would have, on the local AWS alone."""
    wanted = {**aws.environment, "S3_BUCKET": BUCKET, "S3_PREFIX": "landing"}
    wanted |= {"SOURCE_MAP": SOURCE_MAP, "LOG_LEVEL": "INFO"}
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("AWS_") or n in ("SOURCE_MAP", "MAX_RECORDS")]:
        del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def writer_log(handler: Callable[..., Any], warehouse: Path) -> Iterator[Handler]:
    """The writer's handler; what it prints is in `<warehouse>/logs/writer.log`, metrics and messages alike.

    A line is a JSON object, as it would be in CloudWatch. The process's own stdout and stderr stay as they
    are, for progress bars move while the writer works.
    """
    path = warehouse / "logs" / "writer.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("change_writer")
    log = logging.FileHandler(path, mode="w", encoding="utf-8")

    def write_metrics(lines: Iterable[str]) -> None:
        for line in lines:  # past the logger and its level, but under the file's lock: threads may be several
            log.handle(logging.makeLogRecord({"msg": line}))

    propagate = logger.propagate
    logger.propagate = False
    logger.addHandler(log)
    try:
        yield lambda event, context: handler(event, context, write_metrics=write_metrics)
    finally:
        logger.removeHandler(log)
        logger.propagate = propagate
        log.close()


def _clear(warehouse: Path) -> None:
    """Make the folder, or empty it if an earlier demo made it."""
    if warehouse.exists() and any(warehouse.iterdir()):
        if not (warehouse / MARK).is_file():
            raise ConfigurationError(
                f"{warehouse} is not empty and not from an earlier demo. "
                "Choose another folder with --warehouse."
            )
        shutil.rmtree(warehouse)
    warehouse.mkdir(parents=True, exist_ok=True)
    (warehouse / MARK).write_text("Made by `lakehouse demo`, which may remove it.\n", encoding="utf-8")
