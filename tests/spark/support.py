"""What the tests of the engine share: change records, a lake of its own for each test, a comparison."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse.catalog.declared import all_views
from lakehouse.catalog.set_up import create_view, set_up
from lakehouse.gold.run import ingest
from lakehouse.ingest.fill import fill
from lakehouse.ingest.runner import Result
from lakehouse.local.warehouse import attach
from lakehouse.settings import LAYERS, Layer, Settings
from lakehouse.sql.select import select
from lakehouse.sql.views import versions
from lakehouse.table import Column, Table
from lakehouse.tables.transcripts import transcripts

LABEL = "2026-01-05T08:00:00.123"
"""The stream that is enabled."""

EARLIER_LABEL = "2025-06-01T00:00:00.000"
"""A stream that was switched off before."""

CHANGED_MS = 1_767_870_000_000
CHANGED_AT = "2026-01-08 11:00:00"

ITEMS = Table(
    name="items",
    source="items",
    keys=("site", "number"),
    comment="A little table with a key of two columns.",
    columns=(
        Column("site", "string", "First part of the key.", "site"),
        Column("number", "string", "Second part of the key.", "number"),
        Column("note", "string", "Some text.", "note"),
        Column("amount", "bigint", "Some number.", "amount"),
    ),
)


TRANSCRIPTS = transcripts()


def sequence(number: int, label: str = LABEL) -> str:
    """The sequence of a stream record."""
    return f"{label}/{number:040d}"


def change(at: str | int, *, deleted: bool = False, **attributes: Any) -> dict[str, Any]:
    """A change record as the writer makes it; `at` is its sequence, or the number of one."""
    order = sequence(at) if isinstance(at, int) else at
    metadata = {
        "_eventID": uuid.uuid5(uuid.NAMESPACE_OID, order).hex,
        "_eventName": "REMOVE" if deleted else "MODIFY",
        "_sequence": order,
        "_ingestTs": CHANGED_MS + 60_000,
        "is_deleted": deleted,
        "_approxStreamTs": CHANGED_MS,
        "updated_at": CHANGED_MS,
    }
    return metadata | ({"_deleteKind": "user"} if deleted else {}) | attributes


def event(
    number: int,
    *,
    event_id: str | None = None,
    event_type: str | None = None,
    timestamp: str | None = None,
    **figures: Any,
) -> dict[str, Any]:
    """An event as the writer lands it: an envelope with its figures inside `payload`; None is left out.

    `number` is its place in the shard. It arrived at CHANGED_MS.
    """
    metadata = {
        "_eventID": f"shardId-000000000000:{number}#0",
        "_eventName": "EVENT",
        "_sequence": f"{number:056d}/shardId-000000000000/000000",
        "_approxStreamTs": CHANGED_MS,
        "_ingestTs": CHANGED_MS + 60_000,
        "is_deleted": False,
        "updated_at": CHANGED_MS,
    }
    outside = {"event_id": event_id, "event_type": event_type, "timestamp": timestamp}
    return metadata | {k: v for k, v in outside.items() if v is not None} | {"payload": figures}


def line(record: Mapping[str, Any] | str | bytes) -> bytes:
    """A record as its line, without the newline; text and bytes are taken as they are."""
    if isinstance(record, bytes):
        return record
    return (record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)).encode()


def lines_frame(spark: SparkSession, records: Iterable[Mapping[str, Any] | str | bytes]) -> DataFrame:
    """The records as a source hands them over."""
    rows = [(bytearray(line(record)), "file:/landing/a.ndjson.gz") for record in records]
    frame = spark.createDataFrame(rows, "value binary, _source_file string")
    return frame.select(F.col("value").cast("string").alias("value"), "_source_file")


def show_times(frame: DataFrame) -> DataFrame:
    """Timestamps as text in UTC: collected as they are, they would be told in the process's time zone."""
    return frame.select(
        *(
            F.col(f"`{name}`").cast("string").alias(name) if kind.startswith("timestamp") else f"`{name}`"
            for name, kind in frame.dtypes
        )
    )


def assert_rows(frame: DataFrame, expected: Sequence[tuple[Any, ...]], schema: str) -> None:
    """The frame has exactly these columns, types and rows, in any order of rows."""
    wanted = frame.sparkSession.createDataFrame(list(expected), StructType.fromDDL(schema))
    assert_df_equality(
        frame.select(*frame.columns),
        wanted,
        ignore_row_order=True,
        ignore_nullable=True,
        ignore_metadata=True,
    )


