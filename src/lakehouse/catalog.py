"""Tables and views from their declarations. Running it again changes nothing that is right already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import SparkSession

from lakehouse import ops
from lakehouse.gained import fill_gained, note_gained
from lakehouse.settings import LAYERS, Layer, Settings
from lakehouse.table import Column, Table, View

PROPERTIES = {
    "delta.enableRowTracking": "true",
    "delta.enableChangeDataFeed": "true",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 30 days",
}
"""Of every table, beside `delta.enableDeletionVectors`, which the settings decide."""


def set_up(spark: SparkSession, settings: Settings, tables: Iterable[Table]) -> None:
    """Create what is missing: schemas, tables, columns, views.

    Existing tables keep their data; a column that a declaration has gained is added to its table, and filled.
    Run it while no stream is at work: a change of a table's schema stops every writer of it.
    """
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {settings.schema(layer)}{_location(settings, layer)}")
    for name, (columns, comment, cluster_by) in ops.TABLES.items():
        _create(spark, settings, "ops", name, columns, comment, cluster_by)
    for table in tables:
        create_tables(spark, settings, table)
    for table in tables:
        for view in table.views:
            create_view(spark, settings, "gold", view)
    create_view(spark, settings, "ops", ops.QUARANTINE)


def create_tables(spark: SparkSession, settings: Settings, table: Table) -> None:
    """Create a table in silver, and its history; or add and fill what its declaration has gained."""
    comments = {table.name: table.comment}
    if table.history:
        words = f"Every change of every row, as it came; rows are only ever added. {table.comment}"
        comments[table.history_name] = words
    for name, comment in comments.items():
        _create(spark, settings, "silver", name, table.all_columns, comment, table.cluster_by)
        fill_gained(spark, settings.table("silver", name), table)


def create_view(spark: SparkSession, settings: Settings, layer: Layer, view: View) -> None:
    """Create or replace a view."""
    schemas: dict[str, str] = {name: settings.schema(name) for name in LAYERS}
    spark.sql(
        f"CREATE OR REPLACE VIEW {settings.table(layer, view.name)} COMMENT {_text(view.comment)} "
        f"AS {view.query.format(**schemas)}"
    )


def _create(
    spark: SparkSession,
    settings: Settings,
    layer: Layer,
    name: str,
    columns: Sequence[Column],
    comment: str,
    cluster_by: Sequence[str],
) -> None:
    full = settings.table(layer, name)
    if not spark.catalog.tableExists(full):
        wanted = PROPERTIES | {"delta.enableDeletionVectors": str(settings.deletion_vectors).lower()}
        properties = ", ".join(f"{_text(k)} = {_text(v)}" for k, v in wanted.items())
        clustering = ", ".join(f"`{c}`" for c in cluster_by)
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS {full} ({', '.join(map(_definition, columns))}) USING DELTA "
            f"CLUSTER BY ({clustering}) COMMENT {_text(comment)} TBLPROPERTIES ({properties})"
            f"{_location(settings, layer, name)}"
        )
        return
    present = {c.lower() for c in spark.table(full).columns}
    missing = [c for c in columns if c.name not in present]
    if missing:
        if layer == "silver":
            note_gained(spark, full, missing)
        spark.sql(f"ALTER TABLE {full} ADD COLUMNS ({', '.join(map(_definition, missing))})")


def _definition(column: Column) -> str:
    not_null = " NOT NULL" if column.not_null else ""
    return f"`{column.name}` {column.type}{not_null} COMMENT {_text(column.comment)}"


def _location(settings: Settings, layer: Layer, name: str = "") -> str:
    location = settings.location(layer, name)
    return f" LOCATION {_text(location)}" if location else ""


def _text(words: str) -> str:
    """Our own words as a SQL literal: comments, properties, paths. Never data."""
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"
