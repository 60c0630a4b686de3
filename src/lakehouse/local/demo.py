"""The whole chain on one machine: DynamoDB, its streams, the writer, S3, the ingest, the analysts' answer.

Everything is the product's own code but the platform under it: DynamoDB and S3 are served by this
machine, the streams are pumped by a small poller, tables lie in a folder. Nothing here can reach a real
account. Expiry deletes are simulated: no local DynamoDB marks them, so the demo deletes the item and
marks its stream record as DynamoDB would.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import shutil
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from lakehouse.errors import ConfigurationError, PlatformError
from lakehouse.local import source_figures
from lakehouse.local.aws import LocalAws
from lakehouse.local.poller import Handler, StreamPoller
from lakehouse.local.sample_day import Delete, Document, Expire, Operation, Put, Update, sample_day

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakehouse.ingest import Result
    from lakehouse.settings import Settings

DAY = dt.date(2025, 10, 8)
KEYS = {"calls": "callId", "scorecards": "guid"}
BUCKET = "lakehouse-demo"
MARK = ".lakehouse-demo"

ANALYSTS_QUERY = """
SELECT direction, answer_type,
  count(*) AS calls,
  avg(call_duration_seconds) AS average_seconds,
  count_if(call_duration_seconds > 60) AS over_a_minute
FROM gold.calls
WHERE to_date(call_timestamp_utc) = DATE'{day}'
GROUP BY direction, answer_type
ORDER BY direction, answer_type
"""
"""A day's calls by direction and by who answered: how many, how long, how many over a minute."""

SCORECARD_QUERY = """
SELECT call_type, count(*) AS scorecards, round(avg(overall_score), 4) AS mean_score
FROM gold.scorecards GROUP BY call_type ORDER BY call_type
"""


def run_demo(console: Console, warehouse: Path, *, calls: int, seed: int) -> bool:
    """Run it, show it, and return whether the tables agree with the source.

    Raises:
        ConfigurationError: the warehouse folder holds something that is not an earlier demo's.
        PlatformError: Java, the jars, the writer's code or the local AWS are missing.
    """
    handler = _load_writer()
    _clear(warehouse)
    started = time.monotonic()
    operations = list(sample_day(DAY, seed=seed, calls=calls))
    with LocalAws() as aws, _writer_environment(aws), _bars(console) as bars:
        chain = _Chain(aws, handler)
        spark, settings = _open(bars, warehouse, aws)
        half = len(operations) // 2
        for name, part in (("morning", operations[:half]), ("afternoon", operations[half:])):
            chain.write(part, bars.track(f"{name}: writing to DynamoDB and S3", len(part)))
            chain.pump(bars.track(f"{name}: streams → writer → landing", None))
            _ingest(console, bars, spark, settings, name)
        items, documents = chain.source(bars.track("reading the source back", None))
        found = spark.sql(ANALYSTS_QUERY.format(day=DAY.isoformat())).collect()
        scored = spark.sql(SCORECARD_QUERY).collect()
    expected = source_figures.analyst_figures(items["calls"], documents, DAY)
    agree = _show_answer(console, found, expected)
    agree &= _show_scorecards(console, scored, source_figures.scorecard_figures(items["scorecards"]))
    _show_end(console, warehouse, operations, chain, agree, time.monotonic() - started)
    return agree


