"""What a table file declares: a `Table`, its `Column`s and `Rule`s, and the view that analysts query.

Frozen dataclasses, checked when they are constructed. Nothing here needs a Spark session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from lakehouse.errors import TableDefinitionError
from lakehouse.sql.paths import is_path

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LEAST_RETENTION_DAYS: Final = 2
"""Of tombstones. A floor that is younger could overtake a batch at work."""

_CASTS = re.compile(r"(?i)(?<!try_)\bcast\s*\(|::")
_VALIDITY = ("valid_from", "valid_to", "is_current")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_TYPE = re.compile(
    r"string|bigint|int|double|boolean|date|timestamp|timestamp_ntz|array<string>"
    r"|decimal\((?P<precision>\d{1,2}),(?P<scale>\d{1,2})\)"
)


def _is_type(text: str) -> bool:
    match = _TYPE.fullmatch(text)
    if match is None or match["precision"] is None:
        return match is not None
    return 1 <= int(match["precision"]) <= 38 and int(match["scale"]) <= int(match["precision"])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Args:
        name, type, comment: as the catalog has them; the type is Delta's.
        path: where its value stands in a record (sql/paths.py: `payload.agentId`, `['first name'].x`), or
            several such paths, of which the first counts where something is. A `string` column takes whatever
            is there, an object as its JSON text; of another type, what does not fit is null, and counted.
        sql: an expression over columns above it, with `try_cast` alone: it must not raise for any value. With
            a path too, `{value}` in it is what was read there.
        default: an expression over `_event_id`, `_changed_at` and the like, for where nothing is. A text of
        no
            characters then counts as nothing.
        pii: it is personal data.

    A column of a table of documents has none of path, sql and default: the table's `transform` makes it.
    """

    name: str
    type: str
    comment: str
    path: str | tuple[str, ...] | None = None
    sql: str | None = None
    default: str | None = None
    pii: bool = False
    not_null: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """Its paths, the first that counts first."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold of a live row, as SQL over the table's columns.

    A row breaks the rule where `check` is false; null breaks nothing, as in SQL's own CHECK. `effect`:
    `warn` counts it in ops.batches, `quarantine-from-gold` keeps the row out of the gold views as well,
    until a later change mends it. The state table has the row either way: left out, an older one would
    stay alive in its place. The check must not raise for any value: `try_cast`, never `cast`.
    """

    name: str
    check: str
    comment: str
    effect: Literal["warn", "quarantine-from-gold"] = "warn"


@dataclass(frozen=True, slots=True)
class View:
    """A view. In `query`, `{silver}`, `{gold}` and `{ops}` stand for the schemas.

    In the view of a table, `{live}` stands for the rows of the table that analysts may see.

    What it shows under the name of one of `columns` that has personal data is masked; the view of a table
    has the table's columns among them. So personal data keeps its name, or is declared under its new one.
    """

    name: str
    comment: str
    query: str
    columns: tuple[Column, ...] = ()


METADATA_COLUMNS: Final = (
    Column("_sequence", "string", "Total order of the changes of one key; compared as text.", not_null=True),
    Column("is_deleted", "boolean", "True on a tombstone: the key was deleted.", not_null=True),
    Column("_delete_kind", "string", "Why a tombstone is one: ttl (expiry) or user."),
    Column("_event_id", "string", "Id of the change, the same on every redelivery."),
    Column("_event_name", "string", "INSERT, MODIFY, REMOVE, SNAPSHOT, REPAIR or EVENT."),
    Column("_changed_at", "timestamp", "When the source made the change, to the second; orders nothing."),
    Column("_source_file", "string", "The landed object that the row came from."),
    Column("_applied_at", "timestamp", "When the row was written."),
    Column("updated_at", "string", "The item's own updated_at as landed, else the change time in ms."),
)
"""Columns that every state table has, after its key."""


