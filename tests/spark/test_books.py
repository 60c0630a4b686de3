"""What the books say of a batch that had to be done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, change

from lakehouse.ingest import batch


def test_the_books_hold_what_all_attempts_at_a_batch_have_written(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt loses its last commit to another writer, after its MERGE."""
    lake = Lake(spark, tmp_path, (ITEMS,))
    attempts = []

    def lost_at_first(*given: Any, **named: Any) -> None:
        attempts.append(given)
        if len(attempts) == 1:
            raise PySparkException("[DELTA_CONCURRENT_APPEND] another writer was faster")
        append_once(*given, **named)

    append_once = batch.append_once
    monkeypatch.setattr(batch, "append_once", lost_at_first)
    lake.land(
        "items",
        change(1, site="a", number="1", amount=1),
        change(2, site="a", number="1", amount=2),
        change(3, site="a", number="2", deleted=True),
        change(4, site="a"),
    )
    lake.ingest_well()
    (row,) = lake.books()
    assert len(attempts) == 2
    assert (row.records, row.upserts, row.deletes, row.stale, row.quarantined) == (4, 1, 1, 1, 1)
