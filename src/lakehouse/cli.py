"""`lakehouse …`: the command line. What people look at are tables; `--format json` is for machines."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

try:
    import click
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Table as Grid
except ImportError as missing:
    # The wheel itself depends on nothing: on Databricks it must not bring packages of its own.
    raise SystemExit(f"{missing}. The command line needs more: pip install 'lakehouse[local,aws]'") from None

from lakehouse.errors import ConfigurationError, LakehouseError

if TYPE_CHECKING:
    from lakehouse.ingest import Result

DEFAULT_WAREHOUSE = "lakehouse-demo"

# What goes into a pipe or a file keeps its natural width: nothing is cut or folded there.
out = Console(width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True)


def main() -> None:
    """Entry point: an error of ours is a message and exit status 1 (2 for usage), never a stack trace."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except click.exceptions.Abort:
        err.print("Stopped.")
        sys.exit(130)
    except LakehouseError as error:
        _complain(error)
    except BrokenPipeError:  # the reader of our output has gone; so must the flush at exit
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    except OSError as error:  # a folder that cannot be read, a bucket that does not answer
        _complain(error)
    except Exception as error:
        if not type(error).__module__.startswith(("pyspark.errors", "delta.exceptions")):
            raise
        _complain(LakehouseError(str(error).splitlines()[0]))


def _complain(error: Exception) -> NoReturn:
    err.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="lakehouse")
def cli() -> None:
    """Change data from DynamoDB to Delta tables: every row once, deletes included."""


def _warehouse_option(required: bool = False) -> Callable[[Any], Any]:
    return click.option(
        "--warehouse",
        type=click.Path(file_okay=False, path_type=Path),
        required=required,
        default=None if required else DEFAULT_WAREHOUSE,
        envvar="LAKEHOUSE_WAREHOUSE",
        show_default=not required,
        help="Folder of the tables and checkpoints.",
    )


_format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)


@cli.command()
@_warehouse_option()
@click.option(
    "--calls", default=2000, show_default=True, type=click.IntRange(10, 1_000_000), help="Calls in the day."
)
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same day.")
def demo(warehouse: Path, calls: int, seed: int) -> None:
    """Run the whole chain on this machine: tables, streams, writer, landing, ingest, the analysts' answer.

    Nothing is needed but Java: DynamoDB and S3 are served by this machine, to this machine alone.
    """
    from lakehouse.local.demo import run_demo

    sys.exit(0 if run_demo(out, warehouse, calls=calls, seed=seed) else 1)


@cli.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@_warehouse_option(required=True)
@click.option("--transcripts", metavar="PATH_OR_URL", help="Where transcript documents lie.")
@click.option(
    "--follow",
    is_flag=False,
    flag_value="30 seconds",
    metavar="[INTERVAL]",
    help="Keep going, looking for new objects every INTERVAL (30 seconds).",
)
@click.option("--wait", default=0.0, metavar="SECONDS", help="Wait so long for a checkpoint's other holder.")
@click.option("--max-files", default=1000, show_default=True, help="Objects a batch takes at most.")
def ingest(
    tables: tuple[str, ...],
    landing: str,
    warehouse: Path,
    transcripts: str | None,
    follow: str | None,
    wait: float,
    max_files: int,
) -> None:
    """Ingest everything that has landed into the tables (all of them if none is named)."""
    from lakehouse import ingest as engine
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES, table

    chosen = tuple(table(name) for name in dict.fromkeys(tables)) or TABLES
    if transcripts is None and any(t.source == "transcripts" for t in chosen) and tables:
        raise ConfigurationError("Table 'transcripts' is read from documents: say where with --transcripts.")
    try:
        trigger = engine.Trigger.parse(follow) if follow else engine.Trigger()
    except ConfigurationError as error:
        raise click.BadParameter(
            f"{error} Write it in quotes behind --follow; tables stand before it.", param_hint="--follow"
        ) from error
    documents = {"transcripts": transcripts} if transcripts else {}
    settings = local_settings(warehouse, landing=landing, documents=documents, max_files=max_files)
    stop = threading.Event()
    with _stopping(stop), _ingest_progress() as (show, line):
        show("starting Spark", 0)
        spark = open_warehouse(settings, TABLES)
        results = engine.ingest(
            spark, settings, chosen, trigger, wait=wait, on_end=line, on_progress=show, stop=stop
        )
    if any(r.error for r in results):
        sys.exit(1)


@cli.command()
@click.argument("statement")
@_warehouse_option()
@_format_option
def sql(statement: str, warehouse: Path, style: str) -> None:
    """Run one query over silver.*, gold.* and ops.*; nothing can be written."""
    from lakehouse.local.query import read_only

    with _quiet_spark(warehouse) as spark:
        frame = read_only(spark, statement)
        if style == "json":
            _print_json(frame)
        elif style == "csv":
            rows = csv.writer(sys.stdout)
            rows.writerow(frame.columns)
            rows.writerows(_as_text(frame).toLocalIterator())
        else:
            _print_table(frame.columns, _as_text(frame).toLocalIterator())


