"""Is a state table what its source is? Compared by key and content while the stream runs, and mended.

The source's items are read as the records that a backfill would land, and go through the ingest's own parser:
what is compared is what a row would be. A difference counts once it has been looked at twice, the stream's
lag apart, and neither side has moved in between; whatever moved is looked at again.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.errors import ConfigurationError
from lakehouse.ingest import floors
from lakehouse.ingest.bronze import of_lines
from lakehouse.ingest.commits import retrying
from lakehouse.ingest.lease import exclusive
from lakehouse.ingest.sources import as_pattern, stored
from lakehouse.settings import Settings
from lakehouse.sql.paths import parse_path
from lakehouse.sql.select import latest_of, select
from lakehouse.table import Table

LOOKS = 4
EXAMPLES = 20
"""Differences that a verdict names."""

_AT_ONCE = 500  # keys that are read and landed in one go

Key = Mapping[str, str]
"""A key as it lands: text by the attribute's name."""


class Source(Protocol):
    """What a state table is compared with."""

    def everything(self, folder: Path) -> int:
        """Write every item below a folder, as a snapshot record in landed form; how many there are."""

    def some(self, folder: Path, keys: Sequence[Key]) -> None:
        """Write what the items of these keys are now, a tombstone for one that is gone."""

    def repair(self, rows: Sequence[tuple[Key, str | None]]) -> int:
        """Land what these items are now, each above a sequence if there is one; how many records that are."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A verdict, as ops.reconciliations has it.

    missing: items that have no live row. stale: rows with another content than their item. phantom: live rows
    without an item; not told for a table that ignores expiries. unsettled: keys that moved at every look.
    """

    table_name: str
    verdict: Literal["agree", "differ", "repaired"]
    source_items: int
    live_rows: int
    missing: int
    stale: int
    phantom: int
    unsettled: int
    repaired: int
    examples: str


def reconcile(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    source: Source,
    wait: Callable[[], None],
    *,
    repair: bool = False,
    on_progress: Callable[[str], None] = lambda _what: None,
) -> Reconciled:
    """Compare a state table with its source, and write the verdict to ops.reconciliations.

    Args:
        wait: returns when what the source had changed before the call has been ingested.
        repair: land a record for every difference; the next ingest applies them like any other, so a change
            that came in meanwhile wins.
        on_progress: told what is going on.

    Raises:
        ConfigurationError: a table of documents, which has no such source.
        LakehouseError: as the source raises.
    """
    if table.format != "changes":
        raise ConfigurationError(f"Table {table.name!r} is made from documents: nothing to compare it with.")
    started = datetime.now(UTC)
    with _scratch(settings, table) as scratch:
        on_progress("reading the source")
        items = source.everything(scratch / "1")
        on_progress("comparing")
        pending = stored(_differences(spark, settings, table, scratch / "1"), str(scratch / "differences-1"))
        live = spark.table(settings.table("silver", table.name)).where("NOT is_deleted").count()
        confirmed: list[DataFrame] = []
        for look in range(2, LOOKS + 1):
            left = pending.count()
            if not left:
                break
            on_progress(f"{left:,} differences at look {look - 1}: waiting for the stream's lag")
            wait()
            on_progress(f"looking at {left:,} differences again")
            folder = scratch / str(look)
            for keys in _batches(pending, table):
                source.some(folder, [key for key, _ in keys])
            only = pending.select(*table.keys)
            found = stored(
                _differences(spark, settings, table, folder, only), str(scratch / f"differences-{look}")
            )
            same = found.join(pending, [*table.keys, "source", "row", "sequence"], "left_semi")
            confirmed.append(stored(same, str(scratch / f"confirmed-{look}")))
            pending = stored(found.join(same, [*table.keys], "left_anti"), str(scratch / f"pending-{look}"))
        unsettled = pending.count()
        counts: dict[str, int] = {}
        examples: list[dict[str, str]] = []
        repaired = 0
        for frame in confirmed:
            for row in frame.groupBy("kind").count().collect():
                counts[row["kind"]] = counts.get(row["kind"], 0) + row["count"]
            some = frame.select("kind", *table.keys).limit(EXAMPLES - len(examples))
            examples += [row.asDict() for row in some.collect()]
            if repair:
                for rows in _batches(_above_bronze(spark, settings, table, frame), table):
                    repaired += source.repair(rows)
                    on_progress(f"{repaired:,} repair records landed")
    verdict: Literal["agree", "differ", "repaired"] = "agree"
    if counts:
        verdict = "repaired" if repair else "differ"
    done = Reconciled(
        table.name,
        verdict,
        items,
        live,
        counts.get("missing", 0),
        counts.get("stale", 0),
        counts.get("phantom", 0),
        unsettled,
        repaired,
        json.dumps(examples, ensure_ascii=False),
    )
    _write(spark, settings, done, started)
    return done


def _records(spark: SparkSession, table: Table, folder: Path) -> DataFrame:
    """The source's records as rows; the columns are those of the state table."""
    landed = folder / table.source
    if landed.is_dir():
        text = spark.read.option("recursiveFileLookup", "true").option("pathGlobFilter", "*.ndjson.gz")
        lines = text.option("lineSep", "\n").text(as_pattern(str(landed)))
    else:
        lines = spark.createDataFrame([], "value string")
    # As the ingest reads them; a view, as the table's SELECT is text.
    view = f"source_{uuid.uuid4().hex}"
    of_lines(lines.withColumn("_source_file", F.lit("")), table).createOrReplaceTempView(view)
    return spark.sql(select(table, latest_of(view, "true")))


