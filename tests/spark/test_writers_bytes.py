"""The writer's own bytes through the reader: every record is applied, every value is what DynamoDB held."""

from __future__ import annotations

import gzip
import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.parsed import landed, selected
from tests.spark.support import lines_frame, show_times

from change_writer.handler import STREAM_KINDS, make_plan, stream_records
from change_writer.settings import parse_settings
from lakehouse import change_record
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
    """The rows of the table, each with what bronze has of its record."""
    rows = landed(lines_frame(spark, _landed(name)), table)
    kept = rows.select(F.col("_sequence").alias("_of"), "_problem", "_raw", F.to_json("item").alias("_item"))
    made = show_times(selected(rows, table))
    return made.join(kept, F.col("_sequence") == F.col("_of"), "right").collect()


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
    (key,) = table.columns[0].paths
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
            if not column.paths or (row.is_deleted and column.name in table.keys):
                continue
            (path,) = column.paths
            landed_as = _leaf({} if row.is_deleted else images[row._event_id], path)
            held = row[column.name]
            if landed_as is None:
                assert held is None, column.name
                continue
            seen += 1
            if isinstance(landed_as, dict):
                assert column.type == "string", column.name
                assert json.loads(held, parse_float=Decimal, parse_int=Decimal) == landed_as
            elif column.type in ("bigint", "int"):
                assert held == Decimal(str(landed_as)), column.name
            elif column.type.startswith("decimal"):
                places = Decimal(1).scaleb(-int(column.type[:-1].split(",")[1]))
                assert held == Decimal(str(landed_as)).quantize(places, ROUND_HALF_UP), column.name
            elif column.type == "string":
                assert held == str(landed_as), column.name
            else:
                assert held is not None, column.name
    assert seen > 5


def test_attributes_of_every_type_that_no_column_holds_are_in_bronze_under_their_names(
    spark: SparkSession,
) -> None:
    (record,) = _records("calls-every-type")
    (row,) = _read(spark, "calls-every-type", CALLS)
    kept = json.loads(row._item, parse_float=Decimal, parse_int=Decimal)
    expected = {name: _plain(value) for name, value in record["dynamodb"]["NewImage"].items()}
    expected.pop("huge")
    huge = Decimal(kept.pop("huge"))
    # Names that could be taken for metadata stand as the writer escaped them.
    for name in ("_sequence", "__x", "is_deleted"):
        expected[f"__{name}"] = expected.pop(name)
    metadata = set(change_record.METADATA) - {change_record.UPDATED_AT}
    assert {name: value for name, value in kept.items() if name not in metadata} == expected
    assert set(kept) - set(expected) == metadata - {change_record.DELETE_KIND}
    assert row.updated_at == "2026-01-08T11:00:00Z"
    assert row.is_deleted is False
    assert row._misfits == 0
    assert abs(huge - Decimal("1E+126")) < Decimal("1E+110")


def test_a_record_with_a_number_that_variant_does_not_hold_exactly_is_kept_as_its_line_too(
    spark: SparkSession,
) -> None:
    (row,) = _read(spark, "calls-every-type", CALLS)
    (line,) = _landed("calls-every-type")
    assert row._raw == line.decode()
    assert json.loads(row._raw, parse_float=Decimal)["huge"] == Decimal(
        "9.9999999999999999999999999999999999999E+125"
    )
    assert {row._raw for row in _read(spark, "calls-changes", CALLS)} == {None}


@pytest.mark.xfail(strict=True, reason="VARIANT holds a number with an exponent as a double")
def test_a_number_that_needs_an_exponent_keeps_its_digits(spark: SparkSession) -> None:
    (row,) = _read(spark, "calls-every-type", CALLS)
    kept = json.loads(row._item, parse_float=Decimal, parse_int=Decimal)
    assert Decimal(kept["huge"]) == Decimal("9.9999999999999999999999999999999999999E+125")
