"""Backfill from DynamoDB's native export to S3: what it holds as snapshot records in landing.

An export's location is the folder of its manifest-summary.json: …/AWSDynamoDB/01234567890123-abcdefgh, or a
copy of that folder anywhere. The same export makes the same objects each time, so running it again lands
what is missing and nothing twice.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lakehouse.aws.items import Item
from lakehouse.aws.objects import Objects
from lakehouse.aws.snapshot import LandingObject, Mappings, begin, record_complete, state_folder, to_ms
from lakehouse.errors import ConfigurationError, DataError, ExportError
from lakehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SUMMARY = "manifest-summary.json"
_FILES = "manifest-files.json"
_LINE_BYTES = 32 << 20  # two images of 400 KB, in their typed form and escaped, take 6 MB at most
_PROGRESS_ITEMS = 1000
_COPY_AGAIN = "If this is a copy, copy the export's folder again; else export the table again"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file: its key below the export's location, its number of lines, its MD5 in base64."""

    key: str
    item_count: int
    md5: str


@dataclass(frozen=True, slots=True)
class Export:
    """What an export's manifests say of it.

    `time_ms` is the time whose state it holds, ms since 1970: a full one the whole table's, an incremental
    one that of the keys that changed in the hours before.
    """

    kind: Literal["full", "incremental"]
    table_arn: str
    time_ms: int
    item_count: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What of an export lies in landing now.

    Args:
        items, tombstones: keys that it has an item for, and keys that it says were deleted.
        objects, new_objects: landed objects, and those of them that were not there before.
        bytes: size of all of them, compressed.
        sequence: place of all of its records in the order of changes.
    """

    items: int
    tombstones: int
    objects: int
    new_objects: int
    bytes: int
    sequence: str


def read_manifest(export: Objects) -> Export:
    """Read an export's two manifests and check them.

    Args:
        export: the export's location.

    Raises:
        ExportError: there is no manifest, it is not what its checksum says, or the export is no DynamoDB
            JSON.
    """
    where = export.url(_SUMMARY)
    with _as_written(where):
        summary = json.loads(_manifest(export, _SUMMARY))
        if summary["outputFormat"] != "DYNAMODB_JSON":
            raise ExportError(
                where,
                f"it is in {summary['outputFormat']}",
                "Export again, in DynamoDB JSON (DYNAMODB_JSON).",
            )
        incremental = summary.get("exportType") == "INCREMENTAL_EXPORT"
        table_arn = summary["tableArn"]
        time_ms = to_ms(summary["exportToTime" if incremental else "exportTime"])
        item_count = int(summary["itemCount"])
    with _as_written(export.url(_FILES)):
        files = tuple(map(_data_file, map(json.loads, _manifest(export, _FILES).splitlines())))
    listed = sum(file.item_count for file in files)
    if listed != item_count:
        problem = f"it has {item_count} items, and its {_FILES} lists files of {listed}"
        raise ExportError(where, problem, f"{_COPY_AGAIN}.")
    return Export("incremental" if incremental else "full", table_arn, time_ms, item_count, files)


def backfill_export(
    dynamodb: DynamoDBClient,
    export: Objects,
    landing: Objects,
    table: Table,
    table_name: str,
    *,
    consumer_from: str | None = None,
    mappings: Mappings | None = None,
    object_bytes: int = 32 << 20,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Exported:
    """Land what an export of a DynamoDB table holds: items, and tombstones where it says deleted.

    Args:
        export: the export's location.
        object_bytes: compressed size at which an object is ended.
        consumer_from, mappings: as for `snapshot.begin`.
        on_progress: told how many lines have been read, and how many there are.

    Raises:
        ConfigurationError: the DynamoDB table has another key, or the table takes no such snapshot.
        ExportError: the export is not whole, not of this DynamoDB table, or not DynamoDB JSON. A data file
            is checked before anything of it is landed; what landed of the files before it is valid.
        SnapshotRefusedError: there would be a gap between the export and the stream.
        SourceError: DynamoDB, the export's location or the landing location refuse.
    """
    told = read_manifest(export)
    if told.kind == "incremental" and table.ttl_deletes == "ignore":
        raise ConfigurationError(
            f"Table {table.name!r} keeps rows that expire (ttl_deletes='ignore'), and an incremental export "
            "does not tell an expiry from a user's delete. Use a full export, or a scan: no --from-export."
        )
    begun = begin(
        dynamodb, table, table_name, taken_ms=told.time_ms, consumer_from=consumer_from, mappings=mappings
    )
    if told.table_arn != begun.table_arn:
        raise ExportError(
            export.url(_SUMMARY),
            f"it is of {told.table_arn}, and the DynamoDB table is {begun.table_arn}",
            "Check --table-name and --from-export.",
        )
    # A full export and an incremental one may end at the same time: the one that has everything wins. A
    # scan of that second, whose attempts begin at 1, wins over both.
    snapshot = replace(begun.snapshot, attempt=0 if told.kind == "full" else None)
    read = tombstones = new_objects = size = 0
    objects: list[str] = []

    def records() -> Iterator[tuple[str, bytes]]:
        nonlocal read, tombstones
        for file in told.files:
            for where, line in _lines(export, file):
                with _as_written(where):
                    keys, item = _change(json.loads(line), begun.keys, told.kind)
                    # The export's own time for the clock: with another one the compressed size, and so where
                    # objects are cut, would change from run to run.
                    record = snapshot.record(keys, item, snapshot.time_ms)
                read += 1
                tombstones += item is None
                if read % _PROGRESS_ITEMS == 0:
                    on_progress(read, told.item_count)
                yield record

    on_progress(0, told.item_count)
    for held in _cut(records(), lambda: LandingObject(table.source, snapshot.time_ms), object_bytes):
        key, is_new = held.put(landing)
        objects.append(key)
        new_objects += is_new
        size += held.size
    on_progress(read, told.item_count)
    if told.kind == "full":
        record_complete(landing, state_folder(table.source, snapshot), snapshot, objects)
    return Exported(read - tombstones, tombstones, len(objects), new_objects, size, snapshot.sequence)


def _cut(
    records: Iterable[tuple[str, bytes]], new: Callable[[], LandingObject], object_bytes: int
) -> Iterator[LandingObject]:
    """Whole objects; one goes on across data files, as an export may have thousands of small ones."""
    held = new()
    for event_id, line in records:
        held.add(event_id, line)
        if held.size >= object_bytes:
            yield held
            held = new()
    if held.records:
        yield held


def _manifest(export: Objects, name: str) -> bytes:
    """A manifest's content; its checksum lies beside it, but a copy may be without."""
    body = export.get(name)
    if body is None and export.get("_started") is not None:
        problem, next_step = (
            "it is not there: the export has not ended, or has failed",
            "Wait, or export again.",
        )
        raise ExportError(export.url(name), problem, next_step)
    if body is None:
        next_step = f"Give the folder that holds {_SUMMARY}: …/AWSDynamoDB/<export id>."
        raise ExportError(export.url(name), "it is not there", next_step)
    for ending in ("md5", "checksum"):  # as DynamoDB names it, and as its developer guide does
        checksum = export.get(f"{name.removesuffix('.json')}.{ending}")
        if checksum is not None:
            _check(export.url(name), body, checksum.decode("ascii", "replace").strip())
    return body