def _differences(
    spark: SparkSession, settings: Settings, table: Table, folder: Path, only: DataFrame | None = None
) -> DataFrame:
    """The keys on which source and table differ: kind, both contents, and the row's sequence.

    `only`: the keys that were asked for; the table's other rows are not looked at.
    """
    keys = [*table.keys]
    items = _records(spark, table, folder).where("NOT is_deleted")
    # An item without updated_at gets one from its record; the row has it from another record.
    made_up = F.col("updated_at").eqNullSafe(F.unix_millis("_changed_at").cast("string"))
    own = F.when(~made_up, F.col("updated_at"))
    items = items.select(*keys, _content(table).alias("source"), own.alias("_own"))
    rows = spark.table(settings.table("silver", table.name))
    if only is not None:
        rows = rows.join(only, keys, "left_semi")
    live = ~F.col("is_deleted")
    rows = rows.select(
        *keys,
        F.when(live, _content(table)).alias("row"),
        F.when(live, own).alias("_updated_at"),
        F.col("_sequence").alias("sequence"),
    )
    both = items.join(rows, keys, "full_outer")
    updated = ~F.col("_own").eqNullSafe(F.col("_updated_at"))
    kind = (
        F.when(F.col("source").isNull() & F.col("row").isNotNull(), "phantom")
        .when(F.col("source").isNotNull() & F.col("row").isNull(), "missing")
        .when((F.col("source") != F.col("row")) | updated, "stale")
    )
    told = ["missing", "stale"] if table.ttl_deletes == "ignore" else ["missing", "stale", "phantom"]
    # In the contents too, so that a look can tell whether updated_at has moved.
    stamped = [
        F.concat_ws(" ", name, stamp).alias(name)
        for name, stamp in (("source", "_own"), ("row", "_updated_at"))
    ]
    sequence = F.coalesce("sequence", F.lit(""))
    return (
        both.withColumn("kind", kind)
        .where(F.col("kind").isin(told))
        .select(*keys, "kind", *stamped, sequence.alias("sequence"))
    )


def _above_bronze(spark: SparkSession, settings: Settings, table: Table, found: DataFrame) -> DataFrame:
    """Differences, with the highest sequence that bronze has of a key that has no row.

    A repair below it would be undone by a rebuild.
    """
    bronze = spark.table(settings.table("bronze", table.source)).where("_problem IS NULL")
    keyed = found.withColumn("_key", F.to_json(F.array(*table.keys)))
    highest = bronze.join(keyed.select("_key"), "_key", "left_semi").groupBy("_key")
    sequence = F.coalesce(F.nullif("sequence", F.lit("")), "_highest", F.lit(""))
    with_highest = keyed.join(highest.agg(F.max("_sequence").alias("_highest")), "_key", "left")
    return with_highest.withColumn("sequence", sequence).drop("_highest", "_key")


def _content(table: Table) -> Column:
    """A hash of everything in a row that comes from the item."""
    names = [c.name for c in table.columns]
    whole = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"  # if not told otherwise, to_json writes milliseconds
    options = {"ignoreNullFields": "false", "timestampFormat": whole, "timestampNTZFormat": whole}
    return F.sha2(F.to_json(F.struct(*names), options), 256)


def _batches(frame: DataFrame, table: Table) -> Iterator[list[tuple[Key, str | None]]]:
    """The keys as they land, each with the row's sequence if there is one, some at a time."""
    paths = [parse_path(c.paths[0])[0] for c in table.columns[: len(table.keys)]]
    held: list[tuple[Key, str | None]] = []
    for row in frame.select(*table.keys, "sequence").toLocalIterator():
        held.append((dict(zip(paths, row, strict=False)), row["sequence"] or None))
        if len(held) == _AT_ONCE:
            yield held
            held = []
    if held:
        yield held


@contextmanager
def _scratch(settings: Settings, table: Table) -> Iterator[Path]:
    """A folder that Spark and this process see; it holds what the items hold, and is removed.

    So is what a run has left that was killed: no run takes two days.
    """
    place = Path(settings.checkpoints) / "_reconcile"
    folder = place / f"{table.name}-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    for left in place.iterdir():
        if left.stat().st_mtime < time.time() - 2 * 86_400:
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(spark: SparkSession, settings: Settings, done: Reconciled, started: datetime) -> None:
    values = asdict(done)
    schema = ", ".join(f"{c.name} {c.type}" for c in ops.RECONCILIATIONS if c.name in values)
    row = spark.createDataFrame([values], schema).withColumns(
        {
            "started_at": floors.instant(started),
            "finished_at": F.current_timestamp(),
        }
    )
    rows = row.select(*(c.name for c in ops.RECONCILIATIONS))
    target = settings.table("ops", "reconciliations")
    with exclusive(settings.warehouse):
        retrying(lambda: rows.write.format("delta").mode("append").saveAsTable(target), "a verdict")
