"""What the declarations make: every table and every view, in the order in which they are created."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lakehouse.catalog import bronze, ops
from lakehouse.gold.tables import DERIVED
from lakehouse.settings import Layer
from lakehouse.sql import views
from lakehouse.table import Column, Table, View


@dataclass(frozen=True, slots=True)
class Made:
    """A table. `unique`: columns by which everything that writes to it finds a row before it adds one, in one
    commit, so that no two rows are equal in all of them; none where nothing sees to that. `statistics`:
    columns of which Delta keeps the least and the greatest value; of long texts they would cost rows times
    length."""

    layer: Layer
    name: str
    columns: tuple[Column, ...]
    comment: str
    cluster_by: tuple[str, ...]
    unique: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()


_ENVELOPE = ("_sequence", "_event_id", "_changed_at", "_applied_at", "_modified_at")
_PLACE = ("_problem", "_stream", "_batch_id", "_loaded_at", "_source_file")


def _statistics(columns: tuple[Column, ...], *wanted: str) -> tuple[str, ...]:
    names = {c.name for c in columns if c.type not in ("boolean", "variant")}
    return tuple(name for name in dict.fromkeys(wanted) if name in names)


def formats(tables: Iterable[Table]) -> dict[str, str]:
    """The sources of the tables and the format of each."""
    return {source: table.format for table in tables for source in table.sources}


def state_table(table: Table) -> Made:
    """A state table."""
    columns = table.all_columns
    kept = _statistics(columns, *table.keys, *table.cluster_by, *_ENVELOPE)
    return Made("silver", table.name, columns, table.comment, table.cluster_by, table.keys, kept)


def bronze_tables(tables: Iterable[Table]) -> Iterator[Made]:
    """The bronze tables of the tables' sources, and that of the writer's quarantine."""
    for source, format_ in formats(tables).items():
        columns = bronze.columns(format_)
        key = "_document_key" if format_ == "documents" else "_key"
        what = "document, every version of it" if format_ == "documents" else "change record"
        comment = f"Every {what} that came from {source}, good or bad, as it came. Rows are only ever added."
        yield Made(
            "bronze",
            source,
            columns,
            comment,
            (key,),
            statistics=_statistics(columns, key, *_ENVELOPE, *_PLACE),
        )
    yield Made(
        "bronze",
        bronze.WRITER_QUARANTINE,
        bronze.CHANGES,
        "Every record that the writer could not convert, raw, with its reason. Rows are only ever added.",
        ("_batch_id",),
        statistics=_statistics(bronze.CHANGES, *_PLACE),
    )


def other_tables(tables: Iterable[Table]) -> Iterator[Made]:
    """Bronze, the books, and what batches of these tables bring up to date."""
    tables = tuple(tables)
    yield from bronze_tables(tables)
    for name, (columns, comment, cluster_by) in ops.TABLES.items():
        times = (c.name for c in columns if c.type == "timestamp")
        yield Made(
            "ops", name, columns, comment, cluster_by, statistics=_statistics(columns, *cluster_by, *times)
        )
    names = {table.name for table in tables}
    for derived in DERIVED:
        if derived.of & names:
            times = (c.name for c in derived.columns if c.type == "timestamp")
            kept = _statistics(derived.columns, "entity_id", *derived.unique, *times)
            yield Made(
                "silver",
                derived.name,
                derived.columns,
                derived.comment,
                ("entity_id",),
                derived.unique,
                kept,
            )


def history_view(table: Table) -> View:
    """The gold view of the history of a table."""
    return View(
        table.history_name,
        f"Every version of every row and when it held: {table.comment}",
        views.history(table),
        table.all_columns,
    )


def quarantine_view(tables: Iterable[Table]) -> View:
    """The view of everything that could not be applied."""
    return View(
        "quarantine",
        "Records that could not be applied, and the latest decision on each: open, requeued or discarded.",
        views.quarantine(formats(tables), bronze.WRITER_QUARANTINE),
        ops.QUARANTINE,
    )


def all_views(tables: Iterable[Table]) -> Iterator[tuple[Layer, View]]:
    """Every view and its layer, each after those that it may read from."""
    tables = tuple(tables)
    names = {table.name for table in tables}
    for derived in DERIVED:
        if derived.view is not None and derived.of & names:
            yield "gold", derived.view
    for table in tables:
        for view in table.views:
            yield "gold", view
        if table.history:
            yield "gold", history_view(table)
    yield "ops", quarantine_view(tables)
    for view in ops.IN_GOLD:
        yield "gold", view
