"""DynamoDB stream records to change records. Pure.

Values go from DynamoDB's typed form straight to JSON text. Nothing becomes a float on the way, and
a number keeps its 38 digits. There are two ways there: a quick one for what is well formed, and a careful
one for everything else, which decides what is right and says what is wrong.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from change_writer.encode import (
    ATTRIBUTE_NAMES,
    MEMBER_NAMES,
    ConvertedRecord,
    Metadata,
    Names,
    json_string,
    line_of_members,
)
from change_writer.errors import ConversionError, UnsupportedStreamViewError

Record = Mapping[str, Any]

VIEWS_WITHOUT_NEW_IMAGES = ("KEYS_ONLY", "OLD_IMAGE")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000_MS = 253_402_300_800_000
_ARN = re.compile(
    r"arn:[A-Za-z0-9-]+:dynamodb:[A-Za-z0-9-]+:[0-9]{12}:table/([A-Za-z0-9_.-]{3,255})/stream/([^/]+)"
)
_LABEL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}")
# Already JSON, as DynamoDB sends nearly every number. Not -0, which has no place in it.
_PLAIN = r"(?:-?[1-9][0-9]{0,37}+|(?:-(?=0\.0*[1-9]))?0)(?:\.[0-9]{1,38}+)?"
_PLAIN_NUMBER = re.compile(_PLAIN)
_PLAIN_NUMBERS = re.compile(f"(?:{_PLAIN},)++")
_ANY_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PLAIN_DIGITS = 38
# DynamoDB's range of numbers: 1E-130 to 9.99…E+125 (developer guide, "Supported data types").
_LEAST_EXPONENT, _GREATEST_EXPONENT = -130, 125


@dataclass(frozen=True, slots=True)
class StreamArn:
    """The parts of a stream's ARN that a change record needs; `label` is the stream's creation time."""

    table: str
    label: str


def convert(record: Record, ingest_ts_ms: int) -> ConvertedRecord:
    """The change record of one stream record; `ingest_ts_ms` is the writer's clock in ms.

    Raises ConversionError with a reason for a record that must go to quarantine.
    """
    event_id = record.get("eventID")
    if not isinstance(event_id, str) or not event_id:
        raise ConversionError("missing_event_id", "eventID is missing or is not text")
    event_name = record.get("eventName")
    if event_name not in ("INSERT", "MODIFY", "REMOVE"):
        raise ConversionError("unknown_event_name", "eventName is not INSERT, MODIFY or REMOVE")
    stream = parse_stream_arn(record.get("eventSourceARN"))
    change = record.get("dynamodb")
    if not isinstance(change, dict):
        raise ConversionError("missing_dynamodb", "the member dynamodb is missing or is no object")
    number = sequence_number(record)
    if number is None:
        raise ConversionError("bad_sequence_number", "SequenceNumber is not text of 1 to 40 digits")
    is_removal = event_name == "REMOVE"
    metadata = Metadata(
        event_id=event_id,
        event_name=event_name,
        sequence=f"{stream.label}/{number.zfill(40)}",
        approx_stream_ts=created_ms(record),
        ingest_ts=ingest_ts_ms,
        delete_kind=_delete_kind(record.get("userIdentity"), change) if is_removal else None,
    )
    keys = _keys(change)
    item = keys if is_removal else _new_item(change, keys)
    try:
        line = line_of_members(metadata, _attributes(item), "updated_at" in item)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeEncodeError:  # `from None`: the original holds the text itself
        raise ConversionError("not_utf8", "a name or a text holds a lone surrogate") from None
    return ConvertedRecord(stream.table, metadata, line)


def refuse_views_without_new_images(records: Iterable[Record]) -> None:
    """Raise UnsupportedStreamViewError if any record's stream does not carry new images."""
    for record in records:
        change = record.get("dynamodb")
        view = change.get("StreamViewType") if isinstance(change, dict) else None
        if view in VIEWS_WITHOUT_NEW_IMAGES:
            arn = record.get("eventSourceARN")
            raise UnsupportedStreamViewError(
                table_name(record), arn if isinstance(arn, str) else None, str(view)
            )


