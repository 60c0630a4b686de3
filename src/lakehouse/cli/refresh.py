"""`lakehouse refresh-metrics`: metrics and alerts, as time goes by."""

from __future__ import annotations

from pathlib import Path

import click

from lakehouse.cli.show import format_option, print_rows, quiet_spark, spinner, warehouse_option
from lakehouse.errors import ConfigurationError


@click.command("refresh-metrics")
@warehouse_option(required=True)
@click.option(
    "--as-of", metavar="TIME", help="Where the windows end, as in 2026-01-08T11:00:00Z; now if not given."
)
@click.option("--everything", is_flag=True, help="All entities, from the state table.")
@format_option
def refresh(warehouse: Path, as_of: str | None, everything: bool, style: str) -> None:
    """Bring metrics and alerts up to a time: those of every entity whose windows have moved since.

    An ingest brings those up to date that its events name; with --follow it also ages the others, once an
    hour. Else run this as often as they are to age.
    """
    from lakehouse.gold.followers import refresh_metrics
    from lakehouse.local.warehouse import local_settings
    from lakehouse.settings import parse_time

    try:
        until = parse_time(as_of) if as_of else None
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param_hint="--as-of") from error
    with quiet_spark(warehouse) as spark, spinner("refreshing"):
        settings = local_settings(warehouse)
        entities = refresh_metrics(spark, settings, until, everything=everything)
        alerts = spark.table(settings.table("gold", "alerts")).where("closed_at IS NULL").count()
    print_rows(["entities_refreshed", "open_alerts"], [(entities, alerts)], style)
