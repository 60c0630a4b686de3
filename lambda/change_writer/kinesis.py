"""Kinesis records to change records. Pure.

A record's data is JSON objects in UTF-8, plain or gzipped: one, or several, one behind the other with
or without white space between them, or in an array. Each object becomes one change record; a number keeps
every digit that the producer wrote.

A record lands whole or goes to quarantine whole, however many of its objects are good. So it is in one
place only, whichever way it is delivered, cut or released again; `<eventID>#<index>` means the same
object for ever; and where one object is broken, the bounds of its neighbours are not to be trusted either.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from change_writer.encode import ConvertedRecord, Metadata, change_record_line, json_string
from change_writer.errors import ConversionError

Record = Mapping[str, Any]

MAX_INFLATED_BYTES = 32 * 1024 * 1024
"""The most that the gzipped data of one record may inflate to."""
MAX_TEXT_BYTES = 48 * 1024 * 1024
"""The most memory that the text of one record may take. Python keeps up to 4 bytes for each character, by the
widest of them, and several copies are made on the way."""
MAX_VALUES = 1_000_000
"""The most commas and brackets in the data of one record: each may be a value, and a small gzip of millions
of them would take more memory than the function has. A function that is killed quarantines nothing."""
MAX_OBJECTS = 100_000
"""The most objects in one record: each gets metadata, of which a small record could make gigabytes."""
MAX_DEPTH = 200
"""The most levels of an object: far more than events need, and few enough for any interpreter's stack."""

_YEAR_10000_SECONDS = 253_402_300_800
_PLAIN_DIGITS = 38
_GZIP = b"\x1f\x8b"
# The Kinesis Producer Library's aggregated records (github.com/awslabs/amazon-kinesis-producer,
# aggregation-format.md): protobuf, not JSON.
_KPL = b"\xf3\x89\x9a\xc2"
_SPACE = re.compile(r"[ \t\n\r]*")
# With enhanced fan-out the mapping's ARN, and so the records', is the consumer's.
_ARN = re.compile(
    r"arn:[A-Za-z0-9-]+:kinesis:[A-Za-z0-9-]+:[0-9]{12}:stream/([A-Za-z0-9_.-]{1,128})(?:/consumer/[^/]+)?"
)
_SEQUENCE_NUMBER = re.compile(r"[0-9]{1,56}")
_EVENT_ID = re.compile(r"([A-Za-z0-9_.-]{1,128}):([0-9]{1,56})")


def convert(record: Record, ingest_ts_ms: int) -> list[ConvertedRecord]:
    """The change records of one Kinesis record, one for each object; `ingest_ts_ms` is the writer's clock.

    Raises ConversionError with a reason for a record that must go to quarantine.
    """
    event_id = record.get("eventID")
    if not isinstance(event_id, str) or not event_id:
        raise ConversionError("missing_event_id", "eventID is missing or is not text")
    if record.get("eventName") != "aws:kinesis:record":
        raise ConversionError("unknown_event_name", "eventName is not aws:kinesis:record")
    stream = stream_name(record)
    if stream is None:
        raise ConversionError("bad_stream_arn", "eventSourceARN is not the ARN of a Kinesis stream")
    content = record.get("kinesis")
    if not isinstance(content, Mapping):
        raise ConversionError("missing_kinesis", "the member kinesis is missing or is no object")
    number = sequence_number(record)
    if number is None:
        raise ConversionError("bad_sequence_number", "sequenceNumber is not text of 1 to 56 digits")
    found = _EVENT_ID.fullmatch(event_id)
    if not found or found[2] != number:
        raise ConversionError("bad_event_id", "eventID is not <shardId>:<sequenceNumber>")
    position = f"{number.zfill(56)}/{found[1]}"
    arrived = arrived_ms(record)
    converted = []
    try:
        for index, item in enumerate(_objects(_text(content.get("data")))):
            if index == MAX_OBJECTS:
                raise ConversionError("too_many_objects", f"more than {MAX_OBJECTS} objects in one record")
            metadata = Metadata(
                event_id=f"{event_id}#{index}",
                event_name="EVENT",
                sequence=f"{position}/{index:06}",
                approx_stream_ts=arrived,
                ingest_ts=ingest_ts_ms,
            )
            attributes = [(name, _json(value, MAX_DEPTH - 1)) for name, value in item.items()]
            converted.append(ConvertedRecord(stream, metadata, change_record_line(metadata, attributes)))
    except RecursionError:
        raise _too_deep() from None
    except UnicodeEncodeError:  # `from None`: the original holds the text itself
        raise ConversionError("not_utf8", "a name or a text holds a lone surrogate") from None
    if not converted:
        raise ConversionError("empty_data", "the data holds no object")
    return converted


def stream_name(record: Record) -> str | None:
    """The stream's name out of the record's eventSourceARN, or None if it cannot be told.

    `arn:<partition>:kinesis:<region>:<account>:stream/<name>`, or that with
    `/consumer/<consumer>:<creation time>` behind it.
    """
    arn = record.get("eventSourceARN")
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    return found[1] if found else None


