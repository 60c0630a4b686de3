"""Kinesis records become change records, each object once, every digit kept, or go to quarantine whole."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import math
import sys
import tracemalloc
import zlib
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from aws_support import REAL_EVENTS, Landing, load_event
from botocore.awsrequest import AWSResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from change_writer import kinesis
from change_writer.encode import ConvertedRecord, object_name, unescape_name
from change_writer.errors import ConversionError, NotAStreamEventError, SettingsError
from change_writer.handler import lambda_handler
from change_writer.kinesis import MAX_DEPTH, MAX_INFLATED_BYTES, arrived_ms, convert, stream_name
from change_writer.landing import s3_client

REAL_KINESIS = REAL_EVENTS.parent / "kinesis"
DONE: dict[str, Any] = {"batchItemFailures": []}
INGEST_TS = 1_767_900_000_000
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/metric-events"
SHARD = "shardId-000000000001"
ARRIVED = 1_767_873_600.125  # 2026-01-08T12:00:00.125Z
FOLDER = "dt=2026-01-08/HH=12"
METADATA = {"_eventID", "_eventName", "_sequence", "_approxStreamTs", "_ingestTs", "is_deleted"}
properties = settings(max_examples=200, deadline=None, database=None)


def number(place: int) -> str:
    return f"4959033827149025660855969253836157109592157598913658{place:04}"


def a_record(data: bytes | str, place: int = 0, /, **members: Any) -> dict[str, Any]:
    """A record as Lambda sends it; members of `kinesis` are given by name, others as record__<name>."""
    raw = data.encode() if isinstance(data, str) else data
    record: dict[str, Any] = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "student-1",
            "sequenceNumber": number(place),
            "data": base64.b64encode(raw).decode(),
            "approximateArrivalTimestamp": ARRIVED,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{SHARD}:{number(place)}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/writer",
        "awsRegion": "eu-west-1",
        "eventSourceARN": ARN,
    }
    for name, value in members.items():
        record_name = name.removeprefix("record__")
        target = record if record_name != name else record["kinesis"]
        if value is ...:
            target.pop(record_name, None)
        else:
            target[record_name] = value
    return record


def exact(text: str | bytes) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def lines(data: bytes | str) -> list[bytes]:
    return [converted.line for converted in convert(a_record(data), INGEST_TS)]


def attributes(line: bytes) -> dict[str, Any]:
    row = exact(line)
    assert set(row) >= METADATA
    return {
        unescape_name(name): value
        for name, value in row.items()
        if name not in METADATA and (name != "updated_at" or value != row["_approxStreamTs"])
    }


def events(data: bytes | str) -> list[dict[str, Any]]:
    return [attributes(line) for line in lines(data)]


def refusal(record: dict[str, Any]) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert(record, INGEST_TS)
    return caught.value


# --- the change record ------------------------------------------------------------------------------


def test_an_event_is_a_line_of_its_attributes_and_metadata() -> None:
    (converted,) = convert(
        a_record('{"event_id": "e-1", "payload": {"student_id": "s-1", "tutor_rating": 4.50}}'), INGEST_TS
    )
    assert isinstance(converted, ConvertedRecord)
    assert converted.origin == "metric-events"
    sequence = f"{number(0)}/{SHARD}/000000"
    assert converted.line.decode() == (
        f'{{"_eventID":"{SHARD}:{number(0)}#0","_eventName":"EVENT","_sequence":"{sequence}",'
        f'"_ingestTs":{INGEST_TS},"is_deleted":false,"_approxStreamTs":1767873600125,'
        '"event_id":"e-1","payload":{"student_id":"s-1","tutor_rating":4.50},"updated_at":1767873600125}\n'
    )


def test_an_event_keeps_its_own_updated_at() -> None:
    (line,) = lines('{"updated_at": "yesterday"}')
    assert line.count(b'"updated_at":') == 1
    assert json.loads(line)["updated_at"] == "yesterday"


def test_names_that_look_like_metadata_are_escaped() -> None:
    (line,) = lines('{"_eventID": 1, "__x": 2, "is_deleted": true, "_": 3, "a": {"_b": 4}}')
    row = json.loads(line)
    assert row["is_deleted"] is False
    assert (row["___eventID"], row["____x"], row["__is_deleted"], row["___"]) == (1, 2, True, 3)
    assert row["a"] == {"_b": 4}


def test_the_sequence_orders_as_text_by_number_then_index() -> None:
    numbers = ["9", "10", "49568167373333333333333333333333333333333333333333333333", "9" * 56]
    records = [
        a_record("{}" * 12, sequenceNumber=each, record__eventID=f"{SHARD}:{each}") for each in numbers
    ]
    sequences = [c.metadata.sequence for record in records for c in convert(record, 0)]
    assert all(before < after for before, after in pairwise(sequences))
    assert sequences[11] == f"{'9':0>56}/{SHARD}/000011"
    assert {len(sequence) for sequence in sequences} == {56 + 1 + len(SHARD) + 1 + 6}


def test_an_event_without_a_time_of_arrival_lands_without_it() -> None:
    (converted,) = convert(a_record('{"a": 1}', approximateArrivalTimestamp=...), INGEST_TS)
    assert not {"_approxStreamTs", "updated_at"} & json.loads(converted.line).keys()


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (1545084650.987, 1_545_084_650_987),
        (1607497475.0, 1_607_497_475_000),
        (1428537600, 1_428_537_600_000),
        (0, 0),
        (-1, None),
        (True, None),
        (None, None),
        ("1545084650.987", None),
        (math.nan, None),
        (math.inf, None),
        (253_402_300_799, 253_402_300_799_000),
        (1545084650.9876, 1545084650988),
        (253_402_300_799.9999, None),
        (1664028820148, None),
        (10**400, None),
    ],
)
def test_the_time_of_arrival_is_read_to_the_millisecond(seconds: object, ms: int | None) -> None:
    assert arrived_ms(a_record("{}", approximateArrivalTimestamp=seconds)) == ms


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (ARN, "metric-events"),
        ("arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/a.b_c-1", "a.b_c-1"),
        (f"{ARN}/consumer/writer:1607497475", "metric-events"),
        (f"{ARN}/", None),
        (f"{ARN}/consumer/", None),
        (f"{ARN}/other/writer", None),
        (f"{ARN}\n", None),
        (f"x{ARN}", None),
        ("arn:aws:kinesis:EXAMPLE", None),
        ("arn:aws:firehose:us-east-2:123456789012:deliverystream/name", None),
        ("arn:aws:dynamodb:eu-west-1:123456789012:table/calls/stream/2026-01-05T08:00:00.123", None),
        (None, None),
        (5, None),
    ],
)
def test_the_stream_is_named_by_its_arn_alone(arn: object, name: str | None) -> None:
    assert stream_name({"eventSourceARN": arn}) == name


# --- numbers and values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "landed"),
    [
        ("0", "0"),
        ("-0", "-0"),
        ("1.50", "1.50"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("9007199254740993", "9007199254740993"),
        ("9" * 60, "9" * 60),
        ("9" * 5000, "9" * 5000),  # beyond the digits that Python's int takes from text
        ("0." + "1" * 60, "0." + "1" * 60),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("-1.5e1", "-15"),
        ("125e-3", "0.125"),
        ("1.50e0", "1.50"),
        ("0e5", "0"),
        ("1e37", "1" + "0" * 37),
        ("1e38", "1e38"),
        ("1E-38", "0." + "0" * 37 + "1"),
        ("1E-39", "1E-39"),
        ("1.7976931348623157E+308", "1.7976931348623157E+308"),
        ("1e400", "1e400"),
        ("-1e-99999999999999999999", "-1e-99999999999999999999"),
    ],
)
def test_a_number_keeps_its_digits(written: str, landed: str) -> None:
    (line,) = lines(f'{{"a": {written}, "b": [{{"c": {written}}}]}}')
    assert f'"a":{landed},"b":[{{"c":{landed}}}]'.encode() in line


def test_every_kind_of_value_is_kept() -> None:
    text = ' { "s" : "Gr\\u00fc\\u00dfe \\ud83d\\ude00\\n\\"\u2028" , "t":true,"f":false,"z":null,"e":"",' + (
        '"l":[1, [ ], {"m":[ null ]}],"o":{ },"long":"1e5" }\r\n'
    )
    (line,) = lines(text)
    expected = '"s":"Grüße 😀\\n\\"\u2028","t":true,"f":false,"z":null,"e":"",' + (
        '"l":[1,[],{"m":[null]}],"o":{},"long":"1e5"'
    )
    assert expected.encode() in line
    assert line.count(b"\n") == 1


def test_the_deepest_event_is_kept_and_one_level_more_is_quarantined() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * levels + "1" + "}" * levels

    assert nested(MAX_DEPTH)[1:-1].encode() in lines(nested(MAX_DEPTH))[0]
    for levels in (MAX_DEPTH + 1, sys.getrecursionlimit() * 2, 200_000):
        assert refusal(a_record(nested(levels))).reason == "too_deep"
    assert refusal(a_record('{"a":' + "[" * 200_000)).reason == "too_deep"


# --- several objects --------------------------------------------------------------------------------

FORMS = {
    "one": '{"n":0}',
    "lines": '{"n":0}\n{"n":1}\r\n\n{"n":2}\n',
    "end to end": '{"n":0}{"n":1}{"n":2}',
    "an array": ' [{"n":0}, {"n":1},\n{"n":2}] ',
    "arrays among objects": '{"n":0}[{"n":1}][]\n[{"n":2},{"n":3}]',
    "pretty": '{\n  "n": 0\n}\n{\n  "n": 1\n}\n',
    "a byte order mark": '\ufeff{"n":0}',
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_each_object_of_a_record_is_an_event_of_its_own(form: str, pack: Any) -> None:
    converted = convert(a_record(pack(FORMS[form].encode())), INGEST_TS)
    rows = [json.loads(each.line) for each in converted]
    assert [row["n"] for row in rows] == list(range(FORMS[form].count("n")))
    assert [row["_eventID"] for row in rows] == [f"{SHARD}:{number(0)}#{i}" for i in range(len(rows))]
    assert [row["_sequence"][-7:] for row in rows] == [f"/{i:06}" for i in range(len(rows))]


def test_the_members_of_a_gzip_are_one_text() -> None:
    whole = '{"n": 0, "t": "Größe"}{"n": 1}'.encode()
    for cut in range(len(whole) + 1):  # in the middle of a character, too
        data = gzip.compress(whole[:cut]) + gzip.compress(whole[cut:])
        assert [event["n"] for event in events(data)] == [0, 1]
    assert len(events(gzip.compress(whole) + b"\0" * 7)) == 2  # padding, which gzip allows


def test_an_event_without_attributes_is_an_event() -> None:
    assert events("{}") == [{}]


# --- quarantine -------------------------------------------------------------------------------------

GOOD = '{"n":0}'
KPL = b"\xf3\x89\x9a\xc2\x0a\x01k\x1a\x09\x08\x00\x1a\x05hello" + b"\x00" * 16
TABLE_CHANGE = json.dumps(
    {
        "awsRegion": "eu-west-1",
        "eventID": "00000000-0000-0000-0000-000000000001",
        "eventName": "INSERT",
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "calls",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_706_646_452_000,
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}},
            "SizeBytes": 12,
        },
        "eventSource": "aws:dynamodb",
    }
)
PACKED = gzip.compress(b'{"n": "' + bytes(range(40, 90)) * 20 + b'"}')
BAD: dict[str, tuple[bytes | str, str]] = {
    "nothing": ("", "empty_data"),
    "white space": (" \n ", "empty_data"),
    "an empty array": ("[]", "empty_data"),
    "an empty gzip": (gzip.compress(b""), "empty_data"),
    "text": ("Hello World", "not_json"),
    "a torn object": ('{"n":0', "not_json"),
    "a trailing comma": ('{"n":0,}', "not_json"),
    "commas between objects": ('{"n":0},{"n":1}', "not_json"),
    "single quotes": ("{'n':0}", "not_json"),
    "a comment": ('{"n":0} // why', "not_json"),
    "a number with a zero in front": ('{"n":01}', "not_json"),
    "a control character": ('{"n":"\x01"}', "not_json"),
    "a space that is none": ('{"n":0}\u00a0', "not_json"),
    "a torn second object": (GOOD + '\n{"n":', "not_json"),
    "a number": ("5", "not_an_object"),
    "a string": ('"x"', "not_an_object"),
    "null": ("null", "not_an_object"),
    "an array in an array": ('[[{"n":0}]]', "not_an_object"),
    "a number among objects": (GOOD + "\n7\n" + GOOD, "not_an_object"),
    "a number among an array's objects": (f"[{GOOD},7]", "not_an_object"),
    "a member twice": ('{"n":0,"n":1}', "duplicate_member"),
    "a member twice, spelt differently": ('{"n":0,"\\u006e":1}', "duplicate_member"),
    "a member twice, deep down": ('{"a":[{"n":0,"n":0}]}', "duplicate_member"),
    "NaN": ('{"n":NaN}', "bad_number"),
    "Infinity": ('{"n":[-Infinity]}', "bad_number"),
    "a lone surrogate": ('{"n":"\\ud800"}', "not_utf8"),
    "a lone surrogate in a name": ('{"\\udfff":1}', "not_utf8"),
    "a lone surrogate deep down": ('{"a":[{"\\udfff":1}]}', "not_utf8"),
    "Latin-1": ('{"n":"Größe"}'.encode("latin-1"), "not_utf8"),
    "UTF-16": (GOOD.encode("utf-16"), "not_utf8"),
    "deep nesting": ('{"a":' + "[" * 500 + "]" * 500 + "}", "too_deep"),
    "a KPL aggregate": (KPL, "kpl_aggregate"),
    "a torn gzip": (PACKED[:-9], "torn_gzip"),
    "a gzip without its end": (PACKED[:-1], "torn_gzip"),
    "the beginning of a gzip": (b"\x1f\x8b", "torn_gzip"),
    "a gzip with a wrong checksum": (PACKED[:-8] + bytes(8), "bad_gzip"),
    "a gzip with a broken body": (PACKED[:20] + b"\xff" * 10 + PACKED[30:], "bad_gzip"),
    "a gzip of an unknown method": (b"\x1f\x8b\x01" + PACKED[3:], "bad_gzip"),
    "something behind a gzip": (PACKED + b"{}", "bad_gzip"),
    "a gzip in a gzip": (gzip.compress(PACKED), "not_utf8"),
    "a bomb": (gzip.compress(b" " * (MAX_INFLATED_BYTES + 1)), "gzip_too_large"),
    "a bomb of members": (gzip.compress(b" " * 2**20) * 33, "gzip_too_large"),
    "13 MB, one character of which makes each take four bytes": (
        gzip.compress(b'{"a":"' + b"x" * (13 * 2**20) + '\U0001d11e"}'.encode()),
        "text_too_large",
    ),
    "a change of a table": (TABLE_CHANGE, "dynamodb_change"),
    "a change of a table among events": (f"[{GOOD},{TABLE_CHANGE}]", "dynamodb_change"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_is_no_event_has_a_reason(name: str) -> None:
    data, reason = BAD[name]
    refused = refusal(a_record(data))
    assert refused.reason == reason
    assert refused.__cause__ is None
    assert refused.__context__ is None or refused.__suppress_context__  # it may hold the data


@pytest.mark.parametrize("data", [None, 5, ["e30="], "e30", "e 30=", "e30=\n", "e30=e30=", "%%%", "é", ...])
def test_data_that_is_not_base64_is_refused(data: object) -> None:
    assert refusal(a_record(GOOD, data=data)).reason == "bad_base64"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"record__eventID": ...}, "missing_event_id"),
        ({"record__eventID": ""}, "missing_event_id"),
        ({"record__eventID": 5}, "missing_event_id"),
        ({"record__eventID": number(0)}, "bad_event_id"),
        ({"record__eventID": f":{number(0)}"}, "bad_event_id"),
        ({"record__eventID": f"a/b:{number(0)}"}, "bad_event_id"),
        ({"record__eventID": f"{SHARD}:{number(1)}"}, "bad_event_id"),
        ({"record__eventName": "INSERT"}, "unknown_event_name"),
        ({"record__eventName": ...}, "unknown_event_name"),
        ({"record__eventSourceARN": "arn:aws:kinesis:EXAMPLE"}, "bad_stream_arn"),
        ({"record__eventSourceARN": ...}, "bad_stream_arn"),
        ({"record__kinesis": ...}, "missing_kinesis"),
        ({"record__kinesis": "x"}, "missing_kinesis"),
        ({"sequenceNumber": ...}, "bad_sequence_number"),
        ({"sequenceNumber": 5}, "bad_sequence_number"),
        ({"sequenceNumber": ""}, "bad_sequence_number"),
        ({"sequenceNumber": "1" * 57}, "bad_sequence_number"),
        ({"sequenceNumber": "\u0661"}, "bad_sequence_number"),
        ({"sequenceNumber": "1\n"}, "bad_sequence_number"),
    ],
)
def test_a_record_that_cannot_be_named_or_placed_is_refused(members: dict[str, Any], reason: str) -> None:
    assert refusal(a_record(GOOD, **members)).reason == reason


def test_a_record_of_countless_objects_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinesis, "MAX_OBJECTS", 3)
    assert len(events("{}" * 3)) == 3
    assert refusal(a_record("{}" * 4)).reason == "too_many_objects"


@pytest.mark.parametrize("value", ["{}", "[]", "0"])
def test_a_record_of_countless_values_is_refused_before_they_are_made(value: str) -> None:
    record = a_record(gzip.compress(f'{{"a":[{",".join([value] * 4_000_000)}]}}'.encode(), 9, mtime=0))
    tracemalloc.start()
    try:
        assert refusal(record).reason == "too_many_values"
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_takes_no_more_memory_than_it_may() -> None:
    squeeze = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeeze.compress(b"\0" * 2**20) for _ in range(128)) + squeeze.flush()
    assert len(bomb) < 2**18
    record = a_record(bomb)
    tracemalloc.start()
    try:
        assert refusal(record).reason == "gzip_too_large"
        assert tracemalloc.get_traced_memory()[1] < 2.2 * MAX_INFLATED_BYTES
    finally:
        tracemalloc.stop()


def test_no_detail_of_a_refusal_holds_what_the_data_holds() -> None:
    for data, _ in BAD.values():
        detail = refusal(a_record(data)).detail
        assert not any(secret in detail for secret in ("Hello", "why", "Größe", "calls", "hello"))


# --- through the handler ----------------------------------------------------------------------------


def three_records() -> list[dict[str, Any]]:
    """One event, three events, one event."""
    return [
        a_record('{"n":0}', 1),
        a_record(gzip.compress(b'{"n":1}\n{"n":2}\n{"n":3}\n'), 2),
        a_record('[{"n":4}]', 3),
    ]


def ids(record: dict[str, Any], count: int) -> list[str]:
    return [f"{record['eventID']}#{index}" for index in range(count)]


def test_a_stream_lands_under_its_source(landing: Landing) -> None:
    landing.configure(SOURCE_MAP="calls-prod=calls,metric-events=metric_events")
    records = three_records()
    records[1]["eventSourceARN"] += "/consumer/writer:1607497475"
    assert lambda_handler({"Records": records}, None) == DONE
    held = ids(records[0], 1) + ids(records[1], 3) + ids(records[2], 1)
    key = f"landing/metric_events/{FOLDER}/{object_name(held)}.ndjson.gz"
    assert landing.object_keys() == [key]
    rows = landing.lines(key)
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["_eventID"] for row in rows] == held
    assert {row["_eventName"] for row in rows} == {"EVENT"}
    assert not any(row["is_deleted"] for row in rows)


def test_a_redelivery_lands_nothing_new(landing: Landing) -> None:
    event = {"Records": [*three_records(), a_record("Hello World", 4)]}
    lambda_handler(event, None)
    before = {key: landing.lines(key) for key in landing.object_keys()}
    assert len(before) == 2
    assert lambda_handler(event, None) == DONE
    assert {key: landing.lines(key) for key in landing.object_keys()} == before


@pytest.mark.parametrize("max_records", ["1", "2", "3", "2000"])
def test_however_it_is_cut_the_same_events_land_under_the_same_names(
    landing: Landing, max_records: str
) -> None:
    """A record may be spread over objects; redelivered in other batches its events keep id and sequence."""
    landing.configure(MAX_RECORDS=max_records)
    lambda_handler({"Records": three_records()}, None)
    keys = landing.object_keys()
    lambda_handler({"Records": three_records()}, None)
    assert landing.object_keys() == keys
    for record in three_records():
        lambda_handler({"Records": [record]}, None)
    rows = landing.all_lines("landing/metric-events/")
    assert {(row["_eventID"], row["_sequence"], row["n"]) for row in rows} == {
        (event_id, f"{record['kinesis']['sequenceNumber']}/{SHARD}/{index:06}", n)
        for record, numbers in zip(three_records(), ([0], [1, 2, 3], [4]), strict=True)
        for index, (event_id, n) in enumerate(zip(ids(record, len(numbers)), numbers, strict=True))
    }


def test_a_record_with_one_bad_object_is_quarantined_whole_and_its_neighbours_land(landing: Landing) -> None:
    records = three_records()
    bad = a_record('{"n":1}\n{"n":NaN}\n{"n":3}\n', 2)
    records[1] = bad
    assert lambda_handler({"Records": records}, None) == DONE
    assert [row["n"] for row in landing.all_lines("landing/metric-events/")] == [0, 4]
    assert landing.all_lines(f"landing/_quarantine/metric-events/{FOLDER}/") == [
        {
            "source": "metric-events",
            "reason": "bad_number",
            "detail": "NaN and infinities are no JSON numbers",
            "eventID": bad["eventID"],
            "record": bad,
        }
    ]


def fail_puts(after: int) -> None:
    """Let so many puts of the function's client through, then refuse all."""
    puts = iter([None] * after)

    class Body:
        def stream(self) -> list[bytes]:
            return [b"<Error><Code>AccessDenied</Code></Error>"]

    def fault(**_: Any) -> AWSResponse | None:
        denied = AWSResponse("http://127.0.0.1", 403, {"content-type": "application/xml"}, Body())
        return next(puts, denied)

    s3_client().meta.events.register("before-send.s3.PutObject", fault)


