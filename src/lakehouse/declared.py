"""What the declarations make: every table and every view, in the order in which they are created."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lakehouse import ops
from lakehouse.gold.tables import DERIVED
from lakehouse.settings import Layer
from lakehouse.table import Column, Table, View


@dataclass(frozen=True, slots=True)
class Made:
    """A table. `unique`: columns by which everything that writes to it finds a row before it adds one, in one
    commit, so that no two rows are equal in all of them; none where nothing sees to that."""

    layer: Layer
    name: str
    columns: tuple[Column, ...]
    comment: str
    cluster_by: tuple[str, ...]
    unique: tuple[str, ...] = ()


def state_tables(table: Table) -> Iterator[Made]:
    """A state table, and its history."""
    yield Made("silver", table.name, table.all_columns, table.comment, table.cluster_by, table.keys)
    if table.history:
        words = f"Every change of every row, as it came; rows are only ever added. {table.comment}"
        unique = (*table.keys, "_sequence")
        yield Made("silver", table.history_name, table.all_columns, words, table.cluster_by, unique)


def other_tables(tables: Iterable[Table]) -> Iterator[Made]:
    """The books, and what batches of these tables bring up to date."""
    for name, (columns, comment, cluster_by) in ops.TABLES.items():
        yield Made("ops", name, columns, comment, cluster_by)
    names = {table.name for table in tables}
    for derived in DERIVED:
        if derived.of & names:
            yield Made(
                "silver", derived.name, derived.columns, derived.comment, ("entity_id",), derived.unique
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
    yield "ops", ops.QUARANTINE
    for view in ops.IN_GOLD:
        yield "gold", view
