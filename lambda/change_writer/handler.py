"""The Lambda function: stream event in, objects in S3, and what has to be delivered again.

Configure with S3_BUCKET, S3_PREFIX, SOURCE_MAP, MAX_RECORDS, MAX_PAYLOAD_BYTES, LOG_LEVEL,
LANDING_FORMAT (`settings.py`), and with ReportBatchItemFailures on the event source mapping.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from change_writer import dynamodb, kinesis
from change_writer.dynamodb import Record
from change_writer.encode import (
    NDJSON,
    ConvertedRecord,
    LandingFormat,
    LandingObject,
    Line,
    canonical_json,
    pack,
    quarantine_line,
)
from change_writer.errors import ConversionError, LandingError, NotAStreamEventError
from change_writer.landing import Put, put_objects, s3_client
from change_writer.metrics import Tally, metrics_line
from change_writer.parquet import PARQUET
from change_writer.settings import UNKNOWN_SOURCE, Settings, get_settings

COLLECT_AFTER = 200_000
"""New containers after which Python looks for cycles: as many as the largest event makes."""

ENOUGH_BYTES = 64 * 1024 * 1024
"""Bytes of lines after which an invocation takes no further record. An event is 6 MB, but each record of
Kinesis may be a gzip of 32 MB: a hundred of them would take more memory than the function has."""

logger = logging.getLogger("change_writer")


def set_up_process() -> None:
    """What this process is set to for its lifetime; in Lambda, done on import."""
    # An event is tens of thousands of dicts, and no cycle among them: they go when nobody refers to them. By
    # default Python looks through them again and again while the runtime parses the event.
    gc.set_threshold(COLLECT_AFTER)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    set_up_process()


@dataclass(frozen=True)
class StreamKind:
    """What the handler needs to know of one kind of stream."""

    refuse_unsupported: Callable[[Sequence[Record]], None]
    convert: Callable[[Record, int], Sequence[ConvertedRecord]]
    """At least one, or ConversionError."""
    origin: Callable[[Record], str | None]
    created_ms: Callable[[Record], int | None]
    sequence_number: Callable[[Record], str | None]


# One entry for each eventSource; a Kinesis record may hold several events, hence a sequence from `convert`.
# A deployment reads a table and a stream of the same name by two functions: SOURCE_MAP knows names alone.
STREAM_KINDS: Mapping[str, StreamKind] = {
    "aws:dynamodb": StreamKind(
        refuse_unsupported=dynamodb.refuse_views_without_new_images,
        convert=lambda record, ingest_ts_ms: (dynamodb.convert(record, ingest_ts_ms),),
        origin=dynamodb.table_name,
        created_ms=dynamodb.created_ms,
        sequence_number=dynamodb.sequence_number,
    ),
    "aws:kinesis": StreamKind(
        refuse_unsupported=lambda records: None,  # noqa: ARG005
        convert=kinesis.convert,
        origin=kinesis.stream_name,
        created_ms=kinesis.arrived_ms,
        sequence_number=kinesis.sequence_number,
    ),
}


FORMATS: Mapping[str, LandingFormat] = {"ndjson": NDJSON, "parquet": PARQUET}


@dataclass(frozen=True)
class Plan:
    """What an event comes to: the objects to put, in event order, and what they hold."""

    objects: Sequence[LandingObject]
    sources: Mapping[str, str]
    """Folder of an object → its source."""
    tallies: Mapping[str, Tally]
    """By source, `objects` and `bytes` still at 0."""
    quarantined: Mapping[tuple[str, str], int]
    """Number of records by (source, reason)."""
    left: int | None = None
    """Place in the event of the first record that was not taken, if those before it were enough."""


def to_stdout(lines: Iterable[str]) -> None:
    """Write lines to the function's log; each in one call, so that none is torn."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def lambda_handler(
    event: object, context: object, *, write_metrics: Callable[[Iterable[str]], None] = to_stdout
) -> dict[str, list[dict[str, str]]]:
    """Land an event's change records and report the first record, in event order, that did not land.

    `context` is Lambda's, or None elsewhere: then no metrics are written. `write_metrics` takes their lines,
    where they are not to go to stdout.
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

    landed, failure = put_objects(s3_client(), settings.bucket, plan.objects)
    if failure is not None:
        _log(logging.ERROR, "put failed", bucket=settings.bucket, key=failure[1].key, code=failure[1].code)
    for landing_object, _ in landed:
        tally = plan.tallies[plan.sources[landing_object.folder]]
        tally.objects += 1
        tally.bytes += len(landing_object.body)
    tallies = plan.tallies.values()
    _log(
        logging.INFO,
        "batch landed" if failure is None and plan.left is None else "batch landed in part",
        records=len(records),
        tombstones=sum(tally.tombstones for tally in tallies),
        quarantined=sum(tally.quarantined for tally in tallies),
        objects=len(landed),
        bytes=sum(tally.bytes for tally in tallies),
        already_there=sum(put is Put.ALREADY_THERE for _, put in landed),
    )
    # Not through the logger: its level must not silence alarms, nor its prefix hide the lines from EMF.
    function_name = getattr(context, "function_name", None)
    if function_name is not None:
        write_metrics(_metrics_lines(function_name, plan.tallies))
    # Lambda takes what is named for the checkpoint: everything from that record on is delivered again.
    if failure is not None:
        index, error = failure
        number = kind.sequence_number(records[index])
        if number is None:
            raise LandingError(index, error) from error
    elif plan.left is not None:
        number = kind.sequence_number(records[plan.left])
    else:
        return {"batchItemFailures": []}
    return {"batchItemFailures": [{"itemIdentifier": str(number)}]}


def stream_records(event: object) -> Sequence[Record]:
    """The event's records, all of one kind of stream; its other members, a time window's, do not matter.

    Raises NotAStreamEventError.
    """
    if not isinstance(event, Mapping):
        raise NotAStreamEventError(f"the event is of type {type(event).__name__}, not an object")
    if "deliveryStreamArn" in event:
        raise NotAStreamEventError("it is a Firehose event, for a function that transforms records")
    records = event.get("Records")
    if not isinstance(records, list):
        raise NotAStreamEventError("the event has no list of Records")
    for index, record in enumerate(records):
        source = record.get("eventSource") if isinstance(record, dict) else None
        if not isinstance(source, str) or source not in STREAM_KINDS:
            raise NotAStreamEventError(f"record {index} has eventSource {source!r}")
        if source != records[0]["eventSource"]:
            raise NotAStreamEventError(f"record {index} is of another kind of stream than record 0")
    return records


def make_plan(kind: StreamKind, records: Sequence[Record], settings: Settings, ingest_ts_ms: int) -> Plan:
    """Convert every record, or quarantine it, and pack the lines into objects. Pure.

    It stops once there are ENOUGH_BYTES, before a record that can be named to Lambda.

    Raises UnsupportedStreamViewError, and SettingsError for a name that cannot be a source, or for a format
    whose library is not there.
    """
    kind.refuse_unsupported(records)
    lines: list[tuple[str, Line]] = []
    sources: dict[str, str] = {}
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    quarantined: Counter[tuple[str, str]] = Counter()
    folders: dict[str, str] = {}  # by table or stream
    size, left = 0, None
    for place, record in enumerate(records):
        if size >= ENOUGH_BYTES and kind.sequence_number(record) is not None:
            left = place
            break
        try:
            changes = kind.convert(record, ingest_ts_ms)
        # The per-record edge: whatever it is, it must not block the shard.
        except Exception as error:  # noqa: BLE001
            created_ms, origin = kind.created_ms(record), kind.origin(record)
            source = UNKNOWN_SOURCE if origin is None else settings.source_of(origin)
            reason, line = _quarantined(place, record, source, created_ms, error)
            folder = settings.quarantine_folder(source)
            lines.append((folder, line))
            size += len(line.data)
            sources[folder] = source
            quarantined[source, reason] += 1
            tallies[source].saw(created_ms, quarantined=True)
            continue
        tombstones = 0
        for origin, metadata, data in changes:
            if origin not in folders:
                source = settings.source_of(origin)
                folders[origin] = settings.folder(source)
                sources[folders[origin]] = source
            folder, created_ms = folders[origin], metadata.approx_stream_ts
            lines.append((folder, Line(place, metadata.event_id, created_ms, data, metadata)))
            size += len(data)
            tombstones += metadata.is_deleted
        tallies[sources[folder]].saw(created_ms, tombstones=tombstones)
    landing_format = FORMATS[settings.landing_format]
    objects = pack(lines, settings.max_records, settings.max_payload_bytes, landing_format)
    return Plan(objects, sources, tallies, quarantined, left)


def _quarantined(
    place: int, record: Record, source: str, created_ms: int | None, error: Exception
) -> tuple[str, Line]:
    """The reason, and the line that holds the record whole."""
    reason, detail = _why(error)
    raw = canonical_json(record)
    event_id = record.get("eventID")
    data = quarantine_line(source, reason, detail, event_id if isinstance(event_id, str) else None, raw)
    return reason, Line(place, raw, created_ms, data)


def _why(error: Exception) -> tuple[str, str]:
    if isinstance(error, ConversionError):
        return error.reason, error.detail
    # The type alone: the message of an error that was not foreseen may quote the item.
    return "unexpected_error", f"{type(error).__name__} while converting the record"


def _metrics_lines(function_name: str, tallies: Mapping[str, Tally]) -> list[str]:
    now_ms = time.time_ns() // 1_000_000
    return [metrics_line(function_name, source, tally, now_ms) for source, tally in tallies.items()]


def _log(level: int, message: str, **fields: object) -> None:
    """One line of JSON. Only names, codes and counts go in: items hold personal data."""
    if logger.isEnabledFor(level):
        logger.log(level, json.dumps({"message": message, **fields}, separators=(",", ":")))
