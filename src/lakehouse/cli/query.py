"""`lakehouse sql` and `lakehouse tables`: look at the tables, and write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lakehouse.cli.show import format_option, print_frame, print_rows, quiet_spark, warehouse_option


@click.command()
@click.argument("statement")
@warehouse_option()
@format_option
def sql(statement: str, warehouse: Path, style: str) -> None:
    """Run one query over silver.*, gold.* and ops.*; nothing can be written."""
    from lakehouse.local.query import read_only

    with quiet_spark(warehouse) as spark:
        print_frame(read_only(spark, statement), style)


@click.command(name="tables")
@warehouse_option()
@format_option
def list_tables(warehouse: Path, style: str) -> None:
    """List the tables: key, live rows, tombstones, and when each last changed."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.tables import TABLES

    settings = local_settings(warehouse)
    with quiet_spark(warehouse) as spark:
        from pyspark.sql import functions as F

        rows: list[tuple[Any, ...]] = []
        for table in TABLES:
            frame = spark.table(settings.table("silver", table.name))
            live = F.count_if(~F.col("is_deleted"))
            counts = frame.agg(live, F.count_if("is_deleted"), F.max("_changed_at").cast("string")).first()
            assert counts is not None
            rows.append((table.name, ", ".join(table.keys), *counts))
    print_rows(["table", "key", "rows", "tombstones", "last_change"], rows, style)
