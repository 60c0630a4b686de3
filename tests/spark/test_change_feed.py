"""The change feed as the docs tell consumers to read it."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, Lake

from lakehouse.ingest.floors import micros
from lakehouse.ingest.silver import merge
from lakehouse.local.query import read_only
from lakehouse.settings import Settings
from lakehouse.table import Column

CALLS = replace(
    ITEMS, name="calls", keys=("call_id",), cluster_by=(), columns=(Column("call_id", "string", "Id.", "id"),)
)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "change-feed.md"


def _merge(
    spark: SparkSession, settings: Settings, number: int, *live: str, gone: tuple[str, ...] = ()
) -> None:
    """One batch: the keys that it brings, and those that it deletes."""
    known = {
        "call_id": F.explode(F.array(*map(F.lit, (*live, *gone)))),
        "_sequence": F.lit(f"{number:040d}"),
        "is_deleted": F.col("call_id").isin(*gone),
    }
    batch = spark.range(1)
    for column in CALLS.all_columns:
        batch = batch.withColumn(column.name, known.get(column.name, F.lit(None).cast(column.type)))
    merge(spark, settings, CALLS, batch.drop("id", "_applied_at"), micros(datetime.now(UTC)))


def _feed(spark: SparkSession, settings: Settings) -> dict[int, dict[str, str]]:
    """By commit: what became of each key, by the query of the page."""
    (query,) = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for row in read_only(spark, query.replace("silver.calls", f"{settings.silver}.calls")).collect():
        assert row.call_id not in found[row._commit_version]
        found[row._commit_version][row.call_id] = row.change
    return found


def test_a_tombstone_reads_as_a_delete_and_its_purge_as_nothing(spark: SparkSession, tmp_path: Path) -> None:
    settings = Lake(spark, tmp_path / "lake", (CALLS,)).settings
    _merge(spark, settings, 1, "stays", "goes", "returns", "phantom", gone=("never was",))
    _merge(spark, settings, 2, "stays", "late", gone=("goes", "returns"))
    _merge(spark, settings, 3, "returns")
    name = settings.table("silver", "calls")
    DeltaTable.forName(spark, name).delete("is_deleted")  # as `maintain` purges
    assert spark.table(name).count() == 4
    # As a rebuild replaces the content, in one commit: a row less, a tombstone more.
    late = F.col("call_id") == "late"
    rows = spark.table(name).where("call_id <> 'phantom'").withColumn("is_deleted", late)
    rows.writeTo(name).overwrite(F.col("_sequence") >= F.lit(""))
    assert _feed(spark, settings) == {
        1: dict.fromkeys(("stays", "goes", "returns", "phantom"), "insert") | {"never was": "delete"},
        2: {"stays": "update", "late": "insert", "goes": "delete", "returns": "delete"},
        3: {"returns": "insert"},
        5: {"stays": "update", "returns": "update", "late": "delete", "phantom": "delete"},
    }
