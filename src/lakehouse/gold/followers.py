"""Followers: streams over the change feed of a state table, which bring tables of gold up to it.

The feed says what has changed since, and so whom to look at; what is so comes from the state table as it is.
A follower that has no checkpoint, or whose feed is gone, looks at everything once and goes on from there.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.gold.alerts import COACHING, follow_insights, refresh_insights
from lakehouse.gold.entities import age_metrics, follow_events, refresh_all
from lakehouse.ingest import floors
from lakehouse.ingest.commits import append_once, retrying
from lakehouse.ingest.lease import Lease, exclusive, lease
from lakehouse.ingest.runner import Batches, Run, Streaming, drive, forget, identity
from lakehouse.ingest.trigger import ONCE
from lakehouse.settings import Settings
from lakehouse.table import Table
from lakehouse.tables.metric_events import METRIC_EVENTS

AGE_SECONDS = 3600.0
"""How often a follower that keeps going ages what its batches do not touch."""

WAIT_SECONDS = 60.0
"""How long a follower waits at least for whoever refreshes its tables just now."""

_SCHEMA_CHANGED = "[DELTA_SCHEMA_CHANGED"
_FEED_GONE = re.compile(
    r"\[(DELTA_(CHANGE_DATA_FILE_NOT_FOUND|MISSING_CHANGE_DATA|TRUNCATED_TRANSACTION_LOG|VERSIONS_NOT_CONTIGUOUS"
    r"|LOG_FILE_NOT_FOUND\w*|VERSION_NOT_FOUND|FILE_NOT_FOUND\w*|STREAMING_\w*)"
    r"|DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE|FAILED_READ_FILE\.FILE_NOT_EXIST|PATH_NOT_FOUND)"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a follower does. Each function returns how many entities it looked at.

    follows: the state table. apply: for images of its change feed. refresh: for all of it. age: for what
    time alone has changed.
    """

    follows: Table
    apply: Callable[[SparkSession, Settings, DataFrame, str, int], int]
    refresh: Callable[[SparkSession, Settings, str, int], int]
    age: Callable[[SparkSession, Settings, str, int], int] | None = None


METRICS: Final = "metrics"

FOLLOWERS: Final[Mapping[str, _Work]] = {
    METRICS: _Work(METRIC_EVENTS, follow_events, refresh_all, age_metrics),
    "insight_alerts": _Work(COACHING, follow_insights, refresh_insights),
}


@dataclass(frozen=True, slots=True)
class Follower:
    """A follower's plain data, as it travels in the closure of its batch function.

    writer: the name and the identity of the checkpoint; known, as the run is, once the lease is held.
    """

    name: str
    settings: Settings
    run_id: str = ""
    writer: str = ""

    @property
    def folder(self) -> str:
        """Where its checkpoint lies."""
        return self.settings.follower_folder(self.name)

    @property
    def table(self) -> str:
        """The quoted name of the table that it follows."""
        return self.settings.table("silver", FOLLOWERS[self.name].follows.name)


def followers(settings: Settings, tables: Sequence[Table]) -> list[Streaming]:
    """The followers of tables."""
    names = {table.name for table in tables}
    made = [Follower(name, settings) for name, work in FOLLOWERS.items() if work.follows.name in names]
    return [Streaming(f.name, f.name, settings, partial(_run, f), partial(_done, f)) for f in made]


def refresh_metrics(
    spark: SparkSession,
    settings: Settings,
    as_of: datetime | None = None,
    *,
    everything: bool = False,
    wait: float = 0.0,
) -> int:
    """Bring the metrics and alerts of all entities whose windows have moved up to a time.

    Args:
        as_of: where the windows end, with a zone; now if not given.
        everything: of all entities, from the state table.
        wait: seconds to wait for the follower, which ages them itself if it keeps going.

    Returns:
        How many entities were looked at.

    Raises:
        LeaseHeldError: the follower is at work, or another refresh.
    """
    follower = Follower(METRICS, settings)
    with lease(spark, settings, follower.folder, METRICS, wait=wait):
        return _whole(spark, follower, refresh_all if everything else age_metrics, as_of)


def _whole(
    spark: SparkSession,
    follower: Follower,
    work: Callable[[SparkSession, Settings, str, int], int],
    as_of: datetime | None = None,
) -> int:
    settings = follower.settings
    with exclusive(settings.warehouse):
        until = floors.micros(as_of or datetime.now(UTC))
        return retrying(lambda: work(spark, settings, follower.folder, until), f"refresh of {follower.name}")


# --- one follower --------------------------------------------------------------------------------------


