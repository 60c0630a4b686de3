"""Pure: landed lines and documents → typed rows of a table, plus what is wrong with them.

Every function takes and gives a DataFrame or a Column; nothing is read, written or counted here.
The same code runs under Auto Loader and under Spark's own file stream.

A row comes out for every line that goes in. `_problem` says why a row cannot be applied (it goes to
quarantine, with `_raw`); it is null for rows that can. One bad line never changes its neighbours.

JSON is read as VARIANT, because it is the one reader in Spark that keeps 38 digits: `from_json` and
`get_json_object` turn fractions into doubles on the way to text. What VARIANT cannot hold exactly is a
number with more than 38 decimals or in exponent form; it is read as a double (landing still has its digits).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import events
from lakehouse.table import Column, Table

_MAP = "map<string, variant>"
_MAX_MS = 253402300799999  # 9999-12-31T23:59:59.999Z
_MIN_MS = -62135596800000  # 0001-01-01T00:00:00Z
_ISO = rf"^\d{{4}}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{{1,9}})?)?)?( ?(Z|[+-]\d\d(:?\d\d)?))?{events.END}"


def parse_lines(lines: DataFrame, table: Table, *, keep_raw: SparkColumn | None = None) -> DataFrame:
    """Change records → typed rows.

    Args:
        lines: `value` string (one landed line), `_source_file` string.
        table: a table of format `changes`.
        keep_raw: for which rows, beside those with a problem, `_raw` is the line; for the others it is null.

    Returns:
        Every column of `table.all_columns` but `_applied_at`, plus `_problem`, `_detail`, `_raw`
        string. On a tombstone every column but the key and the metadata is null.
    """
    tree = _root(table)
    # Names of our own begin with an underscore, which no column of a table does.
    df = lines.select(F.col("value").alias("_line"), "_source_file")
    df = df.select("*", F.when(F.is_valid_utf8("_line"), _json(F.col("_line"))).alias("_item"))
    df, read = _read(df, tree)
    df = df.withColumn("_attributes", read.members[""])
    metadata, metadata_misfits = _metadata(read)
    deleted = metadata["is_deleted"]
    df = df.select("*", *(c.alias(name) for name, c in metadata.items()))
    columns = {c.name: read.column(c) for c in table.columns if c.path}
    df = df.select("*", *(c.alias(name) for name, c in columns.items()))
    df = df.withColumn("_rescued_data", F.when(~deleted, _rescued(table, read, metadata_misfits)))
    df = _blank_tombstones(_transform(df, table), table)
    problem, detail = _problems(table, read)
    kept = problem.isNotNull() if keep_raw is None else problem.isNotNull() | keep_raw
    return _select(
        df.withColumns({"_problem": problem, "_detail": detail, "_raw": F.when(kept, F.col("_line"))}),
        table,
    )


def parse_rescued(rows: DataFrame, table: Table, gained: frozenset[str]) -> DataFrame:
    """Rows of a table that has gained columns → the rows as they would be if they came in now.

    Args:
        rows: live rows; every column of `table.all_columns`.
        table: a table of format `changes`.
        gained: names of the columns to fill. What their paths name must be in `_rescued_data` or nowhere.

    Returns:
        `rows`; the gained columns have their values, and `_rescued_data` what is left.
    """
    root = _root(table)
    df, read = _read(rows.withColumn("_item", _json(F.col("_rescued_data"))), root)
    df = df.withColumn("_attributes", read.members[""])
    misfits = {name: read.texts[name].isNotNull() for name in events.METADATA}
    for column in table.columns:
        for path in column.paths:
            # What is in there although a column has read it before has not fitted that column.
            not_taken = read.is_left(column, path, read.column(column))
            bad = not_taken if column.name in gained else read.is_there(path)
            misfits[path] = misfits.get(path, F.lit(False)) | bad
    rest = _leftover(root, "", read, misfits, kept=False)
    found = {c.name: read.column(c) for c in table.columns if c.path and c.name in gained}
    left = F.when(F.size(rest) > 0, F.to_json(rest))
    df = df.withColumns(found | {"_rescued_data": F.when(F.col("_rescued_data").isNotNull(), left)})
    # A transform makes its columns of those that have a path. What it makes of a column of its own that has
    # one, it has made already where that column was there before: only gained ones are taken from it.
    kept = {c.name: F.col(c.name).alias(f"_kept_{c.name}") for c in table.columns if c.name not in gained}
    made = [c.name for c in table.columns if c.path is None]
    df = _transform(df.select("*", *kept.values()).drop(*made), table)
    return df.select(
        *(F.col(f"_kept_{name}").alias(name) if name in kept else F.col(name) for name in rows.columns)
    )


def parse_documents(documents: DataFrame, table: Table) -> DataFrame:
    """JSON documents → typed rows: one change a document, or as many as the table's transform makes.

    Args:
        documents: `content` binary, `document_key` string (path below the location),
            `_source_file` string, `_modified_at` timestamp.
        table: a table of format `documents`.

    Returns:
        As `parse_lines`. The sequence is `<modification time>/<key>/<hash of the content>`.
    """
    text = F.col("_content").cast("string")
    stamp = F.date_format("_modified_at", "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
    nothing = F.lit(None).cast("string")
    df = documents.select(
        F.col("content").alias("_content"),
        F.col("document_key").alias("_document_key"),
        "_source_file",
        "_modified_at",
    ).select(
        "*",
        F.when(F.is_valid_utf8(text), _json(F.regexp_replace(text, "^\ufeff", ""))).alias("_document"),
        F.concat_ws("/", stamp, "_document_key", F.sha2("_content", 256)).alias("_sequence"),
        F.lit(False).alias("is_deleted"),
        nothing.alias("_delete_kind"),
        nothing.alias("_event_id"),
        nothing.alias("_event_name"),
        F.col("_modified_at").alias("_changed_at"),
        stamp.alias("updated_at"),
        nothing.alias("_rescued_data"),
    )
    unparsed = F.col("_document").isNull()
    no_object = F.try_variant_get("_document", "$", _MAP).isNull()
    df = df.withColumns(
        {
            "_problem": F.when(unparsed, "not_json").when(no_object, "not_an_object"),
            "_detail": F.when(
                no_object,
                "not one JSON object that can be read: broken, a member twice, nested too deep, or too large",
            ),
        }
    )
    df = _blank_tombstones(_transform(df, table), table)
    keyless = _any_missing(table.keys)
    problem = F.coalesce("_problem", F.when(keyless, "missing_key"))
    detail = F.coalesce("_detail", F.when(keyless, "no key could be made from the document and its name"))
    return _select(
        df.withColumns(
            {
                "_problem": problem,
                "_detail": detail,
                "_raw": F.when(problem.isNotNull(), text),
            }
        ),
        table,
    )


def _json(text: SparkColumn) -> SparkColumn:
    """Text → VARIANT, null unless the whole text is one JSON value.

    Spark's parsers stop behind the first value, so '{"a":1} {"a":2}' would lose its second half in
    silence. Here the text's own hash closes an array around it: a parser that stops early never gets there.
    """
    mark = F.xxhash64(text)
    framed = F.try_parse_json(F.concat(F.lit("["), text, F.lit(","), mark.cast("string"), F.lit("]")))
    return F.when(
        F.try_variant_get(framed, "$[1]", "bigint") == mark, F.try_variant_get(framed, "$[0]", "variant")
    )


# --- reading an item ---------------------------------------------------------------------------


@dataclass
class _Node:
    """An attribute of the item, and the members of it that columns are read from."""

    children: dict[str, _Node] = field(default_factory=dict)
    kept_whole: bool = False


def _root(table: Table) -> _Node:
    root = _Node()
    for column in table.columns:
        for path in column.paths:
            node = root
            for part in path.split("."):
                node = node.children.setdefault(part, _Node())
            node.kept_whole = node.kept_whole or column.as_json
    for name in events.METADATA:
        root.children.setdefault(name, _Node())
    return root


@dataclass
class _Reading:
    """Where the parts of an item can be found in the frame, by path ("" is the item itself).

    texts: an attribute as text. values: an attribute with members, as it is. objects: the same if it is
    an object, else null. members: the object as a map.
    """

    texts: dict[str, SparkColumn] = field(default_factory=dict)
    values: dict[str, SparkColumn] = field(default_factory=dict)
    objects: dict[str, SparkColumn] = field(default_factory=dict)
    members: dict[str, SparkColumn] = field(default_factory=dict)

    def column(self, column: Column) -> SparkColumn:
        """The column's value, null where it is missing or does not fit."""
        first, *others = (self._value(column, path) for path in column.paths)
        if not others:
            return first
        usable = F.when(first != "", first) if column.type == "string" else first
        return F.coalesce(usable, *others, first)

    def _value(self, column: Column, path: str) -> SparkColumn:
        """What one of its paths gives the column."""
        if column.as_json:
            value = F.coalesce(self.objects[path], self.values[path])
            return F.when(self.is_there(path), F.to_json(value))
        if column.type == "string":
            return self._scalar(path)
        if column.type == "array<string>":
            parent, _, name = path.rpartition(".")
            return F.try_variant_get(self.objects[parent], f"$.{name}", column.type)
        return _fit(self.texts[path], column.type)

    def is_left(self, column: Column, path: str, taken: SparkColumn) -> SparkColumn:
        """Whether there is a value at one of its paths that is not what the column has taken."""
        if column.paths == (path,):
            return self.is_there(path) & taken.isNull()
        return self.is_there(path) & ~F.coalesce(self._value(column, path) == taken, F.lit(False))

    def is_there(self, path: str) -> SparkColumn:
        """Whether the attribute has a value; JSON's null is none."""
        if path in self.texts:
            return self.texts[path].isNotNull()
        return self.values[path].isNotNull() & ~F.is_variant_null(self.values[path])

    def _scalar(self, path: str) -> SparkColumn:
        """Text of a string, number or boolean; null for an object or an array, which is no text.

        Only a text that begins like one of those is looked at again: the kind costs far more.
        """
        parent, _, name = path.rpartition(".")
        kind = F.schema_of_variant(F.try_variant_get(self.objects[parent], f"$.{name}", "variant"))
        text = self.texts[path]
        return F.when(~F.ascii(text).isin(ord("{"), ord("[")), text).when(kind == "STRING", text)


