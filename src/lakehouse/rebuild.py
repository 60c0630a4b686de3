"""A state table made anew from landing, beside the one that is in use, and put into its place in one commit.

The new table grows under a checkpoint of its own while the stream goes on with the old one. When it has
caught up, the stream's lease is taken, so that the stream has stopped; what landed meanwhile is ingested; the
content is replaced; and the stream goes on with the new checkpoint, which has read all of it. A run that is
killed anywhere leaves tables that are right; the next one begins anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import events, floors
from lakehouse.batch import BELOW_FLOOR
from lakehouse.catalog import create_tables
from lakehouse.errors import ConfigurationError, IncompleteLandingError
from lakehouse.gold.derived import after_rebuild, before_rebuild
from lakehouse.ingest import ingest, stream_names
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
        wait: seconds to wait for the stream to stop, once the new table has caught up. 0: it has stopped.
        on_progress: told what is going on.

    Raises:
        IncompleteLandingError: landing may lack changes, so the new table might lack rows.
        ConfigurationError: documents that the table was made from have no location.
        LeaseHeldError: the stream is still at work after `wait`, or the table is being rebuilt.
        LakehouseError: as an ingest ends.
    """
    settings = replace(settings, parquet=True)  # whatever lands now, landing may have both
    if table.format == "documents":
        _refuse_to_forget(settings, table)
    basis = "everything" if table.format == "documents" else _basis(settings, table, complete)
    with Lease(f"{settings.checkpoints}/_rebuilds/{table.name}", f"{table.name} (rebuild)"):
        return _rebuild(spark, settings, table, basis, wait, on_progress)


def _rebuild(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    basis: str,
    wait: float,
    on_progress: Callable[[str], None],
) -> Rebuilt:
    new = replace(table, name=f"{table.name}_rebuild")
    _remove(spark, settings, new)  # what a run that was killed has left may be of other objects, or columns
    if not wait:
        with _stopped(settings, table, wait=0):  # rather now than after the work
            pass
    turned_away = _turned_away(spark, settings, table)
    create_tables(spark, settings, new)
    on_progress("ingesting what has landed into a new table")
    _catch_up(spark, settings, new, on_progress)
    on_progress("waiting for the stream to stop")
    with _stopped(settings, table, wait) as leases:
        on_progress("ingesting what has landed meanwhile")
        _catch_up(spark, settings, new, on_progress)
        # Only the old table knows which changes the floor turns away. What the new one has read, the old one
        # reads too; and if any of that was turned away, the new one must not have it.
        while floors.current(spark, settings, table) is not None:
            on_progress("draining the stream")
            _run(spark, settings, table, lambda _: None, held=True)
            before, turned_away = turned_away, _turned_away(spark, settings, table)
            if turned_away == before:
                break
            on_progress("beginning anew without what the floor has turned away meanwhile")
            _remove(spark, settings, new)
            create_tables(spark, settings, new)
            _catch_up(spark, settings, new, on_progress)
        for lease in leases:
            lease.check()
        on_progress("replacing the content")
        before_rebuild(settings, table)
        with exclusive(settings.warehouse):
            done = retrying(lambda: _replace(spark, settings, table, new, basis), f"rebuild of {table.name}")
        for stream, made in zip(stream_names(settings, table), stream_names(settings, new), strict=True):
            _hand_over(Path(settings.checkpoints) / stream, Path(settings.checkpoints) / made)
        after_rebuild(spark, settings, table)
    _remove(spark, settings, new)
    return done


@contextmanager
def _stopped(settings: Settings, table: Table, wait: float) -> Iterator[list[Lease]]:
    """Hold the checkpoints of the table's streams."""
    with ExitStack() as held:
        names = stream_names(settings, table)
        wanted = (Lease(f"{settings.checkpoints}/{name}", name, wait=wait) for name in names)
        yield [held.enter_context(lease) for lease in wanted]


def _remove(spark: SparkSession, settings: Settings, new: Table) -> None:
    """Remove a table that was made beside the one in use, and its checkpoints."""
    for name in (new.name, *([new.history_name] if new.history else [])):
        spark.sql(f"DROP TABLE IF EXISTS {settings.table('silver', name)}")
        location = settings.location("silver", name)
        if location:  # an external table's files stay
            _remove_folder(Path(location))
    for stream in stream_names(settings, new):
        _remove_folder(Path(settings.checkpoints) / stream)


def _remove_folder(folder: Path) -> None:
    """Under another name first: a run that is killed leaves nothing that looks whole, and is not."""
    doomed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.exists():
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _turned_away(spark: SparkSession, settings: Settings, table: Table) -> int:
    """How many of the table's changes the floor has turned away so far."""
    records = spark.table(settings.table("ops", "quarantine_records"))
    mine = (F.col("source") == table.source) & (F.col("reason") == BELOW_FLOOR)
    return records.where(mine).count()


def _refuse_to_forget(settings: Settings, table: Table) -> None:
    """The new table would lack the rows of documents whose location is not known."""
    for stream, each in table.streams.items():
        used = (Path(settings.checkpoints) / stream / "checkpoint" / "metadata").exists()
        if each.source not in settings.documents and (used or not settings.documents):
            raise ConfigurationError(
                f"Table {table.name!r} is made from the documents of {each.source!r} too, and a new one "
                "would lack their rows: say where they lie."
            )


