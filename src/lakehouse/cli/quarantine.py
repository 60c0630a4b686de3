"""`lakehouse quarantine …`: look at what could not be applied, land it again, or let it go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lakehouse.cli.show import (
    bar,
    format_option,
    print_error,
    print_rows,
    printable,
    quiet_spark,
    say,
    warehouse_option,
)

if TYPE_CHECKING:
    from lakehouse.operations.quarantine import Filter, Outcome

_SHORT = 12
"""Digits of an id that people see; so many are enough for the commands."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--reason", metavar="CODE", help="Records with this reason."),
        click.option("--source", metavar="NAME", help="Records of this source."),
        click.option(
            "--status",
            type=click.Choice(["open", "requeued", "discarded", "all"]),
            default="open",
            show_default=True,
        ),
    ):
        command = option(command)
    return command


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--again", is_flag=True, help="Decide anew on records that are decided on already."),
        click.option("--by", metavar="NAME", help="Who decides; your login name if not given."),
        _filters,
        click.option("--all", "everything", is_flag=True, help="Every record that the filters let through."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@click.group()
def quarantine() -> None:
    """Look at records that could not be applied; land them again, or let them go.

    An ID is what `list` shows, or any beginning of it of 6 digits or more.
    """


@quarantine.command(name="list")
@_filters
@click.option("--limit", type=click.IntRange(1), help="Records at most; a table shows 100 if not given.")
@warehouse_option()
@format_option
def list_records(
    status: str, source: str | None, reason: str | None, limit: int | None, warehouse: Path, style: str
) -> None:
    """List records, newest first, and count them by source and reason."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import quarantine as engine

    settings, which = local_settings(warehouse), _filter(status, source, reason)
    with quiet_spark(warehouse) as spark:
        entries = engine.listed(spark, settings, which, limit or (100 if style == "table" else None))
        counts = engine.counted(spark, settings, which) if style == "table" else []
    if style != "table":
        names = list(engine.Entry.__dataclass_fields__)
        print_rows(names, [asdict(entry).values() for entry in entries], style)
        return
    if entries:
        names = ["id", "source", "reason", "detail", "object", "quarantined_at", "status"]
        rows = ((e.quarantine_id[:_SHORT], *list(asdict(e).values())[1:]) for e in entries)
        print_rows(names, rows, style)
    total = sum(count.records for count in counts)
    parts = [f"{count.source} {count.reason} {count.records:,}" for count in counts]
    say(f"{total:,} records{': ' if parts else '.'}{', '.join(map(printable, parts))}")


@quarantine.command()
@click.argument("record", metavar="ID")
@warehouse_option()
def show(record: str, warehouse: Path) -> None:
    """Show one record whole: its text as it came, and every decision on it."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import quarantine as engine

    with quiet_spark(warehouse) as spark:
        whole = engine.whole(spark, local_settings(warehouse), record)
    for name, value in (asdict(whole.entry) | {"stream": whole.stream, "batch_id": whole.batch_id}).items():
        say(f"{name:<14}  {'' if value is None else printable(str(value))}")
    for decision in whole.decisions:
        words = [f"{name}: {printable(value)}" for name, value in decision.items() if value is not None]
        say(f"{'decision':<14}  {', '.join(words)}")
    say("")
    # What is no UTF-8 is shown as its bytes; line ends and the like as escapes.
    say(printable(whole.raw.decode("utf-8", "backslashreplace")))


@quarantine.command()
@_selection
@click.option("--why", required=True, metavar="TEXT", help="The reason; it is kept with the record.")
@warehouse_option(required=True)
def discard(
    ids: tuple[str, ...],
    everything: bool,
    status: str,
    source: str | None,
    reason: str | None,
    by: str | None,
    again: bool,
    why: str,
    warehouse: Path,
) -> None:
    """Let records go: they stay in the table, with who and why, but are no longer open."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import quarantine as engine

    which = _which(ids, everything, _filter(status, source, reason))
    with quiet_spark(warehouse) as spark:
        outcome = engine.discard(spark, local_settings(warehouse), which, why=why, by=by, again=again)
    _report(outcome, "Discarded", "")


@quarantine.command()
@_selection
@click.option("--why", metavar="TEXT", help="A reason to keep with the record.")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@click.option("--table-name", metavar="NAME", help="DynamoDB table of the source, to read items afresh from.")
@click.option(
    "--consumer-from",
    metavar="TIME",
    help="Since when the writer lands that table's stream, or trim-horizon for all of it. If not given, "
    "Lambda's event source mappings tell.",
)
@warehouse_option(required=True)
def requeue(
    ids: tuple[str, ...],
    everything: bool,
    status: str,
    source: str | None,
    reason: str | None,
    by: str | None,
    again: bool,
    why: str | None,
    landing: str,
    table_name: str | None,
    consumer_from: str | None,
    warehouse: Path,
) -> None:
    """Land records again; the next ingest applies them in their order, or puts them here under a new id.

    A change below the tombstone floor, and one that the writer could not convert, is not landed as it is:
    its item is read afresh from the DynamoDB table, and what it is now lands.
    """
    from lakehouse.aws.objects import open_objects
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import quarantine as engine
    from lakehouse.tables import TABLES

    which = _which(ids, everything, _filter(status, source, reason))
    objects = open_objects(landing)
    fresh = None
    if table_name:
        from lakehouse.aws.client import aws_client
        from lakehouse.aws.fresh import Reader
        from lakehouse.aws.release import fresh_read
        from lakehouse.aws.snapshot import lambda_mappings

        dynamodb = aws_client("dynamodb")
        mappings = None if consumer_from else lambda_mappings(aws_client("lambda"))
        by_source = {t.source: t for t in TABLES}
        fresh = fresh_read(
            lambda source: Reader(dynamodb, by_source[source], table_name, consumer_from, mappings), objects
        )
    with quiet_spark(warehouse) as spark, bar("landing records") as tick:
        outcome = engine.requeue(
            spark,
            local_settings(warehouse),
            which,
            TABLES,
            objects.put_new,
            fresh=fresh,
            by=by,
            why=why,
            again=again,
            on_progress=tick,
        )
    _report(outcome, "Requeued", " Run the ingest again.")


def _filter(status: str, source: str | None, reason: str | None) -> Filter:
    from lakehouse.operations import quarantine as engine

    return engine.Filter(None if status == "all" else status, source, reason)  # type: ignore[arg-type]


def _which(ids: tuple[str, ...], everything: bool, which: Filter) -> tuple[str, ...] | Filter:
    """What a decision is for: the ids, or with --all what the filters let through."""
    if bool(ids) == everything:
        raise click.UsageError("Name the records by their IDs, or take them all with --all and filters.")
    if ids and (which.status, which.source, which.reason) != ("open", None, None):
        raise click.UsageError("--status, --source and --reason go with --all, not with IDs.")
    return which if everything else ids


def _report(outcome: Outcome, done: str, next_step: str) -> None:
    for decided in outcome.decided:
        where = f" as {decided.landed_as}" if decided.landed_as else ""
        say(f"{decided.quarantine_id[:_SHORT]}{where}")
    for refused in outcome.refused:
        print_error(f"{refused.quarantine_id[:_SHORT]}: {printable(refused.because)}.")
    say(f"{done} {len(outcome.decided):,} records.{next_step if outcome.decided else ''}")
    if outcome.refused:
        sys.exit(1)
