"""`lakehouse ingest`: everything that has landed, into the tables."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lakehouse.cli.documents import document_options, document_places
from lakehouse.cli.show import err, out, print_error, warehouse_option
from lakehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from lakehouse.ingest.runner import Result
    from lakehouse.settings import Settings
    from lakehouse.table import Table


MUCH_BYTES = 4 * 1024 * 1024
"""Of landed objects, compressed: from about here on a second core is worth its start."""


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@warehouse_option(required=True)
@document_options
@click.option(
    "--follow",
    is_flag=False,
    flag_value="30 seconds",
    metavar="[INTERVAL]",
    help="Keep going, looking for new objects every INTERVAL (30 seconds).",
)
@click.option("--wait", default=0.0, metavar="SECONDS", help="Wait so long for a checkpoint's other holder.")
@click.option("--max-files", default=1000, show_default=True, help="Objects a batch takes at most.")
@click.option(
    "--from-the-beginning",
    is_flag=True,
    help="Read all of landing into bronze again, under new checkpoints; what is there changes nothing.",
)
@click.option(
    "--parquet", is_flag=True, help="Landing has Parquet objects too: a second stream for each source."
)
def ingest(
    tables: tuple[str, ...],
    landing: str,
    warehouse: Path,
    transcripts: str | None,
    pca: str | None,
    follow: str | None,
    wait: float,
    max_files: int,
    from_the_beginning: bool,
    parquet: bool,
) -> None:
    """Ingest everything that has landed into the tables (all of them if none is named)."""
    from lakehouse.gold import run as engine
    from lakehouse.ingest.trigger import Trigger
    from lakehouse.local.session import use_all_cores
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES, table

    chosen = tuple(table(name) for name in dict.fromkeys(tables)) or TABLES
    documents = document_places(transcripts, pca, needed_by=chosen if tables else ())
    try:
        trigger = Trigger.parse(follow) if follow else Trigger()
    except ConfigurationError as error:
        raise click.BadParameter(
            f"{error} Write it in quotes behind --follow; tables stand before it.", param_hint="--follow"
        ) from error
    settings = local_settings(
        warehouse, landing=landing, documents=documents, max_files=max_files, parquet=parquet
    )
    stop = threading.Event()
    with _stopping(stop), _ingest_progress() as (show, line):
        show("starting Spark", 0)
        lasting = trigger.every is not None
        spark = open_warehouse(settings, chosen, lasting=lasting, with_views=False)
        if _waiting(settings, chosen) > MUCH_BYTES:
            use_all_cores(spark)
        results = engine.ingest(
            spark,
            settings,
            chosen,
            trigger,
            wait=wait,
            from_the_beginning=from_the_beginning,
            on_end=line,
            on_progress=show,
            stop=stop,
        )
    if any(r.error for r in results):
        sys.exit(1)


def _waiting(settings: Settings, tables: Iterable[Table]) -> int:
    """About how many bytes the streams of the tables are going to read: what came after their last batch."""
    from lakehouse.operations.landing import bytes_since

    found = 0
    for source in {source for table in tables for source in table.sources}:
        place = settings.documents.get(source, f"{settings.landing}/{source}")
        commits = Path(settings.stream_folder(source)) / "checkpoint" / "commits"
        last = max((path.stat().st_mtime for path in commits.glob("[0-9]*")), default=0.0)
        with suppress(OSError, ValueError, ConfigurationError):  # its stream says what is wrong with it
            found += bytes_since(place, last)
    return found


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
                for cells in result.cells():
                    text = "".join(_cell(c, i) for i, c in enumerate(cells))
                    out.print(text, highlight=False, soft_wrap=True)
                if result.error:
                    print_error(result.error)

        yield show, line


def _cell(text: str, index: int) -> str:
    return f"{text:<22}" if index == 0 else f"{text:>12}"


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
