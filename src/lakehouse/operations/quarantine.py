"""The way out of quarantine: look at what lies there, land it again, or let it go.

No row is ever changed: a decision on a record is a row of its own (ops.quarantine_decisions), and the view
ops.quarantine shows each record once, with its latest one.

A record is landed first and its decision written after. Dying in between costs nothing: the next attempt
lands the same object under the same name, or a newer read of the same item.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import change_record
from lakehouse.catalog import ops
from lakehouse.errors import ConfigurationError, QuarantineIdError
from lakehouse.ingest.commits import retrying
from lakehouse.ingest.lease import exclusive
from lakehouse.settings import Settings
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.table import Table

Status = Literal["open", "requeued", "discarded"]

CHUNK = 500
"""Records that are landed, and then decided on in one commit. A record is 400 KB at most."""

_WORKERS = 8
_PLACE = re.compile(
    rf"(?:^|/)(?P<writer>{change_record.QUARANTINE_FOLDER}/)?[^/]+/(?P<hour>dt=\d{{4}}-\d\d-\d\d/HH=\d\d)/[^/]+$",
    re.ASCII,
)
_STREAM_ARN = re.compile(r"arn:[^:]+:dynamodb:[^:]*:[^:]*:table/(?P<table>[^/]+)/stream/(?P<label>[^/]+)")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records; None stands for any."""

    status: Status | None = "open"
    source: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A quarantined record without its text. Times are texts, UTC."""

    quarantine_id: str
    source: str
    reason: str
    detail: str | None
    object: str
    quarantined_at: str
    status: Status


@dataclass(frozen=True, slots=True)
class Whole:
    """A quarantined record, all of it.

    `raw` is its bytes. `decisions` are the rows of ops.quarantine_decisions by column, oldest first.
    """

    entry: Entry
    stream: str | None
    batch_id: int | None
    raw: bytes
    decisions: Sequence[Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class Count:
    """How many records of one source have one reason."""

    source: str
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A record that a decision was written on; `landed_as`: the object it landed in, below landing."""

    quarantine_id: str
    landed_as: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was left as it is; `because` ends with what to do."""

    quarantine_id: str
    because: str


@dataclass(slots=True)
class Outcome:
    """What became of the records that were asked for."""

    decided: list[Decided] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take in what became of some more."""
        self.decided += other.decided
        self.refused += other.refused


class Number(str):
    """A JSON number as its text: DynamoDB's have 38 digits, which a float would lose."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A change that must not be applied as it is: its item is to be read again from its source.

    Args:
        sequence: place of the change in the order of changes. What is read now is no older.
        attributes: of a landed line, by the names they landed under; numbers are `Number`.
        keys: of a stream record, typed as DynamoDB has them (`{"id": {"S": "…"}}`).
        table_name: the DynamoDB table, where the record tells it.
    """

    quarantine_id: str
    sequence: str
    attributes: Mapping[str, Any] | None = None
    keys: Mapping[str, Any] | None = None
    table_name: str | None = None


FreshRead = Callable[[str, Sequence[Lost]], Outcome]
"""(source, changes) → what became of them, once what their items are now has landed."""


# --- looking ---------------------------------------------------------------------------------------


def listed(spark: SparkSession, settings: Settings, which: Filter, limit: int | None = None) -> list[Entry]:
    """The records, newest first."""
    found = _records(spark, settings).where(_matches(which))
    found = found.orderBy(F.col("quarantined_at").desc(), "quarantine_id")
    return [Entry(*row) for row in (found if limit is None else found.limit(limit)).collect()]


def counted(spark: SparkSession, settings: Settings, which: Filter) -> list[Count]:
    """How many records there are of each source and reason, most first."""
    groups = _records(spark, settings).where(_matches(which)).groupBy("source", "reason").count()
    rows = groups.orderBy(F.col("count").desc(), "source", "reason").collect()
    return [Count(row.source, row.reason, row["count"]) for row in rows]