def _data_file(entry: dict[str, Any]) -> DataFile:
    # The manifest's bucket and prefix are those that the export was written to. It may have been copied
    # since, so that only the file's own name is still true.
    name = entry["dataFileS3Key"].rpartition("/")[2]
    return DataFile(f"data/{name}", int(entry["itemCount"]), entry["md5Checksum"])


def _lines(export: Objects, file: DataFile) -> Iterator[tuple[str, bytes]]:
    """(where, line) of a data file that is what its checksum says, and has as many lines as listed."""
    # A full export has its data folder below its own; incremental ones share the one beside theirs.
    for place in (export, export.above()):
        where, body = place.url(file.key), place.get(file.key)
        if body is not None:
            break
    else:
        problem = "this file is listed in the manifest, but neither there nor in the data folder beside it"
        raise ExportError(export.url(file.key), problem, f"{_COPY_AGAIN}.")
    _check(where, body, file.md5)
    count = 0
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as inflated:
        while line := _line(inflated, where):
            count += 1
            yield f"{where}, line {count}", line
    if count != file.item_count:
        problem = f"it has {count} lines, and the manifest says {file.item_count}"
        raise ExportError(where, problem, f"{_COPY_AGAIN}.")


def _line(inflated: gzip.GzipFile, where: str) -> bytes:
    try:
        line = inflated.readline(_LINE_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise ExportError(where, f"it is no whole gzip file ({error})", f"{_COPY_AGAIN}.") from error
    if len(line) == _LINE_BYTES:
        raise ExportError(where, f"it has a line of {_LINE_BYTES >> 20} MB or more", f"{_COPY_AGAIN}.")
    return line


def _change(line: Any, types: Mapping[str, str], kind: str) -> tuple[Item, Item | None]:
    """(keys, item) of a line; without an item, the key was deleted."""
    if kind == "full":
        return _keys(line["Item"], types), line["Item"]
    keys, item = _keys(line["Keys"], types), line.get("NewImage") or None
    if item is not None and _keys(item, types) != keys:
        raise ValueError("NewImage has another key than Keys")
    return keys, item


def _keys(values: Item, types: Mapping[str, str]) -> Item:
    for name, kind in types.items():
        value = values.get(name)
        if not value or value.keys() != {kind} or not value[kind]:
            raise ValueError(f"key attribute {name} is missing, empty, or not of type {kind}")
    return {name: values[name] for name in types}


def _check(where: str, body: bytes, md5: str) -> None:
    found = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if found != md5:
        raise ExportError(where, f"its MD5 is {found}, and the export says {md5}", f"{_COPY_AGAIN}.")


@contextmanager
def _as_written(where: str) -> Iterator[None]:
    """Whatever is not as DynamoDB writes an export is an ExportError."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        problem = f"it is not as DynamoDB writes it ({type(error).__name__}: {error})"
        raise ExportError(where, problem, f"{_COPY_AGAIN}.") from error
    except (ConfigurationError, DataError) as error:
        raise ExportError(where, str(error.__cause__ or error).rstrip("."), f"{_COPY_AGAIN}.") from error
