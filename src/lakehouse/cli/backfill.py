"""`lakehouse backfill`: what a DynamoDB table held before its stream, into landing; and then applied."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lakehouse.cli.job_run import Wanted, apply_snapshot, prepare, print_applied
from lakehouse.cli.show import err, format_option, print_rows, say
from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from lakehouse.aws.export import Exported
    from lakehouse.aws.objects import Objects
    from lakehouse.aws.scan import Scanned
    from lakehouse.table import Table


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
@click.option(
    "--run",
    "run_job",
    is_flag=True,
    help="Apply it on Databricks: start the ingest job for this table, wait, and report how it ended.",
)
@click.option(
    "--job", metavar="NAME_OR_ID", help="With --run: the job to start.  [default: ingest_available_now]"
)
@click.option("--profile", metavar="NAME", help="With --run: the profile of ~/.databrickscfg to log in by.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="MINUTES",
    help="With --run: wait so long at most.  [default: 360]",
)
@click.option(
    "--warehouse-id",
    metavar="ID",
    envvar="DATABRICKS_WAREHOUSE_ID",
    show_envvar=True,
    help="With --run: the SQL warehouse to ask what a running stream has applied.",
)
@click.option(
    "--silver",
    metavar="CATALOG.SCHEMA",
    help="With --run: where the state tables are.  [default: as the stream's job says]",
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
    run_job: bool,
    job: str | None,
    profile: str | None,
    timeout: float | None,
    warehouse_id: str | None,
    silver: str | None,
    style: str,
) -> None:
    """Land every item of a DynamoDB table as it is now, by a scan, or as an export has it.

    What lands fits among the changes of the table's stream, whether it is ingested before them or after. It
    is refused where the stream does not reach back to it. A scan that was stopped goes on where it was when
    the command is given again.

    With --run it is then applied on Databricks. The job runs only if no stream has the table's checkpoint;
    one that is running takes the snapshot by itself, and is waited for if a SQL warehouse can be asked what
    the table shows of it. Exit status: 0 if the snapshot was applied, 1 if not, 3 if that is not known
    (nothing to ask, or no time left). Ctrl-C stops the waiting, not the run.
    """
    given = {"--job": job, "--profile": profile, "--timeout": timeout, "--silver": silver}
    alone = [name for name, value in given.items() if value is not None]
    if alone and not run_job:
        raise click.UsageError(f"{', '.join(alone)}: only with --run.")
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.export import backfill_export
    from lakehouse.aws.objects import open_objects
    from lakehouse.aws.scan import backfill_scan
    from lakehouse.aws.snapshot import lambda_mappings
    from lakehouse.tables import table as declared

    wanted, target = declared(table), open_objects(landing, create=True)
    run = None
    if run_job:  # what is wrong with the workspace shows before hours of scanning, not after
        run = prepare(
            Wanted(wanted, job, profile, 360.0 if timeout is None else timeout, warehouse_id, silver)
        )
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
    if style == "table" or run is None:
        print_rows(list(row), [row.values()], style)
    if style == "table":
        say(f"Landed in {target.url(wanted.source)}.")
    if run is None:
        if style == "table":
            say(f"Next: lakehouse ingest {table} --landing {landing} …")
        return
    snapshot, names = _objects(target, wanted, done)
    try:
        applied = apply_snapshot(run, snapshot, names)
    except LakehouseError:
        if style != "table":  # what has landed is told, whatever came after it
            print_rows([*row, "applied"], [[*row.values(), None]], style)
        raise
    print_applied(applied, row, style)
    if applied.exit_status:
        sys.exit(applied.exit_status)


def _objects(landing: Objects, table: Table, done: Scanned | Exported) -> tuple[str, list[str] | None]:
    """(a snapshot's sequence without the attempt, file names of its objects if landing has them recorded).

    They are recorded for a snapshot of the whole table, not for an incremental export.
    """
    from lakehouse.aws.snapshot import Snapshot, state_folder, to_ms

    label, _, rest = done.sequence.partition("/-")
    time = rest.partition("/")[0]
    told = landing.get(f"{state_folder(table.source, Snapshot(label, to_ms(time)))}/done.json")
    names = None if told is None else [key.rpartition("/")[2] for key in json.loads(told)["objects"]]
    return f"{label}/-{time}", names


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
