"""DynamoDB stream records become change records without losing a digit, a name or a value."""

from __future__ import annotations

import base64
import copy
import json
import math
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from aws_support import load_event
from hypothesis import given, settings
from hypothesis import strategies as st

from change_writer.dynamodb import attribute_json, convert, created_ms, number_text
from change_writer.encode import ConvertedRecord, Names, escape_name, unescape_name
from change_writer.errors import ConversionError

INGEST_TS = 1_767_900_000_000
METADATA = {
    "_eventID",
    "_eventName",
    "_sequence",
    "_approxStreamTs",
    "_ingestTs",
    "is_deleted",
    "_deleteKind",
}
properties = settings(max_examples=200, deadline=None, database=None)


def exact(text: str | bytes) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def parsed(converted: ConvertedRecord) -> dict[str, Any]:
    row: dict[str, Any] = exact(converted.line)
    return row


def a_record(**members: Any) -> dict[str, Any]:
    """A good INSERT of calls; members of `dynamodb` are given by name, others as record__<name>."""
    record = copy.deepcopy(load_event("calls-changes")["Records"][0])
    for name, value in members.items():
        record_name = name.removeprefix("record__")
        target = record if record_name != name else record["dynamodb"]
        if value is ...:
            target.pop(record_name, None)
        else:
            target[record_name] = value
    return record


def reason_of(record: dict[str, Any]) -> str:
    with pytest.raises(ConversionError) as caught:
        convert(record, INGEST_TS)
    return caught.value.reason


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"S": "x"}, '"x"'),
        ({"S": ""}, '""'),
        ({"S": 'Grüße "\\\n\u2028'}, '"Grüße \\"\\\\\\n\u2028"'),
        ({"N": "1"}, "1"),
        ({"BOOL": True}, "true"),
        ({"BOOL": False}, "false"),
        ({"NULL": True}, "null"),
        ({"B": "AAEqQQ=="}, '"AAEqQQ=="'),
        ({"B": "not base64 at all"}, '"not base64 at all"'),
        ({"B": b"\x00\x01*A"}, '"AAEqQQ=="'),
        ({"SS": ["b", "a", "B", "ä", "\U0001f4de", "\uffff"]}, '["B","a","b","ä","\uffff","\U0001f4de"]'),
        ({"NS": ["10", "9", "-1.5", "1E1", "9.0"]}, "[-1.5,9,9.0,10,10]"),
        ({"BS": ["QSoBAA==", "AAEqQQ==", b"\x00\x01*A"]}, '["AAEqQQ==","AAEqQQ==","QSoBAA=="]'),
        ({"SS": []}, "[]"),
        ({"NS": []}, "[]"),
        ({"BS": []}, "[]"),
        ({"L": []}, "[]"),
        ({"M": {}}, "{}"),
        ({"L": [{"N": "2"}, {"N": "1"}, {"L": [{"NULL": True}]}]}, "[2,1,[null]]"),
        ({"M": {"_a": {"S": "kept"}, "is_deleted": {"BOOL": True}}}, '{"_a":"kept","is_deleted":true}'),
    ],
)
def test_each_type_becomes_its_json(value: dict[str, Any], text: str) -> None:
    assert attribute_json(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("-17", "-17"),
        ("1.50", "1.50"),
        ("+5", "5"),
        ("007", "7"),
        ("-007.50", "-7.50"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("1E+10", "10000000000"),
        ("1e-7", "0.0000001"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("0E+99999", "0"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("0." + "1" * 38, "0." + "1" * 38),
        ("1E+37", "1" + "0" * 37),
        ("1E+38", "1E+38"),
        ("1E-38", "0." + "0" * 37 + "1"),
        ("1E-39", "1E-39"),
        ("9.9999999999999999999999999999999999999E+125", "9.9999999999999999999999999999999999999E+125"),
        ("1" + "0" * 50, "1." + "0" * 50 + "E+50"),
        ("-1E-130", "-1E-130"),
    ],
)
def test_a_number_keeps_every_digit(number: str, text: str) -> None:
    assert number_text(number) == text
    assert exact(text) == Decimal(number)


@pytest.mark.parametrize(
    "number",
    [
        "",
        " 1",
        "1 ",
        "1_000",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "0x10",
        "1e",
        "e5",
        ".",
        "-",
        "--1",
        "1,5",
        "\u0661",
        "1\n",
        "1E+126",
        "1E-131",
        "1E+99999999999999999999999",
        "-1E-99999999999999999999999",
    ],
)
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        number_text(number)
    assert reason_of(a_record(NewImage={"callId": {"S": "a"}, "n": {"N": number}})) == "bad_number"


@pytest.mark.parametrize(
    ("attribute", "path"),
    [
        ({"X": "1"}, "a"),
        ({}, "a"),
        ({"S": "x", "N": "1"}, "a"),
        ("plain", "a"),
        (None, "a"),
        ({"S": 5}, "a"),
        ({"S": None}, "a"),
        ({"BOOL": "true"}, "a"),
        ({"BOOL": 1}, "a"),
        ({"NULL": False}, "a"),
        ({"B": 5}, "a"),
        ({"SS": ["x", 1]}, "a"),
        ({"SS": "xy"}, "a"),
        ({"L": {"S": "x"}}, "a"),
        ({"M": [["x", {"S": "y"}]]}, "a"),
        ({"M": {5: {"S": "y"}}}, "a.5"),
        ({"M": {"b": {"L": [{"S": "x"}, {"M": {"c": {"Y": "z"}}}]}}}, "a.b[1].c"),
    ],
)
def test_a_malformed_value_is_refused_with_its_path(attribute: object, path: str) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(a_record(NewImage={"callId": {"S": "k"}, "a": attribute}), INGEST_TS)
    assert caught.value.reason == "bad_attribute"
    assert caught.value.detail.startswith(f"attribute {path}: ")


def test_the_detail_of_a_refusal_holds_no_value() -> None:
    with pytest.raises(ConversionError) as caught:
        convert(a_record(NewImage={"callId": {"S": "k"}, "a": {"L": [{"N": "secret"}]}}), INGEST_TS)
    assert caught.value.detail == "attribute a[0]: not a number"


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"N": "1"}
    for _ in range(levels):
        value = {"M": {"m": value}}
    return value


def test_the_deepest_item_that_dynamodb_allows_is_converted() -> None:
    assert attribute_json(nested(32)) == '{"m":' * 32 + "1" + "}" * 32


def test_nesting_beyond_python_s_recursion_is_a_conversion_error() -> None:
    deep = nested(sys.getrecursionlimit() + 100)
    assert reason_of(a_record(NewImage={"callId": {"S": "k"}, "a": deep})) == "too_deep"
    with pytest.raises(ConversionError, match="too_deep"):
        attribute_json(deep)


def test_a_lone_surrogate_is_a_conversion_error() -> None:
    assert reason_of(a_record(NewImage={"callId": {"S": "k"}, "a": {"S": "\ud800"}})) == "not_utf8"
    assert reason_of(a_record(NewImage={"callId": {"S": "k"}, "a\udfff": {"S": ""}})) == "not_utf8"


# --- properties -------------------------------------------------------------------------------------

names = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["is_deleted", "_is_deleted", "__is_deleted", "_eventID", "__x", "_", "updated_at"]),
)


