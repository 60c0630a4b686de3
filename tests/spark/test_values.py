"""What becomes of every value: exact numbers, times, text byte for byte; a misfit is null, and counted."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.parsed import landed, parse, selected
from tests.spark.support import CHANGED_AT, CHANGED_MS, change, line, lines_frame, show_times

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
"""The column is null, and the value is counted; bronze has it."""

# column, what is landed, what the column holds
VALUES: list[tuple[str, Any, Any]] = [
    ("t_string", "text", "text"),
    ("t_string", "", ""),
    ("t_string", None, None),
    ("t_string", 5, "5"),
    ("t_string", Raw("12345678901234567890123456789012345678"), "12345678901234567890123456789012345678"),
    ("t_string", Raw("0.1234567890123456789012345678901234567"), "0.1234567890123456789012345678901234567"),
    ("t_string", True, "true"),
    ("t_string", {"b": 1, "a": [1.5, None]}, '{"a":[1.5,null],"b":1}'),
    ("t_string", {}, "{}"),
    ("t_string", ["a"], '["a"]'),
    ("t_string", [], "[]"),
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
    ("t_date", "0001-01-01", "0001-01-01"),
    ("t_date", "9999-12-31", "9999-12-31"),
    ("t_date", "0000-12-31", MISFIT),
    ("t_date", "10000-01-01", MISFIT),
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
    ("t_timestamp", "2025-10-08t14:34:19z", "2025-10-08 14:34:19"),
    ("t_timestamp", "2025-10-08t14:34", "2025-10-08 14:34:00"),
    ("t_timestamp", "2025-10-08t14:34:19.5+02:00", "2025-10-08 12:34:19.5"),
    ("t_timestamp", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00"),
    ("t_timestamp", "0001-01-01T00:00:00+14:00", MISFIT),
    ("t_timestamp", "0000-12-31T23:59:59Z", MISFIT),
    ("t_timestamp", "0000-12-31T23:30:00-01:00", "0001-01-01 00:30:00"),
    ("t_timestamp", "9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"),
    ("t_timestamp", "9999-12-31T23:59:59-00:01", MISFIT),
    ("t_timestamp", "10000-01-01T00:00:00Z", MISFIT),
    ("t_timestamp", "+10000-01-01T00:00:00Z", MISFIT),
    ("t_timestamp", {}, MISFIT),
    ("t_timestamp_ntz", "2025-10-08T14:34:19", "2025-10-08 14:34:19"),
    ("t_timestamp_ntz", "2025-10-08t14:34:19", "2025-10-08 14:34:19"),
    ("t_timestamp_ntz", "0001-01-01T00:00:00", "0001-01-01 00:00:00"),
    ("t_timestamp_ntz", "0000-12-31T23:59:59", MISFIT),
    ("t_timestamp_ntz", "10000-01-01T00:00:00", MISFIT),
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
    rows = landed(lines_frame(spark, lines), TYPES)
    made = show_times(selected(rows, TYPES)).withColumn("t_date", F.col("t_date").cast("string"))
    kept = rows.select(F.col("_key").alias("_of"), "_problem", F.col("item").cast("string"))
    both = made.join(kept, F.col("_key") == F.col("_of"))
    return {row.id: row for row in both.collect()}


@pytest.mark.parametrize("number", range(len(VALUES)), ids=[f"{c} {v!r}"[:60] for c, v, _ in VALUES])
def test_a_value_is_held_exactly_or_counted_and_in_bronze(number: int, typed: dict[str, Row]) -> None:
    column, landed_as, held = VALUES[number]
    row = typed[str(number)]
    assert row._problem is None
    text = str(landed_as) if isinstance(landed_as, Raw) else json.dumps(landed_as)
    in_bronze = json.loads(row.item, parse_float=D, parse_int=D)[column]
    assert in_bronze == json.loads(text, parse_float=D, parse_int=D)
    if held is MISFIT:
        assert (row[column], row._misfits) == (None, 1)
    else:
        assert row[column] == held
        assert type(row[column]) is type(held)
        assert row._misfits == 0


@pytest.mark.xfail(strict=True, reason="VARIANT holds what has an exponent, or over 38 decimals, as a double")
@pytest.mark.parametrize(
    ("column", "text", "held"),
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
    spark: SparkSession, column: str, text: str, held: Decimal
) -> None:
    row = parse(lines_frame(spark, [_line({"id": "1", column: Raw(text)})]), TYPES).select(column).first()
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
    frame = parse(lines_frame(spark, records), CALLS)
    return {row.call_id: row for row in show_times(frame).collect()}


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
        "_misfits": 0,
        "_changed_at": CHANGED_AT,
        "updated_at": str(CHANGED_MS),
        "_event_name": "MODIFY",
        "_source_file": "file:/landing/a.ndjson.gz",
        "is_deleted": False,
        "_delete_kind": None,
    }
    assert {k: calls[name][k] for k in expected} == expected


@pytest.mark.parametrize(
    ("name", "agent", "site", "misfits"),
    [
        ("unknown inside", "a", None, 1),
        ("unknown inside text", "a", None, 1),
        ("unknown on top", "a", None, 0),
        ("neither text", None, None, 1),
        ("neither number", None, None, 1),
        ("neither array", None, None, 1),
        ("two objects as text", None, None, 1),
        ("half an object as text", None, None, 1),
        ("null", None, None, 0),
        ("nothing", None, None, 0),
        ("empty", None, None, 0),
    ],
)
def test_what_does_not_fit_is_null_and_counted_and_what_is_not_named_is_not(
    name: str, agent: str | None, site: int | None, misfits: int, calls: dict[str, Row]
) -> None:
    row = calls[name]
    assert (row.agent_id, row.site_id, row._misfits) == (agent, site, misfits)


def test_the_record_is_in_bronze_whole_whatever_its_columns_hold(spark: SparkSession) -> None:
    records = {name: change(1, callId=name, **more) for name, more in CALL_LINES.items()}
    rows = landed(lines_frame(spark, records.values()), CALLS)
    found = rows.selectExpr("_key", "to_json(item) AS item", "_problem", "_raw").collect()
    assert {json.loads(row._key)[0]: json.loads(row.item) for row in found} == records
    assert {(row._problem, row._raw) for row in found} == {(None, None)}


def test_a_time_that_is_none_is_kept_raw(calls: dict[str, Row]) -> None:
    row = calls["bad time"]
    assert (row.call_timestamp_raw, row.call_timestamp_utc, row._misfits) == ("12:30", None, 1)


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
    frame = parse(lines_frame(spark, lines), SCORECARDS)
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
    assert row._misfits == 0


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


def test_a_score_that_does_not_fit_is_null_and_counted_and_the_others_are_held(
    scorecards: dict[str, Row],
) -> None:
    row = scorecards["misfit"]
    assert (row.score_urgency, row.score_ask_for_payment, row.evidence_ask_for_payment) == (None, None, None)
    assert row.evidence_urgency == '["a"]'  # text takes whatever is there
    assert row.score_confirm_location == D("1.5000")
    assert row._misfits == 1
    scores = json.loads(row.scores)
    assert scores["urgency"] == {"score": "high", "evidence": ["a"]}
    assert scores["askForPayment"] == 5


def test_scores_that_are_no_map_are_not_lost(scorecards: dict[str, Row]) -> None:
    row = scorecards["array"]
    assert (json.loads(row.scores), row._misfits) == ([1, 2], 1)
    assert {row[f"score_{name}"] for name in CRITERIA} == {None}


def test_the_local_time_of_scoring_has_no_zone_and_is_never_shifted(scorecards: dict[str, Row]) -> None:
    # In many zones the night of 30 March 2025 has no half past two.
    assert scorecards["night"].scored_at_local == "2025-03-30 02:30:00"
    for name in ("time", "other time"):
        assert scorecards[name].scored_at_local is None
        assert scorecards[name].datetime


def test_the_plan_of_a_table_with_nested_attributes_stays_small(spark: SparkSession) -> None:
    """An expression that stands twice in each level above it would double the plan with every attribute."""
    parsed = parse(lines_frame(spark, [change(1, guid="g")]), SCORECARDS)
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
        if c.type == "string" and isinstance(c.path, str) and "." not in c.path and c.path != "scores"
    }
    lines = []
    for n, text in enumerate(NASTY):
        inside = {name: {"evidence": text} for name in CRITERIA.values()}
        lines.append(
            change(
                1, **dict.fromkeys(tops.values(), text) | {"guid": str(n), "scores": inside, "extra": text}
            )
        )
    rows = landed(lines_frame(spark, lines), SCORECARDS)
    frame = selected(rows, SCORECARDS)
    names = [name for name in tops if name != "guid"] + [f"evidence_{c}" for c in CRITERIA]
    found = frame.drop("_changed_at").collect()
    assert len(found) == len(NASTY)
    for row in found:
        text = NASTY[int(row.guid)]
        assert {row[name] for name in names} == {text}
        assert json.loads(row.scores)["urgency"]["evidence"] == text
    kept = rows.selectExpr(
        "try_variant_get(item, '$.guid', 'int') AS n", "try_variant_get(item, '$.extra', 'string') AS extra"
    )
    assert {row.n: row.extra for row in kept.collect()} == dict(enumerate(NASTY))
    keys = landed(lines_frame(spark, [change(1, guid=text) for text in NASTY]), SCORECARDS)
    # An empty key is none.
    assert [row._key and json.loads(row._key) for row in keys.select("_key").collect()] == [
        None,
        *([text] for text in NASTY if text),
    ]
    made = selected(keys, SCORECARDS).select("guid").collect()
    assert {row.guid for row in made} == {text for text in NASTY if text}


METADATA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # changes of the record's metadata; columns
    "plain": ({}, {"is_deleted": False, "_changed_at": CHANGED_AT}),
    "no time": ({"_approxStreamTs": None}, {"_changed_at": None}),
    "time 0": ({"_approxStreamTs": 0}, {"_changed_at": "1970-01-01 00:00:00"}),
    "time with ms": ({"_approxStreamTs": 1767870000123}, {"_changed_at": "2026-01-08 11:00:00.123"}),
    "time as text": ({"_approxStreamTs": "1767870000000"}, {"_changed_at": CHANGED_AT}),
    "time huge": ({"_approxStreamTs": 10**30}, {"_changed_at": None}),
    "time in year 10000": ({"_approxStreamTs": 253402300800000}, {"_changed_at": None}),
    "time before year 1": ({"_approxStreamTs": -(10**17)}, {"_changed_at": None}),
    "time rubbish": ({"_approxStreamTs": "soon"}, {"_changed_at": None}),
    "time an object": ({"_approxStreamTs": {}}, {"_changed_at": None}),
    "own updated_at": ({"updated_at": "2026-01-08T11:00:00Z"}, {"updated_at": "2026-01-08T11:00:00Z"}),
    "no updated_at": ({"updated_at": None}, {"updated_at": None}),
    "removed": (
        {"_eventName": "REMOVE", "is_deleted": True, "_deleteKind": "ttl"},
        {"is_deleted": True, "_delete_kind": "ttl"},
    ),
    "removed, no flag": ({"_eventName": "REMOVE", "is_deleted": None}, {"is_deleted": True}),
    "removed, flag garbage": ({"_eventName": "REMOVE", "is_deleted": "maybe"}, {"is_deleted": True}),
    "removed, flag an object": ({"_eventName": "REMOVE", "is_deleted": {}}, {"is_deleted": True}),
    "flag as text": ({"is_deleted": "true"}, {"is_deleted": True}),
    "upsert, no flag": ({"is_deleted": None}, {"is_deleted": False}),
    "upsert, flag garbage": ({"is_deleted": 7}, {"is_deleted": False}),
    "no flag, no name": (
        {"is_deleted": None, "_eventName": None},
        {"is_deleted": False, "_event_name": None},
    ),
    "a repair tombstone": (
        {"_eventName": "REPAIR", "is_deleted": True},
        {"is_deleted": True, "_event_name": "REPAIR"},
    ),
}


@pytest.fixture(scope="module")
def metadata_records() -> dict[str, dict[str, Any]]:
    records = {}
    for name, (metadata, _) in METADATA.items():
        record = change(1, callId=name, payload={"agentId": "a"}) | metadata
        records[name] = {k: v for k, v in record.items() if v is not None}
    return records


@pytest.fixture(scope="module")
def with_metadata(spark: SparkSession, metadata_records: dict[str, dict[str, Any]]) -> dict[str, Row]:
    rows = landed(lines_frame(spark, metadata_records.values()), CALLS)
    kept = rows.select(F.col("_key").alias("_of"), "_problem", F.to_json("item").alias("item"))
    both = show_times(selected(rows, CALLS)).join(kept, F.col("_key") == F.col("_of"))
    return {row.call_id: row for row in both.collect()}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_read_or_null_and_never_stops_a_change(
    name: str, with_metadata: dict[str, Row], metadata_records: dict[str, dict[str, Any]]
) -> None:
    _, columns = METADATA[name]
    row = with_metadata[name]
    assert row._problem is None
    assert {k: row[k] for k in columns} == columns
    assert json.loads(row.item) == metadata_records[name]
    assert row.agent_id == (None if row.is_deleted else "a")


def test_a_tombstone_holds_its_key_and_its_metadata_alone(spark: SparkSession) -> None:
    """Whatever a delete carries besides is blank in its row, and no misfit."""
    record = change(
        9, deleted=True, callId="c", callTimestampUTC="rubbish", payload=PAYLOAD | {"extra": 1}, extra=1
    ) | {"is_deleted": True}
    row = show_times(parse(lines_frame(spark, [record]), CALLS).drop("_key", "_stream", "_batch_id")).first()
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
        "_misfits": 0,
    }