@pytest.mark.parametrize(("landed", "first"), [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2)])
def test_the_first_record_that_did_not_land_is_reported(landing: Landing, landed: int, first: int) -> None:
    """Also a record of which only some events landed: they land once more, under the same ids."""
    landing.configure(MAX_RECORDS="1")
    fail_puts(landed)
    records = three_records()
    failure = {"itemIdentifier": records[first]["kinesis"]["sequenceNumber"]}
    assert lambda_handler({"Records": records}, None) == {"batchItemFailures": [failure]}
    s3_client.cache_clear()
    assert lambda_handler({"Records": records[first:]}, None) == DONE
    assert sorted(row["n"] for row in landing.all_lines("")) == [0, 1, 2, 3, 4]


def test_a_stream_whose_name_cannot_be_a_source_has_to_be_mapped(landing: Landing) -> None:
    event = {"Records": [a_record(GOOD, record__eventSourceARN=ARN.replace("metric-events", "_metrics"))]}
    with pytest.raises(SettingsError, match="_metrics=<source>"):
        lambda_handler(event, None)
    landing.configure(SOURCE_MAP="_metrics=metric_events")
    assert lambda_handler(event, None) == DONE
    assert landing.object_keys()[0].startswith("landing/metric_events/")


def test_the_two_kinds_of_stream_are_never_mixed(landing: Landing) -> None:
    with pytest.raises(NotAStreamEventError, match="record 1 is of another kind"):
        lambda_handler({"Records": [a_record(GOOD), *load_event("calls-changes")["Records"]]}, None)
    assert landing.object_keys() == []


