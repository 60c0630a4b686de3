"""`lakehouse report`: one page to look at."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lakehouse.cli.show import bar, quiet_spark, say, warehouse_option


@click.command()
@warehouse_option()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default="report.html",
    show_default=True,
    help="The page; a file that is there is replaced.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 92),
    default=30,
    show_default=True,
    help="How many days to look at, counted back from the newest day that has data.",
)
def report(warehouse: Path, out: Path, days: int) -> None:
    """Write what is in gold, and how fresh it is, as one page that opens without a network.

    Calls, scorecards, sentiment and tags, metrics, open alerts, coaching, freshness and quarantine: charts
    with their figures and queries. The page names agents and ids; share it with those who may read gold.
    """
    from lakehouse.errors import ConfigurationError
    from lakehouse.local.warehouse import local_settings
    from lakehouse.report.make import make_report
    from lakehouse.tables import TABLES

    if not out.parent.is_dir():
        raise ConfigurationError(
            f"There is no folder {out.parent} to write {out.name} into. Create it first."
        )
    with quiet_spark(warehouse) as spark, bar("asking") as tell:
        page = make_report(
            spark,
            local_settings(warehouse),
            TABLES,
            title=warehouse.resolve().name,
            days=days,
            on_progress=tell,
        )
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")  # what is there stays until the new one is whole
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    say(f"The report is in {out}. Open it in a browser; it needs no network.")
