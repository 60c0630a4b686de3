"""`lakehouse maintain`: purge old tombstones, and check that keys are unique."""

from __future__ import annotations

import sys
from dataclasses import astuple, fields
from pathlib import Path

import click

from lakehouse.cli.show import format_option, print_rows, quiet_spark, spinner, warehouse_option


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@warehouse_option(required=True)
@click.option(
    "--landing",
    default="",
    metavar="PATH_OR_URL",
    help="Where the writer lands; given, what it tells of bronze's completeness is noted.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@format_option
def maintain(tables: tuple[str, ...], warehouse: Path, landing: str, dry_run: bool, style: str) -> None:
    """Purge tombstones past their retention, in two runs at least a day apart, and check the keys.

    The first run raises a table's floor, below which a late change is not taken for a new row; a later one
    deletes the tombstones below it. Run it as often as you like. The exit status is 1 if a key is there
    more than once.
    """
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import maintain as engine
    from lakehouse.tables import TABLES, table

    chosen = tuple(table(name) for name in dict.fromkeys(tables)) or TABLES
    settings = local_settings(warehouse, landing=landing)
    with quiet_spark(warehouse, settings) as spark, spinner("maintaining") as tell:
        done = engine.maintain(spark, settings, chosen, dry_run=dry_run, on_progress=tell)
    names = [f.name for f in fields(engine.Maintained)]
    print_rows(names, [astuple(one) for one in done], style)
    if any(one.duplicate_keys for one in done):
        sys.exit(1)
