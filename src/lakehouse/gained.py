"""Columns that a declaration has gained: added to the table, and filled from what was rescued.

What an item had for a column before there was the column lies in `_rescued_data` of its row: nothing has to
be replayed. Which columns are to be filled is noted in the table before they are added: a run that is killed
is finished by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import reduce
from operator import or_

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.merge import retrying
from lakehouse.parse import parse_rescued
from lakehouse.table import Column, Table

TO_FILL = "lakehouse.columnsToFill"
"""Property of a table: names of columns that were added and not filled yet."""

log = logging.getLogger(__name__)


def note_gained(spark: SparkSession, full_name: str, columns: Sequence[Column]) -> None:
    """Note the columns that are about to be added to a table."""
    names = sorted({*_to_fill(spark, full_name), *(c.name for c in columns)})
    spark.sql(f"ALTER TABLE {full_name} SET TBLPROPERTIES ('{TO_FILL}' = '{','.join(names)}')")


def fill_gained(spark: SparkSession, full_name: str, table: Table) -> None:
    """Fill the columns that were added, in a state table or its history, in one commit.

    Rows become what they would be if their change came in now. A column whose values are not in
    `_rescued_data` stays null, and a warning names the command that fills it.
    """
    names = _to_fill(spark, full_name)
    new = [c for c in table.columns if c.name in names]
    left = [c.name for c in new if _lies_elsewhere(c, table, names)]
    gained = frozenset(c.name for c in new if c.name not in left)
    if left:
        log.warning(
            "%s: %s cannot be filled from _rescued_data and will be null until rows change. "
            "To fill it now: lakehouse rebuild %s",
            full_name,
            ", ".join(left),
            table.name,
        )
    if gained:
        retrying(lambda: _fill(spark, full_name, table, gained), f"the filling of columns of {full_name}")
    if names:
        spark.sql(f"ALTER TABLE {full_name} UNSET TBLPROPERTIES IF EXISTS ('{TO_FILL}')")


def _to_fill(spark: SparkSession, full_name: str) -> set[str]:
    properties = {row.key: row.value for row in spark.sql(f"SHOW TBLPROPERTIES {full_name}").collect()}
    return set(filter(None, properties.get(TO_FILL, "").split(",")))


def _lies_elsewhere(column: Column, table: Table, gained: set[str]) -> bool:
    """Whether values of a gained column may be in a column that was there, instead of in `_rescued_data`."""
    if table.format == "documents":
        return True
    return any(
        theirs == path
        or (other.as_json and path.startswith(f"{theirs}."))
        or (column.as_json and theirs.startswith(f"{path}."))
        for other in table.columns
        if other.name not in gained
        for theirs in other.paths
        for path in column.paths
    )


def _fill(spark: SparkSession, full_name: str, table: Table, gained: frozenset[str]) -> None:
    rows = spark.table(full_name).where("NOT is_deleted")
    if all(c.path for c in table.columns if c.name in gained):
        rows = rows.where("_rescued_data IS NOT NULL")
    keys = (*table.keys, "_sequence")
    filled = parse_rescued(rows.withColumn("_before", F.col("_rescued_data")), table, gained)
    found = (F.col(name).isNotNull() for name in sorted(gained))
    changed = reduce(or_, found, ~F.col("_rescued_data").eqNullSafe(F.col("_before")))
    same = reduce(lambda a, b: a & b, (F.col(f"t.{key}") == F.col(f"s.{key}") for key in keys))
    # As a generator that gives nothing for the rows that stay as they are. A filter would be moved below the
    # steps of the parser, every step put in place of its name, wherever it is named: for a few columns the
    # optimizer then takes a minute.
    values = F.struct("_rescued_data", *sorted(gained))
    source = filled.select(*keys, F.inline(F.when(changed, F.array(values))))
    (
        DeltaTable.forName(spark, full_name)
        .alias("t")
        .merge(source.alias("s"), same)
        .whenMatchedUpdate(
            set={f"`{name}`": F.col(f"s.{name}") for name in ("_rescued_data", *sorted(gained))}
        )
        .execute()
    )
