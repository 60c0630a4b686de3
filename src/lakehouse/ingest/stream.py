"""The streams of sources: one per source, from there to bronze and on to the tables that read it, and one for
the writer's quarantine. Where landing has Parquet objects too, a source of change records has a second one
for those.

A stream is a file source, a checkpoint with a lease, and a batch function (batch.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import change_record
from lakehouse.catalog.bronze import WRITER_QUARANTINE
from lakehouse.ingest.batch import Stream, catch_up, process_batch
from lakehouse.ingest.lease import lease
from lakehouse.ingest.runner import Batches, Run, Streaming, drive, forget, identity
from lakehouse.ingest.sources import Source, lines_of, source_of
from lakehouse.settings import Settings
from lakehouse.table import Table

PARQUET = "_parquet"
"""Ends the name of the stream that reads a source's Parquet objects."""


def source_streams(
    settings: Settings, tables: Sequence[Table], *, from_the_beginning: bool = False
) -> list[Streaming]:
    """The streams of the tables' sources, and the one over the writer's quarantine.

    A source whose documents have no configured location is passed over.

    Args:
        from_the_beginning: take the streams' checkpoints away first, so that all of landing is read into
            bronze again; what is there already changes nothing.
    """
    streams = [*_streams(settings, tables), _writer_quarantine(settings)]
    return [_streaming(stream, from_the_beginning) for stream in streams]


def stream_names(settings: Settings, table: Table) -> tuple[str, ...]:
    """Names of the streams that a table is fed by, which are those of their checkpoints' folders."""
    second = settings.parquet and table.format == "changes"
    return (*table.sources, *(name + PARQUET for name in table.sources if second))


def _streams(settings: Settings, tables: Sequence[Table]) -> Iterator[Stream]:
    """A stream for each source that one of the tables reads."""
    for name in dict.fromkeys(name for table in tables for name in stream_names(settings, table)):
        target = name.removesuffix(PARQUET)
        fed = tuple(table for table in tables if target in table.sources)
        folder = settings.stream_folder(name)
        source: Source | None
        if fed[0].format == "documents":
            source = source_of(settings, target, folder)
        else:
            source = lines_of(settings, target, "ndjson" if name == target else "parquet")
        if source is not None:
            yield Stream(name, target, source, settings, fed, folder)


def _writer_quarantine(settings: Settings) -> Stream:
    source = lines_of(settings, change_record.QUARANTINE_FOLDER)
    folder = settings.stream_folder(WRITER_QUARANTINE)
    return Stream(WRITER_QUARANTINE, WRITER_QUARANTINE, source, settings, (), folder)


def _streaming(stream: Stream, from_the_beginning: bool) -> Streaming:
    again = [from_the_beginning]  # once is enough, however often the stream is started

    def work(spark: SparkSession, run: Run) -> None:
        _run(spark, stream, run, again)

    return Streaming(
        stream.name,
        stream.target,
        stream.settings,
        work,
        partial(_done, stream),
        # The writer's quarantine is every run's business: whoever holds it reads it for all.
        may_be_held=not stream.tables,
        reads_documents=bool(stream.tables) and stream.tables[0].format == "documents",
    )


def _run(spark: SparkSession, stream: Stream, run: Run, again: list[bool]) -> None:
    with lease(spark, stream.settings, stream.folder, stream.name, wait=run.wait) as holding:
        if again[0]:
            forget(stream.folder)
            again[0] = False
        known, is_new = identity(stream.folder)
        named = replace(stream, writer=f"{stream.name}/{known}", run_id=run.run_id)
        if stream.tables:
            catch_up(spark, stream.settings, stream.tables, stream.target, run.run_id, is_new=is_new)
        stream.source.discover(spark)
        drive(
            stream.source.stream(spark),
            partial(process_batch, named),
            name=stream.name,
            folder=stream.folder,
            run=run,
            holding=holding,
            trigger=run.trigger,
            look=partial(stream.source.discover, spark),
        )


def _done(stream: Stream, spark: SparkSession, run: Run) -> dict[str, Batches]:
    """What this run's batches of the stream did to each table, from ops.batches."""
    names = list(Batches.__dataclass_fields__)
    mine = (F.col("run_id") == run.run_id) & (F.col("source") == stream.target)
    rows = (
        spark.table(stream.settings.table("ops", "batches"))
        .where(mine & F.col("stream").startswith(f"{stream.name}/"))
        .groupBy(F.coalesce("table_name", F.lit(stream.name)).alias("table_name"))
        .agg(*(F.coalesce(F.sum(n), F.lit(0)).alias(n) for n in names))
        .collect()
    )
    done = {row.table_name: Batches(*(row[n] for n in names)) for row in rows}
    told = [table.name for table in stream.tables] or [stream.name]
    return {name: done.get(name, Batches()) for name in told}
