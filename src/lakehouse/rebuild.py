"""A state table made anew from landing, beside the one that is in use, and put into its place in one commit.

The new table grows under a checkpoint of its own while the stream goes on with the old one. When it has
caught up, the stream's lease is taken, so that the stream has stopped; what landed meanwhile is ingested; the
content is replaced; and the stream goes on with the new checkpoint, which has read all of it. A run that is
killed anywhere leaves tables that are right, and the next one goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import events
from lakehouse.catalog import create_tables
from lakehouse.errors import IncompleteLandingError
from lakehouse.ingest import ingest
from lakehouse.landing import Store, exists, open_store
from lakehouse.lease import Lease, exclusive
from lakehouse.merge import insert_missing, merge_latest, retrying
from lakehouse.settings import Settings
from lakehouse.table import Table


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of the table. `basis` says why landing is enough: a snapshot's time, or `everything`."""

    table: str
    basis: str
    live_before: int
    live_after: int
    tombstones_before: int
    tombstones_after: int


def rebuild(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    *,
    complete: bool = False,
    wait: float = 0.0,
    on_progress: Callable[[str], None] = lambda _what: None,
) -> Rebuilt:
    """Make a state table anew from what lies in landing.

    Released records lie in landing and apply; what the tombstone floor turned away stays in quarantine, and
    the floor stays as it is. Tombstones of the old table are kept: landing may not have their changes any
    more. A history keeps all that it has and gains what is missing. Tables of documents are made from every
    document that there is.

    Args:
        complete: landing has everything since the beginning. If not, it must hold a complete snapshot and
            all that landed after it.
        wait: seconds to wait for the stream to stop, once the new table has caught up.
        on_progress: told what is going on.

    Raises:
        IncompleteLandingError: landing may lack changes, so the new table might lack rows.
        LeaseHeldError: the stream is still at work after `wait`.
        LakehouseError: as an ingest ends.
    """
    basis = "everything" if complete or table.format == "documents" else _basis(settings, table)
    new = replace(table, name=f"{table.name}_rebuild")
    create_tables(spark, settings, new)
    on_progress("ingesting what has landed into a new table")
    _catch_up(spark, settings, new, on_progress)
    on_progress("waiting for the stream to stop")
    with Lease(f"{settings.checkpoints}/{table.name}", table.name, wait=wait) as lease:
        on_progress("ingesting what has landed meanwhile")
        _catch_up(spark, settings, new, on_progress)
        lease.check()
        on_progress("replacing the content")
        with exclusive(settings.warehouse):
            done = retrying(lambda: _replace(spark, settings, table, new, basis), f"rebuild of {table.name}")
        _hand_over(settings, table, new)
    for name in (new.name, *([new.history_name] if new.history else [])):
        spark.sql(f"DROP TABLE IF EXISTS {settings.table('silver', name)}")
        location = settings.location("silver", name)
        if location:  # an external table's files stay
            shutil.rmtree(location, ignore_errors=True)
    return done


def _catch_up(
    spark: SparkSession, settings: Settings, new: Table, on_progress: Callable[[str], None]
) -> None:
    def tell(stream: str, records: int) -> None:
        if stream == new.name:
            on_progress(f"{records:,} records ingested")

    for result in ingest(spark, settings, (new,), rebuilding=True, on_progress=tell):
        if result.stream == new.name and result.error is not None:
            raise result.error


def _replace(spark: SparkSession, settings: Settings, table: Table, new: Table, basis: str) -> Rebuilt:
    old, made = settings.table("silver", table.name), settings.table("silver", new.name)
    before = _counts(spark, old)
    # Each is a change that landed once, and beats what may yet come late; live rows have to prove themselves.
    columns = [c.name for c in table.all_columns if c.name != "_applied_at"]
    tombstones = spark.table(old).where("is_deleted").select(columns)
    merge_latest(spark, settings, new, tombstones, datetime.now(UTC))
    if table.history:
        history = settings.table("silver", table.history_name)
        rows = spark.table(settings.table("silver", new.history_name))
        insert_missing(spark, history, rows, (*table.keys, "_sequence"))
    rows = spark.table(made).select(spark.table(old).columns)
    rows.write.format("delta").mode("overwrite").saveAsTable(old)
    after = _counts(spark, old)
    return Rebuilt(table.name, basis, before[0], after[0], before[1], after[1])


def _counts(spark: SparkSession, name: str) -> tuple[int, int]:
    """Live rows, tombstones."""
    row = spark.table(name).agg(F.count_if(~F.col("is_deleted")), F.count_if("is_deleted")).first()
    assert row is not None
    return row[0], row[1]


def _hand_over(settings: Settings, table: Table, new: Table) -> None:
    """Put the new checkpoint in the place of the old one, whose lease is held.

    The identity goes first and comes last: a checkpoint without one gets a new one, and batch numbers are
    never taken for those of another checkpoint.
    """
    old, made = Path(settings.checkpoints) / table.name, Path(settings.checkpoints) / new.name
    (old / "stream.json").unlink(missing_ok=True)
    for part in ("checkpoint", "found"):
        shutil.rmtree(old / part, ignore_errors=True)
        if (made / part).exists():
            (made / part).rename(old / part)
    if (made / "stream.json").exists():
        (made / "stream.json").rename(old / "stream.json")
    shutil.rmtree(made, ignore_errors=True)


# --- is landing enough? ------------------------------------------------------------------------------


def _basis(settings: Settings, table: Table) -> str:
    """The time of the newest snapshot that landing holds complete, with all that landed after it.

    Objects go by their age, so what is older than the snapshot and still there shows that nothing younger is
    gone.
    """
    store = open_store(settings.landing)
    oldest = _oldest(store, table.source)
    snapshots = _names(store, f"{store.root}/{events.BACKFILLS_FOLDER}/{table.source}")
    for folder in sorted(snapshots, reverse=True):
        done = _read(store, f"{folder}/done.json")
        if not done:
            continue
        whole = all(exists(store, f"{store.root}/{key}") for key in done["objects"])
        if whole and oldest is not None and oldest <= datetime.fromisoformat(done["time"]):
            return str(done["time"])
    raise IncompleteLandingError(table.name, settings.landing)


def _oldest(store: Store, source: str) -> datetime | None:
    """When the first object of the oldest hour landed."""
    for day in sorted(_names(store, f"{store.root}/{source}")):
        for hour in sorted(_names(store, day)):
            times: list[datetime] = [info.mtime for info in _infos(store, hour)]
            if times and events.UNDATED_FOLDER not in hour:
                return min(times)
    return None


def _names(store: Store, folder: str) -> list[str]:
    return [info.path for info in _infos(store, folder)]


def _infos(store: Store, folder: str) -> list[Any]:
    from pyarrow import fs

    found: list[Any] = store.files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return found


def _read(store: Store, path: str) -> dict[str, Any]:
    if not exists(store, path):
        return {}
    with store.files.open_input_stream(path) as file:
        told: dict[str, Any] = json.loads(file.read())
    return told
