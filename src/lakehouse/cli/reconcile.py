"""`lakehouse reconcile`: is a table what its source is?"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from lakehouse.cli.show import format_option, print_rows, print_table, quiet_spark, spinner, warehouse_option


@click.command()
@click.argument("table")
@click.option("--table-name", required=True, metavar="NAME", help="The DynamoDB table.")
@click.option(
    "--landing", required=True, metavar="PATH_OR_URL", help="Where the writer lands; repairs land there too."
)
@warehouse_option(required=True)
@click.option(
    "--from-export",
    metavar="PATH_OR_URL",
    help="Read everything from this full export first, and only what differs from DynamoDB.",
)
@click.option(
    "--lag",
    default=900,
    show_default=True,
    type=click.IntRange(0, 7 * 86_400),
    metavar="SECONDS",
    help="How long a change takes to reach the table at most. What is younger is no difference.",
)
@click.option("--repair", is_flag=True, help="Land a record for each difference.")
@click.option("--segments", default=4, show_default=True, type=click.IntRange(1, 1000))
@click.option("--max-rcu", type=click.IntRange(1), metavar="UNITS", help="Read capacity units a second.")
@click.option(
    "--consumer-from",
    metavar="TIME",
    help="Since when the writer lands the table's stream, or trim-horizon for all of it. If not given, "
    "Lambda's event source mappings tell.",
)
@format_option
def reconcile(
    table: str,
    table_name: str,
    landing: str,
    warehouse: Path,
    from_export: str | None,
    lag: int,
    repair: bool,
    segments: int,
    max_rcu: int | None,
    consumer_from: str | None,
    style: str,
) -> None:
    """Compare a state table with its DynamoDB table, by key and content, while the stream runs.

    A difference counts if it is still there after --lag and neither side has moved. So the ingest must be at
    work meanwhile, in another process: --follow, or on a schedule. The exit status is 3 if they differ.
    """
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.fresh import Reader
    from lakehouse.aws.objects import open_objects
    from lakehouse.aws.snapshot import lambda_mappings
    from lakehouse.aws.source import DynamoSource
    from lakehouse.local.warehouse import local_settings
    from lakehouse.operations import reconcile as engine
    from lakehouse.tables import table as declared

    mappings = None if consumer_from else lambda_mappings(aws_client("lambda"))
    reader = Reader(aws_client("dynamodb"), declared(table), table_name, consumer_from, mappings)
    target = open_objects(landing)
    export = open_objects(from_export) if from_export else None
    with quiet_spark(warehouse) as spark, spinner(f"reconciling {table}:") as tell:

        def items(done: int, total: int) -> None:
            tell(f"reading the source, {done:,} of {total:,} items")

        source = DynamoSource(reader, target, export, segments, max_rcu, items)
        found = engine.reconcile(
            spark,
            local_settings(warehouse),
            reader.table,
            source,
            lambda: time.sleep(lag),
            repair=repair,
            on_progress=tell,
        )
    row = asdict(found)
    if style == "table":
        examples = json.loads(row.pop("examples"))
        print_rows(list(row), [row.values()], style)
        if examples:
            names = list(examples[0])
            print_table(names, ([one[name] for name in names] for one in examples))
    else:
        print_rows(list(row), [row.values()], style)
    if found.verdict == "differ":
        sys.exit(3)