def _read(df: DataFrame, root: _Node) -> tuple[DataFrame, _Reading]:
    """Take the tree's leaves out of `_item` as text: one cast per object, however many members it has."""
    reading = _Reading()
    for number, (path, node) in enumerate(_objects(root)):
        value, opened, members, leaves = (
            f"_{what}{number}" for what in ("value", "object", "members", "leaves")
        )
        if path == "":
            df = df.select("*", F.col("_item").alias(opened))
            df = df.select("*", F.try_variant_get(opened, "$", _MAP).alias(members))
        else:
            parent, _, name = path.rpartition(".")
            df = df.select("*", reading.members[parent][name].alias(value))
            # An object, or the text of one.
            whole = F.try_variant_get(value, "$", _MAP)
            text = F.when(whole.isNull(), F.try_variant_get(value, "$", "string"))
            df = df.select("*", whole.alias("_whole"), _json(text).alias("_inner"))
            inner = F.when(F.col("_inner").isNotNull(), F.try_variant_get("_inner", "$", _MAP))
            df = df.select("*", F.coalesce("_whole", inner).alias(members))
            chosen = F.when(F.col("_whole").isNotNull(), F.col(value)).otherwise(F.col("_inner"))
            df = df.select("*", F.when(F.col(members).isNotNull(), chosen).alias(opened)).drop(
                "_whole", "_inner"
            )
            reading.values[path] = F.col(value)
        reading.objects[path] = F.col(opened)
        reading.members[path] = F.col(members)
        names = [n for n, c in node.children.items() if not (c.children or c.kept_whole)]
        if names:
            fields = ", ".join(f"`{n}`: string" for n in names)
            df = df.select("*", F.try_variant_get(opened, "$", f"struct<{fields}>").alias(leaves))
            reading.texts |= {f"{path}.{n}" if path else n: F.col(f"{leaves}.{n}") for n in names}
    return df, reading