def assert_same(one: DataFrame, other: DataFrame) -> None:
    """Both frames have the same columns, types and rows, in any order of rows."""
    assert_df_equality(one, other, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


def versions_of(spark: SparkSession, settings: Settings, table: Table) -> DataFrame:
    """Every version of every row of a table, out of bronze."""
    return spark.sql(settings.in_schemas(select(table, versions(table))))


_kept = tempfile.TemporaryDirectory(prefix="lakes-")
_made: dict[tuple[Table, ...], Path] = {}
"""Folders in it with the tables of a lake that was just set up."""


def _copy(there: Path, here: Path) -> None:
    if there.is_dir():
        shutil.copytree(there, here)


@dataclass
class Lake:
    """An installation of a test's own: schemas, landing, documents, checkpoints."""

    spark: SparkSession
    folder: Path
    tables: tuple[Table, ...]
    max_files: int = 1000
    landing_name: str = "landing"
    settings: Settings = field(init=False)
    landed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        own = uuid.uuid4().hex[:8]
        self.documents.mkdir(parents=True)
        self.pca.mkdir()
        self.settings = Settings(
            landing=str(self.folder / self.landing_name),
            checkpoints=str(self.folder / "checkpoints"),
            documents={"transcripts": str(self.documents), "pca_calls": str(self.pca)},
            bronze=f"bronze_{own}",
            silver=f"silver_{own}",
            gold=f"gold_{own}",
            ops=f"ops_{own}",
            warehouse=str(self.folder),
            platform="local",
            max_files=self.max_files,
        )
        self._make()

    def _make(self) -> None:
        """Set up, the first time for these tables; then by a copy of what that made, which is much faster."""
        made = _made.get(self.tables)
        if made is None:
            set_up(self.spark, self.settings, self.tables)
            made = _made[self.tables] = Path(_kept.name) / str(len(_made))
            for layer in LAYERS:
                _copy(self._place(layer), made / layer)
            return
        for layer in LAYERS:
            _copy(made / layer, self._place(layer))
        attach(self.spark, self.settings)
        for layer, view in all_views(self.tables):
            create_view(self.spark, self.settings, layer, view)

    def set_up(self) -> None:
        """As `jobs/setup.py` does, after the tables have changed."""
        fill(self.spark, self.settings, self.tables, set_up(self.spark, self.settings, self.tables))

    def _place(self, layer: Layer) -> Path:
        return Path(str(self.settings.location(layer)))

    @property
    def documents(self) -> Path:
        return self.folder / "documents"

    @property
    def pca(self) -> Path:
        return self.folder / "pca"

    def land(
        self,
        source: str,
        *records: Mapping[str, Any] | str | bytes,
        name: str | None = None,
        data: bytes | None = None,
        mtime: float | None = None,
    ) -> Path:
        """Land one object; without `mtime` it is a second newer than the one before."""
        self.landed += 1
        path = (
            Path(self.settings.landing)
            / source
            / "dt=2026-01-05"
            / "HH=08"
            / (name or f"{self.landed:04d}.ndjson.gz")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"".join(line(r) + b"\n" for r in records)) if data is None else data)
        time = 1_767_880_000 + self.landed if mtime is None else mtime
        os.utime(path, (time, time))
        return path

    def write_document(self, key: str, document: object, *, mtime: float, below: Path | None = None) -> Path:
        """Write, or write again, one document; a transcript, unless it is to lie below another folder."""
        path = (below or self.documents) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        os.utime(path, (mtime, mtime))
        return path

    def ingest(self, *tables: Table, settings: Settings | None = None) -> dict[str, Result]:
        """Run the streams of the tables (all if none is named) to their end; results by stream."""
        results = ingest(self.spark, settings or self.settings, tables or self.tables)
        return {result.stream: result for result in results}

    def ingest_well(self, *tables: Table, settings: Settings | None = None) -> dict[str, Result]:
        """`ingest`, and no stream may have ended in an error."""
        results = self.ingest(*tables, settings=settings)
        for result in results.values():
            if result.error is not None:
                raise result.error
        return results

    def state(self, table: Table) -> DataFrame:
        """The state table."""
        return self.spark.table(self.settings.table("silver", table.name))

    def content(self, table: Table) -> DataFrame:
        """The state table without the columns that say where and when a row was written."""
        return self.state(table).drop("_source_file", "_applied_at")

    def rows(self, table: Table) -> dict[str, Row]:
        """The state table's rows by the first column of the key, times as text."""
        return {row[0]: row for row in show_times(self.state(table)).collect()}

    def bronze(self, source: str) -> DataFrame:
        """A bronze table."""
        return self.spark.table(self.settings.table("bronze", source))

    def history(self, table: Table) -> DataFrame:
        """Every version of every row, without the column that says where it came from."""
        return versions_of(self.spark, self.settings, table).drop("_source_file")

    def gold(self, name: str) -> DataFrame:
        """A gold view."""
        return self.spark.table(self.settings.table("gold", name))

    def books(self) -> list[Row]:
        """ops.batches in order; in every row the records must add up."""
        rows = show_times(self.spark.table(self.settings.table("ops", "batches"))).collect()
        for row in rows:
            assert row.records == row.upserts + row.deletes + row.stale + row.quarantined, row
        return sorted(rows, key=lambda row: (row.stream, row.batch_id))

    def quarantine(self) -> DataFrame:
        """ops.quarantine."""
        return self.spark.table(self.settings.table("ops", "quarantine"))

    def versions(self) -> dict[str, int]:
        """Every table's version: how often something was committed to it."""
        names = [("silver", t.name) for t in self.tables]
        names += [("bronze", source) for t in self.tables for source in t.sources]
        names += [("ops", "batches"), ("ops", "refused")]
        found = {}
        for layer, name in names:
            location = Path(self.settings.location(layer, name) or "")  # type: ignore[arg-type]
            commits = [
                p.stem for p in (location / "_delta_log").glob("*.json") if re.fullmatch(r"\d+", p.stem)
            ]
            found[f"{layer}.{name}"] = max(map(int, commits))
        return found

    def forget_last_batch(self, table: Table) -> int:
        """Take the last entry from the checkpoint's log of commits, as after a crash just before it."""
        commits = Path(self.settings.stream_folder(table.source)) / "checkpoint" / "commits"
        last = max(int(p.name) for p in commits.iterdir() if p.name.isdigit())
        for path in (commits / str(last), commits / f".{last}.crc"):
            path.unlink(missing_ok=True)
        return last
