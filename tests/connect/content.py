"""What all tables and views hold, as text, so that two processes can compare it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog.declared import all_views, other_tables, state_table
from lakehouse.settings import Settings
from lakehouse.tables import TABLES

OF_THE_RUN = frozenset(
    (
        *("_applied_at", "_loaded_at", "as_of", "committed_at", "finished_at", "last_batch", "made_at"),
        *("newest", "noted_at", "quarantined_at", "raised_at", "refused_at", "run_id", "seen_until"),
        *("started_at", "written_at"),
    )
)
"""Columns that say when, or by which run, a row was written."""

OF_THE_CHECKPOINT = ("_stream", "stream")
"""Columns that end in the identity of a checkpoint."""


def held(frame: DataFrame) -> list[str]:
    """A frame's columns with their types, then its rows as JSON, sorted."""
    columns = [_told(name, kind).alias(name) for name, kind in frame.dtypes if name not in OF_THE_RUN]
    rows = frame.select(F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})).collect()
    return [", ".join(f"{c} {t}" for c, t in frame.dtypes), *sorted(row[0] for row in rows)]


def _told(name: str, kind: str) -> Column:
    if name in OF_THE_CHECKPOINT:
        return F.substring_index(name, "/", 1)
    if kind.startswith("map<"):  # its entries have no order
        return F.map_from_entries(F.array_sort(F.map_entries(name)))
    return F.col(name)


def views(spark: SparkSession, settings: Settings) -> dict[str, list[str]]:
    """What every view holds, by its layer and name."""
    names = [(layer, view.name) for layer, view in all_views(TABLES)]
    return {f"{layer}/{name}": held(spark.table(settings.table(layer, name))) for layer, name in names}


def places(settings: Settings, managed: Path | None = None) -> dict[str, str]:
    """Where every table lies, by its layer and name: below its warehouse, or below that of managed tables."""
    made = [*other_tables(TABLES), *map(state_table, TABLES)]
    return {
        f"{table.layer}/{table.name}": settings.location(table.layer, table.name)
        or f"{managed}/{getattr(settings, table.layer)}.db/{table.name}"
        for table in made
    }


def tables(
    spark: SparkSession, at: Mapping[str, str], versions: Mapping[str, int] | None = None
) -> dict[str, list[str]]:
    """What tables hold, or have held at their versions; read where they lie."""
    found = {}
    for name, place in at.items():
        reader = spark.read.format("delta")
        if versions is not None:
            reader = reader.option("versionAsOf", versions[name])
        found[name] = held(reader.load(place))
    return found


def versions(at: Mapping[str, str]) -> dict[str, int]:
    """How often something was committed to tables, told by where they lie."""
    logs = {name: Path(place, "_delta_log").glob("*.json") for name, place in at.items()}
    return {name: max(int(p.stem) for p in log if p.stem.isdigit()) for name, log in logs.items()}