def parse_stream_arn(arn: object) -> StreamArn:
    """Table and label out of `arn:<partition>:dynamodb:<region>:<account>:table/<name>/stream/<label>`.

    Raises ConversionError: `bad_stream_arn`, or `bad_stream_label` if only the label is wrong.
    """
    if not isinstance(arn, str):
        raise ConversionError("bad_stream_arn", "eventSourceARN is missing or is not text")
    return _parse_stream_arn(arn)


def table_name(record: Record) -> str | None:
    """The table's name out of the record's eventSourceARN, or None if it cannot be told."""
    arn = record.get("eventSourceARN")
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    return found[1] if found else None


def sequence_number(record: Record) -> str | None:
    """The record's SequenceNumber as it came, or None unless it is 1 to 40 ASCII digits."""
    change = record.get("dynamodb")
    number = change.get("SequenceNumber") if isinstance(change, dict) else None
    if isinstance(number, str) and len(number) <= 40 and number.isdecimal() and number.isascii():
        return number
    return None


def created_ms(record: Record) -> int | None:
    """The record's ApproximateCreationDateTime in ms since 1970, or None if it cannot be read.

    In: seconds, int or float, as Lambda sends them, or the datetime that boto3 makes of them. Times
    outside 1970 to 9999 count as unreadable: they are not creation times, and no folder could name them.
    """
    change = record.get("dynamodb")
    seconds = change.get("ApproximateCreationDateTime") if isinstance(change, dict) else None
    if isinstance(seconds, bool):
        return None
    if isinstance(seconds, int) or (isinstance(seconds, float) and seconds.is_integer()):
        ms = int(seconds) * 1000
    elif isinstance(seconds, float | Decimal):
        exact = Decimal(str(seconds))
        if not exact.is_finite() or exact.adjusted() > 12:
            return None
        ms = int((exact * 1000).to_integral_value(ROUND_HALF_UP))
    elif isinstance(seconds, datetime) and seconds.tzinfo is not None:
        ms = (seconds - _EPOCH + timedelta(microseconds=500)) // timedelta(milliseconds=1)
    else:
        return None
    return ms if 0 <= ms < _YEAR_10000_MS else None


def attribute_json(value: object) -> str:
    """JSON text of one typed attribute value, such as `{"N": "5"}`.

    S text, N exact number, B base64 text (bytes are encoded, text is kept as it is), BOOL, NULL, L array,
    M object. Sets are sorted arrays: SS by code point (which is the order of UTF-8 bytes), NS by value
    and then by text, BS by base64 text; members that repeat are kept, an empty set is [].
    Raises ConversionError (`bad_attribute`, `bad_number`, `too_deep`) with the path inside the value.
    """
    try:
        return _value_json(value)
    except _UnfitError as unfit:
        raise unfit.as_error() from None
    except RecursionError:
        raise _too_deep() from None


def number_text(text: str) -> str:
    """A DynamoDB number as a JSON number of exactly the same value, every digit kept.

    Plain notation if that needs at most 38 digits on either side of the point, else an exponent. Raises
    ValueError for what is no number, and for what is beyond DynamoDB's range (1E-130 to 9.99…E+125).
    """
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    if not _ANY_NUMBER.fullmatch(text):
        raise ValueError("not a number")
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent that Decimal itself cannot hold
        raise ValueError("not a number that DynamoDB can hold") from None
    if number.is_zero():
        number = number.copy_abs()
    elif not _LEAST_EXPONENT <= number.adjusted() <= _GREATEST_EXPONENT:
        raise ValueError("not a number that DynamoDB can hold")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # finite, as the pattern allows nothing else
    if number.is_zero() and abs(exponent) > _PLAIN_DIGITS:
        return "0"
    if number.adjusted() < _PLAIN_DIGITS and -exponent <= _PLAIN_DIGITS:
        return f"{number:f}"
    return f"{number:E}"