def test_a_time_window_s_event_lands_like_any_other_its_last_has_no_records(landing: Landing) -> None:
    window = {
        "window": {"start": "2026-01-08T12:00:00Z", "end": "2026-01-08T12:02:00Z"},
        "state": {"count": 5},
        "shardId": SHARD,
        "eventSourceARN": ARN,
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }
    assert lambda_handler({"Records": [a_record(GOOD)], **window}, None) == DONE
    assert len(landing.all_lines("landing/metric-events/")) == 1
    assert lambda_handler({"Records": [], **window, "isFinalInvokeForWindow": True}, None) == DONE


# --- the sample events that AWS and its tools publish -------------------------------------------------

needs_samples = pytest.mark.skipif(
    not REAL_KINESIS.is_dir(), reason="the sample events are not beside the repository"
)


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((REAL_KINESIS / f"{name}.json").read_text(encoding="utf-8"))
    return event


FIRST, SECOND = (
    "49590338271490256608559692538361571095921575989136588898",
    "49590338271490256608559692540925702759324208523137515618",
)
THREES, FOURS = (
    "49568167373333333333333333333333333333333333333333333333",
    "49568167373333333334444444444444444444444444444444444444",
)
SHARD_0, SHARD_6 = "shardId-000000000000", "shardId-000000000006"
# Each file's records: folder, reason, event id.
QUARANTINED = {
    "aws-lambda-go.kinesis-event": [
        ("simple-stream/dt=2016-12-02/HH=01", "not_json", f"{SHARD_0}:{THREES}"),
        ("simple-stream/dt=2016-12-02/HH=01", "not_json", f"{SHARD_0}:{FOURS}"),
    ],
    "aws-lambda-rust.kinesis-event-encrypted": [
        ("simple-stream/dt=2016-12-02/HH=01", "not_json", f"{SHARD_0}:{THREES}"),
        ("simple-stream/dt=2016-12-02/HH=01", "not_json", f"{SHARD_0}:{FOURS}"),
    ],
    "aws-lambda-go.kinesis-time-window-event": [
        ("lambda-stream/dt=2020-12-09/HH=07", "not_json", f"{SHARD_6}:{FIRST}"),
    ],
    "lambda-dev-guide.kinesis-record": [
        ("lambda-stream/dt=2018-12-17/HH=22", "not_json", f"{SHARD_6}:{FIRST}"),
        ("lambda-stream/dt=2018-12-17/HH=22", "not_json", f"{SHARD_6}:{SECOND}"),
    ],
    "powertools-python.kinesisStreamEvent": [
        ("lambda-stream/dt=2018-12-17/HH=22", "not_json", f"{SHARD_6}:{FIRST}"),
        ("lambda-stream/dt=2018-12-17/HH=22", "not_json", f"{SHARD_6}:{SECOND}"),
    ],
    "sam-cli.Kinesis.template": [
        ("unknown/dt=2015-04-09/HH=00", "bad_stream_arn", f"{SHARD_0}:{{{{{{sequence}}}}}}"),
    ],
}