@dataclass
class _Chain:
    """The source side: two tables with streams, a bucket, and the pollers that feed the writer."""

    aws: LocalAws
    handler: Handler
    pollers: list[StreamPoller] = field(default_factory=list)
    deletes: dict[tuple[str, str], deque[bool]] = field(default_factory=lambda: defaultdict(deque))
    expired: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    rewrites: list[list[Document]] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        dynamodb = self.aws.client("dynamodb")
        self.aws.client("s3").create_bucket(Bucket=BUCKET)
        for table, key in KEYS.items():
            made = dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
            arn = made["TableDescription"]["LatestStreamArn"]
            self.pollers.append(StreamPoller(self.aws.client("dynamodbstreams"), arn, self._deliver))

    def write(self, operations: Sequence[Operation], step: Callable[[int], None]) -> None:
        """Carry out the operations in order, documents beside them, a rewrite a second after its original."""
        with ThreadPoolExecutor(4) as pool:
            documents = []
            for operation in operations:
                if isinstance(operation, Document):
                    if self._first(operation):
                        documents.append(pool.submit(self._put_document, operation))
                else:
                    self._change(operation)
                step(1)
            for document in documents:
                document.result()
            # Modification times are whole seconds in S3: of two versions in one second neither is newer.
            for version in self.rewrites:
                time.sleep(1.1)
                list(pool.map(self._put_document, version))
            self.rewrites.clear()

    def _first(self, document: Document) -> bool:
        version = self.written[document.name]
        self.written[document.name] += 1
        if version == 0:
            return True
        while len(self.rewrites) < version:
            self.rewrites.append([])
        self.rewrites[version - 1].append(document)
        return False

    def _put_document(self, document: Document) -> None:
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=document.name, Body=document.body.encode())

    def _change(self, operation: Put | Update | Delete | Expire) -> None:
        dynamodb = self.aws.client("dynamodb")
        self.counted[type(operation).__name__] += 1
        if isinstance(operation, Put):
            dynamodb.put_item(TableName=operation.table, Item=operation.item)
        elif isinstance(operation, Update):
            names = {f"#{i}": name for i, name in enumerate(operation.changes)}
            dynamodb.update_item(
                TableName=operation.table,
                Key=operation.key,
                UpdateExpression="SET " + ", ".join(f"#{i} = :{i}" for i in range(len(names))),
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={f":{i}": v for i, v in enumerate(operation.changes.values())},
            )
        else:
            key = json.dumps(operation.key, sort_keys=True)
            self.deletes[operation.table, key].append(isinstance(operation, Expire))
            dynamodb.delete_item(TableName=operation.table, Key=operation.key)

    def pump(self, step: Callable[[int], None]) -> None:
        """Deliver everything in the streams to the writer."""
        for poller in self.pollers:
            pumped = poller.pump()
            self.counted["delivered"] += pumped.records
            self.counted["retries"] += pumped.retries
            step(pumped.records)

    def _deliver(self, event: dict[str, Any], context: Any) -> Any:
        """Call the writer, with expiries marked as DynamoDB marks them."""
        for record in event["Records"]:
            if record["eventName"] != "REMOVE":
                continue
            table = record["eventSourceARN"].split("/")[1]
            key = json.dumps(record["dynamodb"]["Keys"], sort_keys=True)
            pending = self.deletes[table, key]
            if record["eventID"] in self.expired or (pending and pending.popleft()):
                self.expired.add(record["eventID"])
                record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        return self.handler(event, context)

    def source(
        self, step: Callable[[int], None]
    ) -> tuple[dict[str, list[dict[str, Any]]], list[tuple[str, bytes, dt.datetime]]]:
        """The items in the tables and the documents in the bucket, as they are at the end."""
        items: dict[str, list[dict[str, Any]]] = {}
        for table in KEYS:
            pages = self.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
            items[table] = [item for page in pages for item in page["Items"]]
            step(len(items[table]))
        s3 = self.aws.client("s3")
        pages_of_keys = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="transcripts/")
        listed = [entry for page in pages_of_keys for entry in page.get("Contents", [])]

        def read(entry: Any) -> tuple[str, bytes, dt.datetime]:
            step(1)
            body = s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
            return entry["Key"], body, entry["LastModified"]

        with ThreadPoolExecutor(4) as pool:
            return items, list(pool.map(read, listed))


# --- the lakehouse side ----------------------------------------------------------------------------


def _open(bars: _Bars, warehouse: Path, aws: LocalAws) -> tuple[SparkSession, Settings]:
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES

    step = bars.track("starting Spark, creating tables", None)
    settings = local_settings(
        warehouse, landing=f"s3a://{BUCKET}/landing", documents={"transcripts": f"s3a://{BUCKET}/transcripts"}
    )
    spark = open_warehouse(settings, TABLES, s3=aws.s3_endpoint)
    step(0)
    return spark, settings


def _ingest(console: Console, bars: _Bars, spark: SparkSession, settings: Settings, part: str) -> None:
    from lakehouse.ingest import ingest
    from lakehouse.tables import TABLES

    step = bars.track(f"{part}: ingesting", None)
    results = ingest(spark, settings, TABLES, on_progress=lambda _stream, rows: step(rows))
    bars.clear()
    console.print(_grid(f"Ingested, {part}", results))
    for result in results:
        if result.error:
            raise result.error


