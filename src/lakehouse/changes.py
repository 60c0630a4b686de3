"""Pure: many changes → the latest change of every key. The rule that every table rests on."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def latest_changes(changes: DataFrame, keys: tuple[str, ...]) -> DataFrame:
    """Reduce to one row per key: the one of the highest `_sequence`, deletes included.

    A delete must take part: left out, an older upsert of the same batch would bring its row back.
    Rows of equal key and sequence are the same change, so it does not matter which of them is kept.

    Args:
        changes: rows with the key columns and `_sequence`, none of them null.
        keys: names of the key columns.

    Returns:
        The same columns in the same order, one row per key.
    """
    row = F.max_by(F.struct(*changes.columns), "_sequence").alias("_row")
    return changes.groupBy(*keys).agg(row).select("_row.*")