@functools.lru_cache(maxsize=64)
def _parse_stream_arn(arn: str) -> StreamArn:
    found = _ARN.fullmatch(arn)
    if not found:
        raise ConversionError("bad_stream_arn", "eventSourceARN is not the ARN of a DynamoDB stream")
    table, label = found.groups()
    try:
        is_time = bool(_LABEL.fullmatch(label)) and datetime.fromisoformat(label) is not None
    except ValueError:  # the form of a time, but a month 13
        is_time = False
    if not is_time:
        raise ConversionError("bad_stream_label", "the stream's label is not a time YYYY-MM-DDTHH:MM:SS.mmm")
    return StreamArn(table, label)


def _delete_kind(identity: object, change: Mapping[str, Any]) -> str:
    """`ttl` if DynamoDB's own service deleted the item; `replicated` if it says that another region did; else
    `user`.

    A global table of version 2017 marks an item before it replicates its delete; one of today marks nothing.
    """
    if isinstance(identity, Mapping):
        # Lambda and the streams API spell the names differently.
        kind = identity.get("type", identity.get("Type"))
        principal = identity.get("principalId", identity.get("PrincipalId"))
        if (kind, principal) == ("Service", "dynamodb.amazonaws.com"):
            return "ttl"
    before = change.get("OldImage")
    marked = isinstance(before, dict) and before.get("aws:rep:deleting") == {"BOOL": True}
    return "replicated" if marked else "user"