def sequence_number(record: Record) -> str | None:
    """The record's sequenceNumber as it came, or None unless it is 1 to 56 ASCII digits."""
    content = record.get("kinesis")
    number = content.get("sequenceNumber") if isinstance(content, Mapping) else None
    return number if isinstance(number, str) and _SEQUENCE_NUMBER.fullmatch(number) else None


def arrived_ms(record: Record) -> int | None:
    """The record's approximateArrivalTimestamp (seconds) in ms since 1970, or None if it cannot be read.

    Times outside 1970 to 9999 count as unreadable: no folder could name them.
    """
    content = record.get("kinesis")
    seconds = content.get("approximateArrivalTimestamp") if isinstance(content, Mapping) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    # A double holds today's seconds to a quarter of a microsecond: the nearest ms is the one that was sent.
    return round(seconds * 1000) if 0 <= seconds <= _YEAR_10000_SECONDS - 1 else None


class _Number(str):
    """The text of a JSON number, as it is to be written."""

    __slots__ = ()


def _text(data: object) -> str:
    """The data as text, inflated if it is gzip."""
    if not isinstance(data, str):
        raise ConversionError("bad_base64", "data is missing or is not text")
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        raise ConversionError("bad_base64", "data is not base64") from None
    if raw.startswith(_KPL):
        raise ConversionError("kpl_aggregate", "aggregated by the Kinesis Producer Library: switch that off")
    if raw.startswith(_GZIP):
        raw = _inflate(raw)
    if sum(map(raw.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise ConversionError("too_many_values", f"more than {MAX_VALUES} commas and brackets in one record")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # `from None`: the original holds the data itself
        raise ConversionError("not_utf8", "the data is not UTF-8") from None
    if sys.getsizeof(text) > MAX_TEXT_BYTES:
        raise ConversionError("text_too_large", f"the text takes more than {MAX_TEXT_BYTES} bytes of memory")
    return text


def _inflate(raw: bytes) -> bytes:
    """All members of the gzip; never more than MAX_INFLATED_BYTES in memory."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as members:
            inflated = members.read(MAX_INFLATED_BYTES + 1)
    except EOFError:
        raise ConversionError("torn_gzip", "the gzip ends before its end") from None
    except (gzip.BadGzipFile, zlib.error):
        raise ConversionError("bad_gzip", "the gzip is damaged, or something else follows it") from None
    if len(inflated) > MAX_INFLATED_BYTES:
        raise ConversionError("gzip_too_large", f"the gzip inflates to more than {MAX_INFLATED_BYTES} bytes")
    return inflated


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects in the text, in order; those of an array one by one. Numbers are _Number."""
    place = _SPACE.match(text).end()  # type: ignore[union-attr]
    while place < len(text):
        try:
            value, place = _decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:  # `from None`: the original holds the text itself
            raise ConversionError("not_json", f"no JSON at character {error.pos}") from None
        for item in value if isinstance(value, list) else (value,):
            if not isinstance(item, dict):
                raise ConversionError("not_an_object", "a JSON value is no object and no array of objects")
            if item.get("eventSource") == "aws:dynamodb" and "dynamodb" in item:
                # Such a change has no SequenceNumber: nothing says which of two is the later.
                raise ConversionError(
                    "dynamodb_change", "a change of a DynamoDB table: read the table's own stream instead"
                )
            yield item
        place = _SPACE.match(text, place).end()  # type: ignore[union-attr]


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ConversionError("duplicate_member", "an object has two members of the same name")
    return members


def _not_a_number(_: str) -> None:
    raise ConversionError("bad_number", "NaN and infinities are no JSON numbers")


def _fraction(text: str) -> _Number:
    """A number with a fraction or an exponent: plain where that needs at most 38 digits on either side.

    Readers hold plain numbers exactly, and take an exponent for a double. Beyond that the text stays.
    """
    if "e" not in text and "E" not in text:
        return _Number(text)
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent that Decimal itself cannot hold
        return _Number(text)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # finite: JSON's grammar has nothing else
    plain = number.adjusted() < _PLAIN_DIGITS and -exponent <= _PLAIN_DIGITS
    return _Number(f"{number:f}" if plain else text)


_decoder = json.JSONDecoder(
    parse_float=_fraction, parse_int=_Number, parse_constant=_not_a_number, object_pairs_hook=_members
)


def _json(value: Any, levels: int) -> str:
    """JSON text of a value that the decoder made, which may have so many levels of its own."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, str):
        return json_string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if levels == 0:
        raise _too_deep()
    if isinstance(value, list):
        return f"[{','.join([_json(each, levels - 1) for each in value])}]"
    members = [f"{json_string(name)}:{_json(member, levels - 1)}" for name, member in value.items()]
    return f"{{{','.join(members)}}}"


def _too_deep() -> ConversionError:
    return ConversionError("too_deep", f"an object nests deeper than {MAX_DEPTH} levels")
