"""The Lambda function: stream event in, objects in S3, and what has to be delivered again.

Configure with S3_BUCKET, S3_PREFIX, SOURCE_MAP, MAX_RECORDS, MAX_PAYLOAD_BYTES, LOG_LEVEL
(`settings.py`), and with ReportBatchItemFailures on the event source mapping.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from change_writer import dynamodb
from change_writer.dynamodb import Record
from change_writer.encode import ConvertedRecord, LandingObject, Line, canonical_json, pack, quarantine_line
from change_writer.errors import ConversionError, LandingError, NotAStreamEventError, PutError
from change_writer.landing import Put, put_if_absent, s3_client
from change_writer.settings import UNKNOWN_SOURCE, Settings, get_settings

logger = logging.getLogger("change_writer")


@dataclass(frozen=True)
class StreamKind:
    """What the handler needs to know of one kind of stream."""

    refuse_unsupported: Callable[[Sequence[Record]], None]
    convert: Callable[[Record, int], Sequence[ConvertedRecord]]
    origin: Callable[[Record], str | None]
    created_ms: Callable[[Record], int | None]
    sequence_number: Callable[[Record], str | None]


# One entry for each eventSource; a Kinesis record may hold several events, hence a sequence from `convert`.
STREAM_KINDS: Mapping[str, StreamKind] = {
    "aws:dynamodb": StreamKind(
        refuse_unsupported=dynamodb.refuse_views_without_new_images,
        convert=lambda record, ingest_ts_ms: (dynamodb.convert(record, ingest_ts_ms),),
        origin=dynamodb.table_name,
        created_ms=dynamodb.created_ms,
        sequence_number=dynamodb.sequence_number,
    ),
}


@dataclass(frozen=True)
class Plan:
    """What an event comes to: the objects to put, in event order, and what they hold."""

    objects: Sequence[LandingObject]
    tombstones: int
    quarantined: Mapping[tuple[str, str], int]
    """Number of records by (source, reason)."""


def lambda_handler(event: object, context: object) -> dict[str, list[dict[str, str]]]:  # noqa: ARG001
    """Land an event's change records and report the first record, in event order, that did not land.

    Raises SettingsError, NotAStreamEventError or UnsupportedStreamViewError before anything is landed,
    and LandingError if the record that did not land cannot be named: then the whole batch comes again.
    """
    settings = get_settings()
    logger.setLevel(settings.log_level)
    records = stream_records(event)
    if not records:
        return {"batchItemFailures": []}
    kind = STREAM_KINDS[records[0]["eventSource"]]
    plan = make_plan(kind, records, settings, ingest_ts_ms=time.time_ns() // 1_000_000)
    for (source, reason), count in plan.quarantined.items():
        _log(logging.WARNING, "records quarantined", source=source, reason=reason, count=count)

    landed: Counter[str] = Counter(objects=0, bytes=0, already_there=0)
    failure = _land(plan.objects, settings.bucket, landed)
    _log(
        logging.INFO,
        "batch landed" if failure is None else "batch landed in part",
        records=len(records),
        tombstones=plan.tombstones,
        quarantined=sum(plan.quarantined.values()),
        **landed,
    )
    if failure is None:
        return {"batchItemFailures": []}
    # Lambda takes this for the checkpoint: everything from this record on is delivered again.
    index, error = failure
    number = kind.sequence_number(records[index])
    if number is None:
        raise LandingError(index, error) from error
    return {"batchItemFailures": [{"itemIdentifier": number}]}


def stream_records(event: object) -> Sequence[Record]:
    """The event's records, all of one kind of stream. Raises NotAStreamEventError."""
    if not isinstance(event, Mapping):
        raise NotAStreamEventError(f"the event is of type {type(event).__name__}, not an object")
    records = event.get("Records")
    if not isinstance(records, list):
        raise NotAStreamEventError("the event has no list of Records")
    for index, record in enumerate(records):
        source = record.get("eventSource") if isinstance(record, Mapping) else None
        if not isinstance(source, str) or source not in STREAM_KINDS:
            raise NotAStreamEventError(f"record {index} has eventSource {source!r}")
        if source != records[0]["eventSource"]:
            raise NotAStreamEventError(f"record {index} is of another kind of stream than record 0")
    return records


def make_plan(kind: StreamKind, records: Sequence[Record], settings: Settings, ingest_ts_ms: int) -> Plan:
    """Convert every record, or quarantine it, and pack the lines into objects. Pure.

    Raises UnsupportedStreamViewError, and SettingsError for a table whose name cannot be a source.
    """
    kind.refuse_unsupported(records)
    lines: list[tuple[str, Line]] = []
    tombstones = 0
    quarantined: Counter[tuple[str, str]] = Counter()
    for index, record in enumerate(records):
        created_ms = kind.created_ms(record)
        origin = kind.origin(record)
        source = UNKNOWN_SOURCE if origin is None else settings.source_of(origin)
        try:
            converted = kind.convert(record, ingest_ts_ms)
        # The per-record edge: whatever it is, it must not block the shard.
        except Exception as error:  # noqa: BLE001
            reason, detail = _why(error)
            quarantined[source, reason] += 1
            raw = canonical_json(record)
            event_id = record.get("eventID")
            data = quarantine_line(
                source, reason, detail, event_id if isinstance(event_id, str) else None, raw
            )
            lines.append((settings.quarantine_folder(source), Line(index, raw, created_ms, data)))
            continue
        for change in converted:
            tombstones += change.metadata.is_deleted
            line = Line(index, change.metadata.event_id, created_ms, change.line)
            lines.append((settings.folder(source), line))
    return Plan(pack(lines, settings.max_records, settings.max_payload_bytes), tombstones, quarantined)


def _why(error: Exception) -> tuple[str, str]:
    if isinstance(error, ConversionError):
        return error.reason, error.detail
    # The type alone: the message of an error that was not foreseen may quote the item.
    return "unexpected_error", f"{type(error).__name__} while converting the record"


def _land(objects: Sequence[LandingObject], bucket: str, landed: Counter[str]) -> tuple[int, PutError] | None:
    """Put the objects, counting into `landed`; stop at the first failure, and name its first record.

    The objects are sorted by their first record, so none that is left behind begins earlier.
    """
    for landing_object in objects:
        try:
            put = put_if_absent(s3_client(), bucket, landing_object.key, landing_object.body)
        except PutError as error:
            _log(logging.ERROR, "put failed", bucket=bucket, key=error.key, code=error.code)
            return landing_object.first_index, error
        landed["objects"] += 1
        landed["bytes"] += len(landing_object.body)
        landed["already_there"] += put is Put.ALREADY_THERE
    return None


def _log(level: int, message: str, **fields: object) -> None:
    """One line of JSON. Only names, codes and counts go in: items hold personal data."""
    if logger.isEnabledFor(level):
        logger.log(level, json.dumps({"message": message, **fields}, separators=(",", ":")))