def _objects(node: _Node, path: str = "") -> Iterator[tuple[str, _Node]]:
    """The tree's objects, each before those inside it."""
    yield path, node
    for name, child in node.children.items():
        if child.children or child.kept_whole:
            yield from _objects(child, f"{path}.{name}" if path else name)


def _fit(text: SparkColumn, as_type: str) -> SparkColumn:
    """Text → a value of the type, null if it does not fit. Never raises under ANSI.

    Decimals are rounded half up, once, from the exact digits.
    """
    if as_type in ("bigint", "int"):
        return text.try_cast("decimal(38,0)").try_cast(as_type)
    if as_type == "boolean":
        return F.when(text == "true", F.lit(True)).when(text == "false", F.lit(False))
    if as_type in ("timestamp", "timestamp_ntz", "date"):
        # Spark's cast also takes '12:30' (today's date) and a bare year; those are no times here. It does
        # not take a time without seconds, which ISO 8601 has.
        with_seconds = F.regexp_replace(text, r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?!:)", "$1:00")
        return F.when(text.rlike(_ISO), with_seconds.try_cast(as_type))
    return text.try_cast(as_type)


# --- metadata, problems, rescue ---------------------------------------------------------------------


def _metadata(read: _Reading) -> tuple[dict[str, SparkColumn], dict[str, SparkColumn]]:
    """The state table's metadata columns, and for each landed name whether its value does not fit."""
    text = read.texts
    ms = _fit(text[events.CHANGED_MS], "bigint")
    in_range = ms.between(_MIN_MS, _MAX_MS)
    flag = _fit(text[events.IS_DELETED], "boolean")
    columns = {
        "_sequence": text[events.SEQUENCE],
        # Without a usable flag the event's name decides: a delete must never read as an upsert.
        "is_deleted": F.coalesce(flag, text[events.EVENT_NAME] == "REMOVE", F.lit(False)),
        "_delete_kind": text[events.DELETE_KIND],
        "_event_id": text[events.EVENT_ID],
        "_event_name": text[events.EVENT_NAME],
        "_changed_at": F.when(in_range, F.timestamp_millis(F.when(in_range, ms))),
        "updated_at": text[events.UPDATED_AT],
    }
    misfits = {
        events.CHANGED_MS: text[events.CHANGED_MS].isNotNull() & ~F.coalesce(in_range, F.lit(False)),
        events.IS_DELETED: text[events.IS_DELETED].isNotNull() & flag.isNull(),
    }
    return columns, misfits


