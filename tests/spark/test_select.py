"""What the SELECT of a declaration makes of records, value by value: names, keys, texts, times, limits."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.parsed import documents, landed, parse, selected
from tests.spark.support import (
    CHANGED_AT,
    TRANSCRIPTS,
    Lake,
    change,
    event,
    line,
    lines_frame,
    show_times,
)

from lakehouse.catalog.declared import other_tables, state_table
from lakehouse.change_record import landed_name
from lakehouse.sql.select import select
from lakehouse.sql.values import has_lone_surrogate
from lakehouse.table import Column, Table
from lakehouse.tables import TABLES
from lakehouse.tables.calls import CALLS
from lakehouse.tables.coaching_insights import coaching_insights
from lakehouse.tables.dashboard_items import dashboard_items
from lakehouse.tables.metric_events import METRIC_EVENTS
from lakehouse.tables.scorecards import SCORECARDS

D = Decimal
INSIGHTS, ITEMS = coaching_insights(), dashboard_items()


def _table(*columns: Column, keys: tuple[str, ...] = ("id",), **more: Any) -> Table:
    if "id" in keys and not any(c.name == "id" for c in columns):
        columns = (Column("id", "string", "Key.", "id"), *columns)
    return Table(name="things", source="things", keys=keys, comment="Things.", columns=columns, **more)


def _rows(spark: SparkSession, table: Table, *records: Any) -> list[Row]:
    """The rows of records that are read by themselves, in order; times as text."""
    frame = show_times(parse(lines_frame(spark, records), table))
    found = {row._key: row for row in frame.collect()}
    keys = [row._key for row in landed(lines_frame(spark, records), table).select("_key").collect()]
    return [found[key] for key in keys if key in found]


# --- names ------------------------------------------------------------------------------------------

NAMES = [
    *("_version", "__typename", "_id", "user-id", "customer-id", "2fa", "größe", "pk#sk"),
    *("aws:rep:updateregion", "is_deleted", "first name", "a.b", "o'clock", 'say "so"', "日本語", "$"),
    *("Total", "total", "_sequence", "{silver}", "-", "*", "100%", "a[0]"),
]


def _path(name: str) -> str:
    return f'["{name}"]' if "'" in name else f"['{name}']"


def test_a_column_can_be_read_from_any_attribute_at_the_top_and_inside(spark: SparkSession) -> None:
    columns = [Column(f"top{n}", "string", "A value.", _path(name)) for n, name in enumerate(NAMES)]
    columns += [
        Column(f"inside{n}", "string", "A value.", f"payload{_path(name)}") for n, name in enumerate(NAMES)
    ]
    inside = {name: f"inside {name}" for name in NAMES}
    # Those of the item itself land as the writer writes them.
    top = {landed_name(name): f"top {name}" for name in NAMES}
    table = _table(*columns, json_text=("payload",))
    for payload in (inside, json.dumps(inside)):
        (row,) = _rows(spark, table, change(1, id="a") | top | {"payload": payload})
        assert [row[f"top{n}"] for n in range(len(NAMES))] == [f"top {name}" for name in NAMES]
        assert [row[f"inside{n}"] for n in range(len(NAMES))] == [f"inside {name}" for name in NAMES]
        assert (row.is_deleted, row._event_name, row._misfits) == (False, "MODIFY", 0)


@pytest.mark.parametrize("name", ["user-id", "_id", "pk#sk", "größe", "2fa", "aws:rep:updateregion"])
def test_a_key_can_have_any_name(spark: SparkSession, name: str) -> None:
    table = _table(
        Column("one", "string", "Key.", name),
        Column("other", "string", "Key.", "other"),
        Column("note", "string", "A note.", "note"),
        keys=("one", "other"),
    )
    key = {landed_name(name): "k"}
    upsert, delete = change(1, other="x", note="n") | key, change(2, deleted=True, other="y") | key
    rows = _rows(spark, table, upsert, delete)
    assert [(row.one, row.other, row.note, row.is_deleted, row._key) for row in rows] == [
        ("k", "x", "n", False, '["k","x"]'),
        ("k", "y", None, True, '["k","y"]'),
    ]


# --- keys -------------------------------------------------------------------------------------------

KEYED = _table(
    Column("id", "string", "Key.", ("id", "payload.id"), default="_event_id"),
    Column("n", "int", "Its number.", "n"),
    json_text=("payload",),
)
NINES = "9" * 38

EXACT = {
    # As it stands in the line, and the key.
    "329800735698586855969233156254476430": "329800735698586855969233156254476430",
    NINES: NINES,
    f"-{NINES}": f"-{NINES}",
    f"0.{NINES}": f"0.{NINES}",
    "12.50": "12.5",
    "true": "true",
    '"a"': "a",
    f'"{NINES}1"': f"{NINES}1",
    f'"{NINES}2"': f"{NINES}2",
    '"1e400"': "1e400",
}
INEXACT = [
    # More than 38 digits, or decimals, or an exponent: VARIANT has a double of each.
    *(str(329800735698586855969233156254476430326 + n) for n in range(5)),
    f"0.{'0' * 38}1",
    f"0.{'0' * 38}2",
    f"1{'0' * 39}",
    "12345678901234560000000000000000000000000",
    "1E-39",
    "9.9E+125",
    '{"a": 1}',
    "[1]",
    "[]",
]


def _keyed(number: int, text: str, place: str) -> str:
    """A line with that text as its key, at the top, inside an object or inside the text of one."""
    inside = f'{{"id": {text}}}'
    member = {
        "top": f'"id": {text}',
        "object": f'"payload": {inside}',
        "text": f'"payload": {json.dumps(inside)}',
    }[place]
    return f"{line(change(number, n=number)).decode()[:-1]}, {member}}}"


@pytest.mark.parametrize("place", ["top", "object", "text"])
def test_keys_are_exact_or_refused_wherever_they_stand(spark: SparkSession, place: str) -> None:
    cases = [*EXACT, *INEXACT]
    rows = landed(lines_frame(spark, [_keyed(n, text, place) for n, text in enumerate(cases)]), KEYED)
    keys = [row._key and json.loads(row._key) for row in rows.select("_key").collect()]
    assert keys == [[key] for key in EXACT.values()] + [None] * len(INEXACT)
    found = {row.n: row.id for row in selected(rows, KEYED).collect()}
    assert found == dict(enumerate(EXACT.values()))


def test_no_two_keys_become_one_and_each_that_is_none_is_in_quarantine(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (KEYED,))
    places = ("top", "object", "text")
    refused = [(text, place) for text in INEXACT for place in places]
    lines = [_keyed(n, text, place) for n, (text, place) in enumerate(refused)]
    lake.land("things", *lines, *(_keyed(1000 + n, text, "top") for n, text in enumerate(EXACT)))
    result = lake.ingest_well()["things"].batches
    assert (result.records, result.upserts) == (len(lines) + len(EXACT), len(EXACT))
    assert (result.quarantined, result.stale) == (len(lines), 0)
    assert {row.id for row in lake.state(KEYED).collect()} == set(EXACT.values())
    found = lake.quarantine().select("reason", "source", "refused_by", "raw").collect()
    assert len(found) == len(lines)
    assert {(row.reason, row.source, *row.refused_by) for row in found} == {
        ("inexact_key", "things", "things")
    }
    # Where VARIANT has a double, the line itself is kept, with every digit.
    doubles = {
        text
        for text, (digits, place) in zip(lines, refused, strict=True)
        if digits[0] not in "{[" and place != "text"
    }
    assert doubles <= {row.raw for row in found}


def test_a_key_of_which_a_part_is_missing_is_not_made_of_something_else(spark: SparkSession) -> None:
    records = [
        change(1, n=1),
        change(2, n=2, id=""),
        change(3, n=3, id=None, payload={"id": "p"}),
        change(4, n=4, payload='{"id": "p"} {"id": "q"}'),
        change(5, n=5, payload='{"id": "x\\ud800"}'),
        change(6, n=6, payload='{"id": "x\\ud801"}'),
        change(7, n=7, payload=["p"]),
    ]
    rows = _rows(spark, KEYED, *records)
    # What cannot be read as one object has no key in it: its event's id stands for it, and it is counted.
    expected = {n: records[n - 1]["_eventID"] for n in (1, 2, 4, 5, 6, 7)} | {3: "p"}
    assert {row.n: row.id for row in rows} == expected
    assert {row.n: row._misfits for row in rows} == {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1}


# --- lone surrogates --------------------------------------------------------------------------------


def _has_lone(text: str) -> bool:
    """Read the escapes one by one, as a parser of JSON does."""
    at, high = 0, False
    while at < len(text):
        if text[at] != "\\":
            if high:
                return True
            at += 1
            continue
        unit = int(text[at + 2 : at + 6], 16) if text[at + 1] == "u" else None
        is_high = unit is not None and 0xD800 <= unit < 0xDC00
        is_low = unit is not None and 0xDC00 <= unit < 0xE000
        if high != is_low:
            return True
        high = is_high
        at += 2 if unit is None else 6
    return high


PIECES = [
    *("\\\\", "\\\\", "\\n", '\\"', "a", "u", "ud83d", "\\ud83d", "\\uD83D", "\\udbff", "\\ud800", "\\ude00"),
    *(
        "\\uDE00",
        "\\udc00",
        "\\udfff",
        "\\ud83d\\ude00",
        "\\u00e4",
        "\\ud7ff",
        "\\ue000",
        "ä",
        "👍",
        "\\u005c",
    ),
]


def test_a_lone_surrogate_is_found_in_any_text(spark: SparkSession) -> None:
    rng = random.Random(3)
    texts = {"".join(rng.choices(PIECES, k=rng.randint(1, 7))) for _ in range(6000)}
    # By hand: the pair, what looks like one behind an escaped backslash, halves in the wrong order.
    texts |= {
        *("\\ud83d\\ude00", "\\\\ud83d\\ude00", "\\\\ud83d", "\\\\\\ud83d", "\\ude00\\ud83d"),
        *(
            "\\ud83d\\ud83d\\ude00",
            "\\ud83d\\ude00\\ude00",
            "\\ud83d\\\\ude00",
            "\\\\ud83d\\\\ude00",
            "\\ud83dx",
        ),
    }
    frame = spark.createDataFrame([(text,) for text in sorted(texts)], "text string")
    # In the whole of it, as it stands in a line.
    in_line = """concat('{"a":"', text, '"}')"""
    found = frame.selectExpr("text", f"{has_lone_surrogate(in_line)} AS lone")
    wrong = [row.text for row in found.collect() if row.lone is not _has_lone(row.text)]
    assert wrong == []
    lone = sum(map(_has_lone, texts))
    assert 500 < lone < len(texts) - 500


def test_python_agrees_with_the_oracle() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 7)))
        read = json.loads(f'"{text}"')
        assert _has_lone(text) is any(0xD800 <= ord(c) < 0xE000 for c in read)


def test_a_long_text_of_escapes_is_looked_at_to_its_end(spark: SparkSession) -> None:
    pairs = "\\ud83d\\ude00\\\\" * 60_000
    frame = spark.createDataFrame([(pairs,), (pairs + "\\ud83d",)], "text string")
    found = frame.selectExpr(f"{has_lone_surrogate('text')} AS lone").collect()
    assert [row.lone for row in found] == [False, True]


LONE = {
    # The payload as text, agent's name, misfits.
    "pair": ('{"agentName": "Zo \\ud83d\\ude00", "agentId": "a"}', "Zo 😀", 0),
    "escaped backslash": ('{"agentName": "Zo \\\\ud83d", "agentId": "a"}', "Zo \\ud83d", 0),
    "lone": ('{"agentName": "Zo \\ud83d", "agentId": "a"}', None, 1),
    "lone in what no column reads": ('{"agentName": "Zo", "note": "x \\ude00", "agentId": "a"}', None, 1),
    "lone in a name": ('{"agentName": "Zo", "\\ud83d": 1, "agentId": "a"}', None, 1),
    "behind an escaped one": ('{"agentName": "\\\\ud83d\\ude00", "agentId": "a"}', None, 1),
}


@pytest.mark.parametrize("name", LONE)
def test_text_with_a_lone_surrogate_inside_is_null_counted_and_kept(spark: SparkSession, name: str) -> None:
    text, agent, misfits = LONE[name]
    rows = landed(lines_frame(spark, [change(1, callId="c", payload=text)]), CALLS)
    kept = rows.selectExpr("_problem", "try_variant_get(item, '$.payload', 'string') AS payload").collect()
    assert [tuple(row) for row in kept] == [(None, text)]
    (row,) = selected(rows, CALLS).drop("_changed_at").collect()
    assert (row.agent_name, row.agent_id, row._misfits) == (agent, None if misfits else "a", misfits)


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        ("x \\ud83d\\ude00", None),
        ("x \\\\ud83d", None),
        ("x \\\\\\\\ud83d \\u00e4", None),
        ("x \\ud83d", "lone_surrogate"),
        ("\\udc00 x", "lone_surrogate"),
        ("\\\\ud83d\\udc00", "lone_surrogate"),
        ("\\uD83D", "lone_surrogate"),
    ],
)
def test_a_line_with_a_lone_surrogate_is_quarantined_whole(
    spark: SparkSession, note: str, problem: str | None
) -> None:
    text = f'{line(change(1, callId="c")).decode()[:-1]}, "note": "{note}"}}'
    (row,) = landed(lines_frame(spark, [text]), CALLS).drop("_changed_at", "_loaded_at").collect()
    assert row._problem == problem
    assert row._raw == (text if problem else None)
    assert (row._key is None) is (problem is not None)
    if problem:
        assert "\\ud800 without its other half" in row._detail


# --- objects and their texts ------------------------------------------------------------------------

NESTED = _table(
    Column("a", "string", "In p.", "p.a"),
    Column("b", "int", "In q of p.", "p.q.b"),
    Column("c", "string", "Deeper in q of p.", "p.q.r.c"),
    Column("whole", "string", "The whole of q.", "p.q"),
    json_text=("p", "p.q"),
)
Q = {"b": 7, "r": {"c": "deep"}}
Q_TEXT = '{"b": 7, "r": {"c": "deep"}}'

PARENTS: dict[str, tuple[Any, tuple[Any, Any, Any, Any], int]] = {
    # p, (a, b, c, whole), misfits.
    "objects": ({"a": "x", "q": Q}, ("x", 7, "deep", '{"b":7,"r":{"c":"deep"}}'), 0),
    "text of an object": (json.dumps({"a": "x", "q": Q}), ("x", 7, "deep", '{"b":7,"r":{"c":"deep"}}'), 0),
    "text in an object": ({"a": "x", "q": Q_TEXT}, ("x", 7, "deep", Q_TEXT), 0),
    "text in a text": (json.dumps({"a": "x", "q": Q_TEXT}), ("x", 7, "deep", Q_TEXT), 0),
    "text with blanks": (
        f"\n\t {json.dumps({'a': 'x', 'q': ' ' + Q_TEXT})} ",
        ("x", 7, "deep", " " + Q_TEXT),
        0,
    ),
    "two values": ('{"a": "x"} {"a": "y"}', (None, None, None, None), 1),
    "two values with a comma": ('{"a": "x"},{"a": "y"}', (None, None, None, None), 1),
    "an end and another begin": ('{"a": "x"}],[{"a": "y"}', (None, None, None, None), 1),
    "two values inside": ({"a": "x", "q": Q_TEXT + Q_TEXT}, ("x", None, None, Q_TEXT + Q_TEXT), 1),
    "no JSON": ("no json", (None, None, None, None), 1),
    "half an object": ('{"a": "x"', (None, None, None, None), 1),
    "a member twice": ('{"a": "x", "a": "y"}', (None, None, None, None), 1),
    "no JSON inside": ({"a": "x", "q": "no json"}, ("x", None, None, "no json"), 1),
    "a number": (5, (None, None, None, None), 1),
    "text of a number": ("5", (None, None, None, None), 1),
    "text of a text": (json.dumps('{"a": "x"}'), (None, None, None, None), 1),
    "an array": ([{"a": "x"}], (None, None, None, None), 1),
    "text of an array": ('[{"a": "x"}]', (None, None, None, None), 1),
    "an empty text": ("", (None, None, None, None), 1),
    "null": (None, (None, None, None, None), 0),
    "text of null": ("null", (None, None, None, None), 1),
    "an empty object": ({}, (None, None, None, None), 0),
    "text of an empty object": ("{}", (None, None, None, None), 0),
    "what does not fit inside": ({"q": {"b": "seven", "r": 5}}, (None, None, None, '{"b":"seven","r":5}'), 1),
}


@pytest.fixture(scope="module")
def parents(spark: SparkSession) -> dict[str, Row]:
    records = [change(1, id=name, p=p) for name, (p, _, _) in PARENTS.items()]
    return {row.id: row for row in _rows(spark, NESTED, *records)}


@pytest.mark.parametrize("name", PARENTS)
def test_an_object_may_be_its_text_at_every_level(name: str, parents: dict[str, Row]) -> None:
    _, values, misfits = PARENTS[name]
    row = parents[name]
    assert (row.a, row.b, row.c, row.whole) == values
    assert row._misfits == misfits


# --- several paths, defaults, sql -------------------------------------------------------------------

CHOOSING = _table(
    Column("text", "string", "The first text.", ("a", "b.x", "c")),
    Column("named", "string", "A text, else unknown.", "a", default="'unknown'"),
    Column("number", "int", "The first number.", ("m", "n")),
    Column("at", "timestamp", "A time, else the change's.", ("t", "u"), default="_changed_at"),
    Column("day", "date", "A day.", ("d", "e")),
    Column("tags", "array<string>", "The first array.", ("k", "l")),
    Column("loud", "string", "In capitals.", "a", sql="upper({value})"),
    Column("always", "string", "Whatever it is.", "a", sql="coalesce({value}, 'nothing')"),
    Column("twice", "int", "Over a column above.", sql="number * 2"),
    Column("sum", "int", "Over two columns above.", sql="try_add(number, twice)"),
    Column("fixed", "string", "The same for all.", sql="'fixed'"),
)
NOTHING = {
    **dict.fromkeys(["text", "number", "day", "tags", "loud", "twice", "sum"]),
    "named": "unknown",
    "at": CHANGED_AT,
    "always": "nothing",
    "fixed": "fixed",
}
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "nothing": ({}, {}, 0),
    "the first": (
        {"a": "A", "b": {"x": "B"}, "c": "C", "m": 1, "n": 2, "t": "2026-01-01T00:00:00Z", "u": "2027-01-01"},
        {
            **{
                "text": "A",
                "named": "A",
                "number": 1,
                "at": "2026-01-01 00:00:00",
                "loud": "A",
                "always": "A",
            },
            **{"twice": 2, "sum": 3},
        },
        0,
    ),
    "the second": (
        {"b": {"x": "B"}, "c": "C", "n": "2", "u": "2027-01-01", "e": "2027-02-01", "l": ["x", 1]},
        {
            **{"text": "B", "number": 2, "at": "2027-01-01 00:00:00", "day": "2027-02-01", "twice": 4},
            **{"sum": 6, "tags": ["x", "1"]},
        },
        0,
    ),
    "the third": ({"c": "C"}, {"text": "C"}, 0),
    "null is nothing": (
        {"a": None, "c": "C", "m": None, "n": 2, "k": None, "l": []},
        {"text": "C", "number": 2, "twice": 4, "sum": 6, "tags": []},
        0,
    ),
    "a text of no characters is nothing": (
        {"a": "", "c": "C", "m": "", "n": 2, "t": ""},
        {"text": "C", "number": 2, "twice": 4, "sum": 6, "loud": "", "always": ""},
        0,
    ),
    # The first that is there counts, and is a misfit if it does not fit: nothing else stands for it.
    "the first does not fit": (
        {"m": "one", "n": 2, "d": "today", "e": "2027-02-01", "k": "x", "l": ["y"]},
        {},
        3,
    ),
    "a default stands for what does not fit": ({"t": "soon", "u": "2027-01-01"}, {}, 1),
    "an object is something": (
        {"a": {"z": 1}},
        dict.fromkeys(["text", "named", "always"], '{"z":1}') | {"loud": '{"Z":1}'},
        0,
    ),
}


@pytest.fixture(scope="module")
def choices(spark: SparkSession) -> dict[str, Row]:
    records = [change(1, id=name) | record for name, (record, _, _) in CHOICES.items()]
    return {row.id: row for row in _rows(spark, CHOOSING, *records)}


@pytest.mark.parametrize("name", CHOICES)
def test_the_first_path_that_is_there_counts_else_the_default(name: str, choices: dict[str, Row]) -> None:
    _, values, misfits = CHOICES[name]
    row = choices[name]
    found = {column: row[column] for column in NOTHING} | {"day": row.day and str(row.day)}
    assert found == NOTHING | values
    assert row._misfits == misfits


def test_on_a_tombstone_all_is_null_but_the_key_and_the_metadata(spark: SparkSession) -> None:
    record = change(1, deleted=True, id="gone") | CHOICES["the first"][0] | {"k": {"a": 1}, "d": "today"}
    (row,) = _rows(spark, CHOOSING, record)
    assert row.id == "gone"
    assert {row[column] for column in NOTHING} == {None}
    assert (row.is_deleted, row._delete_kind, row._changed_at, row._misfits) == (True, "user", CHANGED_AT, 0)


# --- numbers ----------------------------------------------------------------------------------------

ROUNDED = _table(
    Column("d2", "decimal(10,2)", "Two places.", "v"),
    Column("d0", "decimal(3,0)", "None.", "v"),
    Column("n", "bigint", "Whole.", "v"),
)
NUMBERS: dict[str, tuple[Any, Any, Any, int]] = {
    "0.005": (D("0.01"), D(0), 0, 0),
    "-0.005": (D("-0.01"), D(0), 0, 0),
    "0.0049999999999999999999999999999999999": (D("0.00"), D(0), 0, 0),
    # Rounded once: to two places first it would be 1, and 2.
    "0.4949999999999999999": (D("0.49"), D(0), 0, 0),
    "0.499": (D("0.50"), D(0), 0, 0),
    "1.4999999999999999999999999999999999999": (D("1.50"), D(1), 1, 0),
    "2.5": (D("2.50"), D(3), 3, 0),
    "-2.5": (D("-2.50"), D(-3), -3, 0),
    "999.4": (D("999.40"), D(999), 999, 0),
    "999.5": (D("999.50"), None, 1000, 1),
    "99999999.995": (None, None, 100000000, 2),
    "9223372036854775807.4": (None, None, 9223372036854775807, 2),
    "9223372036854775807.5": (None, None, None, 3),
    '"0.005"': (D("0.01"), D(0), 0, 0),
    '" 7 "': (D("7.00"), D(7), 7, 0),
    '"0.00499999999999999999999999999999999999999999999999999"': (D("0.00"), D(0), 0, 0),
    '"1e2"': (D("100.00"), D(100), 100, 0),
    '"NaN"': (None, None, None, 3),
    '"Infinity"': (None, None, None, 3),
    '"0x1"': (None, None, None, 3),
}


@pytest.fixture(scope="module")
def numbers(spark: SparkSession) -> dict[str, Row]:
    lines = [f'{line(change(1, id=text)).decode()[:-1]}, "v": {text}}}' for text in NUMBERS]
    return {row.id: row for row in _rows(spark, ROUNDED, *lines)}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_rounded_half_up_once_from_their_digits(text: str, numbers: dict[str, Row]) -> None:
    row = numbers[text]
    assert (row.d2, row.d0, row.n, row._misfits) == NUMBERS[text]


# --- times ------------------------------------------------------------------------------------------

NO_TIMES = [
    *("0000-01-01T00:00:00Z", "0000-12-31", "0001-01-01T00:00:00+14:00", "0001-01-01t00:59:59+01:00"),
    *("9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "99999-01-01"),
]
"""Of the years 0 and 10000, or moved there by their zone."""

NO_DAYS = ["0000-01-01", "0000-12-31T00:00:00", "10000-01-01", "-0001-01-01"]


def _time_columns(table: Table) -> list[Column]:
    return [c for c in table.columns if c.type in ("timestamp", "timestamp_ntz", "date")]


TIMES: dict[str, tuple[Table, Any]] = {
    "calls": (CALLS, lambda n, t: change(1, callId=str(n), callTimestampUTC=t)),
    "scorecards": (
        SCORECARDS,
        lambda n, t: change(1, guid=str(n), ingestedAt=t, datetime=t.replace(":", "-")),
    ),
    "dashboard_items": (ITEMS, lambda n, t: change(1, source_id=str(n), ingested_at=t)),
    "metric_events": (
        METRIC_EVENTS,
        lambda n, t: event(n, event_id=str(n), timestamp=t) | {"_approxStreamTs": 253_402_300_800_000},
    ),
    "typed": (
        _table(
            Column("day", "date", "A day.", "t"),
            Column("at", "timestamp", "A time.", ("s", "t")),
            keys=("id",),
        ),
        lambda n, t: change(1, id=str(n), t=t),
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_time_outside_of_the_years_1_to_9999_is_null_everywhere(spark: SparkSession, name: str) -> None:
    table, make = TIMES[name]
    texts = [t for t in NO_TIMES if name != "typed" or t in NO_DAYS or "T" not in t.upper()]
    # As they are: Python could not show what Spark takes for a time.
    frame = parse(lines_frame(spark, [make(n, t) for n, t in enumerate(texts)]), table)
    columns = [c.name for c in _time_columns(table)]
    assert columns
    shown = frame.select(*(F.col(c).cast("string") for c in [*columns, "_changed_at"]), "_misfits").collect()
    assert len(shown) == len(texts)
    for text, row in zip(texts, shown, strict=True):
        assert [row[c] for c in columns] == [None] * len(columns), text
    # One for each column that is read from it: the local time of scoring is made of another column.
    read = sum(1 for c in _time_columns(table) if c.paths)
    assert {row._misfits for row in shown} == {read}
    frame.toPandas()


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-12-31T23:00:00-01:00"]
)
def test_the_first_and_the_last_time_are_times(spark: SparkSession, text: str) -> None:
    (row,) = _rows(spark, CALLS, change(1, callId="c", callTimestampUTC=text))
    expected = "0001-01-01 00:00:00" if text[0] == "0" else "9999-12-31 23:59:59.999999"
    assert (row.call_timestamp_utc, row._misfits) == (expected, 0)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-10-08t14:34:19z", "2025-10-08 14:34:19"),
        ("2025-10-08T14:34:19z", "2025-10-08 14:34:19"),
        ("2025-10-08t14:34:19.25+02:00", "2025-10-08 12:34:19.25"),
        ("2025-10-08t14:34z", "2025-10-08 14:34:00"),
        ("2025-10-08t14:34", "2025-10-08 14:34:00"),
    ],
)
def test_t_and_z_may_be_small_letters(spark: SparkSession, text: str, at: str) -> None:
    (call,) = _rows(spark, CALLS, change(1, callId="c", callTimestampUTC=text))
    assert (call.call_timestamp_utc, call.call_timestamp_raw, call._misfits) == (at, text, 0)
    (occurred,) = _rows(spark, METRIC_EVENTS, event(1, event_id="e", timestamp=text))
    assert (occurred.occurred_at, occurred._misfits) == (at, 0)


# --- limits -----------------------------------------------------------------------------------------


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


LIMITS: dict[str, tuple[str, str]] = {
    # A member of the record, and what the reason names.
    "a text of over 20 million characters": (
        f'"note": "{"x" * 20_000_001}"',
        "a text in the line has more than 20,000,000 characters",
    ),
    "no JSON of over 16 MiB": (f'"note": [{"1," * 9_000_000}', "larger than the 16 MiB"),
    "a name of 60,000 characters": (f'"{"n" * 60_000}": 1', "more than 50,000 characters"),
    "a number of 1,001 digits": (f'"amount": {"7" * 1001}', "more than 1,000 digits"),
    "nesting of 1,100": (f'"note": {_deep(1100)}', "nested more than 1,000 deep"),
    "a member twice": ('"note": 1, "note": 2', "a member is in it twice"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_beyond_the_reader_is_told_by_the_name_of_the_limit(spark: SparkSession, name: str) -> None:
    member, says = LIMITS[name]
    text = f"{line(change(1, id='a')).decode()[:-1]}, {member}}}"
    table = _table(Column("note", "string", "A note.", "note"))
    rows = landed(lines_frame(spark, [text]), table).selectExpr(
        "_problem", "_detail", "_raw = '' AS e", "length(_raw) AS size"
    )
    (row,) = rows.collect()
    assert (row._problem, row.size) == ("not_json", len(text))
    assert says in row._detail
    assert "line" in row._detail
    files = spark.createDataFrame(
        [(bytearray(f'{{"results": {{}}, {member}}}'.encode()), "a.json", "file:/a.json")],
        "content binary, document_key string, _source_file string",
    ).withColumn("_modified_at", F.timestamp_seconds(F.lit(1_767_870_000)))
    (document,) = documents(files, TRANSCRIPTS).select("_problem", "_detail").collect()
    assert document._problem == "not_json"
    assert says.replace("line", "document") in document._detail


@pytest.mark.parametrize(
    "member",
    [
        f'"{"n" * 40_000}": 1',
        f'"amount": {"7" * 1000}',
        f'"note": {_deep(900)}',
        f'"note": "{"x" * 4_000_000}"',
    ],
    ids=["name", "digits", "nesting", "text"],
)
def test_what_is_just_large_is_read(spark: SparkSession, member: str) -> None:
    text = f"{line(change(1, id='a')).decode()[:-1]}, {member}}}"
    table = _table(Column("note", "string", "A note.", "note"))
    rows = landed(lines_frame(spark, [text]), table)
    assert [tuple(r) for r in rows.select("_problem", "_key").collect()] == [(None, '["a"]')]


# --- the zone of whoever reads ----------------------------------------------------------------------


@contextmanager
def _in_zone(spark: SparkSession, zone: str) -> Iterator[None]:
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        yield
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(before))


def _as_numbers(frame: DataFrame) -> list[Row]:
    """The rows, times as microseconds, whatever the zone; in an order of their own."""
    columns = [
        F.unix_micros(F.col(f"`{name}`")).alias(name)
        if kind == "timestamp"
        else F.col(f"`{name}`").cast("string").alias(name)
        for name, kind in frame.dtypes
        if kind != "variant"
    ]
    return sorted(frame.select(*columns).collect(), key=str)


ZONES = ["UTC", "America/New_York"]


@pytest.mark.parametrize("table", [CALLS, SCORECARDS, ITEMS, METRIC_EVENTS, CHOOSING], ids=lambda t: t.name)
def test_the_select_gives_the_same_values_in_every_zone(spark: SparkSession, table: Table) -> None:
    key = {c.paths[0]: "k" for c in table.columns[: len(table.keys)]}
    times = [
        "2026-03-08T02:30:00",
        "2026-01-01T03:00:00+02:00",
        "2026-01-01",
        "2026-11-01 01:30",
        "0001-01-01T01:00",
    ]
    records = []
    for number, time in enumerate(times):
        named = {c.paths[0]: time for c in _time_columns(table) if c.paths}
        named |= {"datetime": "2026-03-08T02-30-00"} if table is SCORECARDS else {}
        own = key | {next(iter(key)): f"k{number}"}
        records.append(change(number) | own | named)
        records.append(
            change(number, deleted=True) | {next(iter(key)): f"d{number}"} | dict.fromkeys(list(key)[1:], "k")
        )
    rows = landed(lines_frame(spark, records), table).drop("_loaded_at")
    found = []
    for zone in ZONES:
        with _in_zone(spark, zone):
            found.append(_as_numbers(selected(rows, table)))
    assert found[0] == found[1]
    assert len(found[0]) >= len(times)
    assert any(row[c.name] is not None for row in found[0] for c in _time_columns(table))


# --- a lake -----------------------------------------------------------------------------------------

WIDE = {f"attribute {n:05d}": f"value of {n}" for n in range(15_000)}


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Calls with misfits to be counted by hand, wide ones, an item, a document, and a history."""
    lake = Lake(spark, tmp_path_factory.mktemp("select"), (CALLS, ITEMS, TRANSCRIPTS, INSIGHTS))
    odd: dict[str, Any] = {"queueId": {}}
    large = {f"part {n}": "x" * (len(json.dumps(WIDE)) // 4) for n in range(4)}
    lake.land(
        "calls",
        # Of the latest change of each key alone: three, none, none, two, one; the rest fits.
        change(2, callId="three", callTimestampUTC="soon", payload={"siteId": "x", "tenantId": {}} | odd),
        change(1, callId="superseded", callTimestampUTC="soon", payload="no json"),
        change(2, callId="superseded", callTimestampUTC="2026-01-01T02:00:00Z", payload={"agentId": "a"}),
        change(1, callId="deleted", callTimestampUTC="soon"),
        change(2, deleted=True, callId="deleted", callTimestampUTC="soon", payload=7),
        change(1, callId="two", callTimestampUTC="0000-01-01T00:00:00Z", payload="no json"),
        change(1, callId="one", payload={"siteId": 1.5, "tenantId": 10**30}),
        change(1, callId="fits", callTimestampUTC="2026-01-01t02:00:00z", payload={"siteId": "3"}, odd=odd),
    )
    lake.land("calls", change(1, callId="wide", payload={"agentId": "w"} | WIDE) | WIDE)
    lake.land("calls", change(1, callId="large", payload=json.dumps({"agentId": "l"} | large)) | large)
    lake.land(
        "sentiment_items",
        change(1, source_id="a", ingested_at="2999-01-01T01:00:00Z", status="analyzed", sentiment="neutral")
        | {"score": 0.5, "matched_tags": ["x", {"no": "tag"}, ["none"]]},
    )
    about = {"GUID": "g", "SentimentTrends": {"spk_0": {"SentimentScore": -3}}}
    lake.write_document("a.json", {"ConversationAnalytics": about}, mtime=1_767_319_200, below=lake.pca)
    lake.ingest_well()
    return lake


def test_misfits_are_counted_by_value_among_the_latest_changes(lake: Lake) -> None:
    found = {row.table_name: (row.records, row.misfits) for row in lake.books() if row.table_name}
    assert found == {
        "calls": (10, 3 + 2 + 1),
        "dashboard_items": (1, 1),
        "coaching_insights": (7, 0),
        "transcripts": (1, 0),
    }
    rows = lake.rows(CALLS)
    assert (rows["three"].site_id, rows["three"].tenant_id, rows["three"].queue_id) == (None, None, "{}")
    assert (rows["one"].site_id, rows["one"].tenant_id) == (2, None)
    assert rows["fits"].call_timestamp_utc == "2026-01-01 02:00:00"
    assert lake.rows(ITEMS)["a"].matched_tags == ["x"]


def test_an_item_of_15_000_attributes_is_read_like_any_other(lake: Lake) -> None:
    rows = lake.rows(CALLS)
    assert (rows["wide"].agent_id, rows["large"].agent_id) == ("w", "l")
    kept = lake.bronze("calls").where("_key = '[\"wide\"]'")
    found = kept.selectExpr(
        "try_variant_get(item, '$[\\'attribute 14999\\']', 'string') AS top",
        "try_variant_get(item, '$.payload[\\'attribute 14999\\']', 'string') AS inside",
        "_problem",
        "_raw",
    ).collect()
    assert [tuple(row) for row in found] == [("value of 14999", "value of 14999", None, None)]
    assert lake.quarantine().isEmpty()


def test_the_views_give_the_same_values_in_every_zone(lake: Lake) -> None:
    names = ["calls", "calls_history", "dashboard_items", "coaching_insights", "coaching_summary", "batches"]
    found: list[dict[str, list[Row]]] = []
    for zone in ZONES:
        with _in_zone(lake.spark, zone):
            found.append({name: _as_numbers(lake.gold(name)) for name in names})
            # A person's query, pasted as `lakehouse tables calls --sql` shows it.
            bronze = lake.settings.table("bronze", "calls")
            found[-1]["pasted"] = _as_numbers(lake.spark.sql(select(CALLS, bronze)))
    assert found[0] == found[1]
    assert {name: len(rows) for name, rows in found[0].items()} == {
        "calls": 7,
        "calls_history": 8,
        "dashboard_items": 2,
        "coaching_insights": 1,
        "coaching_summary": 1,
        "batches": 4,
        "pasted": 10,
    }
    # Written on 2 January at two in the morning, UTC: in New York it is still the first.
    assert [row.day for row in found[1]["coaching_summary"]] == ["2026-01-02"]
    assert {row.day_partition for row in found[1]["dashboard_items"]} == {"2999-01-01"}


@pytest.mark.parametrize("beside", [False, True])
def test_every_object_is_parsed_once_in_the_plan(lake: Lake, beside: bool) -> None:
    bronze = lake.settings.table("bronze", "calls")
    assert _parses(lake.spark, select(CALLS, bronze, beside=beside)) == 1
    nested = f"SELECT * FROM ({select(NESTED, bronze, beside=beside)})"
    assert _parses(lake.spark, nested) == 2
    scorecards = select(SCORECARDS, bronze, beside=beside)
    assert _parses(lake.spark, scorecards) == 1


def _parses(spark: SparkSession, query: str) -> int:
    """How often the optimized plan of a query parses JSON."""
    fields = "spark.sql.debug.maxToStringFields"
    before = str(spark.conf.get(fields))
    spark.conf.set(fields, "100000")
    try:
        plan = spark.sql(query)._jdf.queryExecution().optimizedPlan().toString()
    finally:
        spark.conf.set(fields, before)
    return len(re.findall(r"(?i)\b(?:try_)?parse_?json\(", plan))


STATISTICS = {
    "bronze.calls": {
        *("_key", "_sequence", "_event_id", "_changed_at", "_problem", "_stream", "_batch_id", "_loaded_at"),
        "_source_file",
    },
    "bronze.pca_calls": {
        *("_document_key", "_modified_at", "_sequence", "_problem", "_stream", "_batch_id", "_loaded_at"),
        "_source_file",
    },
    "silver.calls": {"call_id", "_sequence", "_event_id", "_changed_at", "_applied_at"},
    "silver.dashboard_items": {
        *(
            "source_id",
            "ingested_at",
            "day_partition",
            "_sequence",
            "_event_id",
            "_changed_at",
            "_applied_at",
        ),
    },
    "silver.transcripts": {"transcript_id", "_sequence", "_event_id", "_changed_at", "_applied_at"},
    "silver.coaching_insights": {"id", "_sequence", "_event_id", "_changed_at", "_applied_at"},
}


def _written_statistics(lake: Lake, name: str) -> set[str]:
    layer, _, table = name.partition(".")
    log = Path(str(lake.settings.location(layer, table))) / "_delta_log"  # type: ignore[arg-type]
    found: set[str] = set()
    adds = 0
    for path in log.glob("*.json"):
        for text in path.read_text().splitlines():
            add = json.loads(text).get("add")
            if add:
                adds += 1
                told = json.loads(add["stats"])
                found |= {*told.get("minValues", {}), *told.get("maxValues", {}), *told.get("nullCount", {})}
    assert adds
    return found


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_those_of_keys_envelope_and_clustering_columns_alone(lake: Lake, name: str) -> None:
    assert _written_statistics(lake, name) == STATISTICS[name]


def test_no_table_keeps_statistics_of_what_may_be_long() -> None:
    made = [*other_tables(TABLES), *(state_table(table) for table in TABLES)]
    for each in made:
        kept = set(each.statistics)
        assert kept, each.name
        assert set(each.cluster_by) <= kept, each.name
        assert set(each.unique) <= kept, each.name
        personal = {c.name for c in each.columns if c.pii and c.name not in each.unique}
        assert not kept & (personal - {"entity_id"}), each.name
        variants = {c.name for c in each.columns if c.type == "variant"}
        assert not kept & (variants | {"_raw", "_detail", "message", "raw", "detail"}), each.name
