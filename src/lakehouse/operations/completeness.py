"""Since when bronze has every change of a source: what a rebuild believes.

It is noted in ops.completeness while landing can still tell, as landed objects may expire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import change_record
from lakehouse.ingest import floors
from lakehouse.ingest.lease import exclusive
from lakehouse.operations.landing import RESTORED, Store, all_set_aside, exists, open_store
from lakehouse.settings import Settings
from lakehouse.sql.views import object_of

BEGINNING = "beginning"
"""Bronze has every change of a source since there are any."""

_SET_ASIDE = "set aside: "
"""Begins the basis of a row that says that an object was kept out."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is noted of a source.

    since: BEGINNING, the time of a snapshot that bronze holds whole, or None. missing: objects that were set
    aside after that and have not come back, each with the time (microseconds) when this was noted.
    """

    since: str | None
    missing: dict[str, int]


def known(spark: SparkSession, settings: Settings, source: str) -> Known:
    """What is noted of a source, and which gaps are still open."""
    noted = spark.table(settings.table("ops", "completeness")).where(F.col("source") == source)
    rows = noted.select("since", "basis", F.unix_micros("noted_at").alias("at")).collect()
    newest = max((row for row in rows if row.since is not None), key=lambda row: row.at, default=None)
    covered = -1
    if newest is not None:
        covered = newest.at if newest.since == BEGINNING else _micros(newest.since)
    gaps = {
        row.basis.removeprefix(_SET_ASIDE): row.at for row in rows if row.since is None and row.at >= covered
    }
    first = {name: re.sub(RESTORED, ".", name) for name in gaps}
    back = _in_bronze(spark, settings, source, [*first.values()], restored=True) if gaps else set()
    return Known(
        newest.since if newest is not None else None,
        {name: at for name, at in gaps.items() if first[name] not in back},
    )


def note(spark: SparkSession, settings: Settings, source: str, since: str | None, basis: str) -> None:
    """Note since when bronze has every change of a source; None: that it lacks some, for the reason given."""
    row = spark.range(1).select(
        F.lit(source).alias("source"),
        F.lit(since).cast("string").alias("since"),
        F.current_timestamp().alias("noted_at"),
        F.lit(basis).alias("basis"),
    )
    with exclusive(settings.warehouse):
        row.write.format("delta").mode("append").saveAsTable(settings.table("ops", "completeness"))


def note_landing(spark: SparkSession, settings: Settings, source: str) -> None:
    """Note what landing tells of a source: each object that is set aside, once; and the newest snapshot, if
    bronze has all of it and all that came after it."""
    if not settings.landing:
        return
    store = open_store(settings.landing)
    noted = spark.table(settings.table("ops", "completeness")).where(F.col("source") == source)
    before = {row.basis for row in noted.where("since IS NULL").select("basis").collect()}
    for place in all_set_aside(store, source):
        if _SET_ASIDE + place not in before:
            note(spark, settings, source, None, _SET_ASIDE + place)
    _note_snapshot(spark, settings, store, source)


def _note_snapshot(spark: SparkSession, settings: Settings, store: Store, source: str) -> None:
    found = known(spark, settings, source)
    if found.since == BEGINNING and not found.missing:
        return
    # Older than that a snapshot tells nothing new.
    bounds = [
        *found.missing.values(),
        *([_micros(found.since)] if found.since not in (None, BEGINNING) else []),
    ]
    # By their names the newest comes last.
    for backfill in reversed(_inside(store, f"{store.root}/{change_record.BACKFILLS_FOLDER}/{source}")):
        done = _read(store, f"{backfill.path}/done.json")
        if not done or _micros(done["time"]) <= max(bounds, default=-1):
            continue
        names = list(dict.fromkeys(done["objects"]))
        whole = len(_in_bronze(spark, settings, source, names)) == len(names)
        if whole and _reaches_back(spark, settings, store, source, datetime.fromisoformat(done["time"])):
            note(spark, settings, source, done["time"], f"snapshot {backfill.base_name}")
            return


def _in_bronze(
    spark: SparkSession, settings: Settings, source: str, names: list[str], *, restored: bool = False
) -> set[str]:
    """Which objects' records bronze has, under their own names or, once set aside, under those they came
    back by; `restored`: under these alone."""
    there = spark.table(settings.table("bronze", source)).select(
        F.expr(object_of("_source_file")).alias("name")
    )
    if restored:
        there = there.where(F.col("name").rlike(RESTORED))
    there = there.select(F.regexp_replace("name", RESTORED, ".").alias("name")).distinct()
    wanted = spark.createDataFrame([(name,) for name in names], "name string")
    return {row.name for row in wanted.join(there, "name", "left_semi").collect()}


def _reaches_back(
    spark: SparkSession, settings: Settings, store: Store, source: str, taken: datetime
) -> bool:
    """Whether everything that landed since a time must be in bronze.

    Either something was read before it: whatever landed then was read too. Or an object that landed before it
    is still there: objects go by their age, so nothing younger had gone when bronze began to read.
    """
    bronze = spark.table(settings.table("bronze", source))
    if not bronze.where(F.col("_loaded_at") <= floors.instant(taken)).isEmpty():
        return True
    return any(landed <= taken for landed in _landed_at(store, source))


def _landed_at(store: Store, source: str) -> Iterator[datetime]:
    """When each object in the day and hour folders of a source landed, the oldest hours first."""
    for day in _inside(store, f"{store.root}/{source}"):
        if not day.is_file and change_record.UNDATED_FOLDER.split("/")[0] not in day.path:
            for hour in _inside(store, day.path):
                if not hour.is_file:
                    yield from (info.mtime for info in _inside(store, hour.path) if info.is_file)


def _inside(store: Store, folder: str) -> list[Any]:
    """What lies in a folder, by name; nothing where there is none."""
    from pyarrow import fs

    found: list[Any] = store.files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return sorted(found, key=lambda info: info.path)


def _read(store: Store, path: str) -> dict[str, Any]:
    if not exists(store, path):
        return {}
    with store.files.open_input_stream(path) as file:
        told: dict[str, Any] = json.loads(file.read())
    return told


def _micros(time: str) -> int:
    return floors.micros(datetime.fromisoformat(time))
