"""`lakehouse rebuild`: a table brought to what bronze says of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lakehouse.cli.show import format_option, print_rows, quiet_spark, spinner, warehouse_option


@click.command()
@click.argument("table")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@warehouse_option(required=True)
@click.option("--complete", is_flag=True, help="Bronze has everything since the beginning: take my word.")
@click.option("--wait", default=0.0, metavar="SECONDS", help="Wait so long for the streams to stop.")
@format_option
def rebuild(table: str, landing: str, warehouse: Path, complete: bool, wait: float, style: str) -> None:
    """Bring a state table to what bronze says of it, in one commit of what differs.

    The streams of its sources have to be stopped meanwhile. Of landing only the books of backfills are read,
    and whether something is set aside. What is killed on the way can be given again.
    """
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import rebuild as engine
    from lakehouse.tables import table as declared

    wanted = declared(table)
    settings = local_settings(warehouse, landing=landing)
    with quiet_spark(warehouse, settings) as spark, spinner(f"rebuilding {table}:") as tell:
        done = engine.rebuild(spark, settings, wanted, complete=complete, wait=wait, on_progress=tell)
    row = asdict(done)
    print_rows(list(row), [row.values()], style)
