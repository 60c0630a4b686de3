"""Change records as text, and the objects that hold them: lines, names, folders, sizes. Pure.

Nothing here reads a clock: a redelivered event makes the same names, whatever the time is.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from typing import NamedTuple

# Level 4 takes half the time for a tenth more bytes, which are kept for ever: docs/performance.md.
GZIP_LEVEL = 6
UNDATED_FOLDER = "dt=1970-01-01/HH=00"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NAMES = 5_000
_LONGEST_NAME = 256

json_string = encode_basestring
"""JSON text of one string, quotes included; characters outside ASCII stand as they are.

The json module's own C function: TypeError for what is no text.
"""


# Named tuples, where one is made for each record: a frozen dataclass takes four times as long to make.
class Metadata(NamedTuple):
    """What a change record says of its change; times are ms since 1970 in UTC."""

    event_id: str
    event_name: str
    sequence: str
    approx_stream_ts: int | None
    ingest_ts: int
    delete_kind: str | None = None
    """`ttl`, `replicated` or `user` on a tombstone, else None."""

    @property
    def is_deleted(self) -> bool:
        """True on a tombstone."""
        return self.delete_kind is not None


class ConvertedRecord(NamedTuple):
    """One change record: the table (or stream) it comes from, its metadata, its line as it lands."""

    origin: str
    metadata: Metadata
    line: bytes


class Line(NamedTuple):
    """One NDJSON line, and what cutting and naming need to know of it.

    `place` is the record's in the event, from 0. `identity` is what the object's name is made of: the
    event id, or for quarantine the raw record as canonical JSON. `data` ends with `\\n`.
    `metadata` is None for quarantine, which has none.
    """

    place: int
    identity: str
    created_ms: int | None
    data: bytes
    metadata: Metadata | None = None


class LandingFormat(NamedTuple):
    """What objects are: the end of their names, and the bytes that hold some lines."""

    suffix: str
    body: Callable[[Sequence[Line]], bytes]


@dataclass(frozen=True, slots=True)
class LandingObject:
    """One object to put, below `folder`; `first_index` is the place in the event of its first record."""

    folder: str
    key: str
    body: bytes
    first_index: int
    lines: int


def escape_name(name: str) -> str:
    """The name under which an item's top-level attribute is written.

    Names that could be mistaken for metadata (a leading `_`, or `is_deleted`) get `__` in front.
    Metadata begins with exactly one `_`, so no two names meet and `unescape_name` undoes this.
    """
    return f"__{name}" if name.startswith("_") or name == "is_deleted" else name


def unescape_name(written: str) -> str:
    """The attribute's name in the item. Raises ValueError for a name that no attribute is written under."""
    name = written[2:] if written.startswith("__") else written
    if escape_name(name) != written:
        raise ValueError(f"{written!r} is metadata, not the name of an attribute")
    return name


class Names(dict[str, str]):
    """How names are written in front of their values, `"name":`; the first few thousand are kept,
    if they are not too long.

    `json_string` raises TypeError for a name that is not text.
    """

    def __init__(self, as_written: Callable[[str], str] = lambda name: name) -> None:
        super().__init__()
        self._as_written = as_written

    def __missing__(self, name: str) -> str:
        text = json_string(self._as_written(name)) + ":"
        if len(self) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            self[name] = text
        return text


MEMBER_NAMES = Names()
"""Names within a value: as they are."""
ATTRIBUTE_NAMES = Names(escape_name)
"""Names of an item's top-level attributes: escaped."""


def change_record_line(metadata: Metadata, attributes: Iterable[tuple[str, str]]) -> bytes:
    """One change record as a line of NDJSON, UTF-8, `\\n` at its end.

    `attributes` are (name in the item, value as JSON text); names are escaped here. `updated_at` is
    added from the creation time where the item has none. Raises UnicodeEncodeError for lone surrogates.
    """
    members, has_updated_at = [], False
    for name, value in attributes:
        has_updated_at = has_updated_at or name == "updated_at"
        members.append(ATTRIBUTE_NAMES[name] + value)
    return line_of_members(metadata, members, has_updated_at)


def line_of_members(metadata: Metadata, members: Sequence[str], has_updated_at: bool) -> bytes:
    """The same of attributes that are written already, `"name":value`, names escaped."""
    created = metadata.approx_stream_ts
    tail = "}\n" if has_updated_at or created is None else f',"updated_at":{created}}}\n'
    return (",".join((line_head(metadata), *members)) + tail).encode()


def line_head(metadata: Metadata) -> str:
    """What a line begins with: its metadata, up to where its attributes follow."""
    event_id, event_name, sequence, created, ingested, delete_kind = metadata
    head = (
        f'{{"_eventID":{json_string(event_id)},"_eventName":{json_string(event_name)}'
        f',"_sequence":{json_string(sequence)},"_ingestTs":{ingested}'
        f',"is_deleted":{"false" if delete_kind is None else "true"}'
    )
    if created is not None:
        head += f',"_approxStreamTs":{created}'
    if delete_kind is not None:
        head += f',"_deleteKind":{json_string(delete_kind)}'
    return head


