"""What state tables were made of when they were set up, and which of their columns are still to be filled.

Kept in ops.declarations, one row each time something changes; the newest row of a table holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.errors import ColumnTypeError
from lakehouse.settings import Settings
from lakehouse.table import Table


def origins(table: Table) -> dict[str, str]:
    """Each column, and a hash of what it is made of, the columns that its SQL names included.

    What a transform makes cannot be told.
    """
    found: dict[str, str] = {}
    for c in table.columns:
        over = [found[name] for name in found if re.search(rf"\b{name}\b", f"{c.sql} {c.default}")]
        made_of = json.dumps([c.paths, c.sql, c.default, sorted(table.json_text), *over])
        found[c.name] = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return found


@dataclass(frozen=True, slots=True)
class Declared:
    """What is noted of a table. `made_at` is in microseconds: a timestamp would pass through a zone."""

    made_at: int
    types: dict[str, str]
    origins: dict[str, str]
    to_fill: list[str]


@dataclass(frozen=True, slots=True)
class Declarations:
    """What is noted, by table."""

    rows: dict[str, Declared]

    @classmethod
    def read(cls, spark: SparkSession, settings: Settings) -> Declarations:
        """The newest note of every table."""
        noted = spark.table(settings.table("ops", "declarations")).select(
            "table_name",
            *(F.unix_micros(name).alias(name) for name in ("made_at", "noted_at")),
            *("types", "origins", "to_fill"),
        )
        found = sorted(noted.collect(), key=lambda row: row.noted_at)
        return cls(
            {
                row.table_name: Declared(row.made_at, row.types, row.origins, list(row.to_fill or []))
                for row in found
            }
        )

    def to_fill(self, table: Table) -> list[str]:
        """The columns that are to be filled from bronze."""
        return self.rows[table.name].to_fill if table.name in self.rows else []

    def note(self, spark: SparkSession, settings: Settings, tables: Mapping[Table, bool]) -> None:
        """Note what tables are declared as, where that is not what is noted.

        Args:
            tables: each with whether it is not there yet: then it fills itself, as no batch counts that it
                had applied.

        Raises:
            ColumnTypeError: a column has another type than it was created with.
        """
        changed = {}
        for table, is_new in tables.items():
            declared = self._declared(table, is_new)
            if declared != self.rows.get(table.name):
                changed[table.name] = declared
        self._write(spark, settings, changed)

    def _declared(self, table: Table, is_new: bool) -> Declared:
        types, made = {c.name: c.type for c in table.columns}, origins(table)
        noted = self.rows.get(table.name)
        if is_new or noted is None:
            return Declared(_now(), types, made, [])
        for name, kind in types.items():
            if noted.types.get(name, kind) != kind:
                raise ColumnTypeError(table.name, name, noted.types[name], kind)
        changed = {name for name, origin in made.items() if noted.origins.get(name) != origin}
        if not changed and set(types) == set(noted.types):
            return noted
        to_fill = sorted({*changed, *noted.to_fill} & set(types))
        return Declared(noted.made_at, noted.types | types, made, to_fill)

    def filled(self, spark: SparkSession, settings: Settings, table: Table) -> None:
        """Note that nothing is left to be filled."""
        self._write(spark, settings, {table.name: replace(self.rows[table.name], to_fill=[])})

    def _write(self, spark: SparkSession, settings: Settings, changed: Mapping[str, Declared]) -> None:
        if not changed:
            return
        schema = (
            "table_name string, made_at bigint, types map<string,string>, origins map<string,string>, "
            "to_fill array<string>, noted_at bigint"
        )
        values = [(name, d.made_at, d.types, d.origins, d.to_fill, _now()) for name, d in changed.items()]
        frame = spark.createDataFrame(values, schema)
        frame = frame.withColumns({name: F.timestamp_micros(name) for name in ("made_at", "noted_at")})
        rows = frame.select(*(c.name for c in ops.DECLARATIONS))
        rows.write.format("delta").mode("append").saveAsTable(settings.table("ops", "declarations"))
        self.rows.update(changed)


def _now() -> int:
    return round(datetime.now(UTC).timestamp() * 1_000_000)
