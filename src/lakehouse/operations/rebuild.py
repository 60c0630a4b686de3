"""A state table brought to what bronze says of it, in one MERGE of what differs.

Readers see the old content, then the new; whoever follows the table's change feed sees the differences alone.
A run that is killed anywhere leaves tables that are right, and can be given again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.errors import IncompleteBronzeError
from lakehouse.ingest import floors, refused
from lakehouse.ingest.batch import catch_up
from lakehouse.ingest.commits import retrying, same, version
from lakehouse.ingest.fill import all_latest
from lakehouse.ingest.lease import Lease, exclusive, lease
from lakehouse.ingest.stream import stream_names
from lakehouse.operations import completeness
from lakehouse.settings import Settings
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.table import Table


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of the table. `basis` says why bronze is enough: a snapshot's time, `beginning`, or
    `documents`. `written`: rows that the rebuild inserted, updated or removed."""

    table: str
    basis: str
    live_before: int
    live_after: int
    tombstones_before: int
    tombstones_after: int
    written: int


def rebuild(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    *,
    complete: bool = False,
    wait: float = 0.0,
    on_progress: Callable[[str], None] = lambda _what: None,
) -> Rebuilt:
    """Bring a state table to what bronze says of it.

    What the tombstone floor turned away stays out, and the floor stays as it is. Tombstones stay, those too
    that bronze does not have: each is a change that landed once. What else the table could not take is judged
    anew.

    Args:
        complete: bronze has everything since the beginning: take my word, and note it. If not, it must have a
            whole snapshot and all that came after it.
        wait: seconds to wait for the streams to stop. 0: they have stopped.
        on_progress: told what is going on.

    Raises:
        IncompleteBronzeError: bronze may lack changes, so the table might lose rows.
        LeaseHeldError: a stream is still at work after `wait`.
    """
    if table.format == "changes":
        if complete:
            completeness.note(spark, settings, table.source, completeness.BEGINNING, "somebody's word")
        else:
            completeness.note_landing(spark, settings, table.source)
    basis = _basis(spark, settings, table)
    run_id = uuid.uuid4().hex
    on_progress("waiting for the streams to stop")
    with _stopped(spark, settings, table, wait) as leases:
        for source in table.sources:
            on_progress(f"applying what bronze has of {source}")
            # First as ever: only so the floor's refusals are known before they are left out.
            catch_up(spark, settings, [table], source, run_id, is_new=True)
        for held in leases:
            held.check()
        on_progress("merging what differs")
        with exclusive(settings.warehouse):
            before = _counts(spark, settings, table)
            written = retrying(lambda: _merge(spark, settings, table), f"rebuild of {table.name}")
            _judge_anew(spark, settings, table)
            after = _counts(spark, settings, table)
    return Rebuilt(table.name, basis, before[0], after[0], before[1], after[1], written)


@contextmanager
def _stopped(spark: SparkSession, settings: Settings, table: Table, wait: float) -> Iterator[list[Lease]]:
    """Hold the checkpoints of the table's streams, those of both formats of landing."""
    with ExitStack() as held:
        names = stream_names(replace(settings, parquet=True), table)
        yield [
            held.enter_context(lease(spark, settings, settings.stream_folder(name), name, wait=wait))
            for name in names
        ]


def _merge(spark: SparkSession, settings: Settings, table: Table) -> int:
    """Merge what differs; again if the table was written to meanwhile. How many rows were written."""
    name = settings.table("silver", table.name)
    while True:
        looked = version(spark, name)
        written = _merge_once(spark, settings, table, name)
        if version(spark, name, reads=True) in (looked, None) or not written:
            return written


def _merge_once(spark: SparkSession, settings: Settings, table: Table, name: str) -> int:
    rows = all_latest(spark, settings, table)
    names = [c for c in rows.columns if c != "_source_file"]
    differs = reduce(or_, (~F.col(f"t.`{c}`").eqNullSafe(F.col(f"s.`{c}`")) for c in names))
    # A tombstone above all that bronze has is a change that landed once, and beats what may yet come late.
    kept = F.col("t.is_deleted") & (F.col("t._sequence") > F.col("s._sequence"))
    if table.ttl_deletes == "ignore":  # which it may not have done always
        kept = kept & ~F.col("t._delete_kind").eqNullSafe("ttl")
    floor = floors.current(spark, settings, table) if table.format == "changes" else None
    purged = (
        F.lit(False) if floor is None else F.col("s.is_deleted") & floors.is_forgotten(floor, "s._changed_at")
    )
    values = {f"`{c}`": F.col(f"s.`{c}`") for c in rows.columns} | {"_applied_at": F.current_timestamp()}
    done = (
        DeltaTable.forName(spark, name)
        .alias("t")
        .merge(rows.alias("s"), same(table.keys))
        .whenMatchedUpdate(condition=differs & ~kept, set=values)  # type: ignore[arg-type]
        .whenNotMatchedInsert(condition=~purged, values=values)  # type: ignore[arg-type]
        .whenNotMatchedBySourceDelete(condition=~F.col("t.is_deleted"))
        .execute()
    )
    row: Any = done.first()
    return int(row["num_affected_rows"])


def _judge_anew(spark: SparkSession, settings: Settings, table: Table) -> None:
    """Note what the table cannot take of all of bronze, in place of what was noted; but for the floor's."""
    for source in table.sources:
        rows = refused.refusals(table, source, refused.unusable(spark, settings, table, source))
        once = rows.dropDuplicates(["quarantine_id"])
        mine = (F.col("t.table_name") == table.name) & (F.col("t.source") == source)
        (
            DeltaTable.forName(spark, settings.table("ops", "refused"))
            .alias("t")
            .merge(once.alias("s"), same(("table_name", "quarantine_id")))
            .whenMatchedUpdate(
                condition=~F.col("t.reason").eqNullSafe(F.col("s.reason")),
                set={"reason": F.col("s.reason"), "detail": F.col("s.detail")},
            )
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete(condition=mine & (F.col("t.reason") != BELOW_FLOOR))
            .execute()
        )


def _counts(spark: SparkSession, settings: Settings, table: Table) -> tuple[int, int]:
    """Live rows, tombstones."""
    state = spark.table(settings.table("silver", table.name))
    row = state.agg(F.count_if(~F.col("is_deleted")), F.count_if("is_deleted")).first()
    assert row is not None
    return row[0], row[1]


def _basis(spark: SparkSession, settings: Settings, table: Table) -> str:
    """Why bronze is enough, by its own record alone: landing may be empty by now."""
    if table.format == "documents":
        return "documents"

    def incomplete(because: str, what_next: str) -> IncompleteBronzeError:
        return IncompleteBronzeError(table.name, table.source, because, what_next)

    found = completeness.known(spark, settings, table.source)
    if found.missing:
        raise incomplete(
            f"lacks the records of objects that were set aside: {', '.join(sorted(found.missing))}",
            "Put them back whole (lakehouse landing restore), or take a snapshot (lakehouse backfill "
            f"{table.source} …), and ingest that; or, if it does not matter, say --complete.",
        )
    if found.since is None:
        raise incomplete(
            "holds no whole snapshot with all that came after it",
            f"Take a snapshot (lakehouse backfill {table.source} …), ingest it and start again; or, if "
            "bronze has everything since the beginning, say so with --complete.",
        )
    if found.since != completeness.BEGINNING and table.ttl_deletes == "ignore":
        raise incomplete(
            "may lack items that have expired: the table keeps them, and no snapshot has them",
            "If bronze has everything since the beginning, say so with --complete.",
        )
    return found.since
