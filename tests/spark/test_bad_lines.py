"""Lines that cannot be applied: each with its reason, whole, and without harm to its neighbours."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, LABEL, Lake, assert_rows, change, line, lines_frame, sequence

from lakehouse import events
from lakehouse.parse import parse_lines
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
    "an empty object": ("{}", "missing_key"),
    "no key": (change(1, note="no key"), "missing_key"),
    "one key of two": (change(1, site="s"), "missing_key"),
    "an empty key": (change(1, site="s", number=""), "missing_key"),
    "a key that is null": (change(1, site="s", number=None), "missing_key"),
    "a key that is an object": (change(1, site={"a": 1}, number="1"), "missing_key"),
    "a key that is an array": (change(1, site=["s"], number="1"), "missing_key"),
    "a key in other case": (change(1, Site="s", number="1"), "missing_key"),
    "a tombstone without its key": (change(1, deleted=True), "missing_key"),
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
    "bytes that are no UTF-8": (GOOD_LINE.encode().replace(b"good", b"g\xff\xfed"), "not_utf8"),
    "other bytes that are no UTF-8": (GOOD_LINE.encode().replace(b"good", b"g\xfe\xffd"), "not_utf8"),
    "UTF-8 that is cut": (GOOD_LINE.encode().replace(b"good", b"\xe2\x82"), "not_utf8"),
    "Latin-1": (change(1, site="s", number="1", note="Gruß")["note"].encode("latin-1"), "not_utf8"),
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
    """Every line, parsed in one frame: bad ones stand beside good ones."""
    cases = [(name, record) for name, (record, _) in BAD.items()] + list(FINE.items())
    rows = parse_lines(lines_frame(spark, [record for _, record in cases]), ITEMS)
    collected = (
        rows.withColumn("_raw_bytes", F.col("_raw").cast("binary")).drop("_raw", "_changed_at").collect()
    )
    assert len(collected) == len(cases)
    return {name: row for (name, _), row in zip(cases, collected, strict=True)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_has_its_reason_and_is_kept_whole(name: str, parsed: dict[str, Row]) -> None:
    record, reason = BAD[name]
    assert parsed[name]._problem == reason
    assert parsed[name]._detail
    assert bytes(parsed[name]._raw_bytes) == line(record)


@pytest.mark.parametrize("name", FINE)
def test_a_good_line_beside_bad_ones_is_taken(name: str, parsed: dict[str, Row]) -> None:
    row = parsed[name]
    assert (row._problem, row._detail, row._raw_bytes, row._rescued_data) == (None, None, None, None)
    assert (row._event_name, row.is_deleted) == ("MODIFY", False)


def test_the_pattern_of_a_sequence_takes_what_the_bad_lines_do_not_have() -> None:
    import re

    for name, (record, reason) in BAD.items():
        if (
            reason == "missing_sequence"
            and isinstance(record, dict)
            and isinstance(record.get("_sequence"), str)
        ):
            taken = re.search(events.SEQUENCE_PATTERN, record["_sequence"], re.ASCII)
            assert taken is None or name == "a newline behind", name


def test_a_column_may_be_called_value(spark: SparkSession) -> None:
    columns = (*ITEMS.columns, Column("value", "string", "A value.", "value"))
    parsed = parse_lines(
        lines_frame(spark, [GOOD | {"value": "it"}]), dataclasses.replace(ITEMS, columns=columns)
    )
    assert_rows(parsed.select("site", "value"), [("s", "it")], "site string, value string")


def test_attributes_whose_names_differ_by_case_alone_are_told_apart(spark: SparkSession) -> None:
    records = [
        change(1, site="both", number="1", NOTE="upper", note="lower"),
        change(1, site="one", number="1", Note="upper"),
        change(1, site="metadata", number="1", Site="x", _Sequence="y", IS_DELETED=True, Updated_At="z"),
    ]
    found = {
        row.site: (row.note, row.is_deleted, json.loads(row._rescued_data))
        for row in parse_lines(lines_frame(spark, records), ITEMS).drop("_changed_at").collect()
    }
    assert found == {
        "both": ("lower", False, {"NOTE": "upper"}),
        "one": (None, False, {"Note": "upper"}),
        "metadata": (None, False, {"Site": "x", "_Sequence": "y", "IS_DELETED": True, "Updated_At": "z"}),
    }


def test_an_unknown_name_that_differs_by_case_alone_is_rescued_and_hides_nothing(spark: SparkSession) -> None:
    record = change(
        1, callId="c", CallID="other", payload={"agentId": "a", "AgentId": "b"}, Payload={"agentId": "z"}
    )
    row = parse_lines(lines_frame(spark, [record]), CALLS).first()
    assert row is not None
    assert (row.call_id, row.agent_id) == ("c", "a")
    assert json.loads(row._rescued_data) == {
        "CallID": "other",
        "payload": {"AgentId": "b"},
        "Payload": {"agentId": "z"},
    }


DEEP = Table(
    name="deep",
    source="deep",
    keys=("id",),
    comment="Paths of three parts, and a column of JSON.",
    columns=(
        Column("id", "string", "Key.", "id"),
        Column("inner", "bigint", "Three deep.", "a.b.c"),
        Column("side", "string", "Two deep.", "a.s"),
        Column("whole", "string", "Whatever it is, as JSON.", "whole", as_json=True),
    ),
)


def test_what_does_not_fit_three_levels_down_is_rescued(spark: SparkSession) -> None:
    cases: dict[str, tuple[Any, tuple[Any, Any], Any]] = {
        "fits": ({"b": {"c": 7}, "s": "x"}, (7, "x"), None),
        "wrong type": ({"b": {"c": "seven"}}, (None, None), {"a": {"b": {"c": "seven"}}}),
        "unknown below": ({"b": {"c": 7, "d": 8}}, (7, None), {"a": {"b": {"d": 8}}}),
        "no object below": ({"b": 5, "s": "x"}, (None, "x"), {"a": {"b": 5}}),
        "no object": (5, (None, None), {"a": 5}),
    }
    records = [change(1, id=name, a=value) for name, (value, _, _) in cases.items()]
    rows = {r.id: r for r in parse_lines(lines_frame(spark, records), DEEP).drop("_changed_at").collect()}
    found = {
        name: (
            (r.inner, r.side),
            r._rescued_data and _numbers_kept(json.loads(r._rescued_data), cases[name][2]),
        )
        for name, r in rows.items()
    }
    assert found == {name: (values, rescued) for name, (_, values, rescued) in cases.items()}


def _numbers_kept(found: Any, expected: Any) -> Any:
    """What was rescued may hold more of the same object than what does not fit; never less."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {k: _numbers_kept(found[k], v) for k, v in expected.items() if k in found}
    return found


