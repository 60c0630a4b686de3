"""What the commands share: how rows, progress and errors are shown, their common options, and Spark."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as Grid

from lakehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from lakehouse.settings import Settings

_C1 = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters that JSON leaves as they are, and terminals obey."""

DEFAULT_WAREHOUSE = "lakehouse-demo"

# What goes into a pipe or a file keeps its natural width: nothing is cut or folded there.
out = Console(width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True)


# --- options -----------------------------------------------------------------------------------------


def warehouse_option(required: bool = False) -> Callable[[Any], Any]:
    """`--warehouse DIR`; without `required` it is the demo's folder, below the working directory."""
    # No default=None where it is required: to click 8.3 and later that is a default, so nothing is missing.
    default: dict[str, Any] = {} if required else {"default": DEFAULT_WAREHOUSE}
    return click.option(
        "--warehouse",
        type=click.Path(file_okay=False, path_type=Path),
        required=required,
        envvar="LAKEHOUSE_WAREHOUSE",
        show_default=not required,
        help="Folder of the tables and checkpoints.",
        **default,
    )


format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)


# --- rows --------------------------------------------------------------------------------------------


def print_rows(names: Sequence[str], rows: Iterable[Iterable[Any]], style: str) -> None:
    """Rows in the style of `--format`: `json` (an object a line), `csv` (a head first), else a grid."""
    if style == "json":
        for row in rows:
            click.echo(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False).translate(_C1))
    elif style == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    else:
        print_table(names, rows)


def print_table(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Rows as a grid; text from data is shown as it is, never read as markup or control codes."""
    grid = Grid(*(escape(n) for n in names), header_style="bold")
    count = 0
    for row in rows:
        grid.add_row(*(shown(value) for value in row))
        count += 1
    out.print(grid)
    if count != 1:
        out.print(f"{count:,} rows", style="dim", highlight=False)


def shown(value: Any) -> str:
    """A value as Rich's markup that shows its text and obeys none of it."""
    return "[dim]null[/]" if value is None else escape(printable(str(value)))


def printable(text: str) -> str:
    """Text whose control characters, line ends included, are written out as `\\x1b`."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def as_text(frame: Any) -> Any:
    """Every column as Spark writes it: Python's times have a zone of their own, and no year 0."""
    from pyspark.sql import functions as F

    numbered = frame.toDF(*(f"c{i}" for i in range(len(frame.columns))))  # names may repeat
    return numbered.select(*(F.col(name).cast("string") for name in numbered.columns))


def print_frame(frame: Any, style: str) -> None:
    """A frame in the style of `--format`; in JSON its values keep their types, nested ones too."""
    if style != "json":
        return print_rows(frame.columns, as_text(frame).toLocalIterator(), style)
    from pyspark.sql import functions as F

    row = F.to_json(F.struct("*"), {"ignoreNullFields": "false"})
    for line in frame.select(row.alias("line")).toLocalIterator():
        click.echo(line["line"].translate(_C1))


# --- words -------------------------------------------------------------------------------------------


def say(text: str, console: Console = out) -> None:
    """A line for people; text from data in it is shown, not obeyed."""
    console.print(escape(text), highlight=False, soft_wrap=True)


def print_error(error: object) -> None:
    """An error for people, on standard error."""
    err.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar while something works; it is told (done, total). Nothing is drawn into a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """A line that moves while something works; it is told at what. Nothing is drawn into a pipe."""
    with err.status(what) if err.is_terminal else nullcontext() as status:
        yield lambda part: status.update(f"{what} {escape(part)}") if status else None


# --- Spark -------------------------------------------------------------------------------------------


@contextmanager
def quiet_spark(warehouse: Path, settings: Settings | None = None) -> Iterator[Any]:
    """A session on a warehouse that is there. Raises ConfigurationError where there is none.

    `settings`: where landing and documents lie, if the command reads them.
    """
    from lakehouse.local.warehouse import local_settings, open_warehouse
    from lakehouse.tables import TABLES

    if not (warehouse / "tables").is_dir():
        raise ConfigurationError(
            f"There are no tables in {warehouse}. Make some with `lakehouse demo`, or name their folder "
            "with --warehouse."
        )
    with spinner("starting Spark"):
        spark = open_warehouse(settings or local_settings(warehouse), TABLES)
    yield spark