@dataclass(frozen=True, slots=True)
class Table:
    """A state table: the latest change of every key of one source.

    Args:
        name: the table's name in silver, and its view's in gold.
        source: the folder under the landing prefix (`format="changes"`), or the name of the
            document location (`format="documents"`).
        more_sources: further document locations; each has a stream and a checkpoint of its own.
        keys: the columns that identify a row, in order; all of type string.
        columns: every column but the metadata ones, keys first.
        comment: one sentence for the catalog.
        cluster_by: the clustering columns, at most four; the keys if not given.
        format: `changes` for change records, `documents` for one JSON document a file.
        transform: makes the rows of documents. It gets a frame with `_document` variant, `_document_key`
            string, `_source_file`, `_modified_at` timestamp and the metadata, and adds every column. It may
            set `_problem` and `_detail` to refuse a row, make several rows of a document, and set
            `is_deleted`.
        json_text: paths of objects that may also arrive as their JSON text. Columns are read from either.
        view: the gold view; every column of the live rows if not given.
        more_views: further gold views, created after the one above.
        history: show every change as `gold.<name>_history` (slowly changing dimension, type 2).
        ttl_deletes: `apply` takes an expiry for a delete; `ignore` leaves the row alive (bronze has the
            expiry nevertheless). An expiry that another region of a global table did is not told from any
            delete: it is applied. Let the writer read the stream of the region in which items expire.
        tombstone_retention_days: how long a tombstone is kept before `maintain` may purge it. Tables of
            documents keep theirs: a document of any age may be found for the first time.
        rules: what must hold of a live row.

    Raises:
        TableDefinitionError: when the parts do not fit together.
    """

    name: str
    source: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    comment: str
    cluster_by: tuple[str, ...] = ()
    format: Literal["changes", "documents"] = "changes"
    more_sources: tuple[str, ...] = ()
    transform: Callable[[DataFrame], DataFrame] | None = None
    view: View | None = None
    more_views: tuple[View, ...] = ()
    json_text: tuple[str, ...] = ()
    history: bool = False
    ttl_deletes: Literal["apply", "ignore"] = "apply"
    tombstone_retention_days: int = 14
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        for problem in self._problems(names):
            raise TableDefinitionError(self.name, problem)
        if not self.cluster_by:
            object.__setattr__(self, "cluster_by", self.keys[:4])

    def _problems(self, names: list[str]) -> list[str]:
        found: list[str] = []
        if not _NAME.fullmatch(self.name):
            found.append("its name must be lower-case letters, digits and underscores")
        found += [
            f"source {source!r} must be lower-case letters, digits and underscores"
            for source in self.sources
            if not re.fullmatch(r"[a-z][a-z0-9_]*", source)
        ]
        if self.more_sources and self.format != "documents":
            found.append("it has more sources than one, which only a table of documents may have")
        if not self.keys:
            found.append("it needs at least one key column")
        if tuple(names[: len(self.keys)]) != self.keys:
            found.append(f"its first columns must be its keys {self.keys}, so that their statistics are kept")
        taken = {c.name for c in METADATA_COLUMNS}
        for column in self.columns:
            if not _NAME.fullmatch(column.name):
                found.append(f"column {column.name!r} must be lower-case letters, digits and underscores")
            if not _is_type(column.type):
                found.append(f"column {column.name!r} has type {column.type!r}, which is not supported")
            if column.name in taken or column.name.startswith("_"):
                found.append(f"column {column.name!r} is declared twice or is a metadata column")
            taken.add(column.name)
            if column.name in self.keys and column.type != "string":
                found.append(f"key {column.name!r} must be a string: keys are compared as landed")
            found += self._origin_problems(column)
        found += [f"json_text {path!r} names no attribute" for path in self.json_text if not is_path(path)]
        if (self.transform is None) == (self.format == "documents"):
            found.append("a table of documents needs a transform, and one of changes has none")
        known = set(names) | {c.name for c in METADATA_COLUMNS}
        missing = [c for c in self.cluster_by if c not in known]
        if missing or len(self.cluster_by) > 4:
            found.append(f"cluster_by {self.cluster_by} must name one to four of its columns")
        if self.tombstone_retention_days < LEAST_RETENTION_DAYS:
            found.append(
                f"tombstone_retention_days is {self.tombstone_retention_days}; the least is "
                f"{LEAST_RETENTION_DAYS}, as a purge waits a day behind the floor"
            )
        if self.ttl_deletes not in ("apply", "ignore"):
            found.append(f"ttl_deletes is {self.ttl_deletes!r}: use apply or ignore")
        if self.history and {c.name for c in self.columns} & set(_VALIDITY):
            found.append(f"it has a history, so no column of its own may be named {', '.join(_VALIDITY)}")
        return found + self._rule_problems()

    def _origin_problems(self, column: Column) -> list[str]:
        """What is wrong with where a column's value comes from."""
        told = column.paths or column.sql is not None or column.default is not None
        if self.format == "documents":
            is_wrong = f"column {column.name!r} has a path; a document's columns come from transform"
            return [is_wrong] if told else []
        found = [
            f"column {column.name!r} has path {path!r}, which names no attribute"
            for path in column.paths
            if not is_path(path)
        ]
        if not column.paths and column.sql is None:
            found.append(f"column {column.name!r} has neither a path nor sql to make it")
        if column.name in self.keys and (not column.paths or column.sql is not None):
            found.append(f"key {column.name!r} must be read from a path, as it is")
        if column.default is not None and not column.paths:
            found.append(f"column {column.name!r} has a default, and no path that could be missing")
        for text in filter(None, (column.sql, column.default)):
            if ";" in text:
                found.append(f"column {column.name!r} needs sql that is one expression")
            if _CASTS.search(text):
                found.append(f"column {column.name!r} casts, which stops the stream at a bad value: try_cast")
        return found

    def _rule_problems(self) -> list[str]:
        found: list[str] = []
        for rule in self.rules:
            if not _NAME.fullmatch(rule.name) or [r.name for r in self.rules].count(rule.name) > 1:
                found.append(
                    f"rule {rule.name!r} needs a name of its own, of lower-case letters, digits, underscores"
                )
            if not rule.check.strip() or set(rule.check) & set("{};"):
                found.append(f"rule {rule.name!r} needs a check that is one SQL condition without braces")
            if _CASTS.search(rule.check):
                found.append(f"rule {rule.name!r} casts, which stops the stream at a bad value: use try_cast")
            if rule.effect not in ("warn", "quarantine-from-gold"):
                found.append(
                    f"rule {rule.name!r} has effect {rule.effect!r}: use warn or quarantine-from-gold"
                )
        return found

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column in the order of the table: keys, metadata, the rest.

        Delta keeps statistics for the first 32 columns; keys and metadata need them.
        """
        width = len(self.keys)
        keys = tuple(replace(c, not_null=True) for c in self.columns[:width])
        return keys + METADATA_COLUMNS + self.columns[width:]

    @property
    def shown(self) -> str:
        """The condition, as SQL, under which gold shows a row at all."""
        checks = (r.check for r in self.rules if r.effect == "quarantine-from-gold")
        return " AND ".join(f"coalesce(({check}), true)" for check in checks) or "true"

    @property
    def live(self) -> str:
        """The rows that analysts may see, for a FROM clause: live ones that break no rule which hides."""
        return f"(SELECT * FROM {{silver}}.`{self.name}` WHERE NOT is_deleted AND {self.shown})"  # noqa: S608 - declared names

    @property
    def view_or_default(self) -> View:
        """The gold view: the declared one, else the table's own columns of the live rows."""
        if self.view is not None:
            return self._over_live(self.view)
        names = ", ".join(f"`{c.name}`" for c in self.columns)
        return View(
            self.name,
            f"Live rows: {self.comment}",
            f"SELECT {names}, `updated_at` FROM {self.live}",  # noqa: S608 - declared names
            self.all_columns,
        )

    @property
    def views(self) -> tuple[View, ...]:
        """Its gold views but that of its history, each after those that it may read from."""
        return (self.view_or_default, *map(self._over_live, self.more_views))

    def _over_live(self, view: View) -> View:
        query = view.query.replace("{live}", self.live)
        return replace(view, query=query, columns=(*view.columns, *self.all_columns))

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source of the table."""
        return (self.source, *self.more_sources)

    @property
    def history_name(self) -> str:
        """Name of the view of its history in gold."""
        return f"{self.name}_history"
