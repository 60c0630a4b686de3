"""`lakehouse backfill`: what a DynamoDB table held before its stream, into landing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lakehouse.cli.show import err, format_option, print_rows, say


@click.command()
@click.argument("table")
@click.option("--table-name", required=True, metavar="NAME", help="The DynamoDB table.")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@click.option(
    "--from-export",
    metavar="PATH_OR_URL",
    help="Read this export (the folder of its manifest-summary.json), full or incremental; no scan.",
)
@click.option(
    "--segments",
    default=4,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Parts that are scanned side by side.",
)
@click.option(
    "--max-rcu", type=click.IntRange(1), metavar="UNITS", help="Read capacity units a second at most."
)
@click.option(
    "--object-mb", default=32, show_default=True, type=click.IntRange(1, 1024), help="Size of objects."
)
@click.option("--restart", is_flag=True, help="Begin a new scan, though the last one did not end.")
@click.option(
    "--consumer-from",
    metavar="TIME",
    help="Since when the writer lands the table's stream, or trim-horizon for all of it. If not given, "
    "Lambda's event source mappings tell.",
)
@format_option
def backfill(
    table: str,
    table_name: str,
    landing: str,
    from_export: str | None,
    segments: int,
    max_rcu: int | None,
    object_mb: int,
    restart: bool,
    consumer_from: str | None,
    style: str,
) -> None:
    """Land every item of a DynamoDB table as it is now, by a scan, or as an export has it.

    What lands fits among the changes of the table's stream, whether it is ingested before them or after. It
    is refused where the stream does not reach back to it. A scan that was stopped goes on where it was when
    the command is given again.
    """
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.export import backfill_export
    from lakehouse.aws.objects import open_objects
    from lakehouse.aws.scan import backfill_scan
    from lakehouse.aws.snapshot import lambda_mappings
    from lakehouse.tables import table as declared

    wanted, target = declared(table), open_objects(landing)
    dynamodb = aws_client("dynamodb")
    mappings = None if consumer_from else lambda_mappings(aws_client("lambda"))
    with _bar(f"backfilling {table}") as tick:
        done = (
            backfill_export(
                dynamodb,
                open_objects(from_export),
                target,
                wanted,
                table_name,
                consumer_from=consumer_from,
                mappings=mappings,
                object_bytes=object_mb << 20,
                on_progress=tick,
            )
            if from_export
            else backfill_scan(
                dynamodb,
                target,
                wanted,
                table_name,
                segments=segments,
                max_rcu=max_rcu,
                object_bytes=object_mb << 20,
                restart=restart,
                consumer_from=consumer_from,
                mappings=mappings,
                on_progress=tick,
            )
        )
    row = asdict(done)
    print_rows(list(row), [row.values()], style)
    if style == "table":
        say(f"Landed in {target.url(wanted.source)}. Next: lakehouse ingest {table} --landing {landing} …")


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with items, rate and time left; it is told (done, total). Nothing is drawn into a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} items, {task.fields[rate]} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=0, rate="0")

        def tell(done: int, total: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, completed=done, total=total, rate=f"{speed or 0:,.0f}")

        yield tell