def decimal_text(digits: int, exponent: int, sign: str, form: int) -> str:
    if form == 0:
        return f"{sign}{digits}"
    return f"{sign}{digits}{'Ee'[form % 2]}{exponent}"


numbers = st.builds(
    decimal_text,
    st.integers(min_value=0, max_value=10**38 - 1),
    st.integers(min_value=-80, max_value=80),
    st.sampled_from(["", "-", "+"]),
    st.integers(min_value=0, max_value=2),
)
binaries = st.one_of(
    st.binary(max_size=8), st.binary(max_size=8).map(lambda raw: base64.b64encode(raw).decode())
)
leaves = st.one_of(
    st.builds(lambda text: {"S": text}, st.text(max_size=8)),
    st.builds(lambda text: {"N": text}, numbers),
    st.builds(lambda raw: {"B": raw}, binaries),
    st.builds(lambda flag: {"BOOL": flag}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda members: {"SS": members}, st.lists(st.text(max_size=4), max_size=4)),
    st.builds(lambda members: {"NS": members}, st.lists(numbers, max_size=4)),
    st.builds(lambda members: {"BS": members}, st.lists(binaries, max_size=4)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda members: {"L": members}, st.lists(inner, max_size=3)),
        st.builds(lambda members: {"M": members}, st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    ),
    max_leaves=8,
)
items = st.dictionaries(names, values, max_size=6)


