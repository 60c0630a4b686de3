"""One run: the streams of sources, and the followers of the tables that they write to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pyspark.sql import SparkSession

from lakehouse.gold.followers import followers
from lakehouse.ingest.runner import Result, Run, run_all
from lakehouse.ingest.stream import source_streams
from lakehouse.ingest.trigger import ONCE, Trigger
from lakehouse.settings import Settings
from lakehouse.table import Table


def ingest(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    trigger: Trigger = ONCE,
    *,
    wait: float = 0.0,
    from_the_beginning: bool = False,
    on_end: Callable[[Result], None] = lambda _: None,
    on_progress: Callable[[str, int], None] = lambda _stream, _rows: None,
    stop: threading.Event | None = None,
) -> list[Result]:
    """Run the streams of the tables' sources, and the tables' followers, until they end.

    Once: first the sources, then the followers, which so see all of it. With an interval: side by side.

    Args:
        wait, on_end, on_progress, stop: see `Run`.
        from_the_beginning: see `source_streams`.

    Returns:
        How each stream ended. One that fails leaves the others at work; its result has the error.
    """
    run = Run(trigger, wait, on_end, on_progress, stop or threading.Event())
    sources = source_streams(settings, tables, from_the_beginning=from_the_beginning)
    following = followers(settings, tables)
    if trigger.every is not None:
        return run_all(spark, [*sources, *following], run)
    results = run_all(spark, sources, run)
    return results if run.stop.is_set() else [*results, *run_all(spark, following, run)]