def test_a_column_of_json_holds_an_attribute_of_any_shape(spark: SparkSession) -> None:
    shapes: dict[str, Any] = {
        "object": {"x": [1, {"y": None}]},
        "array": [1, "two", None],
        "text": "two",
        "number": 5,
    }
    records = [change(1, id=name, whole=value) for name, value in shapes.items()]
    rows = parse_lines(lines_frame(spark, records), DEEP).select("id", "whole", "_rescued_data").collect()
    found = {row.id: (row.whole and json.loads(row.whole), row._rescued_data) for row in rows}
    assert found == {name: (value, None) for name, value in shapes.items()}


def test_good_neighbours_of_bad_lines_are_applied_and_bad_ones_lie_in_quarantine(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    records: list[Any] = []
    for number, (name, (record, _)) in enumerate(BAD.items()):
        records += [record, change(1, site="good", number=str(number), note=name)]
    lake.land("items", *records)
    # What the writer could not convert arrives in the same table, by a stream of its own.
    said = {"source": "items", "reason": "bad_number", "detail": "no number", "record": {"a": 1}}
    lake.land("_quarantine/items", said, "not json")
    results = lake.ingest_well()
    lake.books()
    counts = results["items"].batches
    assert (counts.files, counts.upserts, counts.quarantined) == (1, len(BAD), len(BAD))
    counts = results["quarantine"].batches
    assert (counts.files, counts.upserts, counts.quarantined) == (1, 0, 2)
    assert_rows(
        lake.state(ITEMS).select("site", "number", "note"),
        [("good", str(number), name) for number, name in enumerate(BAD)],
        "site string, number string, note string",
    )
    found = lake.quarantine().select("source", "reason", "object", F.col("raw").cast("binary")).collect()
    expected = [("items", reason, "items", line(record)) for record, reason in BAD.values()]
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