def reference(value: dict[str, Any]) -> Any:
    """What a typed value is as JSON, said slowly."""
    ((tag, content),) = value.items()
    match tag:
        case "N":
            return Decimal(content)
        case "B":
            return content if isinstance(content, str) else base64.b64encode(content).decode()
        case "NULL":
            return None
        case "L":
            return [reference(member) for member in content]
        case "M":
            return {name: reference(member) for name, member in content.items()}
        case "SS":
            return sorted(content, key=lambda text: text.encode())
        case "NS":
            return sorted(Decimal(member) for member in content)
        case "BS":
            return sorted(reference({"B": member}) for member in content)
        case _:
            return content


@properties
@given(items)
def test_parsing_the_line_gives_back_exactly_the_item(item: dict[str, Any]) -> None:
    keys = {"callId": {"S": "k"}}
    converted = convert(a_record(Keys=keys, NewImage=item | keys), INGEST_TS)
    assert converted.line.count(b"\n") == 1
    assert converted.line.endswith(b"}\n")
    row = exact(converted.line)
    written = {name for name in row if name not in METADATA}
    if "updated_at" not in item:
        assert row["updated_at"] == row["_approxStreamTs"]
        written.discard("updated_at")
    attributes = {unescape_name(name): row[name] for name in written}
    assert attributes == {name: reference(value) for name, value in (item | keys).items()}


@properties
@given(items)
def test_no_name_of_an_item_replaces_metadata(item: dict[str, Any]) -> None:
    keys = {"callId": {"S": "k"}}
    plain = convert(a_record(Keys=keys, NewImage=keys), INGEST_TS)
    row = exact(convert(a_record(Keys=keys, NewImage=item | keys), INGEST_TS).line)
    expected = exact(plain.line)
    assert {name: row[name] for name in METADATA & row.keys()} == {
        name: expected[name] for name in METADATA & expected.keys()
    }


@properties
@given(names, names)
def test_escaping_is_reversible_and_never_makes_two_names_one(first: str, second: str) -> None:
    assert unescape_name(escape_name(first)) == first
    assert escape_name(first) not in METADATA
    assert (escape_name(first) == escape_name(second)) == (first == second)


@pytest.mark.parametrize("name", ["_eventID", "_sequence", "is_deleted", "__x", "__updated_at"])
def test_metadata_is_not_taken_for_an_attribute(name: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        unescape_name(name)


@properties
@given(numbers)
def test_every_number_is_valid_json_of_the_same_value(number: str) -> None:
    text = number_text(number)
    assert json.loads(text) is not None
    assert exact(text) == Decimal(number)
    assert number_text(text) == text


@properties
@given(st.lists(st.text(min_size=1, alphabet="0123456789", max_size=40), min_size=2, max_size=2))
def test_sequences_compare_as_text_like_their_numbers(pair: list[str]) -> None:
    one, two = (convert(a_record(SequenceNumber=text), INGEST_TS).metadata.sequence for text in pair)
    assert (one.encode() < two.encode()) == (int(pair[0]) < int(pair[1]))


# What is not well formed, or looks like what is: numbers that only seem plain, wrong types, two types, none.
odd_numbers = st.one_of(
    numbers,
    st.text(alphabet="0123456789.,-+eE \n", max_size=8),
    st.sampled_from(
        ["1,2", "-0", "-0.00", "-0.01", "00", "01", "1.", ".1", "9" * 38, "9" * 39, "0." + "1" * 39]
    ),
)
junk = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([]), st.just({}))
tags = st.sampled_from(["S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M", "X", ""])
odd_values = st.recursive(
    st.one_of(
        leaves,
        st.builds(lambda text: {"N": text}, odd_numbers),
        st.builds(lambda tag, content: {tag: content}, tags, junk),
        st.builds(lambda text: {"S": text}, st.text(alphabet=st.characters(categories=["Cs", "Cc", "L"]))),
        st.dictionaries(tags, st.text(max_size=2), max_size=2),
        junk,
    ),
    lambda inner: st.one_of(
        st.builds(lambda members: {"L": members}, st.lists(inner, max_size=3)),
        st.builds(lambda members: {"M": members}, st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    ),
    max_leaves=6,
)


def outcome(record: dict[str, Any]) -> ConvertedRecord | tuple[str, str]:
    try:
        return convert(record, INGEST_TS)
    except ConversionError as error:
        return error.reason, error.detail


@properties
@given(st.dictionaries(names, odd_values, max_size=4))
def test_the_quick_way_writes_what_the_careful_one_does_or_nothing(item: dict[str, Any]) -> None:
    keys = {"callId": {"S": "k"}}
    record = a_record(Keys=keys, NewImage=item | keys)
    with patch("change_writer.dynamodb._quick_members", side_effect=TypeError):
        careful = outcome(record)
    assert outcome(record) == careful


def test_well_formed_items_go_the_quick_way_whole() -> None:
    record = load_event("calls-every-type")["Records"][0]
    plain = {
        name: value for name, value in record["dynamodb"]["NewImage"].items() if name not in ("small", "huge")
    }
    with patch("change_writer.dynamodb._careful_attributes", side_effect=AssertionError):
        convert(a_record(NewImage=plain), INGEST_TS)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("-0.5", "-0.5"),
        ("-0.0", "0.0"),
        ("-0", "0"),
        ("1" * 39, "1." + "1" * 38 + "E+38"),
        ("0." + "1" * 39, "1." + "1" * 38 + "E-1"),
    ],
)
def test_a_number_that_is_nearly_plain_costs_no_other_its_digits(number: str, text: str) -> None:
    image = {"callId": {"S": "k"}, "n": {"N": number}, "m": {"M": {"n": {"N": "12345678901234567890.5"}}}}
    line = convert(a_record(NewImage=image), INGEST_TS).line.decode()
    assert f'"n":{text},"m":{{"n":12345678901234567890.5}}' in line