def quarantine_line(source: str, reason: str, detail: str, event_id: str | None, raw_record: str) -> bytes:
    """One quarantined record as a line of NDJSON, in ASCII; `raw_record` is text of `canonical_json`."""
    head = {"source": source, "reason": reason, "detail": detail, "eventID": event_id}
    text = json.dumps(head, separators=(",", ":"))
    return f'{text[:-1]},"record":{raw_record}}}\n'.encode("ascii")


def canonical_json(value: object) -> str:
    """Any value that an event may hold as JSON text in ASCII, members sorted: equal values, equal text.

    Sets become sorted arrays, lone surrogates escapes, bytes `{"B64": "<base64>"}`; Decimal, date,
    datetime, NaN and infinities become text; anything else its type's name. Depth does not matter:
    this is what saves a record that nests too deep for recursion.
    """
    written: list[str] = []
    todo: list[object] = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, _Verbatim):
            written.append(part.text)
        elif isinstance(part, Mapping):
            todo.append(_Verbatim("}"))
            members = sorted(((str(name), member) for name, member in part.items()), key=lambda pair: pair[0])
            for place, (name, member) in reversed(list(enumerate(members))):
                todo += [member, _Verbatim(f"{',' if place else ''}{json.dumps(name)}:")]
            written.append("{")
        elif isinstance(part, list | tuple | set | frozenset):
            elements = part if isinstance(part, list | tuple) else sorted(part, key=canonical_json)
            todo.append(_Verbatim("]"))
            for place, member in reversed(list(enumerate(elements))):
                todo += [member, _Verbatim("," if place else "")]
            written.append("[")
        else:
            written.append(_scalar_json(part))
    return "".join(written)


def object_name(identities: Sequence[str]) -> str:
    """The name of the object that holds these records, in this order: 40 hex digits of a SHA-256.

    The JSON array makes it unambiguous where one identity ends and the next begins.
    """
    text = json.dumps(list(identities), separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:40]


def hour_folder(created_ms: Iterable[int | None]) -> str:
    """`dt=YYYY-MM-DD/HH=HH`, the UTC hour of the first creation time there is, else of 1970."""
    first = next((ms for ms in created_ms if ms is not None), None)
    if first is None:
        return UNDATED_FOLDER
    return f"{_EPOCH + timedelta(milliseconds=first):dt=%Y-%m-%d/HH=%H}"


def gzip_lines(lines: Iterable[bytes]) -> bytes:
    """The lines as one gzip member whose bytes depend on nothing but the lines."""
    return gzip.compress(b"".join(lines), compresslevel=GZIP_LEVEL, mtime=0)


def cut(lines: Iterable[Line], max_records: int, max_bytes: int) -> Iterator[list[Line]]:
    """Cut lines into runs of at most `max_records` and `max_bytes` uncompressed, keeping their order.

    A line longer than `max_bytes` gets a run of its own.
    """
    run: list[Line] = []
    size = 0
    for line in lines:
        if run and (len(run) >= max_records or size + len(line.data) > max_bytes):
            yield run
            run, size = [], 0
        run.append(line)
        size += len(line.data)
    if run:
        yield run


NDJSON = LandingFormat(".ndjson.gz", lambda run: gzip_lines(line.data for line in run))


def pack(
    lines: Iterable[tuple[str, Line]],
    max_records: int,
    max_bytes: int,
    landing_format: LandingFormat = NDJSON,
) -> list[LandingObject]:
    """The objects for (folder, line) pairs in event order: cut by folder, sorted by first record.

    Quarantine, which has folders of its own, is NDJSON whatever the format.
    """
    by_folder: dict[str, list[Line]] = {}
    for folder, line in lines:
        by_folder.setdefault(folder, []).append(line)
    objects = []
    for folder, folder_lines in by_folder.items():
        form = NDJSON if folder_lines[0].metadata is None else landing_format
        for run in cut(folder_lines, max_records, max_bytes):
            hour = hour_folder(line.created_ms for line in run)
            name = object_name([line.identity for line in run])
            key = f"{folder}/{hour}/{name}{form.suffix}"
            objects.append(LandingObject(folder, key, form.body(run), run[0].place, len(run)))
    return sorted(objects, key=lambda landing_object: landing_object.first_index)


@dataclass(frozen=True, slots=True)
class _Verbatim:
    text: str


def _scalar_json(value: object) -> str:
    if value is None or isinstance(value, str | bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return json.dumps(value if math.isfinite(value) else str(value))
    if isinstance(value, bytes | bytearray):
        return json.dumps({"B64": base64.b64encode(value).decode("ascii")}, separators=(",", ":"))
    if isinstance(value, Decimal):
        return json.dumps(str(value))
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    return json.dumps(f"<{type(value).__name__}>")
