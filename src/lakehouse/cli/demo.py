"""`lakehouse demo`: the whole chain on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lakehouse.cli.show import out, warehouse_option


@click.command()
@warehouse_option()
@click.option(
    "--calls", default=2000, show_default=True, type=click.IntRange(10, 1_000_000), help="Calls in the day."
)
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same day.")
def demo(warehouse: Path, calls: int, seed: int) -> None:
    """Run the whole chain on this machine: tables, streams, writer, landing, ingest, the analysts' answer.

    Nothing is needed but Java: DynamoDB and S3 are served by this machine, to this machine alone.
    """
    from lakehouse.demo.run import run_demo

    sys.exit(0 if run_demo(out, warehouse, calls=calls, seed=seed) else 1)