def _any_missing(keys: tuple[str, ...]) -> SparkColumn:
    missing = F.lit(False)
    for key in keys:
        missing = missing | F.col(key).isNull() | (F.col(key) == "")
    return missing


def _problems(table: Table, read: _Reading) -> tuple[SparkColumn, SparkColumn]:
    sequenced = F.coalesce(F.col("_sequence").rlike(events.SEQUENCE_PATTERN), F.lit(False))
    paths = ", ".join(path for c in table.columns[: len(table.keys)] for path in c.paths)
    found = [
        (~F.is_valid_utf8("_line"), "not_utf8", "the line is not UTF-8"),
        (F.col("_item").isNull(), "not_json", "the line is not one JSON value"),
        (read.members[""].isNull(), "not_an_object", "the line is JSON, but no object"),
        (_any_missing(table.keys), "missing_key", f"no usable value for the key: {paths}"),
        (~sequenced, "missing_sequence", f"no usable {events.SEQUENCE}"),
    ]
    problem, detail = F.lit(None).cast("string"), F.lit(None).cast("string")
    for condition, name, text in reversed(found):
        problem = F.when(condition, F.lit(name)).otherwise(problem)
        detail = F.when(condition, F.lit(text)).otherwise(detail)
    return problem, detail


def _rescued(table: Table, read: _Reading, metadata_misfits: Mapping[str, SparkColumn]) -> SparkColumn:
    """JSON of what no column holds: attributes that the table does not know, values that do not fit.

    Names stand as they landed. Members of an object that columns are read from stay inside it.
    """
    root = _root(table)
    misfits = dict(metadata_misfits)
    for column in table.columns:
        for path in column.paths:
            bad = read.is_left(column, path, F.col(column.name))
            misfits[path] = misfits.get(path, F.lit(False)) | bad
    rest = _leftover(root, "", read, misfits, kept=False)
    return F.when(F.size(rest) > 0, F.to_json(rest))


def _leftover(
    node: _Node, path: str, read: _Reading, misfits: Mapping[str, SparkColumn], *, kept: bool
) -> SparkColumn:
    """The members of an object that no column holds, as a map.

    `kept`: a column holds the object whole, so that only values which do not fit their column are left.
    """
    members = read.members[path]
    below = {name: f"{path}.{name}" if path else name for name in node.children}
    bad = F.array_compact(
        F.array(*(F.when(misfits[p], F.lit(n)) for n, p in below.items() if p in misfits)).cast(
            "array<string>"
        )
    )
    unknown = F.array_except(F.map_keys(members), F.array(*map(F.lit, sorted(node.children))))
    left = bad if kept else F.concat(unknown, bad)
    # Most items have nothing left: the members are gone through only where there is something to find.
    found = F.map_filter(members, lambda name, _: F.array_contains(left, name))
    nothing = F.create_map().cast(_MAP)
    parts = [F.when(F.size(left) > 0, found).otherwise(nothing)]
    for name, child in node.children.items():
        if not child.children:
            continue
        inner = _leftover(child, below[name], read, misfits, kept=kept or child.kept_whole)
        more = F.when(F.size(inner) > 0, F.create_map(F.lit(name), F.to_variant_object(inner)))
        if not (kept or child.kept_whole):
            # Neither an object nor the text of one: then the attribute itself does not fit.
            shut = read.is_there(below[name]) & read.objects[below[name]].isNull()
            more = F.when(shut, F.create_map(F.lit(name), read.values[below[name]])).otherwise(more)
        parts.append(F.coalesce(more, nothing))
    return F.map_concat(*parts) if len(parts) > 1 else parts[0]


def _transform(df: DataFrame, table: Table) -> DataFrame:
    return table.transform(df) if table.transform else df


def _blank_tombstones(df: DataFrame, table: Table) -> DataFrame:
    rest = table.columns[len(table.keys) :]
    return df.withColumns({c.name: F.when(~F.col("is_deleted"), F.col(c.name)) for c in rest})


def _select(df: DataFrame, table: Table) -> DataFrame:
    columns = [F.col(c.name).cast(c.type).alias(c.name) for c in table.all_columns if c.name != "_applied_at"]
    return df.select(*columns, "_problem", "_detail", "_raw")
