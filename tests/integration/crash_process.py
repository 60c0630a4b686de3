"""A piece of real work that is killed, as by `kill -9`, at one point of it.

    python tests/integration/crash_process.py POINT SETTINGS [ARGUMENTS as JSON]

SETTINGS is a file that holds a Settings as JSON. One production function is wrapped, so that the process
sends itself SIGKILL right before or right after one of its calls; nothing else is changed. Without a point
(`-`) an ingest runs to its end. Right before it dies the process writes the point's name to `died-at` beside
SETTINGS. Java ends with the Python process that started it, within a second or so: whoever goes on waits
until the process group is gone (test_crashes.py).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import pkgutil
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.spark.support import ITEMS

from lakehouse.settings import Settings
from lakehouse.tables.metric_events import METRIC_EVENTS

THINGS = dataclasses.replace(ITEMS, history=True)
BATCH = 0
"""The batch in which an ingest is killed; there are two, 0 and 1."""

MOMENT_SECONDS = 8.0
"""About as long as a new process works on its first batch."""

Work = Literal["ingest", "maintain", "requeue", "fresh read", "scan", "rebuild", "follow"]


def _always(*_: Any, **__: Any) -> bool:
    return True


@dataclass(frozen=True)
class Point:
    """Where the process dies.

    Args:
        name: in words; no two points have the same.
        function: `module:name` as the code that calls it finds it.
        mine: whether a call, told by its arguments, counts.
        call: the number of the call that counts.
        empty: the warehouse has no tables yet.
    """

    name: str
    work: Work
    function: str
    when: Literal["before", "after", "amid"]
    mine: Callable[..., bool] = _always
    call: int = 1
    empty: bool = False


def _both(what: str, work: Work, function: str, mine: Callable[..., bool] = _always) -> Iterator[Point]:
    yield Point(f"before {what}", work, function, "before", mine)
    yield Point(f"after {what}", work, function, "after", mine)


# --- which calls ---------------------------------------------------------------------------------------


def _batch(stream: str, number: int) -> Callable[..., bool]:
    return lambda given, _frame, batch_id: (given.name, batch_id) == (stream, number)


def _merge_into(table: str) -> Callable[..., bool]:
    return lambda _spark, _settings, given, *_, **__: given.name == table


def _bronze(stream: str) -> Callable[..., bool]:
    return lambda _rows, _target, writer, *_, **__: writer.startswith(f"{stream}/")


def _refused_by(table: str) -> Callable[..., bool]:
    return lambda _settings, given, *_, **__: given.name == table


def _books(stream: str) -> Callable[..., bool]:
    return lambda *_, writer, **__: writer.startswith(f"{stream}/")


def _key(part: str) -> Callable[..., bool]:
    return lambda _objects, key, *_: part in key


def _path(end: str) -> Callable[..., bool]:
    return lambda path, *_, **__: str(path).endswith(end)


# --- the points ----------------------------------------------------------------------------------------

_BRONZE, _MERGE = "lakehouse.ingest.bronze:append", "lakehouse.ingest.silver:merge"
_REFUSE, _APPEND = "lakehouse.ingest.silver:refuse", "lakehouse.ingest.batch:append_once"
_PROCESS, _REBUILD = "lakehouse.ingest.stream:process_batch", "lakehouse.operations.rebuild"
_NEW, _PUT, _WRITE = (f"lakehouse.aws.objects:FolderObjects.{name}" for name in ("put_new", "put", "_write"))
_ENTITIES, _FOLLOWERS = "lakehouse.gold.entities", "lakehouse.gold.followers"

INGEST = (
    Point(
        "while the tables are made", "ingest", "lakehouse.catalog.set_up:_create", "after", call=4, empty=True
    ),
    *_both("a checkpoint's identity", "ingest", "lakehouse.ingest.stream:identity", _path("/items")),
    *_both("bronze's commit", "ingest", _BRONZE, _bronze("items")),
    *_both("the state's commit", "ingest", _MERGE, _merge_into("items")),
    *_both("the commit of what was refused", "ingest", _REFUSE, _refused_by("items")),
    *_both("the books' commit", "ingest", _APPEND, _books("items")),
    Point("before the checkpoint's commit", "ingest", _PROCESS, "after", _batch("items", BATCH)),
    Point("after the checkpoint's commit", "ingest", _PROCESS, "before", _batch("items", BATCH + 1)),
    *_both("the commit of the writer's quarantine", "ingest", _BRONZE, _bronze("writer_quarantine")),
)
MOMENTS = tuple(
    Point(f"at a moment that nobody chose ({n})", "ingest", _PROCESS, "amid", _batch("items", BATCH))
    for n in range(1, 5)
)
"""Java is killed too, so that files of a commit may be half written."""

MAINTAIN = (
    *_both("the floor is recorded", "maintain", "lakehouse.ingest.floors:record"),
    *_both("the purge's commit", "maintain", "delta.tables:DeltaTable.delete"),
)
REQUEUE = (
    *_both("a record is landed again", "requeue", _NEW),
    *_both("the decision's commit", "requeue", "lakehouse.operations.quarantine:_decide"),
)
FRESH_READ = (
    Point("after a fresh read is claimed", "fresh read", _NEW, "after", _key("plan.json")),
    Point("after a fresh read has landed", "fresh read", _NEW, "after", _key(".ndjson.gz")),
    Point("after the decision on it", "fresh read", "lakehouse.operations.quarantine:_decide", "after"),
)
SCAN = (
    Point("after a scan is claimed", "scan", _NEW, "after", _key("plan.json")),
    Point("after its attempt is claimed", "scan", _NEW, "after", _key("/attempts/")),
    Point("while an object is written", "scan", _WRITE, "after", _key(".ndjson.gz"), call=3),
    *(dataclasses.replace(p, call=3) for p in _both("an object lands", "scan", _NEW, _key(".ndjson.gz"))),
    Point("after a position is written", "scan", _PUT, "after", _key("/segments/"), call=3),
    *_both("a scan is done", "scan", _PUT, _key("done.json")),
)
REBUILD = (
    Point("after what bronze has is applied", "rebuild", f"{_REBUILD}:catch_up", "after"),
    *_both("the rebuild's commit", "rebuild", f"{_REBUILD}:_merge_once"),
    Point("after what is refused is judged anew", "rebuild", f"{_REBUILD}:_judge_anew", "after"),
)
FOLLOW = (
    Point("before the commit of the entities' events", "follow", f"{_ENTITIES}:_Entities.of", "after"),
    Point("after the commit of the entities' events", "follow", f"{_ENTITIES}:_bring_up_to", "before"),
    *_both("the alerts' commit", "follow", f"{_ENTITIES}:apply_conditions"),
    *_both("the metrics' commit", "follow", f"{_ENTITIES}:_merge_metrics"),
    *_both("the note of what was followed", "follow", f"{_FOLLOWERS}:_note"),
    Point("before the follower's checkpoint's commit", "follow", f"{_FOLLOWERS}:process", "after"),
)
START_OVER = (
    *_both("a look at everything", "follow", f"{_FOLLOWERS}:_whole"),
    Point("before the first query of a follower", "follow", f"{_FOLLOWERS}:drive", "before"),
)
POINTS = (*INGEST, *MOMENTS, *MAINTAIN, *REQUEUE, *FRESH_READ, *SCAN, *REBUILD, *FOLLOW, *START_OVER)


def arm(point: Point, marker: Path) -> None:
    """Have this process die at the point."""
    module, _, name = point.function.partition(":")
    *owners, last = name.split(".")
    owner = functools.reduce(getattr, owners, pkgutil.resolve_name(module))
    real = getattr(owner, last)
    calls = itertools.count(1)

    def die(everything: bool = False) -> None:
        marker.write_text(point.name, encoding="utf-8")
        if everything:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(real)
    def wrapped(*given: Any, **named: Any) -> Any:
        this = point.mine(*given, **named) and next(calls) == point.call
        if this and point.when == "before":
            die()
        if this and point.when == "amid":
            threading.Timer(random.uniform(0, MOMENT_SECONDS), die, [True]).start()
        result = real(*given, **named)
        if this and point.when == "after":
            die()
        if this and point.when == "amid":
            threading.Event().wait()  # until the timer ends it
        return result

    setattr(owner, last, wrapped)


# --- the work ------------------------------------------------------------------------------------------


def _ingest(settings: Settings) -> None:
    from lakehouse.gold.run import ingest
    from lakehouse.local.warehouse import open_warehouse

    for result in ingest(open_warehouse(settings, (THINGS,)), settings, (THINGS,)):
        if result.error is not None:
            raise result.error


def _maintain(settings: Settings, now: str) -> None:
    from lakehouse.local.warehouse import open_warehouse
    from lakehouse.operations.maintain import maintain

    spark = open_warehouse(settings, (THINGS,))
    maintain(spark, settings, [THINGS], now=datetime.fromisoformat(now))


def _requeue(settings: Settings, table_name: str | None = None) -> None:
    from lakehouse.local.warehouse import open_warehouse

    requeue_all(open_warehouse(settings, (THINGS,)), settings, table_name)


def requeue_all(spark: Any, settings: Settings, table_name: str | None) -> Any:
    """Requeue every open record; with a DynamoDB table's name those below the floor, read afresh."""
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.fresh import Reader
    from lakehouse.aws.objects import FolderObjects
    from lakehouse.aws.release import fresh_read
    from lakehouse.operations.quarantine import Filter, requeue
    from lakehouse.sql.views import BELOW_FLOOR

    landing, fresh = FolderObjects(Path(settings.landing)), None
    if table_name:
        reader = Reader(aws_client("dynamodb"), THINGS, table_name, consumer_from="trim-horizon")
        fresh = fresh_read({THINGS.source: reader}.__getitem__, landing)
    which = Filter(reason=BELOW_FLOOR if table_name else None)
    return requeue(spark, settings, which, (THINGS,), landing.put_new, fresh=fresh)