def _grid(title: str, results: Iterable[Result]) -> Grid:
    grid = _plain_grid(title)
    grid.add_column("table", no_wrap=True)
    for name in ("files", "records", "upserts", "deletes", "stale", "quarantined", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    for result in results:
        b = result.batches
        counts = (b.files, b.records, b.upserts, b.deletes, b.stale, b.quarantined)
        grid.add_row(result.stream, *(f"{n:,}" for n in counts), f"{result.seconds:.1f}")
    return grid


# --- what is shown at the end -------------------------------------------------------------------------


def _plain_grid(title: str) -> Grid:
    return Grid(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _show_answer(
    console: Console, found: Sequence[Any], expected: Sequence[source_figures.FigureRow]
) -> bool:
    grid = _plain_grid(f"The analysts' answer for {DAY} (UTC): from the tables, and counted from the source")
    grid.add_column("direction", no_wrap=True)
    grid.add_column("answered", no_wrap=True)
    for name in ("calls", "avg s", "> 1 min"):
        grid.add_column(name, justify="right")
        grid.add_column("source", justify="right", style="dim")
    grid.add_column("")
    tables = {
        (r["direction"], r["answer_type"]): (r["calls"], r["average_seconds"], r["over_a_minute"])
        for r in found
    }
    source = {(e.direction, e.answer_type): (e.calls, e.average_seconds, e.over_a_minute) for e in expected}
    agree = True
    for key in sorted({*tables, *source}, key=lambda k: (k[0] or "", k[1])):
        left, right = tables.get(key), source.get(key)
        same = left is not None and right is not None and _same(left, right)
        agree &= same
        pairs = [cell for i in range(3) for cell in (_number(left, i), _number(right, i))]
        grid.add_row(key[0] or "[dim]null[/]", key[1], *pairs, "[green]✓[/]" if same else "[bold red]✗[/]")
    console.print(grid)
    return agree and bool(source)


def _same(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    if left[0] != right[0] or left[2] != right[2]:
        return False
    if left[1] is None or right[1] is None:
        return left[1] is None and right[1] is None
    return bool(abs(left[1] - right[1]) < 1e-6)


def _number(row: tuple[Any, ...] | None, index: int) -> str:
    if row is None or row[index] is None:
        return "-"
    return f"{row[index]:,.2f}" if index == 1 else f"{row[index]:,}"


def _show_scorecards(
    console: Console, found: Sequence[Any], expected: Sequence[source_figures.ScorecardRow]
) -> bool:
    tables = {r[0]: (r[1], Decimal(str(r[2])) if r[2] is not None else None) for r in found}
    source = {e.group: (e.scorecards, e.mean_score) for e in expected}
    agree = tables == source and bool(source)
    verdict = "[green]✓[/]" if agree else f"[bold red]✗[/] tables {tables}, source {source}"
    total = sum(row[0] for row in source.values())
    console.print(
        f"Scorecards by call type: {total:,} live, counts and mean scores {verdict}", highlight=False
    )
    return agree


def _show_end(
    console: Console,
    warehouse: Path,
    operations: Sequence[Operation],
    chain: _Chain,
    agree: bool,
    seconds: float,
) -> None:
    kinds = Counter(type(o).__name__ for o in operations)
    console.print(
        f"\n{kinds['Put']:,} puts, {kinds['Update']:,} updates, {kinds['Delete']:,} deletes, "
        f"{kinds['Expire']:,} expiries (simulated), {kinds['Document']:,} transcripts; "
        f"{chain.counted['delivered']:,} stream records delivered; {seconds:.0f} s in all.",
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


# --- around it ----------------------------------------------------------------------------------------


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


def _load_writer() -> Handler:
    """The Lambda's handler, from the checkout: it is deployed as a folder and is no part of the package."""
    folder = Path(__file__).resolve().parents[3] / "lambda"
    if not (folder / "change_writer").is_dir():
        raise PlatformError(
            f"The writer's code is not at {folder}: the demo runs it.",
            "Run the demo from a checkout of lakehouse.",
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    handler: Callable[[dict[str, Any], Any], Any] = importlib.import_module(
        "change_writer.handler"
    ).lambda_handler
    return handler


@contextmanager
def _writer_environment(aws: LocalAws) -> Iterator[None]:
    """The environment that the function would have, on the local AWS alone."""
    wanted = {**aws.environment, "S3_BUCKET": BUCKET, "S3_PREFIX": "landing", "LOG_LEVEL": "WARNING"}
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("AWS_") or n in ("SOURCE_MAP", "MAX_RECORDS")]:
        del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