def whole(spark: SparkSession, settings: Settings, wanted: str) -> Whole:
    """One record, by its id or the beginning of it.

    Raises:
        QuarantineIdError: no record, or more than one, has such an id.
    """
    (entry,) = resolve(spark, settings, [wanted])
    same = F.col("quarantine_id") == entry.quarantine_id
    row = spark.table(settings.table("ops", "quarantine")).where(same)
    record = row.select("stream", "batch_id", F.col("raw").cast("binary").alias("raw")).first()
    assert record is not None
    decisions = spark.table(settings.table("ops", "quarantine_decisions")).where(same).orderBy("decided_at")
    columns = [F.col(c.name).cast("string").alias(c.name) for c in ops.QUARANTINE_DECISIONS[1:]]
    return Whole(
        entry,
        record.stream,
        record.batch_id,
        bytes(record.raw or b""),
        [row.asDict() for row in decisions.select(*columns).collect()],
    )


def resolve(spark: SparkSession, settings: Settings, wanted: Sequence[str]) -> list[Entry]:
    """The records of these ids, in their order, each once. A beginning of 6 hex digits or more will do.

    Raises:
        QuarantineIdError: one of them is no id, or no record or more than one begins with it.
    """
    prefixes = list(dict.fromkeys(text.lower() for text in wanted))
    for prefix in prefixes:
        if not re.fullmatch(r"[0-9a-f]{6,64}", prefix):
            raise QuarantineIdError(prefix, None)
    if not prefixes:
        return []
    asked = spark.createDataFrame([(p,) for p in prefixes], "prefix string")
    records = _records(spark, settings)
    found: dict[str, list[Entry]] = {p: [] for p in prefixes}
    for row in records.join(asked, records.quarantine_id.startswith(asked.prefix)).collect():
        *entry, prefix = row
        found[prefix].append(Entry(*entry))
    for prefix, entries in found.items():
        if len(entries) != 1:
            raise QuarantineIdError(prefix, sorted(e.quarantine_id for e in entries))
    return list({e.quarantine_id: e for (e,) in found.values()}.values())


# --- deciding --------------------------------------------------------------------------------------


def discard(
    spark: SparkSession,
    settings: Settings,
    which: Sequence[str] | Filter,
    *,
    why: str,
    by: str | None = None,
    again: bool = False,
) -> Outcome:
    """Let records go: they stay where they are, and are no longer open.

    Args:
        which: ids or the beginnings of them, or a filter.
        why: the reason, in words.
        by: who; if not given, whom the session runs as.
        again: decide on records that are decided on already.

    Raises:
        QuarantineIdError: an id that is not one record's.
        ConfigurationError: no reason.
    """
    if not why.strip():
        raise ConfigurationError("A discard needs its reason: say why.")
    outcome = Outcome()
    for entry in _chosen(spark, settings, which):
        refused = _refuse_decided(entry, again)
        if refused:
            outcome.refused.append(refused)
        else:
            outcome.decided.append(Decided(entry.quarantine_id))
    _decide(spark, settings, "discarded", outcome.decided, by, why)
    return outcome


