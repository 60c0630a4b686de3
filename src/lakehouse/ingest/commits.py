"""Effects: what every commit needs. A write may be repeated and then changes nothing, and a commit that met
another writer's is made again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

KEY_LITERALS = 1000
"""With at most this many keys in a batch they stand in its MERGE's condition as literals: on a large table
the files that cannot hold them are then not read at all."""

ATTEMPTS = 8
_CONFLICTS = ("[DELTA_CONCURRENT_", "[DELTA_METADATA_CHANGED", "[DELTA_PROTOCOL_CHANGED")

log = logging.getLogger(__name__)
T = TypeVar("T")


def append_once(rows: DataFrame, target: str, *, writer: str, version: int) -> None:
    """Append rows, unless this writer has already appended that version.

    `writer` must be new whenever `version` starts again from 0, else the rows are skipped in silence
    (Delta's txnAppId and txnVersion).
    """
    rows.write.format("delta").mode("append").option("txnAppId", writer).option(
        "txnVersion", version
    ).saveAsTable(target)


def insert_missing(rows: DataFrame, target: str, keys: tuple[str, ...]) -> None:
    """Insert the rows whose key the table does not have yet.

    A transaction that has read the table, so that two writers never insert one key twice.
    """
    (
        DeltaTable.forName(rows.sparkSession, target)
        .alias("t")
        .merge(rows.dropDuplicates(list(keys)).alias("s"), same(keys))
        .whenNotMatchedInsert(values={f"`{name}`": F.col(f"s.`{name}`") for name in rows.columns})
        .execute()
    )


def same(keys: tuple[str, ...], among: list[str] | None = None) -> Column:
    """The condition of a MERGE by keys; `among`: the source's values of the first key, if they are few."""
    found = F.lit(True)
    for key in keys:
        found = found & (F.col(f"t.{key}") == F.col(f"s.{key}"))
    return found if among is None else found & F.col(f"t.{keys[0]}").isin(among)


def retrying(work: Callable[[], T], what: str, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call `work` again, whole, when another writer's commit came in between.

    Raises whatever `work` raises that is not such a conflict, and the conflict itself after ATTEMPTS.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except PySparkException as error:
            if attempt == ATTEMPTS or not is_conflict(error):
                raise
            pause = random.uniform(0, min(30.0, 0.2 * 2**attempt))  # noqa: S311 - jitter, no secret
            log.warning(
                "%s met another writer (attempt %d of %d), again in %.1f s", what, attempt, ATTEMPTS, pause
            )
            sleep(pause)
    raise AssertionError("unreachable")


def version(spark: SparkSession, name: str, *, reads: bool = False) -> int | None:
    """A table's version; `reads`: the one that its newest commit has read."""
    column = "readVersion" if reads else "version"
    row = DeltaTable.forName(spark, name).history(1).select(column).first()
    assert row is not None
    found: int | None = row[0]
    return found


def is_conflict(error: PySparkException) -> bool:
    """True for a commit that lost to another one and may be tried again.

    Told by the error condition at the head of the message, which Spark Connect hands over too.
    """
    return str(error).lstrip().startswith(_CONFLICTS)
