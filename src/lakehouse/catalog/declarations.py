"""What state tables were made of when they were set up, and which of their columns are still to be filled.

Kept in ops.declarations, one row each time something changes; the newest row of a table holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.errors import ColumnTypeError
from lakehouse.settings import Settings
from lakehouse.table import Table


def origins(table: Table) -> dict[str, str]:
    """Each column, and a hash of what it is made of; what a transform makes cannot be told."""
    return {
        c.name: hashlib.sha256(
            json.dumps([c.paths, c.sql, c.default, sorted(table.json_text)]).encode()
        ).hexdigest()[:16]
        for c in table.columns
    }


@dataclass(frozen=True, slots=True)
class Declarations:
    """What is noted, by table."""

    rows: dict[str, Row]

    @classmethod
    def read(cls, spark: SparkSession, settings: Settings) -> Declarations:
        """The newest row of every table."""
        noted = spark.table(settings.table("ops", "declarations"))
        # As text: a timestamp would be collected in the process's own zone.
        columns = [
            F.col(c.name).cast("string").alias(c.name) if c.type == "timestamp" else F.col(c.name)
            for c in ops.DECLARATIONS
        ]
        newest = noted.groupBy("table_name").agg(F.max_by(F.struct(*columns), "noted_at").alias("_row"))
        return cls({row.table_name: row for row in newest.select("_row.*").collect()})

    def to_fill(self, table: Table) -> list[str]:
        """The columns that are to be filled from bronze."""
        row = self.rows.get(table.name)
        return list(row.to_fill or []) if row else []

    def note(self, spark: SparkSession, settings: Settings, table: Table, *, is_new: bool) -> None:
        """Note what a table is declared as, if that is not what is noted.

        Args:
            is_new: the table is not there yet: it fills itself, as no batch counts that it had applied.

        Raises:
            ColumnTypeError: a column has another type than it was created with.
        """
        types, made = {c.name: c.type for c in table.columns}, origins(table)
        row = self.rows.get(table.name)
        if is_new or row is None:
            self._write(spark, settings, table, types, made, [], F.current_timestamp())
            return
        for name, kind in types.items():
            if row.types.get(name, kind) != kind:
                raise ColumnTypeError(table.name, name, row.types[name], kind)
        changed = [name for name, origin in made.items() if row.origins.get(name) != origin]
        if changed or set(types) != set(row.types):
            to_fill = sorted({*changed, *self.to_fill(table)} & set(types))
            self._write(
                spark, settings, table, row.types | types, made, to_fill, F.lit(row.made_at).cast("timestamp")
            )

    def filled(self, spark: SparkSession, settings: Settings, table: Table) -> None:
        """Note that nothing is left to be filled."""
        row = self.rows[table.name]
        self._write(spark, settings, table, row.types, row.origins, [], F.lit(row.made_at).cast("timestamp"))

    def _write(
        self,
        spark: SparkSession,
        settings: Settings,
        table: Table,
        types: dict[str, str],
        made: dict[str, str],
        to_fill: Iterable[str],
        made_at: F.Column,  # type: ignore[name-defined]
    ) -> None:
        values = [(table.name, types, made, list(to_fill))]
        schema = (
            "table_name string, types map<string,string>, origins map<string,string>, to_fill array<string>"
        )
        frame = spark.createDataFrame(values, schema)
        frame = frame.withColumns(
            {"made_at": made_at, "noted_at": F.lit(datetime.now(UTC).isoformat()).cast("timestamp")}
        )
        rows = frame.select(*(c.name for c in ops.DECLARATIONS))
        rows.write.format("delta").mode("append").saveAsTable(settings.table("ops", "declarations"))
        self.rows[table.name] = frame.select(
            *(
                F.col(c.name).cast("string").alias(c.name) if c.type == "timestamp" else F.col(c.name)
                for c in ops.DECLARATIONS
            )
        ).first()  # type: ignore[assignment]