@needs_samples
def test_every_sample_file_is_tested_here() -> None:
    assert {path.name.removesuffix(".json") for path in REAL_KINESIS.glob("*.json")} == {
        *QUARANTINED,
        "powertools-python.kinesisFirehoseKinesisEvent",
        "powertools-python.kinesisStreamEventOneRecord",
    }


@needs_samples
@pytest.mark.parametrize("name", QUARANTINED)
def test_a_sample_whose_data_is_plain_text_is_quarantined_whole(landing: Landing, name: str) -> None:
    event = sample(name)
    assert lambda_handler(event, None) == DONE
    expected = QUARANTINED[name]
    assert {key.rsplit("/", 1)[0] for key in landing.object_keys()} == {
        f"landing/_quarantine/{folder}" for folder, _, _ in expected
    }
    rows = landing.all_lines("")
    assert [(row["reason"], row["eventID"]) for row in rows] == [(r, e) for _, r, e in expected]
    assert [row["record"] for row in rows] == event["Records"]


@needs_samples
def test_the_sample_whose_data_is_json_lands(landing: Landing) -> None:
    assert lambda_handler(sample("powertools-python.kinesisStreamEventOneRecord"), None) == DONE
    (row,) = landing.all_lines("landing/lambda-stream/dt=2018-12-17/HH=22/")
    assert row == {
        "_eventID": f"{SHARD_6}:{FIRST}#0",
        "_eventName": "EVENT",
        "_sequence": f"{FIRST}/{SHARD_6}/000000",
        "_approxStreamTs": 1_545_084_650_987,
        "_ingestTs": row["_ingestTs"],
        "is_deleted": False,
        "message": "test message",
        "username": "test",
        "updated_at": 1_545_084_650_987,
    }


