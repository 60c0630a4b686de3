"""Pure: the SELECT that makes the rows of a table of change records out of the records.

One text for every use: the MERGE of a batch, history, a rebuild, the filling of a column, and a person who
asks to see it. Which records are looked at is the caller's, in place of `{records}`: every column of a bronze
table (ingest/bronze.py), with a key and without a problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lakehouse.sql.paths import Path, landed_path
from lakehouse.sql.values import (
    fitted,
    framed,
    has_lone_surrogate,
    in_years,
    instant,
    text_at,
    unframed,
    variant_at,
)
from lakehouse.table import METADATA_COLUMNS, Column, Table

MISFITS = "_misfits"
"""How many values of a row are there and do not fit their column, or are no object where one is read."""

BESIDE = ("_key", "_stream", "_batch_id")
"""Where a row lies in bronze."""

_OBJECT = r"'^\\s*\\{'"
_IS_NESTED = "each -> schema_of_variant(each) RLIKE '^(OBJECT|ARRAY)'"
_IS_SCALAR = "each -> schema_of_variant(each) NOT RLIKE '^(OBJECT|ARRAY|VOID)'"


@dataclass
class _Reading:
    """The steps of reading, each `expression AS name` over those before it."""

    table: Table
    objects: list[tuple[str, str]] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)
    misfits: list[str] = field(default_factory=list)
    """Conditions under which a value is there that does not fit."""

    def name(self, path: Path, ending: str = "") -> str:
        """A name of our own for what stands at a path: it begins with an underscore, as no column does."""
        plain = "_" + re.sub(r"\W", "_", "_".join(path), flags=re.ASCII) + ending
        taken = {name for _, name in (*self.objects, *self.values)} | _RESERVED
        while plain in taken or plain.lower() in {n.lower() for n in taken}:
            plain += "_"
        return plain

    def object_at(self, path: Path) -> str:
        """The object at a path that may also be the text of one."""
        if path in self.names:
            return self.names[path]
        inside, rest = self.inside(path)
        text, frame, opened = (self.name(path, ending) for ending in ("_text", "_frame", "_object"))
        self.objects += [
            (text_at(inside, rest), text),
            (f"IF({has_lone_surrogate(text)}, NULL, {framed(text)})", frame),
            (unframed(frame, text), opened),
        ]
        self.misfits.append(f"{text} IS NOT NULL AND ({opened} IS NULL OR {text} NOT RLIKE {_OBJECT})")
        self.names[path] = opened
        return opened

    def inside(self, path: Path, whole: str = "_live") -> tuple[str, Path]:
        """The VARIANT in which a path is read, and what is left of the path there."""
        texts = [landed_path(each) for each in self.table.json_text]
        around = max((t for t in texts if t == path[: len(t)] and t != path), key=len, default=None)
        return (whole, path) if around is None else (self.object_at(around), path[len(around) :])

    def value(self, path: Path, *, variant: bool = False, whole: str = "_live") -> str:
        """The name of what stands at a path, read once however many columns ask for it."""
        known = (*path, "variant" if variant else "", whole)
        if known not in self.names:
            inside, rest = self.inside(path, whole)
            name = self.name(path, "_variant" if variant else "")
            self.values.append((variant_at(inside, rest) if variant else text_at(inside, rest), name))
            self.names[known] = name
        return self.names[known]

    def step(self, expression: str, path: Path, ending: str) -> str:
        name = self.name(path, ending)
        self.values.append((expression, name))
        return name


_RESERVED = {c.name for c in METADATA_COLUMNS} | {
    *("_live", "_key", "_problem", "_detail", "_raw", "_stream", "_batch_id", "_loaded_at", "_record"),
    MISFITS,
}


NO_KEY = r"'\\u0000'"
"""What `key_texts` gives for a value that is there and cannot be a key. A key of these very six characters
would be refused with it."""


def key_texts(table: Table, record: str) -> list[str]:
    """The texts of a record's key attributes: null where one is missing or empty.

    NO_KEY for an object or an array, and for a number that VARIANT does not hold exactly (a double): it must
    not become equal to another key, nor pass for a missing one, in whose place something else is taken.
    """
    texts = []
    for column in table.columns[: len(table.keys)]:
        parts = []
        for path in map(landed_path, column.paths):
            around = next((t for t in map(landed_path, table.json_text) if t == path[: len(t)] != path), ())
            inside = _opened(text_at(record, around)) if around else record
            rest = path[len(around) :]
            kind = f"schema_of_variant({variant_at(inside, rest)})"
            unusable = f"{kind} NOT RLIKE '^(STRING|BIGINT|DECIMAL|BOOLEAN|VOID)'"
            parts.append(f"nullif(IF({unusable}, {NO_KEY}, {text_at(inside, rest)}), '')")
        texts.append(_first([*parts, *([column.default] if column.default else [])]))
    return texts


def _opened(text: str) -> str:
    """The object that a text is, as `_Reading.object_at` reads it, in one expression."""
    return f"IF({has_lone_surrogate(text)}, NULL, {unframed(framed(text), text)})"


def select(table: Table, records: str, *, beside: bool = False) -> str:
    """The SELECT of a table of change records.

    Args:
        records: what stands in its FROM clause: the name of a table, or a query in parentheses.
        beside: with the columns BESIDE and MISFITS at the end.

    Returns:
        SQL whose columns are those of the state table but `_applied_at`, in its order. On a tombstone all but
        the key and the metadata are null.
    """
    reading = _Reading(table)
    made = {
        column.name: _key_column(reading, column, place)
        if place < len(table.keys)
        else _column(reading, column)
        for place, column in enumerate(table.columns)
    }
    metadata = [c.name for c in METADATA_COLUMNS if c.name != "_applied_at"]
    columns = [
        c.name if c.name in metadata else _as(made[c.name], c.name)
        for c in table.all_columns
        if c.name != "_applied_at"
    ]
    if beside:
        columns += BESIDE
        columns.append(f"{' + '.join(f'IF({each}, 1, 0)' for each in reading.misfits) or '0'} AS {MISFITS}")
    live = _lines(["IF(is_deleted, NULL, item) AS _live", *(_as(*step) for step in reading.objects)])
    # A column of the table may be called item, and others may be over it.
    values = _lines(["* EXCEPT (item)", *(_as(*step) for step in reading.values)])
    return (
        f"WITH record AS (\n  SELECT *,\n    {live}\n  FROM {records}\n),\n"  # noqa: S608 - declared names
        f"value AS (\n  SELECT {values}\n  FROM record\n)\n"
        f"SELECT\n  {_lines(columns, 2)}\nFROM value"
    )


def _key_column(reading: _Reading, column: Column, place: int) -> str:
    paths = [landed_path(path) for path in column.paths]
    if any(reading.inside(path, "item")[0] != "item" for path in paths):
        # It was read out of the text of an object when the record came, of a tombstone too.
        return f"get(from_json(_key, 'array<string>'), {place})"
    texts = [reading.value(path, whole="item") for path in paths]
    several = len(texts) > 1 or column.default
    found = [f"nullif({text}, '')" for text in texts] if several else texts
    return _first([*found, *([column.default] if column.default else [])])


def _column(reading: _Reading, column: Column) -> str:
    """A column that is no key; null on a tombstone, of which `_live` is null."""
    if not column.paths:
        return f"IF(is_deleted, NULL, {column.sql})"
    read = _array(reading, column) if column.type == "array<string>" else _scalar(reading, column)
    if column.sql:
        read = column.sql.replace("{value}", reading.step(read, (column.name,), "_read"))
    if column.default:
        read = f"coalesce({read}, {column.default})"
    return f"IF(is_deleted, NULL, {read})" if column.sql or column.default else read


def _scalar(reading: _Reading, column: Column) -> str:
    texts = [reading.value(landed_path(path)) for path in column.paths]
    text = texts[0]
    if len(texts) > 1 or column.default:
        text = _first([f"nullif({each}, '')" for each in texts])
        if column.type != "string":
            text = reading.step(text, (column.name,), "_text")
    if column.type == "string":  # whatever is there fits
        return text
    if column.type == "timestamp":
        found = in_years(reading.step(instant(text), (column.name,), "_time"))
    else:
        found = fitted(text, column.type)
    reading.misfits.append(f"{text} IS NOT NULL AND {found} IS NULL")
    return found


def _array(reading: _Reading, column: Column) -> str:
    """The scalars of an array, as texts."""
    paths = [reading.value(landed_path(path), variant=True) for path in column.paths]
    there = paths[0]
    if len(paths) > 1:
        there = _first([f"IF(is_variant_null({each}), NULL, {each})" for each in paths])
        there = reading.step(there, (column.name,), "_variant")
    elements = f"try_variant_get({there}, '$', 'array<variant>')"
    is_there = f"{there} IS NOT NULL AND NOT is_variant_null({there})"
    reading.misfits.append(f"{is_there} AND coalesce(exists({elements}, {_IS_NESTED}), true)")
    return f"transform(filter({elements}, {_IS_SCALAR}), each -> try_variant_get(each, '$', 'string'))"


def _first(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"


def _as(expression: str, name: str) -> str:
    return f"{expression} AS {name}"


def _lines(parts: list[str], indent: int = 4) -> str:
    return (",\n" + " " * indent).join(parts)


def counting(ttl_deletes: str, where: str = "true") -> str:
    """The condition of the rows of bronze that a table is made of.

    Args:
        ttl_deletes: as of the table. where: a condition on them beside.
    """
    usable = f"_problem IS NULL AND _key IS NOT NULL AND ({where})"
    if ttl_deletes == "ignore":
        usable += " AND NOT (is_deleted AND _delete_kind <=> 'ttl')"
    return usable


def latest_of(bronze: str, where: str, *, ttl_deletes: str = "apply") -> str:
    """The latest change of every key among rows of bronze, for `select`.

    A delete takes part: left out, an older upsert of the same rows would bring its row back. Rows of equal
    key and sequence are the same change, so it does not matter which of them is taken.

    Args:
        bronze: the table's name.
        where: a condition on its rows.
        ttl_deletes: as of the table; with `ignore` expiries take no part.
    """
    newest = "row_number() OVER (PARTITION BY _key ORDER BY _sequence DESC) AS _newest"
    return f"""(
    SELECT * FROM (
      SELECT *, {newest}
      FROM {bronze}
      WHERE {counting(ttl_deletes, where)}
    ) WHERE _newest = 1
  )"""  # noqa: S608 - names of our own