def _keys(change: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = change.get("Keys")
    if not isinstance(keys, dict) or not keys:
        raise ConversionError("missing_keys", "Keys is missing, empty or no object")
    for name, value in keys.items():
        if not isinstance(value, dict) or not value.keys() <= {"S", "N", "B"}:
            raise ConversionError("bad_keys", f"key attribute {name}: a key is S, N or B")
    return keys


def _new_item(change: Mapping[str, Any], keys: Mapping[str, Any]) -> Mapping[str, Any]:
    image = change.get("NewImage")
    if not isinstance(image, dict) or not image:
        raise ConversionError("missing_new_image", "NewImage is missing, empty or no object")
    if keys.keys() <= image.keys():
        return image
    return {**image, **{name: value for name, value in keys.items() if name not in image}}


def _attributes(item: Mapping[str, Any]) -> list[str]:
    """The item's attributes, written: `"name":value`, names escaped."""
    numbers: list[str] = []
    try:
        written = _quick_members(item, ATTRIBUTE_NAMES, numbers)
        if _all_plain(numbers):
            return written
    except (_UnfitError, TypeError, ValueError, KeyError, AttributeError):
        pass
    return [ATTRIBUTE_NAMES[name] + text for name, text in _careful_attributes(item)]


# The quick way. What is not well formed raises, whatever it happens to raise. Numbers are taken as they are,
# to be looked at together afterwards: a regular expression takes longer to start than to match.


def _quick_members(members: Mapping[str, Any], names: Names, numbers: list[str]) -> list[str]:
    written = []
    for name, value in members.items():
        [tag] = value
        content = value[tag]
        if tag == "S":
            text = json_string(content)  # TypeError unless it is text
        elif tag == "N":
            text = content
            numbers.append(content)
        else:
            text = _quick(tag, content, numbers)
        written.append(names[name] + text)
    return written


def _quick_elements(elements: list[Any], numbers: list[str]) -> list[str]:
    written = []
    for value in elements:
        [tag] = value
        written.append(_quick(tag, value[tag], numbers))
    return written


def _quick(tag: str, content: Any, numbers: list[str]) -> str:
    if tag == "M":
        return "{" + ",".join(_quick_members(content, MEMBER_NAMES, numbers)) + "}"
    if tag == "L" and isinstance(content, list):
        return "[" + ",".join(_quick_elements(content, numbers)) + "]"
    return _LEAVES[tag](content)


def _all_plain(numbers: list[str]) -> bool:
    if not numbers:
        return True
    text = ",".join(numbers) + ","
    # One comma more would be one within a number.
    return text.count(",") == len(numbers) and bool(_PLAIN_NUMBERS.fullmatch(text))


def _careful_attributes(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    attributes = []
    for name, value in item.items():
        try:
            attributes.append((_checked_name(name), _value_json(value)))
        except _UnfitError as unfit:
            raise unfit.inside(str(name)).as_error() from None
    return attributes


def _too_deep() -> ConversionError:
    return ConversionError("too_deep", "the item nests deeper than DynamoDB allows")


class _UnfitError(Exception):
    """A value that cannot be written. Its path is put together only when it fails, from the inside out."""

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        self.problem = problem
        self.path = ""

    def inside(self, step: str) -> _UnfitError:
        joint = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{joint}{self.path}"
        return self

    def as_error(self) -> ConversionError:
        return ConversionError(self.reason, f"attribute {self.path or '(the value itself)'}: {self.problem}")


def _value_json(value: object) -> str:
    if not isinstance(value, dict) or len(value) != 1:
        raise _UnfitError("bad_attribute", "not an object with exactly one type")
    ((tag, content),) = value.items()
    if tag == "M" and isinstance(content, dict):
        members = []
        for name, member in content.items():
            try:
                members.append(f"{json_string(_checked_name(name))}:{_value_json(member)}")
            except _UnfitError as unfit:
                raise unfit.inside(str(name)) from None
        return "{" + ",".join(members) + "}"
    if tag == "L" and isinstance(content, list):
        elements = []
        for place, element in enumerate(content):
            try:
                elements.append(_value_json(element))
            except _UnfitError as unfit:
                raise unfit.inside(f"[{place}]") from None
        return "[" + ",".join(elements) + "]"
    if tag in _LEAVES:
        return _LEAVES[tag](content)
    raise _not_of_its_type()


def _not_of_its_type() -> _UnfitError:
    return _UnfitError("bad_attribute", "an unknown type, or content that is not of its type")


def _text_json(content: object) -> str:
    if not isinstance(content, str):
        raise _not_of_its_type()
    return json_string(content)


def _boolean_json(content: object) -> str:
    if not isinstance(content, bool):
        raise _not_of_its_type()
    return "true" if content else "false"


def _null_json(content: object) -> str:
    if content is not True:
        raise _not_of_its_type()
    return "null"


def _set_json(tag: str, members: object) -> str:
    if not isinstance(members, list):
        raise _not_of_its_type()
    if tag == "NS":
        written = sorted(map(_number_json, members), key=lambda text: (Decimal(text), text))
    elif tag == "BS":
        written = sorted(map(_binary_json, members))
    else:
        texts = [member for member in members if isinstance(member, str)]
        if len(texts) != len(members):
            raise _UnfitError("bad_attribute", "a member of a string set is not text")
        written = [json_string(text) for text in sorted(texts)]
    return "[" + ",".join(written) + "]"


def _number_json(content: object) -> str:
    if not isinstance(content, str):
        raise _UnfitError("bad_number", "N is not text")
    try:
        return number_text(content)
    except ValueError as error:
        raise _UnfitError("bad_number", str(error)) from None


def _binary_json(content: object) -> str:
    if isinstance(content, str):
        return json_string(content)
    if isinstance(content, bytes | bytearray):
        return f'"{base64.b64encode(content).decode("ascii")}"'
    raise _UnfitError("bad_attribute", "B is neither base64 text nor bytes")


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise _UnfitError("bad_attribute", "the name is not text")
    return name


_LEAVES: Mapping[str, Callable[[Any], str]] = {
    "S": _text_json,
    "N": _number_json,
    "BOOL": _boolean_json,
    "NULL": _null_json,
    "B": _binary_json,
    **{tag: functools.partial(_set_json, tag) for tag in ("SS", "NS", "BS")},
}