@needs_samples
def test_the_sample_of_firehose_is_refused(landing: Landing) -> None:
    with pytest.raises(NotAStreamEventError, match=r"a Firehose event.*'aws:kinesis'"):
        lambda_handler(sample("powertools-python.kinesisFirehoseKinesisEvent"), None)
    assert landing.object_keys() == []


@needs_samples
@pytest.mark.parametrize(
    "name",
    [
        "aws-lambda-rust.ddb-to-kinesis-record-optional-fields",
        "localstack.ddb_to_kinesis_destination_record",
    ],
)
def test_the_samples_of_dynamodb_s_kinesis_destination_are_refused_as_data(name: str) -> None:
    content = json.loads((REAL_EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    change = content["result-records"][0]["Data"] if "result-records" in content else content
    assert refusal(a_record(json.dumps(change))).reason == "dynamodb_change"


# --- properties -------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers().map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,50})(\.[0-9]{1,50})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
values = st.recursive(
    st.one_of(
        st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=len(text) % 2 == 0)),
        numbers,
        st.sampled_from(["true", "false", "null"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda members: f"[{' , '.join(members)}]"),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(lambda members: object_text(members)),
    ),
    max_leaves=8,
)
names = st.one_of(
    st.text(max_size=6), st.sampled_from(["is_deleted", "__is_deleted", "_eventID", "_", "updated_at"])
)


def object_text(members: dict[str, str]) -> str:
    return "{" + ",\n".join(f"{json.dumps(name)} : {value}" for name, value in members.items()) + "}"


@properties
@given(
    objects=st.lists(st.dictionaries(names, values, max_size=4).map(object_text), min_size=1, max_size=4),
    space=st.sampled_from(["", "\n", " ", "\r\n\t"]),
    array=st.booleans(),
    packed=st.booleans(),
)
def test_what_a_producer_sends_is_what_lands(
    objects: list[str], space: str, array: bool, packed: bool
) -> None:
    text = f"[{','.join(objects)}]" if array else space.join(objects)
    data = gzip.compress(text.encode()) if packed else text.encode()
    assert events(data) == [
        {name: value for name, value in exact(each).items() if name != "updated_at" or value != 1767873600125}
        for each in objects
    ]


@properties
@given(
    data=st.one_of(st.binary(max_size=200), st.binary(max_size=50).map(gzip.compress), st.text(max_size=50))
)
def test_whatever_the_data_is_it_lands_or_has_a_reason(data: bytes | str) -> None:
    with contextlib.suppress(ConversionError):
        assert convert(a_record(data), INGEST_TS)
