"""`lakehouse publish-alerts`: alerts that are due, onto EventBridge."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from lakehouse.cli.show import (
    format_option,
    print_rows,
    print_table,
    quiet_spark,
    spinner,
    warehouse_option,
)


@click.command("publish-alerts")
@warehouse_option(required=True)
@click.option(
    "--bus",
    default="default",
    envvar="EVENT_BUS_NAME",
    show_default=True,
    metavar="NAME",
    help="Name or ARN of the event bus.",
)
@click.option("--source", default="lakehouse.alerts", show_default=True, help="Source of the events.")
@click.option("--endpoint-url", metavar="URL", help="Another server than AWS's.")
@format_option
def publish_alerts(warehouse: Path, bus: str, source: str, endpoint_url: str | None, style: str) -> None:
    """Put every alert that opened, or changed its severity, on EventBridge.

    An alert may come twice, and is never lost: what is not marked as published is put again by the next run.
    Let there be one run at a time. The exit status is 1 if alerts were left unpublished.
    """
    from lakehouse.aws.publish import EventBus, events_client
    from lakehouse.gold.outbox import publish_due
    from lakehouse.local.warehouse import local_settings

    event_bus = EventBus(events_client(endpoint_url=endpoint_url), bus, source)
    with quiet_spark(warehouse) as spark, spinner("publishing alerts:") as tell:
        done = publish_due(spark, local_settings(warehouse), event_bus.put, on_progress=tell)
    row = asdict(done)
    failures = row["failures"]
    if style == "table":
        del row["failures"]
    elif style == "csv":
        row["failures"] = json.dumps(failures)
    print_rows(list(row), [row.values()], style)
    if style == "table" and failures:
        print_table(list(failures[0]), (one.values() for one in failures))
    if done.unpublished:
        sys.exit(1)