def test_names_are_kept_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("change_writer.encode._MOST_NAMES", 3)
    kept = Names(escape_name)
    assert [kept[name] for name in ("a", "_b", 'c"', "d", "d")] == [
        '"a":',
        '"___b":',
        '"c\\"":',
        '"d":',
        '"d":',
    ]
    assert len(kept) == 3
    with pytest.raises((TypeError, AttributeError)):
        kept[5]  # type: ignore[index]


# --- the change record ------------------------------------------------------------------------------


def test_an_insert_carries_its_item_and_metadata() -> None:
    converted = convert(load_event("calls-changes")["Records"][0], INGEST_TS)
    row = parsed(converted)
    assert converted.origin == "calls"
    assert {name: row[name] for name in METADATA & row.keys()} == {
        "_eventID": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "_eventName": "INSERT",
        "_sequence": "2026-01-05T08:00:00.123/0000000000000000000100000000000000000001",
        "_approxStreamTs": 1_767_870_000_000,
        "_ingestTs": INGEST_TS,
        "is_deleted": False,
    }
    assert row["callId"] == "call-0001"
    assert row["payload"]["siteName"] == "Zürich"
    assert row["payload"]["queueId"] == 17
    assert row["updated_at"] == 1_767_870_000_000


def test_the_line_is_compact_utf8_with_metadata_first() -> None:
    image = {"callId": {"S": "ü"}, "n": {"N": "1.10"}, "_x": {"L": []}}
    record = a_record(NewImage=image, SequenceNumber="5", record__eventID="e1")
    assert convert(record, 7).line.decode("utf-8") == (
        '{"_eventID":"e1","_eventName":"INSERT",'
        '"_sequence":"2026-01-05T08:00:00.123/0000000000000000000000000000000000000005",'
        '"_ingestTs":7,"is_deleted":false,"_approxStreamTs":1767870000000,'
        '"callId":"ü","n":1.10,"___x":[],"updated_at":1767870000000}\n'
    )


def test_every_type_of_the_fixture_arrives() -> None:
    row = parsed(convert(load_event("calls-every-type")["Records"][0], INGEST_TS))
    assert row["int"] == Decimal("12345678901234567890123456789012345678")
    assert row["small"] == Decimal("-1E-38")
    assert row["huge"] == Decimal("9.9999999999999999999999999999999999999E+125")
    assert (row["emptyText"], row["nothing"], row["yes"], row["no"]) == ("", None, True, False)
    assert row["strings"] == ["B", "a", "b", "ä"]
    assert row["numbers"] == [Decimal("-1.5"), 9, 10]
    assert row["binaries"] == ["AAEqQQ==", "QSoBAA=="]
    assert row["emptySet"] == []
    assert row["list"] == ["x", 1, [], {}, None]
    assert row["map"] == {"_inner": "not escaped", "is_deleted": False}
    assert (row["___sequence"], row["____x"], row["__is_deleted"]) == ("mine", "two", "a user's own")
    assert row["is_deleted"] is False
    assert row["_sequence"].startswith("2026-01-05")
    assert row["updated_at"] == "2026-01-08T11:00:00Z"
    assert (row["callId"], row["CallID"]) == ("call-0009", "differs by case only")


