"""Lines that cannot be applied: each with its reason, whole, and without harm to its neighbours."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.parsed import landed, parse, selected
from tests.spark.support import ITEMS, LABEL, Lake, assert_rows, change, line, lines_frame, sequence

from lakehouse import change_record
from lakehouse.table import Column, Table
from lakehouse.tables.calls import CALLS

GOOD = change(1, site="s", number="1", note="good")
GOOD_LINE = line(GOOD).decode()


def _with_sequence(text: Any) -> dict[str, Any]:
    return GOOD | {"_sequence": text}


BAD: dict[str, tuple[Any, str]] = {
    "an empty line": ("", "not_json"),
    "blanks": ("  \t", "not_json"),
    "no JSON": ("not json", "not_json"),
    "half a record": (GOOD_LINE[:-9], "not_json"),
    "a bracket too many": (GOOD_LINE + "}", "not_json"),
    "a bracket that would close the frame": (GOOD_LINE + "]", "not_json"),
    "a frame's end and a new one": (GOOD_LINE + "],[" + GOOD_LINE, "not_json"),
    "two objects": (GOOD_LINE + GOOD_LINE, "not_json"),
    "two objects with a blank between": (GOOD_LINE + " " + GOOD_LINE, "not_json"),
    "two objects with a comma between": (GOOD_LINE + "," + GOOD_LINE, "not_json"),
    "an object and a number": (GOOD_LINE + ",5", "not_json"),
    "an object and rubbish": (GOOD_LINE + " x", "not_json"),
    "an object and a comment": (GOOD_LINE + " // x", "not_json"),
    "single quotes": (GOOD_LINE.replace('"', "'"), "not_json"),
    "NaN": (GOOD_LINE[:-1] + ',"amount":NaN}', "not_json"),
    "an unquoted name": (GOOD_LINE[:-1] + ",amount:1}", "not_json"),
    "an array": (f"[{GOOD_LINE}]", "not_an_object"),
    "text": ('"{}"', "not_an_object"),
    "a number": ("17", "not_an_object"),
    "true": ("true", "not_an_object"),
    "null": ("null", "not_an_object"),
    "an empty object": ("{}", "missing_sequence"),
    "no sequence": ({k: v for k, v in GOOD.items() if k != "_sequence"}, "missing_sequence"),
    "a sequence that is null": (_with_sequence(None), "missing_sequence"),
    "an empty sequence": (_with_sequence(""), "missing_sequence"),
    "a sequence without its label": (_with_sequence(f"{5:040d}"), "missing_sequence"),
    "a number that is not padded": (_with_sequence(f"{LABEL}/100000000000000000000"), "missing_sequence"),
    "a number that is padded too far": (_with_sequence(f"{LABEL}/{5:041d}"), "missing_sequence"),
    "a number with a letter": (_with_sequence(sequence(5)[:-1] + "a"), "missing_sequence"),
    "digits of another script": (_with_sequence(sequence(5)[:-1] + "٣"), "missing_sequence"),
    "a label without milliseconds": (_with_sequence(f"2026-01-05T08:00:00/{5:040d}"), "missing_sequence"),
    "something in front": (_with_sequence(" " + sequence(5)), "missing_sequence"),
    "something behind": (_with_sequence(sequence(5) + "/1"), "missing_sequence"),
    "a newline behind": (_with_sequence(sequence(5) + "\n"), "missing_sequence"),
    "a sequence that is a number": (_with_sequence(5), "missing_sequence"),
    "a sequence that is an object": (_with_sequence({"a": sequence(5)}), "missing_sequence"),
    "a snapshot of a time without milliseconds": (
        _with_sequence(f"{LABEL}/-2026-01-06T00:00:00Z"),
        "missing_sequence",
    ),
    "a snapshot of a time with microseconds": (
        _with_sequence(f"{LABEL}/-2026-01-06T00:00:00.000000Z"),
        "missing_sequence",
    ),
    "an attempt that is not padded": (
        _with_sequence(f"{LABEL}/-2026-01-06T00:00:00.000Z/1"),
        "missing_sequence",
    ),
    "neither key nor sequence": ({"note": "x"}, "missing_sequence"),
    "bytes that are no UTF-8": (GOOD_LINE.encode().replace(b"good", b"g\xff\xfed"), "not_utf8"),
    "other bytes that are no UTF-8": (GOOD_LINE.encode().replace(b"good", b"g\xfe\xffd"), "not_utf8"),
    "UTF-8 that is cut": (GOOD_LINE.encode().replace(b"good", b"\xe2\x82"), "not_utf8"),
    "Latin-1": (change(1, site="s", number="1", note="Gruß")["note"].encode("latin-1"), "not_utf8"),
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # Good lines that have no key of the table.
    "no key": (change(1, note="no key"), "missing_key"),
    "one key of two": (change(1, site="s"), "missing_key"),
    "an empty key": (change(1, site="s", number=""), "missing_key"),
    "a key that is null": (change(1, site="s", number=None), "missing_key"),
    "a key that is an object": (change(1, site={"a": 1}, number="1"), "inexact_key"),
    "a key that is an array": (change(1, site=["s"], number="1"), "inexact_key"),
    "a key in other case": (change(1, Site="s", number="1"), "missing_key"),
    "a tombstone without its key": (change(1, deleted=True), "missing_key"),
}

FINE: dict[str, Any] = {
    "a record": GOOD,
    "blanks around it": f"  {GOOD_LINE}\t ",
    "a carriage return behind it": GOOD_LINE + "\r",
    "a key that is a number": change(1, site=5, number=-0.5),
    "a key of blanks": change(1, site=" ", number="1"),
    "a sequence of 40 nines": _with_sequence(f"{LABEL}/{'9' * 40}"),
    "a snapshot": _with_sequence(f"{LABEL}/-2026-01-06T00:00:00.000Z"),
    "a snapshot with its attempt": _with_sequence(f"{LABEL}/-2026-01-06T00:00:00.000Z/0001"),
    "a repair": _with_sequence(f"{sequence(5)}+2026-01-06T00:00:00.000Z"),
    "a repair of a repair": _with_sequence(
        f"{sequence(5)}+2026-01-06T00:00:00.000Z+2026-01-07T00:00:00.000Z"
    ),
}


@pytest.fixture(scope="module")
def parsed(spark: SparkSession) -> dict[str, Row]:
    """Every line, read in one frame: bad ones stand beside good ones."""
    cases = [(name, record) for name, (record, _) in (BAD | REFUSED).items()] + list(FINE.items())
    rows = landed(lines_frame(spark, [record for _, record in cases]), ITEMS)
    collected = (
        rows.withColumn("_raw_bytes", F.col("_raw").cast("binary"))
        .withColumn("_has_item", F.col("item").isNotNull())
        .drop("_raw", "_changed_at", "_loaded_at", "item")
        .collect()
    )
    assert len(collected) == len(cases)
    return {name: row for (name, _), row in zip(cases, collected, strict=True)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_has_its_reason_and_is_kept_whole(name: str, parsed: dict[str, Row]) -> None:
    record, reason = BAD[name]
    assert parsed[name]._problem == reason
    assert parsed[name]._detail
    assert bytes(parsed[name]._raw_bytes) == line(record)
    assert parsed[name]._key is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_good_line_without_a_key_is_in_bronze_and_has_none(name: str, parsed: dict[str, Row]) -> None:
    row = parsed[name]
    assert (row._problem, row._detail, row._raw_bytes, row._key) == (None, None, None, None)
    assert row._has_item
    assert row._sequence == sequence(1)


@pytest.mark.parametrize("name", FINE)
def test_a_good_line_beside_bad_ones_is_taken(name: str, parsed: dict[str, Row]) -> None:
    row = parsed[name]
    assert (row._problem, row._detail, row._raw_bytes) == (None, None, None)
    assert (row._event_name, row.is_deleted, row._has_item) == ("MODIFY", False, True)
    assert len(json.loads(row._key)) == 2


def test_the_pattern_of_a_sequence_takes_what_the_bad_lines_do_not_have() -> None:
    import re

    for name, (record, reason) in BAD.items():
        if (
            reason == "missing_sequence"
            and isinstance(record, dict)
            and isinstance(record.get("_sequence"), str)
        ):
            taken = re.search(change_record.SEQUENCE_PATTERN, record["_sequence"], re.ASCII)
            assert taken is None or name == "a newline behind", name


@pytest.mark.parametrize("name", ["value", "item", "record", "key", "document", "live"])
def test_a_column_may_have_a_name_that_the_engine_has_too(spark: SparkSession, name: str) -> None:
    own = Column(name, "string", "A value.", name)
    derived = Column("shouted", "string", "The value, in capitals.", sql=f"upper({name})")
    table = dataclasses.replace(ITEMS, columns=(*ITEMS.columns, own, derived))
    made = parse(lines_frame(spark, [GOOD | {name: "it"}]), table)
    assert_rows(
        made.select("site", name, "shouted"),
        [("s", "it", "IT")],
        f"site string, {name} string, shouted string",
    )


def _with_items(rows: DataFrame, table: Table) -> list[tuple[Row, dict[str, Any]]]:
    """Rows of the table, each with its record as bronze has it."""
    kept = {r._key: json.loads(r.item) for r in rows.selectExpr("_key", "to_json(item) AS item").collect()}
    return [(row, kept[row._key]) for row in selected(rows, table).drop("_changed_at").collect()]


def test_attributes_whose_names_differ_by_case_alone_are_told_apart(spark: SparkSession) -> None:
    records = {
        "both": change(1, site="both", number="1", NOTE="upper", note="lower"),
        "one": change(1, site="one", number="1", Note="upper"),
        "metadata": change(
            1, site="metadata", number="1", Site="x", _Sequence="y", IS_DELETED=True, Updated_At="z"
        ),
    }
    rows = landed(lines_frame(spark, records.values()), ITEMS)
    found = {row.site: (row.note, row.is_deleted, item) for row, item in _with_items(rows, ITEMS)}
    notes = {"both": "lower", "one": None, "metadata": None}
    assert found == {name: (notes[name], False, record) for name, record in records.items()}


def test_an_unknown_name_that_differs_by_case_alone_is_kept_and_hides_nothing(spark: SparkSession) -> None:
    record = change(
        1, callId="c", CallID="other", payload={"agentId": "a", "AgentId": "b"}, Payload={"agentId": "z"}
    )
    ((row, item),) = _with_items(landed(lines_frame(spark, [record]), CALLS), CALLS)
    assert (row.call_id, row.agent_id, row._misfits) == ("c", "a", 0)
    assert item == record


DEEP = Table(
    name="deep",
    source="deep",
    keys=("id",),
    comment="Paths of three parts, and a column of JSON.",
    columns=(
        Column("id", "string", "Key.", "id"),
        Column("inner", "bigint", "Three deep.", "a.b.c"),
        Column("side", "string", "Two deep.", "a.s"),
        Column("whole", "string", "Whatever it is, an object as JSON.", "whole"),
    ),
)


def test_what_does_not_fit_three_levels_down_is_counted(spark: SparkSession) -> None:
    cases: dict[str, tuple[Any, tuple[Any, Any], int]] = {
        "fits": ({"b": {"c": 7}, "s": "x"}, (7, "x"), 0),
        "wrong type": ({"b": {"c": "seven"}}, (None, None), 1),
        "unknown below": ({"b": {"c": 7, "d": 8}}, (7, None), 0),
        # There is nothing at the path, so there is nothing that does not fit.
        "no object below": ({"b": 5, "s": "x"}, (None, "x"), 0),
        "no object": (5, (None, None), 0),
    }
    records = {name: change(1, id=name, a=value) for name, (value, _, _) in cases.items()}
    rows = landed(lines_frame(spark, records.values()), DEEP)
    found = {r.id: ((r.inner, r.side), r._misfits, item) for r, item in _with_items(rows, DEEP)}
    assert found == {name: (values, misfits, records[name]) for name, (_, values, misfits) in cases.items()}


def test_a_text_column_holds_an_attribute_of_any_shape(spark: SparkSession) -> None:
    shapes: dict[str, tuple[Any, str]] = {
        "object": ({"x": [1, {"y": None}]}, '{"x":[1,{"y":null}]}'),
        "array": ([1, "two", None], '[1,"two",null]'),
        "text": ("two", "two"),
        "number": (5, "5"),
    }
    records = [change(1, id=name, whole=value) for name, (value, _) in shapes.items()]
    rows = parse(lines_frame(spark, records), DEEP).select("id", "whole", "_misfits").collect()
    assert {row.id: (row.whole, row._misfits) for row in rows} == {
        name: (text, 0) for name, (_, text) in shapes.items()
    }


def test_good_neighbours_of_bad_lines_are_applied_and_bad_ones_lie_in_quarantine(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    records: list[Any] = []
    cases = BAD | REFUSED
    for number, (name, (record, _)) in enumerate(cases.items()):
        records += [record, change(1, site="good", number=str(number), note=name)]
    lake.land("items", *records)
    # What the writer could not convert arrives in the same view, by a stream of its own.
    said = {"source": "items", "reason": "bad_number", "detail": "no number", "record": {"a": 1}}
    lake.land("_quarantine/items", said, "not json")
    results = lake.ingest_well()
    lake.books()
    counts = results["items"].batches
    assert (counts.files, counts.upserts, counts.quarantined) == (1, len(cases), len(cases))
    assert counts.records == 2 * len(cases)
    counts = results["writer_quarantine"].batches
    assert (counts.files, counts.upserts, counts.quarantined) == (1, 0, 2)
    assert_rows(
        lake.state(ITEMS).select("site", "number", "note"),
        [("good", str(number), name) for number, name in enumerate(cases)],
        "site string, number string, note string",
    )
    found = lake.quarantine().select("source", "reason", "object", F.col("raw").cast("binary")).collect()
    expected = [("items", reason, "items", line(record)) for record, reason in BAD.values()]
    # A good line is kept as what it says, its members by name.
    expected += [("items", reason, "items", _sorted(record)) for record, reason in REFUSED.values()]
    expected += [("items", "bad_number", "_quarantine/items", line(said))]
    expected += [("items", "not_json", "_quarantine/items", b"not json")]
    folder = "dt=2026-01-05/HH=08"
    assert {row.object for row in found} == {
        f"items/{folder}/0001.ndjson.gz",
        f"_quarantine/items/{folder}/0002.ndjson.gz",
    }
    quarantined = [(r.source, r.reason, r.object.partition("/dt=")[0], bytes(r.raw)) for r in found]
    assert len(quarantined) == len(expected)
    assert set(quarantined) ^ set(expected) == set()
    refused = lake.quarantine().where("refused_by IS NOT NULL").collect()
    assert {tuple(row.refused_by) for row in refused} == {("items",)}
    assert len(refused) == len(REFUSED)
    # Bronze has every line of the object, good or bad.
    assert lake.bronze("items").count() == 2 * len(cases)


def _sorted(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()