def requeue(
    spark: SparkSession,
    settings: Settings,
    which: Sequence[str] | Filter,
    tables: Sequence[Table],
    put: Callable[[str, bytes], bool],
    *,
    fresh: FreshRead | None = None,
    by: str | None = None,
    why: str | None = None,
    again: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Outcome:
    """Land records again; the next ingest applies them by their order, or puts them here under a new id.

    A line that could not be applied lands as it was, in an object of its own whose name follows from its
    quarantine id. A change below the tombstone floor, or one that the writer could not convert, never
    lands as it is: its item is read afresh. Documents are refused: whoever writes them writes them again.

    Args:
        which: ids or the beginnings of them, or a filter.
        tables: every table there is; they tell what becomes of a source's records.
        put: (key below the landing location, body) → whether the object is new. It never overwrites.
        fresh: reads items afresh and lands them; without it such records are refused.
        by, why, again: as for `discard`, but that no reason is needed.
        on_progress: told how many of how many records are done.

    Raises:
        QuarantineIdError: an id that is not one record's.
        ConfigurationError: records of several sources would have to be read from one source table.
    """
    entries = _chosen(spark, settings, which)
    by_source = {source: t for t in tables for source in t.sources}
    ways = [_way(entry, by_source, again, fresh is not None) for entry in entries]
    sources = {e.source for e, way in zip(entries, ways, strict=True) if way == "fresh"}
    if len(sources) > 1:
        raise ConfigurationError(
            f"Records of several sources ({', '.join(sorted(sources))}) have to be read from one source "
            "table. Take one source at a time: --source."
        )
    outcome = Outcome()
    for start in range(0, len(entries), CHUNK):
        chunk = list(zip(entries, ways, strict=True))[start : start + CHUNK]
        done = _requeue_some(spark, settings, chunk, put, fresh)
        # Landed first, decided after: see the head of this file.
        _decide(spark, settings, "requeued", done.decided, by, why)
        outcome.add(done)
        on_progress(min(start + CHUNK, len(entries)), len(entries))
    return outcome


def _requeue_some(
    spark: SparkSession,
    settings: Settings,
    chunk: Sequence[tuple[Entry, str | Refused]],
    put: Callable[[str, bytes], bool],
    fresh: FreshRead | None,
) -> Outcome:
    outcome = Outcome(refused=[way for _, way in chunk if isinstance(way, Refused)])
    going = [(entry, way) for entry, way in chunk if not isinstance(way, Refused)]
    texts = _texts(spark, settings, [entry.quarantine_id for entry, _ in going])
    lines: list[tuple[Entry, bytes]] = []
    lost: list[Lost] = []
    for entry, way in going:
        raw, is_whole = texts[entry.quarantine_id]
        if way == "fresh":
            change = _lost(entry, raw)
            if isinstance(change, Refused):
                outcome.refused.append(change)
            else:
                lost.append(change)
        elif is_whole:
            lines.append((entry, raw))
        else:
            because = f"it is no UTF-8 and was not kept byte for byte; {entry.object} in landing has it"
            outcome.refused.append(Refused(entry.quarantine_id, because))
    with ThreadPoolExecutor(_WORKERS) as pool:
        outcome.decided += pool.map(lambda line: _land_line(line[0], line[1], put), lines)
    if lost:
        assert fresh is not None
        source = next(entry.source for entry, way in going if way == "fresh")
        outcome.add(fresh(source, lost))
    return outcome


def _way(entry: Entry, by_source: Mapping[str, Table], again: bool, can_read: bool) -> str | Refused:
    """`line` or `fresh`: how a record gets out; or why it does not."""
    name = entry.quarantine_id
    table = by_source.get(entry.source)
    decided = _refuse_decided(entry, again)
    if decided:
        return decided
    if table is None:
        return Refused(name, f"no table reads source {entry.source!r}; declare one, or discard the record")
    if table.format == "documents":
        return Refused(
            name, f"it is a document: mend and write {entry.object} again, its stream then reads it"
        )
    place = _PLACE.search(entry.object)
    if entry.reason != BELOW_FLOOR and not (place and place["writer"]):
        return "line"
    if not can_read:
        return Refused(
            name, "its item must be read afresh: name the DynamoDB table that it is from (--table-name)"
        )
    return "fresh"


def _refuse_decided(entry: Entry, again: bool) -> Refused | None:
    if entry.status == "open" or again:
        return None
    return Refused(entry.quarantine_id, f"it is {entry.status} already; --again decides anew")


def _land_line(entry: Entry, raw: bytes, put: Callable[[str, bytes], bool]) -> Decided:
    """Land a line as it was. An object that is there already holds the same line: that is success."""
    place = _PLACE.search(entry.object)
    hour = place["hour"] if place else "dt=1970-01-01/HH=00"
    name = hashlib.sha256(entry.quarantine_id.encode()).hexdigest()[:40]
    key = f"{entry.source}/{hour}/{name}.ndjson.gz"
    put(key, gzip.compress(raw + b"\n", mtime=0))
    return Decided(entry.quarantine_id, key)


def _lost(entry: Entry, raw: bytes) -> Lost | Refused:
    """What a record tells of its item: which one it is, and how late the change came."""
    try:
        record = json.loads(raw, parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError):
        return Refused(entry.quarantine_id, "no key can be read from it; discard it")
    if entry.reason == BELOW_FLOOR:  # it has been parsed, so it is an object with a sequence
        return Lost(entry.quarantine_id, record[change_record.SEQUENCE], attributes=record)
    told = _stream_record(record)
    if not isinstance(told.keys, dict) or not told.keys:
        return Refused(entry.quarantine_id, "it has no usable key, so no item can be read; discard it")
    if not re.fullmatch(change_record.SEQUENCE_PATTERN, told.sequence, re.ASCII):
        # A fresh read has to stand above the lost change and below the next one.
        because = "its place in the order of changes is unknown: write the item again, then discard it"
        return Refused(entry.quarantine_id, because)
    return Lost(entry.quarantine_id, told.sequence, keys=told.keys, table_name=told.table)


class _Told(NamedTuple):
    keys: Any
    sequence: str
    table: str | None


def _stream_record(report: Any) -> _Told:
    """Keys, sequence and table out of the writer's report, whatever shape the record in it has."""

    def member(value: Any, name: str) -> Any:
        return value.get(name) if isinstance(value, dict) else None

    record = member(report, "record")
    change = member(record, "dynamodb")
    arn = _STREAM_ARN.fullmatch(str(member(record, "eventSourceARN")))
    sequence = f"{arn['label'] if arn else ''}/{str(member(change, 'SequenceNumber')).zfill(40)}"
    return _Told(member(change, "Keys"), sequence, arn["table"] if arn else None)


# --- the tables --------------------------------------------------------------------------------------


def _records(spark: SparkSession, settings: Settings) -> DataFrame:
    """ops.quarantine as `Entry` has it: a time would be collected in the process's own zone."""
    names = [F.col(n).cast("string").alias(n) for n in Entry.__dataclass_fields__]
    return spark.table(settings.table("ops", "quarantine")).select(*names)


def _matches(which: Filter) -> Column:
    condition = F.lit(True)
    for name, value in asdict(which).items():
        if value is not None:
            condition = condition & (F.col(name) == F.lit(value))
    return condition


def _chosen(spark: SparkSession, settings: Settings, which: Sequence[str] | Filter) -> list[Entry]:
    if isinstance(which, Filter):
        return listed(spark, settings, which)
    return resolve(spark, settings, which)


def _texts(spark: SparkSession, settings: Settings, ids: list[str]) -> dict[str, tuple[bytes, bool]]:
    """The records' bytes by id, and whether they are the ones that were landed.

    Text that is no UTF-8 may have been mended on its way through a table: then it is UTF-8 now.
    """
    if not ids:
        return {}
    raw = F.col("raw").cast("binary")
    untouched = ~((F.col("reason") == "not_utf8") & F.is_valid_utf8("raw"))
    records = spark.table(settings.table("ops", "quarantine"))
    rows = records.where(F.col("quarantine_id").isin(ids)).select(
        "quarantine_id",
        F.coalesce(raw, F.lit(b"")).alias("raw"),
        F.coalesce(untouched, F.lit(False)).alias("is_whole"),
    )
    return {row.quarantine_id: (bytes(row.raw), row.is_whole) for row in rows.collect()}


def _decide(
    spark: SparkSession,
    settings: Settings,
    decision: Literal["requeued", "discarded"],
    records: Sequence[Decided],
    by: str | None,
    why: str | None,
) -> None:
    """Append one decision on each record, in one commit."""
    if not records:
        return
    columns = ", ".join(f"{c.name} {c.type}" for c in ops.QUARANTINE_DECISIONS)
    who = (by or "").strip() or None
    values = [(r.quarantine_id, decision, None, who, why, r.landed_as) for r in records]
    rows = spark.createDataFrame(values, columns).withColumns(
        {
            "decided_at": F.current_timestamp(),
            "decided_by": F.coalesce("decided_by", F.current_user()),
        }
    )
    target = settings.table("ops", "quarantine_decisions")
    with exclusive(settings.warehouse):
        retrying(lambda: rows.write.format("delta").mode("append").saveAsTable(target), "a decision")
