"""`lakehouse rebuild`: a table made anew from landing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lakehouse.cli.documents import document_options, document_places
from lakehouse.cli.show import format_option, print_rows, quiet_spark, spinner, warehouse_option


@click.command()
@click.argument("table")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands, a folder a source."
)
@warehouse_option(required=True)
@document_options
@click.option("--complete", is_flag=True, help="Landing has everything since the beginning: take my word.")
@click.option(
    "--wait", default=0.0, metavar="SECONDS", help="Wait so long for the stream to stop, once caught up."
)
@format_option
def rebuild(
    table: str,
    landing: str,
    warehouse: Path,
    transcripts: str | None,
    pca: str | None,
    complete: bool,
    wait: float,
    style: str,
) -> None:
    """Make a state table anew from landing, and put it into its place in one commit.

    Readers see the old content, then the new. The stream may run while the new table catches up; then it has
    to be stopped, and goes on from there when it is started again. What is killed on the way goes on when the
    command is given again.
    """
    from lakehouse import rebuild as engine
    from lakehouse.local.warehouse import local_settings
    from lakehouse.tables import table as declared

    wanted = declared(table)
    documents = document_places(transcripts, pca, needed_by=[wanted])
    settings = local_settings(warehouse, landing=landing, documents=documents)
    with quiet_spark(warehouse, settings) as spark, spinner(f"rebuilding {table}:") as tell:
        done = engine.rebuild(spark, settings, wanted, complete=complete, wait=wait, on_progress=tell)
    row = asdict(done)
    print_rows(list(row), [row.values()], style)
