"""The writer's own bytes through the reader: every record is applied, every value is what DynamoDB held."""

from __future__ import annotations

import gzip
import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from tests.spark.support import lines_frame, show_times

from change_writer.handler import STREAM_KINDS, make_plan, stream_records
from change_writer.settings import parse_settings
from lakehouse.parse import parse_lines
from lakehouse.table import Table
from lakehouse.tables.calls import CALLS
from lakehouse.tables.scorecards import SCORECARDS

EVENTS = Path(__file__).resolve().parents[1] / "fixtures" / "events"
NOW_MS = 1_767_880_000_000


def _records(name: str) -> list[dict[str, Any]]:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))["Records"]


def _landed(name: str) -> list[bytes]:
    """The lines that the handler would land for an event, quarantine aside."""
    records = stream_records({"Records": _records(name)})
    plan = make_plan(STREAM_KINDS["aws:dynamodb"], records, parse_settings({"S3_BUCKET": "bucket"}), NOW_MS)
    objects = [o for o in plan.objects if not o.key.startswith("_quarantine/")]
    return [line for o in objects for line in gzip.decompress(o.body).split(b"\n") if line]


def _read(spark: SparkSession, name: str, table: Table) -> list[Row]:
    return show_times(parse_lines(lines_frame(spark, _landed(name)), table)).collect()


def _plain(value: dict[str, Any]) -> Any:
    """A typed DynamoDB value as Python, numbers as Decimal."""
    ((tag, content),) = value.items()
    if tag == "N":
        return Decimal(content)
    if tag == "M":
        return {name: _plain(member) for name, member in content.items()}
    if tag == "L":
        return [_plain(member) for member in content]
    if tag == "NULL":
        return None
    if tag == "NS":
        return sorted(map(Decimal, content))
    return sorted(content) if tag in ("SS", "BS") else content


@pytest.mark.parametrize(
    ("event", "table"),
    [
        ("calls-changes", CALLS),
        ("calls-expired", CALLS),
        ("calls-every-type", CALLS),
        ("scorecards-changes", SCORECARDS),
        ("scorecards-one-bad-number", SCORECARDS),
    ],
)
def test_every_record_that_the_writer_lands_is_applied(spark: SparkSession, event: str, table: Table) -> None:
    records = _records(event)
    rows = _read(spark, event, table)
    bad = 1 if event == "scorecards-one-bad-number" else 0
    assert len(rows) == len(records) - bad > 0
    assert [row._problem for row in rows] == [None] * len(rows)
    by_id = {r["eventID"]: r for r in records}
    key = table.columns[0].path
    assert key is not None
    for row in rows:
        record = by_id[row._event_id]
        change = record["dynamodb"]
        assert row[table.keys[0]] == _plain(change["Keys"][key])
        assert row._event_name == record["eventName"]
        label = record["eventSourceARN"].rpartition("/")[2]
        assert row._sequence == f"{label}/{int(change['SequenceNumber']):040d}"
        assert row.is_deleted is (record["eventName"] == "REMOVE")
        assert row._delete_kind == (
            None if not row.is_deleted else "ttl" if "userIdentity" in record else "user"
        )


def _leaf(item: dict[str, Any], path: str) -> Any:
    """What lies at a path of an item; an object on the way may be its JSON text."""
    value: Any = item
    for part in path.split("."):
        if isinstance(value, str):
            value = json.loads(value, parse_float=Decimal, parse_int=Decimal)
        value = value.get(part) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(("event", "table"), [("calls-changes", CALLS), ("scorecards-changes", SCORECARDS)])
def test_every_column_holds_what_dynamodb_held(spark: SparkSession, event: str, table: Table) -> None:
    images = {
        r["eventID"]: {k: _plain(v) for k, v in r["dynamodb"].get("NewImage", {}).items()}
        for r in _records(event)
    }
    seen = 0
    for row in _read(spark, event, table):
        for column in table.columns:
            if column.path is None or (row.is_deleted and column.name in table.keys):
                continue
            landed = _leaf({} if row.is_deleted else images[row._event_id], column.path)
            held = row[column.name]
            if landed is None:
                assert held is None, column.name
                continue
            seen += 1
            if column.as_json:
                assert json.loads(held, parse_float=Decimal, parse_int=Decimal) == landed
            elif column.type in ("bigint", "int"):
                assert held == Decimal(str(landed)), column.name
            elif column.type.startswith("decimal"):
                places = Decimal(1).scaleb(-int(column.type[:-1].split(",")[1]))
                assert held == Decimal(str(landed)).quantize(places, ROUND_HALF_UP), column.name
            elif column.type == "string":
                assert held == str(landed), column.name
            else:
                assert held is not None, column.name
    assert seen > 5


def test_attributes_of_every_type_that_no_column_holds_are_rescued_under_their_names(
    spark: SparkSession,
) -> None:
    (record,) = _records("calls-every-type")
    (row,) = _read(spark, "calls-every-type", CALLS)
    rescued = json.loads(row._rescued_data, parse_float=Decimal, parse_int=Decimal)
    expected = {name: _plain(value) for name, value in record["dynamodb"]["NewImage"].items()}
    for name in ("callId", "updated_at", "huge"):
        expected.pop(name)
    huge = Decimal(rescued.pop("huge"))
    # Names that could be taken for metadata stand as the writer escaped them.
    for name in ("_sequence", "__x", "is_deleted"):
        expected[f"__{name}"] = expected.pop(name)
    assert rescued == expected
    assert row.updated_at == "2026-01-08T11:00:00Z"
    assert row.is_deleted is False
    assert abs(huge - Decimal("1E+126")) < Decimal("1E+110")


@pytest.mark.xfail(strict=True, reason="VARIANT holds a number with an exponent as a double")
def test_a_number_that_needs_an_exponent_keeps_its_digits(spark: SparkSession) -> None:
    (row,) = _read(spark, "calls-every-type", CALLS)
    rescued = json.loads(row._rescued_data, parse_float=Decimal, parse_int=Decimal)
    assert Decimal(rescued["huge"]) == Decimal("9.9999999999999999999999999999999999999E+125")