def _scan(settings: Settings, table_name: str) -> None:
    from lakehouse.aws.scan import ReadLimit

    ReadLimit.page = small_pages  # type: ignore[method-assign]
    scan(settings, table_name)


def small_pages(*_: Any) -> dict[str, int]:
    """Instead of `ReadLimit.page`: so that a scan of a small table has many pages."""
    return {"Limit": 4}


def scan(settings: Settings, table_name: str) -> Any:
    """Scan a DynamoDB table into landing, each page an object."""
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.objects import FolderObjects
    from lakehouse.aws.scan import backfill_scan

    return backfill_scan(
        aws_client("dynamodb"),
        FolderObjects(Path(settings.landing)),
        THINGS,
        table_name,
        segments=2,
        object_bytes=1,
        consumer_from="trim-horizon",
    )


def _rebuild(settings: Settings) -> None:
    from lakehouse.local.warehouse import open_warehouse
    from lakehouse.operations.rebuild import rebuild

    rebuild(open_warehouse(settings, (THINGS,)), settings, THINGS, complete=True)


def _follow(settings: Settings) -> None:
    from lakehouse.gold.run import ingest
    from lakehouse.local.warehouse import open_warehouse

    for result in ingest(open_warehouse(settings, (METRIC_EVENTS,)), settings, (METRIC_EVENTS,)):
        if result.error is not None:
            raise result.error


WORKS: dict[Work, Callable[..., Any]] = {
    "ingest": _ingest,
    "maintain": _maintain,
    "requeue": _requeue,
    "fresh read": _requeue,
    "scan": _scan,
    "rebuild": _rebuild,
    "follow": _follow,
}


def main(name: str, settings: str, *arguments: str) -> None:
    path = Path(settings)
    point = next((p for p in POINTS if p.name == name), None)
    if point is None and name != "-":
        raise SystemExit(f"no point {name!r}")
    if point is not None:
        arm(point, path.with_name("died-at"))
    given = Settings(**json.loads(path.read_text(encoding="utf-8")))
    WORKS[point.work if point else "ingest"](given, *map(json.loads, arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