def _catch_up(
    spark: SparkSession, settings: Settings, new: Table, on_progress: Callable[[str], None]
) -> None:
    _run(spark, settings, new, on_progress, rebuilding=True)


def _run(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    on_progress: Callable[[str], None],
    *,
    rebuilding: bool = False,
    held: bool = False,
) -> None:
    """Ingest all that has landed into a table."""

    names = stream_names(settings, table)

    def tell(stream: str, records: int) -> None:
        if stream in names:
            on_progress(f"{records:,} records ingested")

    for result in ingest(spark, settings, (table,), rebuilding=rebuilding, held=held, on_progress=tell):
        if result.stream in names and result.error is not None:
            raise result.error


def _replace(spark: SparkSession, settings: Settings, table: Table, new: Table, basis: str) -> Rebuilt:
    old, made = settings.table("silver", table.name), settings.table("silver", new.name)
    before = _counts(spark, old)
    if before[0] and spark.table(made).isEmpty():
        raise IncompleteLandingError(table.name, settings.landing, "has nothing for it", "Check --landing.")
    # Each is a change that landed once, and beats what may yet come late; live rows have to prove themselves.
    columns = [c.name for c in table.all_columns if c.name != "_applied_at"]
    tombstones = spark.table(old).where("is_deleted").select(columns)
    merge_latest(spark, settings, new, tombstones, datetime.now(UTC))
    if table.history:
        history = settings.table("silver", table.history_name)
        rows = spark.table(settings.table("silver", new.history_name))
        insert_missing(spark, history, rows, (*table.keys, "_sequence"))
    # Every row meets the condition. Without one, or with one that is plainly true, Delta would forget the
    # table's clustering.
    spark.table(made).writeTo(old).overwrite(F.col("_sequence") >= F.lit(""))
    after = _counts(spark, old)
    return Rebuilt(table.name, basis, before[0], after[0], before[1], after[1])


def _counts(spark: SparkSession, name: str) -> tuple[int, int]:
    """Live rows, tombstones."""
    row = spark.table(name).agg(F.count_if(~F.col("is_deleted")), F.count_if("is_deleted")).first()
    assert row is not None
    return row[0], row[1]


def _hand_over(old: Path, made: Path) -> None:
    """Put the new checkpoint in the place of the old one, whose lease is held.

    The identity goes first and comes last: a checkpoint without one gets a new one, and batch numbers are
    never taken for those of another checkpoint.
    """
    (old / "stream.json").unlink(missing_ok=True)
    for part in ("checkpoint", "found"):
        _remove_folder(old / part)
        if (made / part).exists():
            (made / part).rename(old / part)
    if (made / "stream.json").exists():
        (made / "stream.json").rename(old / "stream.json")
    shutil.rmtree(made, ignore_errors=True)


# --- is landing enough? ------------------------------------------------------------------------------


def _basis(settings: Settings, table: Table, complete: bool) -> str:
    """The time of the newest snapshot that landing holds complete, with all that landed after it.

    Objects go by their age, so what is older than the snapshot and still there shows that nothing younger is
    gone. `complete`: there need be no snapshot.
    """

    if complete:
        return "everything"

    def incomplete(because: str, what_next: str) -> IncompleteLandingError:
        return IncompleteLandingError(table.name, settings.landing, because, what_next)

    store, source = open_store(settings.landing), table.source
    if next(_objects(store, f"{events.SET_ASIDE_FOLDER}/{source}"), None):
        raise incomplete(
            "has had objects set aside, whose records the table would lack",
            "Put them back whole; or, if that does not matter, say --complete.",
        )
    if table.ttl_deletes == "ignore":
        raise incomplete(
            "may lack items that have expired: the table keeps them, and no snapshot has them",
            "If landing has everything since the beginning, say so with --complete.",
        )
    snapshots = _infos(store, f"{store.root}/{events.BACKFILLS_FOLDER}/{source}")
    for folder in sorted((info.path for info in snapshots), reverse=True):
        done = _read(store, f"{folder}/done.json")
        if not done:
            continue
        whole = all(exists(store, f"{store.root}/{key}") for key in done["objects"])
        taken = datetime.fromisoformat(done["time"])
        if whole and any(landed <= taken for landed in _objects(store, source)):
            return str(done["time"])
    raise incomplete(
        "holds no complete snapshot with all that landed after it",
        f"Take a snapshot (lakehouse backfill {table.name} …) and start again; or, if landing has everything "
        "since the beginning, say so with --complete.",
    )


def _objects(store: Store, folder: str) -> Iterator[datetime]:
    """When each object in the day and hour folders below a folder landed, the oldest hours first."""
    for day in _infos(store, f"{store.root}/{folder}"):
        if not day.is_file and events.UNDATED_FOLDER.split("/")[0] not in day.path:
            for hour in _infos(store, day.path):
                if not hour.is_file:
                    yield from (info.mtime for info in _infos(store, hour.path) if info.is_file)


def _infos(store: Store, folder: str) -> list[Any]:
    """What lies in a folder, by name."""
    from pyarrow import fs

    found: list[Any] = store.files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return sorted(found, key=lambda info: info.path)


def _read(store: Store, path: str) -> dict[str, Any]:
    if not exists(store, path):
        return {}
    with store.files.open_input_stream(path) as file:
        told: dict[str, Any] = json.loads(file.read())
    return told