def _run(follower: Follower, spark: SparkSession, run: Run) -> None:
    work = FOLLOWERS[follower.name]
    wait = max(run.wait, WAIT_SECONDS)
    with lease(spark, follower.settings, follower.folder, follower.name, wait=wait) as holding:
        aged = -AGE_SECONDS
        while True:
            _catch_up(spark, follower, run, holding)
            if run.trigger.every is None:
                return
            if work.age is not None and time.monotonic() - aged >= AGE_SECONDS:
                _whole(spark, follower, work.age)
                aged = time.monotonic()
            if run.stop.wait(run.trigger.seconds):
                return
            holding.check()


def _catch_up(spark: SparkSession, follower: Follower, run: Run, holding: Lease) -> None:
    """Apply what the feed has by now. Between two calls nothing is at work: there is time to age."""
    for attempt in range(3):
        known, is_new = identity(follower.folder)
        named = replace(follower, writer=f"{follower.name}/{known}", run_id=run.run_id)
        if is_new:
            _start_over(spark, named)
        try:
            drive(
                _feed(spark, follower),
                partial(process, named),
                name=follower.name,
                folder=follower.folder,
                run=run,
                holding=holding,
                trigger=ONCE,
            )
            return
        except PySparkException as error:
            if attempt == 2:
                raise
            if _FEED_GONE.search(str(error)):
                log.warning(
                    "%s: what has changed in %s cannot be told any more; it is looked at whole",
                    follower.name,
                    follower.table,
                )
                forget(follower.folder)
            elif _SCHEMA_CHANGED not in str(error):
                raise


def _start_over(spark: SparkSession, follower: Follower) -> None:
    """Look at everything; the feed is read from the version that was there before."""
    newest = DeltaTable.forName(spark, follower.table).history(1)
    row = newest.select("version", F.unix_micros("timestamp")).first()
    assert row is not None
    before, committed = row
    started = datetime.now(UTC)
    entities = _whole(spark, follower, FOLLOWERS[follower.name].refresh)
    with exclusive(follower.settings.warehouse):
        _note(spark, follower, -1, started, 0, entities, committed)
    (Path(follower.folder) / "since.json").write_text(json.dumps({"version": before}), encoding="utf-8")


def _feed(spark: SparkSession, follower: Follower) -> DataFrame:
    """The streaming frame of what changed after the follower has looked at everything."""
    since = int(json.loads((Path(follower.folder) / "since.json").read_text(encoding="utf-8"))["version"])
    reader = spark.readStream.option("readChangeFeed", "true").option("startingVersion", str(since))
    return reader.table(follower.table).where(F.col("_commit_version") > since)


def process(follower: Follower, images: DataFrame, batch_id: int) -> None:
    """Apply one batch of the feed, and note it. What is done twice changes nothing."""
    spark, settings = images.sparkSession, follower.settings
    started = datetime.now(UTC)

    def work() -> None:
        seen = images.agg(F.count("*"), F.unix_micros(F.max("_commit_timestamp"))).first()
        assert seen is not None
        if not seen[0]:
            return
        entities = FOLLOWERS[follower.name].apply(
            spark, settings, images, follower.folder, floors.micros(datetime.now(UTC))
        )
        _note(spark, follower, batch_id, started, seen[0], entities, seen[1])

    with exclusive(settings.warehouse):
        retrying(work, f"batch {batch_id} of {follower.name}")


def _note(
    spark: SparkSession,
    follower: Follower,
    batch_id: int,
    started: datetime,
    changes: int,
    entities: int,
    committed: int,
) -> None:
    """Note a batch in ops.followed, once. committed: when its latest change was, in microseconds."""
    values = {
        "stream": F.lit(follower.writer),
        "batch_id": F.lit(batch_id).cast("bigint"),
        "follower": F.lit(follower.name),
        "table_name": F.lit(FOLLOWERS[follower.name].follows.name),
        "run_id": F.lit(follower.run_id),
        "started_at": floors.instant(started),
        "finished_at": floors.instant(datetime.now(UTC)),
        "changes": F.lit(changes).cast("bigint"),
        "entities": F.lit(entities).cast("bigint"),
        "committed_at": F.timestamp_micros(F.lit(committed)),
    }
    row = spark.range(1).select(*(values[c.name].alias(c.name) for c in ops.FOLLOWED))
    target = follower.settings.table("ops", "followed")
    # Delta knows no version below 0.
    writer = follower.writer if batch_id >= 0 else f"{follower.writer}/whole"
    append_once(row, target, writer=writer, version=max(batch_id, 0))


def _done(follower: Follower, spark: SparkSession, run: Run) -> dict[str, Batches]:
    """What this run looked at."""
    mine = (F.col("run_id") == run.run_id) & (F.col("follower") == follower.name)
    rows = spark.table(follower.settings.table("ops", "followed")).where(mine)
    row = rows.agg(F.coalesce(F.sum("changes"), F.lit(0)), F.coalesce(F.sum("entities"), F.lit(0))).first()
    assert row is not None
    return {follower.name: Batches(records=row[0], upserts=row[1])}