@cli.command(name="tables")
@_warehouse_option()
@_format_option
def list_tables(warehouse: Path, style: str) -> None:
    """List the tables: key, live rows, tombstones, and when each last changed."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.tables import TABLES

    settings = local_settings(warehouse)
    with _quiet_spark(warehouse) as spark:
        from pyspark.sql import functions as F

        rows: list[tuple[Any, ...]] = []
        for table in TABLES:
            frame = spark.table(settings.table("silver", table.name))
            live = F.count_if(~F.col("is_deleted"))
            counts = frame.agg(live, F.count_if("is_deleted"), F.max("_changed_at").cast("string")).first()
            assert counts is not None
            rows.append((table.name, ", ".join(table.keys), *counts))
    names = ["table", "key", "rows", "tombstones", "last_change"]
    if style == "json":
        for row in rows:
            click.echo(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
    elif style == "csv":
        csv.writer(sys.stdout).writerows([names, *rows])
    else:
        _print_table(names, iter(rows))


@cli.group()
def landing() -> None:
    """Look at landed objects, and set one aside that stops its stream."""


@landing.command()
@click.option("--landing", "location", required=True, metavar="PATH_OR_URL")
@_format_option
def check(location: str, style: str) -> None:
    """Read every landed object and report what is torn, empty, misplaced or read by no table.

    The exit status is 1 if something is torn, misplaced or unread.
    """
    from dataclasses import asdict

    from lakehouse.landing import check as look
    from lakehouse.tables import TABLES

    sources = [t.source for t in TABLES if t.format == "changes"]
    total = 0
    with _bar("reading objects") as tick:

        def progress(done: int, of: int) -> None:
            nonlocal total
            total = of
            tick(done, of)

        found = list(look(location, sources, on_progress=progress))
    if style == "json":
        for finding in found:
            click.echo(json.dumps(asdict(finding), ensure_ascii=False))
    elif style == "csv":
        csv.writer(sys.stdout).writerows(
            [("kind", "path", "detail"), *((f.kind, f.path, f.detail) for f in found)]
        )
    else:
        if found:
            _print_table(["kind", "object", "detail"], ((f.kind, f.path, f.detail) for f in found))
        out.print(f"{total} objects, {len(found)} to look at.", highlight=False)
    if any(f.kind in ("torn", "misplaced", "unread") for f in found):
        sys.exit(1)


@landing.command(name="set-aside")
@click.argument("object_path", metavar="OBJECT")
def set_aside(object_path: str) -> None:
    """Move one landed object to _set_aside/ below landing, so that its table's stream goes on."""
    from lakehouse.landing import set_aside as move

    target = move(object_path)
    out.print(
        f"Set aside: it lies at {escape(target)} now. Run the ingest again.", highlight=False, soft_wrap=True
    )


# --- what is shown ---------------------------------------------------------------------------------


_COLUMNS = ("table", "files", "records", "upserts", "deletes", "stale", "quarantined", "seconds")


@contextmanager
def _ingest_progress() -> Iterator[tuple[Callable[[str, int], None], Callable[[Result], None]]]:
    """A line per table as it ends, above a line that moves while the others are at work."""
    records = 0
    lock = threading.Lock()
    header = "".join(_cell(n, i) for i, n in enumerate(_COLUMNS))
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err, transient=True
    )
    with bar:
        task = bar.add_task("", total=None)

        def show(stream: str, rows: int) -> None:
            nonlocal records
            records += rows
            bar.update(task, description=f"{stream}, {records:,} records read")

        def line(result: Result) -> None:
            nonlocal header
            with lock:
                if header:
                    out.print(header, style="bold", highlight=False, soft_wrap=True)
                    header = ""
                b = result.batches
                numbers = (b.files, b.records, b.upserts, b.deletes, b.stale, b.quarantined)
                cells = (result.stream, *(f"{n:,}" for n in numbers), f"{result.seconds:.1f}")
                out.print("".join(_cell(c, i) for i, c in enumerate(cells)), highlight=False, soft_wrap=True)
                if result.error:
                    err.print(
                        f"[bold red]Error:[/] {escape(str(result.error))}", highlight=False, soft_wrap=True
                    )

        yield show, line


def _cell(text: str, index: int) -> str:
    return f"{text:<14}" if index == 0 else f"{text:>12}"


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_table(names: list[str], rows: Iterator[Any]) -> None:
    """Rows as a grid; text from data is shown as it is, never read as markup or control codes."""
    grid = Grid(*(escape(n) for n in names), header_style="bold")
    count = 0
    for row in rows:
        grid.add_row(*(_shown(value) for value in row))
        count += 1
    out.print(grid)
    if count != 1:
        out.print(f"{count:,} rows", style="dim", highlight=False)


def _shown(value: Any) -> str:
    if value is None:
        return "[dim]null[/]"
    text = str(value)
    return escape("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))


def _as_text(frame: Any) -> Any:
    """Every column as Spark writes it: Python's times have a zone of their own, and no year 0."""
    from pyspark.sql import functions as F

    numbered = frame.toDF(*(f"c{i}" for i in range(len(frame.columns))))  # names may repeat
    return numbered.select(*(F.col(name).cast("string") for name in numbered.columns))


def _print_json(frame: Any) -> None:
    from pyspark.sql import functions as F

    row = F.to_json(F.struct("*"), {"ignoreNullFields": "false"})
    for line in frame.select(row.alias("line")).toLocalIterator():
        click.echo(line["line"])


@contextmanager
def _quiet_spark(warehouse: Path) -> Iterator[Any]:
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES

    if not (warehouse / "tables").is_dir():
        raise ConfigurationError(
            f"There are no tables in {warehouse}. Make some with `lakehouse demo`, or name their folder "
            "with --warehouse."
        )
    with err.status("starting Spark") if err.is_terminal else _nothing():
        spark = open_warehouse(local_settings(warehouse), TABLES)
    yield spark


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and TERM end the streams after the batch at hand; a second Ctrl-C at once."""

    def ask(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        err.print("Stopping after the batches at hand; once more to stop at once.")
        stop.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