def test_a_tombstone_carries_keys_and_metadata_only() -> None:
    record = load_event("calls-changes")["Records"][3]
    converted = convert(record, INGEST_TS)
    row = parsed(converted)
    assert row == {
        "_eventID": "3a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "_eventName": "REMOVE",
        "_sequence": "2026-01-05T08:00:00.123/0000000000000000000100000000000000000004",
        "_approxStreamTs": 1_767_873_600_000,
        "_ingestTs": INGEST_TS,
        "is_deleted": True,
        "_deleteKind": "user",
        "callId": "call-0001",
        "updated_at": 1_767_873_600_000,
    }
    assert converted.metadata.is_deleted


def test_the_keys_of_a_tombstone_are_escaped_like_any_attribute() -> None:
    record = a_record(record__eventName="REMOVE", Keys={"_id": {"S": "a"}, "is_deleted": {"N": "1"}})
    row = parsed(convert(record, INGEST_TS))
    assert (row["___id"], row["__is_deleted"], row["is_deleted"]) == ("a", 1, True)


@pytest.mark.parametrize(
    ("identity", "kind"),
    [
        ({"type": "Service", "principalId": "dynamodb.amazonaws.com"}, "ttl"),
        ({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}, "ttl"),
        ({"type": "Service", "principalId": "replication.amazonaws.com"}, "user"),
        ({"type": "User", "principalId": "dynamodb.amazonaws.com"}, "user"),
        ({"type": "service", "principalId": "dynamodb.amazonaws.com"}, "user"),
        ({}, "user"),
        (None, "user"),
        ("Service", "user"),
        (..., "user"),
    ],
)
def test_an_expiry_is_told_from_a_delete(identity: object, kind: str) -> None:
    record = a_record(record__eventName="REMOVE", record__userIdentity=identity)
    assert parsed(convert(record, INGEST_TS))["_deleteKind"] == kind


@pytest.mark.parametrize(
    ("mark", "identity", "kind"),
    [
        ({"BOOL": True}, None, "replicated"),
        ({"BOOL": True}, {"type": "Service", "principalId": "dynamodb.amazonaws.com"}, "ttl"),
        ({"BOOL": False}, None, "user"),
        ({"S": "true"}, None, "user"),
    ],
)
def test_a_delete_that_another_region_did_is_told_where_the_item_says_so(
    mark: object, identity: object, kind: str
) -> None:
    old = {"id": {"S": "a"}, "aws:rep:deleting": mark, "aws:rep:updateregion": {"S": "eu-west-1"}}
    record = a_record(record__eventName="REMOVE", record__userIdentity=identity, OldImage=old)
    assert parsed(convert(record, INGEST_TS))["_deleteKind"] == kind


def test_the_expired_fixture_is_an_expiry() -> None:
    assert parsed(convert(load_event("calls-expired")["Records"][0], INGEST_TS))["_deleteKind"] == "ttl"


def test_an_upsert_by_a_service_is_no_tombstone() -> None:
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    row = parsed(convert(a_record(record__userIdentity=identity), INGEST_TS))
    assert "_deleteKind" not in row
    assert row["is_deleted"] is False


def test_a_key_that_the_image_lacks_is_added_from_the_keys() -> None:
    record = a_record(Keys={"callId": {"S": "k"}, "sort": {"N": "2"}}, NewImage={"callId": {"S": "k"}})
    row = parsed(convert(record, INGEST_TS))
    assert (row["callId"], row["sort"]) == ("k", 2)


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (1_480_642_020, 1_480_642_020_000),
        (1_693_997_155.0, 1_693_997_155_000),
        (1_480_641_523.477, 1_480_641_523_477),
        (1_480_641_523.4775, 1_480_641_523_478),
        (0, 0),
        (Decimal("1.0005"), 1001),
        (datetime(2026, 1, 1, tzinfo=UTC), 1_767_225_600_000),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 1_767_225_600_000),
        (datetime(2026, 1, 1), None),
        (253_402_300_799.999, 253_402_300_799_999),
        (253_402_300_799.9999, None),
        (1_480_642_020_000, None),
        (10**400, None),
        (1e300, None),
        (Decimal("1E+999999"), None),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        ("1480642020", None),
        (None, None),
        (..., None),
    ],
)
def test_creation_time_is_whole_ms_or_absent(seconds: object, ms: int | None) -> None:
    record = a_record(ApproximateCreationDateTime=seconds)
    assert created_ms(record) == ms
    row = json.loads(convert(record, INGEST_TS).line)
    assert row.get("_approxStreamTs") == row.get("updated_at") == ms
    assert ("_approxStreamTs" in row) == ("updated_at" in row) == (ms is not None)


