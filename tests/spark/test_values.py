"""What becomes of every value: exact numbers, times, text byte for byte; what does not fit is rescued."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.support import CHANGED_AT, CHANGED_MS, change, line, lines_frame, show_times

from lakehouse.parse import parse_lines
from lakehouse.table import Column, Table
from lakehouse.tables.calls import CALLS
from lakehouse.tables.scorecards import CRITERIA, SCORECARDS

TYPES = Table(
    name="types",
    source="types",
    keys=("id",),
    comment="A column of each type.",
    columns=(
        Column("id", "string", "Key.", "id"),
        Column("t_string", "string", "Type.", "t_string"),
        Column("t_bigint", "bigint", "Type.", "t_bigint"),
        Column("t_int", "int", "Type.", "t_int"),
        Column("t_double", "double", "Type.", "t_double"),
        Column("t_boolean", "boolean", "Type.", "t_boolean"),
        Column("t_date", "date", "Type.", "t_date"),
        Column("t_timestamp", "timestamp", "Type.", "t_timestamp"),
        Column("t_timestamp_ntz", "timestamp_ntz", "Type.", "t_timestamp_ntz"),
        Column("t_decimal", "decimal(10,4)", "Type.", "t_decimal"),
        Column("t_wide", "decimal(38,0)", "Type.", "t_wide"),
    ),
)


class Raw(str):
    """JSON text that goes into the line as it is."""


D = Decimal
MISFIT = object()
"""The column is null and the value is in _rescued_data."""

# column, what is landed, what the column holds
VALUES: list[tuple[str, Any, Any]] = [
    ("t_string", "text", "text"),
    ("t_string", "", ""),
    ("t_string", None, None),
    ("t_string", 5, "5"),
    ("t_string", Raw("12345678901234567890123456789012345678"), "12345678901234567890123456789012345678"),
    ("t_string", Raw("0.1234567890123456789012345678901234567"), "0.1234567890123456789012345678901234567"),
    ("t_string", True, "true"),
    ("t_string", {"a": 1}, MISFIT),
    ("t_string", {}, MISFIT),
    ("t_string", ["a"], MISFIT),
    ("t_string", [], MISFIT),
    ("t_string", '{"a": 1}', '{"a": 1}'),
    ("t_string", "[not json", "[not json"),
    ("t_string", "{", "{"),
    ("t_string", "null", "null"),
    ("t_bigint", 7, 7),
    ("t_bigint", "7", 7),
    ("t_bigint", -9223372036854775808, -9223372036854775808),
    ("t_bigint", 9223372036854775807, 9223372036854775807),
    ("t_bigint", Raw("9223372036854775808"), MISFIT),
    ("t_bigint", Raw("9.9E+125"), MISFIT),
    ("t_bigint", Raw("7.4"), 7),
    ("t_bigint", Raw("7.5"), 8),
    ("t_bigint", Raw("-7.5"), -8),
    ("t_bigint", "seven", MISFIT),
    ("t_bigint", "", MISFIT),
    ("t_bigint", True, MISFIT),
    ("t_bigint", {"a": 7}, MISFIT),
    ("t_int", 2147483647, 2147483647),
    ("t_int", 2147483648, MISFIT),
    ("t_double", Raw("0.1"), 0.1),
    ("t_double", "1e3", 1000.0),
    ("t_double", "x", MISFIT),
    ("t_boolean", True, True),
    ("t_boolean", "false", False),
    ("t_boolean", 1, MISFIT),
    ("t_boolean", "yes", MISFIT),
    ("t_date", "2025-10-08", "2025-10-08"),
    ("t_date", "2025-13-08", MISFIT),
    ("t_date", "2025", MISFIT),
    ("t_date", 20251008, MISFIT),
    ("t_timestamp", "2025-10-08T14:34:19Z", "2025-10-08 14:34:19"),
    ("t_timestamp", "2025-10-08T14:34:19.123456Z", "2025-10-08 14:34:19.123456"),
    ("t_timestamp", "2025-10-08T14:34:19.5+02:00", "2025-10-08 12:34:19.5"),
    ("t_timestamp", "2025-10-08T14:34:19-0530", "2025-10-08 20:04:19"),
    ("t_timestamp", "2025-10-08T14:34:19+02", "2025-10-08 12:34:19"),
    ("t_timestamp", "2025-10-08T14:34:19", "2025-10-08 14:34:19"),
    ("t_timestamp", "2025-10-08 14:34:19", "2025-10-08 14:34:19"),
    ("t_timestamp", "2025-10-08T14:34Z", "2025-10-08 14:34:00"),
    ("t_timestamp", "2025-10-08T14:34", "2025-10-08 14:34:00"),
    ("t_timestamp", "2025-10-08T14:34:19,5Z", MISFIT),
    ("t_timestamp", "2025-10-08T14:34:19.123456789Z", "2025-10-08 14:34:19.123456"),
    ("t_timestamp", "2025-10-08 14:34:19 +02:00", "2025-10-08 12:34:19"),
    ("t_timestamp", "2025-10-08", "2025-10-08 00:00:00"),
    ("t_timestamp", "2024-02-29T00:00:00Z", "2024-02-29 00:00:00"),
    ("t_timestamp", "2025-02-29T00:00:00Z", MISFIT),
    ("t_timestamp", "2025-10-08T25:00:00Z", MISFIT),
    ("t_timestamp", "12:30", MISFIT),
    ("t_timestamp", "T12:30", MISFIT),
    ("t_timestamp", "2025", MISFIT),
    ("t_timestamp", "2025-10", MISFIT),
    ("t_timestamp", 2025, MISFIT),
    ("t_timestamp", 1_759_934_059, MISFIT),
    ("t_timestamp", "now", MISFIT),
    ("t_timestamp", "2025-10-08T14-34-19", MISFIT),
    ("t_timestamp", "2025-10-08T14:34:19 Europe/Berlin", MISFIT),
    ("t_timestamp", "2025-10-08T14:34:19Z\n", MISFIT),
    ("t_timestamp", "", MISFIT),
    ("t_timestamp_ntz", "2025-10-08T14:34:19", "2025-10-08 14:34:19"),
    ("t_timestamp_ntz", "12:30", MISFIT),
    ("t_decimal", Raw("12.5"), D("12.5000")),
    ("t_decimal", "12.5", D("12.5000")),
    ("t_decimal", 0, D("0.0000")),
    ("t_decimal", Raw("0.12345"), D("0.1235")),
    ("t_decimal", Raw("-0.12345"), D("-0.1235")),
    ("t_decimal", Raw("12.00005"), D("12.0001")),
    ("t_decimal", Raw("-12.00005"), D("-12.0001")),
    ("t_decimal", "0.12345", D("0.1235")),
    ("t_decimal", Raw("0.12344999999999999999999999999999999999"), D("0.1234")),
    ("t_decimal", "0.123449999999999999999999999999999999999999999", D("0.1234")),
    ("t_decimal", Raw("0.00005"), D("0.0001")),
    ("t_decimal", Raw("1.005E+2"), D("100.5000")),
    ("t_decimal", Raw("999999.99994"), D("999999.9999")),
    ("t_decimal", Raw("999999.99995"), MISFIT),
    ("t_decimal", Raw("1000000"), MISFIT),
    ("t_decimal", Raw("12345678901234567890123456789012345678"), MISFIT),
    ("t_decimal", Raw("9.9E+125"), MISFIT),
    ("t_decimal", "high", MISFIT),
    ("t_decimal", "", MISFIT),
    ("t_decimal", True, MISFIT),
    ("t_decimal", ["1"], MISFIT),
    ("t_wide", Raw("99999999999999999999999999999999999999"), D("99999999999999999999999999999999999999")),
    ("t_wide", Raw("-12345678901234567890123456789012345678"), D("-12345678901234567890123456789012345678")),
]


def _line(attributes: dict[str, Any], **metadata: Any) -> bytes:
    """A line in which Raw values stand as they are."""
    marked = {k: f"\0{v}\0" if isinstance(v, Raw) else v for k, v in attributes.items()}
    text = line(change(1, **marked) | metadata).decode()
    for value in attributes.values():
        if isinstance(value, Raw):
            text = text.replace(f'"\\u0000{value}\\u0000"', value)
    return text.encode()


@pytest.fixture(scope="module")
def typed(spark: SparkSession) -> dict[str, Row]:
    lines = [_line({"id": str(n), column: value}) for n, (column, value, _) in enumerate(VALUES)]
    rows = show_times(parse_lines(lines_frame(spark, lines), TYPES)).withColumn(
        "t_date", F.col("t_date").cast("string")
    )
    return {row.id: row for row in rows.collect()}


@pytest.mark.parametrize("number", range(len(VALUES)), ids=[f"{c} {v!r}"[:60] for c, v, _ in VALUES])
def test_a_value_is_held_exactly_or_rescued(number: int, typed: dict[str, Row]) -> None:
    column, landed, held = VALUES[number]
    row = typed[str(number)]
    assert row._problem is None
    if held is MISFIT:
        assert row[column] is None
        text = str(landed) if isinstance(landed, Raw) else json.dumps(landed, separators=(",", ":"))
        if "E+" in text:  # as a number it must be the same, however it is spelled
            assert D(str(json.loads(row._rescued_data, parse_float=D)[column])) == D(text)
        else:
            assert row._rescued_data == f'{{"{column}":{text}}}'
    else:
        assert row[column] == held
        assert type(row[column]) is type(held)
        assert row._rescued_data is None


@pytest.mark.xfail(strict=True, reason="VARIANT holds what has an exponent, or over 38 decimals, as a double")
@pytest.mark.parametrize(
    ("column", "landed", "held"),
    [
        ("t_decimal", "0.00004999999999999999999999999999999999999", D("0.0000")),
        (
            "t_string",
            "1.2345678901234567890123456789012345678E-5",
            D("1.2345678901234567890123456789012345678E-5"),
        ),
    ],
)
def test_numbers_beyond_38_decimals_keep_their_digits(
    spark: SparkSession, column: str, landed: str, held: Decimal
) -> None:
    row = (
        parse_lines(lines_frame(spark, [_line({"id": "1", column: Raw(landed)})]), TYPES)
        .select(column)
        .first()
    )
    assert row is not None
    assert D(row[0]) == held


# --- calls and scorecards --------------------------------------------------------------------------

PAYLOAD = {
    "agentId": "agent-7",
    "agentName": "Zoë",
    "allocation": "auto",
    "direction": "inbound",
    "file_name": "2026_GUID_7f3a-9_x_GUID_other_.wav",
    "firstOrFollowUp": "first",
    "medium": "voice",
    "program": "p",
    "queueName": "q",
    "sessionId": "s-1",
    "siteName": "Site",
    "s3_bucket": "bucket",
    "queueId": 12,
    "siteId": 3,
    "tenantId": "4",
}
CALL_TIME = "2026-01-08T10:59:58.250+01:00"

CALL_LINES: dict[str, Any] = {
    "map": {"payload": PAYLOAD},
    "text": {"payload": json.dumps(PAYLOAD)},
    "text with blanks": {"payload": " " + json.dumps(PAYLOAD, indent=1) + "\n"},
    "unknown inside": {"payload": {"agentId": "a", "extra": {"deep": [1, None]}, "siteId": "three"}},
    "unknown inside text": {"payload": json.dumps({"agentId": "a", "extra": 5, "siteId": {"x": 1}})},
    "unknown on top": {"payload": {"agentId": "a"}, "extra": "e", "other": None, "__is_deleted": "mine"},
    "neither text": {"payload": "no json"},
    "neither number": {"payload": 17},
    "neither array": {"payload": [PAYLOAD]},
    "two objects as text": {"payload": '{"agentId": "a"} {"agentId": "b"}'},
    "half an object as text": {"payload": '{"agentId": "a"'},
    "null": {"payload": None},
    "nothing": {},
    "empty": {"payload": {}},
    "bad time": {"callTimestampUTC": "12:30"},
    "no guid": {"payload": {"file_name": "call_GUIDE_1.wav"}},
}


@pytest.fixture(scope="module")
def calls(spark: SparkSession) -> dict[str, Row]:
    records = [
        change(1, callId=name, **({"callTimestampUTC": CALL_TIME} | more))
        for name, more in CALL_LINES.items()
    ]
    return {row.call_id: row for row in show_times(parse_lines(lines_frame(spark, records), CALLS)).collect()}


@pytest.mark.parametrize("name", ["map", "text", "text with blanks"])
def test_a_payload_is_read_as_a_map_and_as_the_text_of_one(name: str, calls: dict[str, Row]) -> None:
    expected = {
        "call_id": name,
        "call_timestamp_raw": CALL_TIME,
        "call_timestamp_utc": "2026-01-08 09:59:58.25",
        "agent_id": "agent-7",
        "agent_name": "Zoë",
        "allocation": "auto",
        "direction": "inbound",
        "file_name": "2026_GUID_7f3a-9_x_GUID_other_.wav",
        "first_or_follow_up": "first",
        "medium": "voice",
        "program": "p",
        "queue_name": "q",
        "session_id": "s-1",
        "site_name": "Site",
        "s3_bucket": "bucket",
        "queue_id": "12",
        "site_id": 3,
        "tenant_id": 4,
        "call_guid": "7f3a-9",
        "_rescued_data": None,
        "_changed_at": CHANGED_AT,
        "updated_at": str(CHANGED_MS),
        "_event_name": "MODIFY",
        "_source_file": "file:/landing/a.ndjson.gz",
        "is_deleted": False,
        "_delete_kind": None,
        "_problem": None,
        "_raw": None,
    }
    assert {k: calls[name][k] for k in expected} == expected


@pytest.mark.parametrize(
    ("name", "agent", "rescued"),
    [
        ("unknown inside", "a", {"payload": {"extra": {"deep": [1, None]}, "siteId": "three"}}),
        ("unknown inside text", "a", {"payload": {"extra": 5, "siteId": {"x": 1}}}),
        ("unknown on top", "a", {"extra": "e", "other": None, "__is_deleted": "mine"}),
        ("neither text", None, {"payload": "no json"}),
        ("neither number", None, {"payload": 17}),
        ("neither array", None, {"payload": [PAYLOAD]}),
        ("two objects as text", None, {"payload": CALL_LINES["two objects as text"]["payload"]}),
        ("half an object as text", None, {"payload": CALL_LINES["half an object as text"]["payload"]}),
        ("null", None, None),
        ("nothing", None, None),
        ("empty", None, None),
    ],
)
def test_what_no_column_holds_is_rescued(
    name: str, agent: str | None, rescued: Any, calls: dict[str, Row]
) -> None:
    row = calls[name]
    assert row._problem is None
    assert row.agent_id == agent
    assert (row._rescued_data and json.loads(row._rescued_data)) == rescued


def test_a_time_that_is_none_is_kept_raw(calls: dict[str, Row]) -> None:
    row = calls["bad time"]
    assert (row.call_timestamp_raw, row.call_timestamp_utc) == ("12:30", None)
    assert json.loads(row._rescued_data) == {"callTimestampUTC": "12:30"}


def test_a_file_name_without_a_guid_has_none(calls: dict[str, Row]) -> None:
    assert calls["no guid"].call_guid is None
    assert calls["nothing"].call_guid is None


def _scores(**changes: Any) -> dict[str, Any]:
    return {name: {"score": 1.5, "evidence": f"said {name}"} for name in CRITERIA.values()} | changes


@pytest.fixture(scope="module")
def scorecards(spark: SparkSession) -> dict[str, Row]:
    digits = "12345678901234567890123456789012345678"
    exact = line({"scores": _scores(urgency={"score": 0, "evidence": digits})}).decode()[1:-1]
    exact = exact.replace(f'"{digits}"', f"{digits}", 1).replace('"score": 0', f'"score": 0.{digits[:37]}')
    good = {
        "datetime": "2025-10-08T14-34-19",
        "ingestedAt": "2025-10-08T12:40:00Z",
        "overallScore": Raw("7.12345"),
    }
    lines = [
        _line(
            {"guid": "whole", **good, "scores": _scores(custom={"score": 3, "evidence": "kept", "x": None})}
        ),
        _line({"guid": "text", **good, "scores": json.dumps(_scores())}),
        _line(
            {
                "guid": "misfit",
                **good,
                "scores": _scores(urgency={"score": "high", "evidence": ["a"]}, askForPayment=5),
            }
        ),
        _line({"guid": "array", **good, "scores": [1, 2]}),
        _line({"guid": "time", "datetime": "2025-13-08T14-34-19"}),
        _line({"guid": "other time", "datetime": "2025-10-08T14:34:19Z"}),
        _line({"guid": "exact", **good}).replace(b"}", f",{exact}}}".encode(), 1),
        _line({"guid": "night", "datetime": "2025-03-30T02-30-00"}),
    ]
    frame = parse_lines(lines_frame(spark, lines), SCORECARDS)
    assert dict(frame.dtypes)["scored_at_local"] == "timestamp_ntz"
    return {row.guid: row for row in show_times(frame).collect()}


@pytest.mark.parametrize("name", ["whole", "text"])
def test_every_criterion_has_its_score_and_its_evidence(name: str, scorecards: dict[str, Row]) -> None:
    row = scorecards[name]
    assert row.overall_score == D("7.1235")
    assert row.scored_at_local == "2025-10-08 14:34:19"
    assert row.ingested_at == "2025-10-08 12:40:00"
    for column, criterion in CRITERIA.items():
        assert (row[f"score_{column}"], row[f"evidence_{column}"]) == (D("1.5000"), f"said {criterion}")
    assert row._rescued_data is None


def test_criteria_that_the_contract_does_not_name_are_kept(scorecards: dict[str, Row]) -> None:
    assert json.loads(scorecards["whole"].scores) == _scores(
        custom={"score": 3, "evidence": "kept", "x": None}
    )


def test_scores_keep_all_38_digits(scorecards: dict[str, Row]) -> None:
    row = scorecards["exact"]
    assert '"score":0.1234567890123456789012345678901234567' in row.scores.replace(" ", "")
    assert '"evidence":12345678901234567890123456789012345678' in row.scores.replace(" ", "")
    assert row.evidence_urgency == "12345678901234567890123456789012345678"
    assert row.score_urgency == D("0.1235")


def test_a_score_that_does_not_fit_is_null_and_rescued_and_the_others_are_held(
    scorecards: dict[str, Row],
) -> None:
    row = scorecards["misfit"]
    assert (row.score_urgency, row.evidence_urgency, row.score_ask_for_payment) == (None, None, None)
    assert row.score_confirm_location == D("1.5000")
    rescued = json.loads(row._rescued_data)
    assert rescued["scores"]["urgency"] == {"score": "high", "evidence": ["a"]}
    assert json.loads(row.scores)["askForPayment"] == 5


def test_scores_that_are_no_map_are_not_lost(scorecards: dict[str, Row]) -> None:
    row = scorecards["array"]
    assert [1, 2] in (
        row.scores and json.loads(row.scores),
        json.loads(row._rescued_data or "{}").get("scores"),
    )


def test_the_local_time_of_scoring_has_no_zone_and_is_never_shifted(scorecards: dict[str, Row]) -> None:
    # In many zones the night of 30 March 2025 has no half past two.
    assert scorecards["night"].scored_at_local == "2025-03-30 02:30:00"
    for name in ("time", "other time"):
        assert scorecards[name].scored_at_local is None
        assert scorecards[name].datetime


def test_the_plan_of_a_table_with_nested_attributes_stays_small(spark: SparkSession) -> None:
    """An expression that stands twice in each level above it would double the plan with every attribute."""
    parsed = parse_lines(lines_frame(spark, [change(1, guid="g")]), SCORECARDS)
    whole = "spark.sql.debug.maxToStringFields"
    before = spark.conf.get(whole)
    spark.conf.set(whole, "1000000")
    try:
        text = parsed._jdf.queryExecution().analyzed().treeString()
    finally:
        spark.conf.set(whole, before)
    assert len(text) < 400_000


# --- text, metadata, tombstones ---------------------------------------------------------------------

NASTY = [
    "",
    " ",
    "'",
    '"',
    "\\",
    "\\\"'`",
    "a\nb\r\nc\ttab",
    "\u0000\u0001\u001f\u007f",
    "<script>alert('x')</script>",
    "'; DROP TABLE calls; --",
    "${spark.x} {silver} %s %(x)s {{x}}",
    "Grüße 📞 日本語 \u202e\u200b\ufeff",
    "e\u0301 é",
    "\U0001d518\U0001d52b\U0001d526",
    "null",
    "NaN",
    '{"a": 1}',
    "[1]",
    "1e5",
    "\u2028\u2029\u0085",
    "*" * 20_000,
    "?[a-z]*",
]


def test_text_arrives_byte_for_byte_in_every_text_column(spark: SparkSession) -> None:
    tops = {
        c.name: c.path
        for c in SCORECARDS.columns
        if c.type == "string" and c.path and "." not in c.path and not c.as_json
    }
    lines = []
    for n, text in enumerate(NASTY):
        inside = {name: {"evidence": text} for name in CRITERIA.values()}
        lines.append(
            change(
                1, **dict.fromkeys(tops.values(), text) | {"guid": str(n), "scores": inside, "extra": text}
            )
        )
    frame = parse_lines(lines_frame(spark, lines), SCORECARDS)
    names = [name for name in tops if name != "guid"] + [f"evidence_{c}" for c in CRITERIA]
    for row in frame.drop("_changed_at").collect():
        text = NASTY[int(row.guid)]
        assert {row[name] for name in names} == {text}
        assert json.loads(row._rescued_data) == {"extra": text}
        assert json.loads(row.scores)["urgency"]["evidence"] == text
    keys = parse_lines(lines_frame(spark, [change(1, guid=text) for text in NASTY]), SCORECARDS)
    assert [row.guid for row in keys.select("guid").collect()] == NASTY


METADATA: dict[str, tuple[dict[str, Any], dict[str, Any], Any]] = {
    # changes of the record's metadata; columns; rescued
    "plain": ({}, {"is_deleted": False, "_changed_at": CHANGED_AT}, None),
    "no time": ({"_approxStreamTs": None}, {"_changed_at": None}, None),
    "time 0": ({"_approxStreamTs": 0}, {"_changed_at": "1970-01-01 00:00:00"}, None),
    "time with ms": ({"_approxStreamTs": 1767870000123}, {"_changed_at": "2026-01-08 11:00:00.123"}, None),
    "time as text": ({"_approxStreamTs": "1767870000000"}, {"_changed_at": CHANGED_AT}, None),
    "time huge": ({"_approxStreamTs": 10**30}, {"_changed_at": None}, {"_approxStreamTs": 10**30}),
    "time in year 10000": (
        {"_approxStreamTs": 253402300800000},
        {"_changed_at": None},
        {"_approxStreamTs": 253402300800000},
    ),
    "time before year 1": (
        {"_approxStreamTs": -(10**17)},
        {"_changed_at": None},
        {"_approxStreamTs": -(10**17)},
    ),
    "time rubbish": ({"_approxStreamTs": "soon"}, {"_changed_at": None}, {"_approxStreamTs": "soon"}),
    "time an object": ({"_approxStreamTs": {}}, {"_changed_at": None}, {"_approxStreamTs": {}}),
    "own updated_at": ({"updated_at": "2026-01-08T11:00:00Z"}, {"updated_at": "2026-01-08T11:00:00Z"}, None),
    "no updated_at": ({"updated_at": None}, {"updated_at": None}, None),
    "removed": (
        {"_eventName": "REMOVE", "is_deleted": True, "_deleteKind": "ttl"},
        {"is_deleted": True, "_delete_kind": "ttl"},
        None,
    ),
    "removed, no flag": ({"_eventName": "REMOVE", "is_deleted": None}, {"is_deleted": True}, None),
    "removed, flag garbage": ({"_eventName": "REMOVE", "is_deleted": "maybe"}, {"is_deleted": True}, None),
    "removed, flag an object": ({"_eventName": "REMOVE", "is_deleted": {}}, {"is_deleted": True}, None),
    "flag as text": ({"is_deleted": "true"}, {"is_deleted": True}, None),
    "upsert, no flag": ({"is_deleted": None}, {"is_deleted": False}, None),
    "upsert, flag garbage": ({"is_deleted": 7}, {"is_deleted": False}, {"is_deleted": 7}),
    "no flag, no name": (
        {"is_deleted": None, "_eventName": None},
        {"is_deleted": False, "_event_name": None},
        None,
    ),
    "a repair tombstone": (
        {"_eventName": "REPAIR", "is_deleted": True},
        {"is_deleted": True, "_event_name": "REPAIR"},
        None,
    ),
}


@pytest.fixture(scope="module")
def with_metadata(spark: SparkSession) -> dict[str, Row]:
    records = []
    for name, (metadata, _, _) in METADATA.items():
        record = change(1, callId=name, payload={"agentId": "a"}, extra=None) | metadata
        record.pop("extra")
        records.append({k: v for k, v in record.items() if v is not None})
    return {row.call_id: row for row in show_times(parse_lines(lines_frame(spark, records), CALLS)).collect()}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_read_or_rescued_and_never_stops_a_change(
    name: str, with_metadata: dict[str, Row]
) -> None:
    _, columns, rescued = METADATA[name]
    row = with_metadata[name]
    assert row._problem is None
    assert {k: row[k] for k in columns} == columns
    assert (row._rescued_data and json.loads(row._rescued_data)) == rescued
    assert row.agent_id == (None if row.is_deleted else "a")


def test_a_tombstone_holds_its_key_and_its_metadata_alone(spark: SparkSession) -> None:
    """Whatever a delete carries besides, also what would be rescued, is blank in its row."""
    record = change(
        9, deleted=True, callId="c", callTimestampUTC="rubbish", payload=PAYLOAD | {"extra": 1}, extra=1
    ) | {"is_deleted": True}
    row = show_times(parse_lines(lines_frame(spark, [record]), CALLS)).first()
    assert row is not None
    held = {name: value for name, value in row.asDict().items() if value is not None}
    assert held == {
        "call_id": "c",
        "_sequence": record["_sequence"],
        "is_deleted": True,
        "_delete_kind": "user",
        "_event_id": record["_eventID"],
        "_event_name": "REMOVE",
        "_changed_at": CHANGED_AT,
        "_source_file": "file:/landing/a.ndjson.gz",
        "updated_at": str(CHANGED_MS),
    }
