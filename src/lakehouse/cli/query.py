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
@click.argument("name", required=False)
@click.option(
    "--sql", "show_sql", is_flag=True, help="With NAME: the SELECT that makes its rows out of bronze."
)
@warehouse_option()
@format_option
def list_tables(name: str | None, show_sql: bool, warehouse: Path, style: str) -> None:
    """List the tables: key, live rows, tombstones, and when each last changed; or the columns of one."""
    from lakehouse.local.warehouse import local_settings
    from lakehouse.tables import TABLES

    if name is not None:
        return _show_table(name, show_sql, style)
    if show_sql:
        raise click.UsageError("--sql shows the SELECT of one table: name it.")

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


def _show_table(name: str, show_sql: bool, style: str) -> None:
    """A table's columns, or its SELECT; needs no Spark, as its declaration says all of it."""
    from lakehouse.sql.select import latest_of, select
    from lakehouse.tables import table

    declared = table(name)
    if not show_sql:
        rows = ((c.name, c.type, ", ".join(c.paths) or c.sql or "", c.comment) for c in declared.all_columns)
        return print_rows(["column", "type", "from", "comment"], rows, style)
    if declared.format == "documents":
        raise click.UsageError(f"{name} is made from documents by Python: see lakehouse/tables/{name}.py.")
    latest = latest_of(f"bronze.{declared.source}", "true", ttl_deletes=declared.ttl_deletes)
    click.echo(select(declared, latest))