@pytest.mark.parametrize(
    ("partition", "account"),
    [("aws", "123456789012"), ("aws-cn", "000000000000"), ("aws-us-gov", "123456789012")],
)
def test_the_table_is_parsed_out_of_the_arn(partition: str, account: str) -> None:
    label = "2026-01-05T08:00:00.123"
    arn = f"arn:{partition}:dynamodb:eu-west-1:{account}:table/calls.v2_x-1/stream/{label}"
    converted = convert(a_record(record__eventSourceARN=arn), INGEST_TS)
    assert converted.origin == "calls.v2_x-1"
    assert converted.metadata.sequence.startswith(f"{label}/")


STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/calls/stream/"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"record__eventID": ...}, "missing_event_id"),
        ({"record__eventID": ""}, "missing_event_id"),
        ({"record__eventID": 5}, "missing_event_id"),
        ({"record__eventName": ...}, "unknown_event_name"),
        ({"record__eventName": "insert"}, "unknown_event_name"),
        ({"record__eventName": ["INSERT"]}, "unknown_event_name"),
        ({"record__dynamodb": ...}, "missing_dynamodb"),
        ({"record__dynamodb": "x"}, "missing_dynamodb"),
        ({"record__eventSourceARN": ...}, "bad_stream_arn"),
        ({"record__eventSourceARN": 5}, "bad_stream_arn"),
        ({"record__eventSourceARN": "stream-ARN"}, "bad_stream_arn"),
        ({"record__eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/calls"}, "bad_stream_arn"),
        (
            {"record__eventSourceARN": STREAM.replace("calls", "a/b") + "2026-01-05T08:00:00.123"},
            "bad_stream_arn",
        ),
        ({"record__eventSourceARN": STREAM + "2026-01-05T08:00:00.123/x"}, "bad_stream_arn"),
        ({"record__eventSourceARN": "x" + STREAM + "2026-01-05T08:00:00.123"}, "bad_stream_arn"),
        ({"record__eventSourceARN": STREAM + "latest"}, "bad_stream_label"),
        ({"record__eventSourceARN": STREAM + "2026-01-05T08:00:00"}, "bad_stream_label"),
        ({"record__eventSourceARN": STREAM + "2026-01-05T08:00:00.123Z"}, "bad_stream_label"),
        ({"record__eventSourceARN": STREAM + "2026-01-05T08:00:00.123\n"}, "bad_stream_label"),
        ({"record__eventSourceARN": STREAM + "2026-13-05T08:00:00.123"}, "bad_stream_label"),
        ({"SequenceNumber": ...}, "bad_sequence_number"),
        ({"SequenceNumber": ""}, "bad_sequence_number"),
        ({"SequenceNumber": 111}, "bad_sequence_number"),
        ({"SequenceNumber": "1" * 41}, "bad_sequence_number"),
        ({"SequenceNumber": "-1"}, "bad_sequence_number"),
        ({"SequenceNumber": "\u0661"}, "bad_sequence_number"),
        ({"SequenceNumber": "1\n"}, "bad_sequence_number"),
        ({"Keys": ...}, "missing_keys"),
        ({"Keys": None}, "missing_keys"),
        ({"Keys": {}}, "missing_keys"),
        ({"Keys": {"callId": {"NULL": True}}}, "bad_keys"),
        ({"Keys": {"callId": "call-0001"}}, "bad_keys"),
        ({"NewImage": ...}, "missing_new_image"),
        ({"NewImage": None}, "missing_new_image"),
        ({"NewImage": {}}, "missing_new_image"),
        ({"NewImage": ..., "record__eventName": "MODIFY"}, "missing_new_image"),
    ],
)
def test_a_record_that_cannot_be_converted_has_a_reason(change: dict[str, Any], reason: str) -> None:
    assert reason_of(a_record(**change)) == reason


def test_a_later_stream_of_the_same_table_sorts_later() -> None:
    old = convert(a_record(SequenceNumber="9" * 40), INGEST_TS)
    new = a_record(SequenceNumber="1", record__eventSourceARN=STREAM + "2026-01-06T00:00:00.000")
    assert convert(new, INGEST_TS).metadata.sequence > old.metadata.sequence
