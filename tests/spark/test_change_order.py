"""Which change of a key wins: many cases, each with a key of its own, through three real batches."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from tests.spark.support import EARLIER_LABEL, ITEMS, LABEL, Lake, assert_rows, change, lines_frame, sequence

from lakehouse.ingest.bronze import of_lines
from lakehouse.sql.select import latest_of

DELETED = object()
SNAPSHOT = f"{LABEL}/-2026-01-06T00:00:00.000Z/0001"
LATER_SNAPSHOT = f"{LABEL}/-2026-01-07T00:00:00.000Z/0001"


@dataclass(frozen=True)
class Case:
    """What arrives in the first, second and third batch, each change a (sequence, value); what is left."""

    name: str
    batches: tuple[list[tuple[str | int, Any]], ...]
    left: Any
    at: str | int
    batch: int = 1
    """The batch that wrote what is left."""


CASES = [
    Case("a newer change replaces an older one", ([(1, "old")], [(2, "new")]), "new", 2, batch=2),
    Case("an older change is ignored", ([(2, "new")], [(1, "old")]), "new", 2),
    Case("an older change is ignored two batches later", ([(3, "new")], [], [(1, "old")]), "new", 3),
    Case("a redelivery is not written again", ([(5, "it")], [(5, "it")], [(5, "it")]), "it", 5),
    Case("a redelivered delete is not written again", ([(5, DELETED)], [(5, DELETED)]), DELETED, 5),
    Case("duplicates in one batch make one row", ([(1, "it"), (1, "it"), (1, "it")],), "it", 1),
    Case("the newest of one batch wins, first in the file", ([(3, "new"), (1, "a"), (2, "b")],), "new", 3),
    Case("the newest of one batch wins, last in the file", ([(1, "a"), (2, "b"), (3, "new")],), "new", 3),
    Case("a delete wins over a lower upsert of its batch", ([(1, "it"), (2, DELETED)],), DELETED, 2),
    Case("a delete before the upsert in the file wins by sequence", ([(2, DELETED), (1, "it")],), DELETED, 2),
    Case(
        "a delete wins over a lower upsert of an earlier batch", ([(1, "it")], [(2, DELETED)]), DELETED, 2, 2
    ),
    Case("a delete wins over a lower upsert of a later batch", ([(2, DELETED)], [(1, "it")]), DELETED, 2, 1),
    Case(
        "a late upsert below a tombstone brings nothing back",
        ([(1, "it")], [(9, DELETED)], [(5, "late")]),
        DELETED,
        9,
        2,
    ),
    Case(
        "a delete and a lower upsert do not bring back what an even older upsert made",
        ([(1, "first")], [(2, "second"), (3, DELETED)], [(2, "second")]),
        DELETED,
        3,
        2,
    ),
    Case(
        "an upsert above a tombstone makes the key again",
        ([(1, "it")], [(2, DELETED)], [(3, "again")]),
        "again",
        3,
        3,
    ),
    Case(
        "an upsert above a delete of its batch makes the key again",
        ([(1, DELETED), (2, "again")],),
        "again",
        2,
    ),
    Case("a tombstone for a key that nobody knew is kept", ([(4, DELETED)],), DELETED, 4),
    Case(
        "insert, delete, insert in one batch keeps the last",
        ([(1, "one"), (2, DELETED), (3, "two")],),
        "two",
        3,
    ),
    Case(
        "insert, delete, insert in three batches keeps the last",
        ([(1, "one")], [(2, DELETED)], [(3, "two")]),
        "two",
        3,
        3,
    ),
    Case(
        "delete, insert, delete backwards keeps the last",
        ([(3, DELETED)], [(2, "it")], [(1, DELETED)]),
        DELETED,
        3,
    ),
    Case(
        "a number of 21 digits is below one of 40",
        ([(10**40 - 1, "long")], [(10**21 - 1, "short")]),
        "long",
        10**40 - 1,
    ),
    Case(
        "a number of 40 digits is above one of 21",
        ([(10**21 - 1, "short")], [(10**39, "long")]),
        "long",
        10**39,
        2,
    ),
    Case("9 is below 10", ([(10, "ten")], [(9, "nine")]), "ten", 10),
    Case(
        "a snapshot loses to every record of its stream",
        ([(0, "stream")], [(SNAPSHOT, "snapshot")]),
        "stream",
        0,
    ),
    Case(
        "a record of the stream wins over its snapshot",
        ([(SNAPSHOT, "snapshot")], [(0, "stream")]),
        "stream",
        0,
        2,
    ),
    Case(
        "a snapshot does not bring back what its stream deleted",
        ([(7, DELETED)], [(SNAPSHOT, "it")]),
        DELETED,
        7,
    ),
    Case(
        "a snapshot wins over everything of earlier streams",
        ([(sequence(10**40 - 1, EARLIER_LABEL), "earlier")], [(SNAPSHOT, "snapshot")]),
        "snapshot",
        SNAPSHOT,
        2,
    ),
    Case(
        "an earlier stream's late record loses to a snapshot",
        ([(SNAPSHOT, "snapshot")], [(sequence(10**40 - 1, EARLIER_LABEL), DELETED)]),
        "snapshot",
        SNAPSHOT,
    ),
    Case(
        "a later snapshot wins over an earlier one",
        ([(LATER_SNAPSHOT, "later")], [(SNAPSHOT, "earlier")]),
        "later",
        LATER_SNAPSHOT,
    ),
    Case(
        "a later attempt of a snapshot wins over an earlier one",
        ([(SNAPSHOT, "first")], [(SNAPSHOT.replace("/0001", "/0002"), "second")]),
        "second",
        SNAPSHOT.replace("/0001", "/0002"),
        2,
    ),
    Case(
        "a second snapshot in mid-stream leaves the stream's row alone",
        ([(SNAPSHOT, "first"), (3, "stream")], [(LATER_SNAPSHOT, "second")], [(2, "late")]),
        "stream",
        3,
    ),
    Case(
        "a second snapshot in mid-stream brings back no row that the stream deleted before it",
        ([(SNAPSHOT, "first")], [(3, DELETED)], [(LATER_SNAPSHOT, "second")]),
        DELETED,
        3,
        2,
    ),
    Case(
        "a snapshot of the stream that was switched on again wins over the old one and loses to the new",
        (
            [(sequence(10**40 - 1, EARLIER_LABEL), DELETED)],
            [(SNAPSHOT, "snapshot"), (f"{EARLIER_LABEL}/-2025-07-01T00:00:00.000Z", "older snapshot")],
            [(0, "new stream")],
        ),
        "new stream",
        0,
        3,
    ),
    Case(
        "a delete in an incremental export deletes what an earlier stream made",
        ([(sequence(999, EARLIER_LABEL), "earlier")], [(SNAPSHOT, DELETED)]),
        DELETED,
        SNAPSHOT,
        2,
    ),
    Case(
        "a delete in an incremental export deletes what an earlier snapshot told",
        ([(LATER_SNAPSHOT, DELETED)], [(SNAPSHOT, "earlier")]),
        DELETED,
        LATER_SNAPSHOT,
    ),
    Case(
        "a delete in an incremental export loses to its stream",
        ([(0, "again")], [(LATER_SNAPSHOT, DELETED)]),
        "again",
        0,
    ),
    Case(
        "a stream that was switched on again wins over the earlier one",
        ([(sequence(999, EARLIER_LABEL), "earlier")], [(1, "now")]),
        "now",
        1,
        2,
    ),
    Case(
        "a repair wins over the row that it corrects",
        ([(5, "wrong")], [(f"{sequence(5)}+2026-01-09T00:00:00.000Z", "right")]),
        "right",
        f"{sequence(5)}+2026-01-09T00:00:00.000Z",
        2,
    ),
    Case(
        "the next change wins over a repair",
        ([(f"{sequence(5)}+2026-01-09T00:00:00.000Z", "repaired")], [(6, "next")], [(5, "wrong")]),
        "next",
        6,
        2,
    ),
    Case(
        "a repaired repair wins over the repair",
        (
            [(f"{SNAPSHOT}+2026-01-09T00:00:00.000Z", "one")],
            [(f"{SNAPSHOT}+2026-01-09T00:00:00.000Z+2026-01-10T00:00:00.000Z", "two")],
        ),
        "two",
        f"{SNAPSHOT}+2026-01-09T00:00:00.000Z+2026-01-10T00:00:00.000Z",
        2,
    ),
]

PAIRS = [
    ("a", "b"),
    ("a", "c"),
    ("b", "a"),
    ("ab", ""),
    ("a/b", "c"),
    ("a", "b/c"),
    ("a'b", 'c"\\'),
    ("ä", "日本"),
    ("A", "B"),
]
"""Composite keys that must not be mistaken for one another; the one with an empty part is no key."""


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(spark, tmp_path_factory.mktemp("order"), (ITEMS,), max_files=1)
    for number in range(3):
        records = [
            change(
                at,
                deleted=value is DELETED,
                site=case.name,
                number="1",
                **({} if value is DELETED else {"note": value}),
            )
            for case in CASES
            for at, value in (case.batches[number] if number < len(case.batches) else ())
        ]
        if number < 2:
            pairs = [p for p in PAIRS if p[1]]
            records += [change(number, site=s, number=n, note=f"{number} {s} {n}") for s, n in pairs[number:]]
        lake.land("items", *records, name=f"batch-{number + 1}.ndjson.gz")
    lake.ingest_well()
    assert len([row for row in lake.books() if row.table_name == "items"]) == 3
    return lake


@pytest.fixture(scope="module")
def rows(lake: Lake) -> dict[str, Row]:
    return lake.rows(ITEMS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_which_change_wins(case: Case, rows: dict[str, Row]) -> None:
    row = rows[case.name]
    at = sequence(case.at) if isinstance(case.at, int) else case.at
    assert (row._sequence, row.is_deleted) == (at, case.left is DELETED)
    assert row.note == (None if case.left is DELETED else case.left)
    # What was written once is not written again: the row still comes from the batch that brought it.
    assert row._source_file.endswith(f"/batch-{case.batch}.ndjson.gz")


def test_every_key_has_one_row(lake: Lake) -> None:
    keys = [(r.site, r.number) for r in lake.state(ITEMS).select("site", "number").collect()]
    assert len(keys) == len(set(keys)) == len(CASES) + len(PAIRS) - 1


def test_keys_of_two_columns_are_told_apart(lake: Lake) -> None:
    pairs = [pair for pair in PAIRS if pair[1]]
    # The first pair came in the first batch alone; all others were replaced in the second.
    expected = [(s, n, f"{0 if (s, n) == pairs[0] else 1} {s} {n}") for s, n in pairs]
    found = lake.state(ITEMS).where("number <> '1'").select("site", "number", "note")
    assert_rows(found, expected, "site string, number string, note string")


def test_the_books_count_what_each_batch_did(lake: Lake) -> None:
    known: dict[str, str] = {}
    expected = []
    for number in range(3):
        upserts = deletes = 0
        batch = {c.name: c.batches[number] for c in CASES if number < len(c.batches)}
        for name, changes in batch.items():
            ordered = sorted(
                (sequence(at) if isinstance(at, int) else at, value is DELETED) for at, value in changes
            )
            if ordered and ordered[-1][0] > known.get(name, ""):
                known[name] = ordered[-1][0]
                upserts, deletes = upserts + (not ordered[-1][1]), deletes + ordered[-1][1]
        pairs = len(PAIRS) - 1 - number if number < 2 else 0
        records = sum(map(len, batch.values())) + pairs
        expected.append((1, records, upserts + pairs, deletes, records - upserts - pairs - deletes, 0, 0))
    assert [
        (r.files, r.records, r.upserts, r.deletes, r.stale, r.quarantined, r.misfits)
        for r in lake.books()
        if r.table_name == "items"
    ] == expected
    assert {r.last_changed_at for r in lake.books() if r.table_name == "items"} == {"2026-01-08 11:00:00"}


def _latest(rows: DataFrame, ttl_deletes: str = "apply", where: str = "true") -> DataFrame:
    """The latest change of every key among rows that stand for those of bronze."""
    rows.createOrReplaceTempView("order_of_changes")
    return rows.sparkSession.sql(
        f"SELECT * FROM {latest_of('order_of_changes', where, ttl_deletes=ttl_deletes)}"
    )


ROWS = "_key string, _sequence string, is_deleted boolean, _delete_kind string, _problem string, value string"


def test_the_reduction_keeps_the_latest_change_of_each_key_deletes_included(spark: SparkSession) -> None:
    a, b = '["a","1"]', '["a","2"]'
    changes = [
        (a, "s2", False, None, None, "new"),
        (a, "s1", False, None, None, "old"),
        (b, "s1", False, None, None, "other key"),
        ('["b","1"]', "s1", False, None, None, "it"),
        ('["b","1"]', "s2", True, "user", None, None),
        ('["c","1"]', "s1", False, None, None, "twice"),
        ('["c","1"]', "s1", False, None, None, "twice"),
        ('["d","1"]', "s10", False, None, None, "as text"),
        ('["d","1"]', "s9", False, None, None, "as text, the greater"),
        ('["e","1"]', "s1", False, None, None, "expired later"),
        ('["e","1"]', "s2", True, "ttl", None, None),
        ('["f","1"]', "s1", True, "ttl", None, None),
        ('["g","1"]', "s1", False, None, None, "good"),
        ('["g","1"]', "s2", False, None, "not_json", "bad"),
        (None, "s1", False, None, None, "no key"),
    ]
    rows = spark.createDataFrame(changes, ROWS)
    latest = [
        (a, "s2", False, "new"),
        (b, "s1", False, "other key"),
        ('["b","1"]', "s2", True, None),
        ('["c","1"]', "s1", False, "twice"),
        ('["d","1"]', "s9", False, "as text, the greater"),
        ('["g","1"]', "s1", False, "good"),
    ]
    expired = [('["e","1"]', "s2", True, None), ('["f","1"]', "s1", True, None)]
    schema = "_key string, _sequence string, is_deleted boolean, value string"
    found = _latest(rows).select("_key", "_sequence", "is_deleted", "value")
    assert_rows(found, latest + expired, schema)
    # Expiries that are ignored take no part: the older row stands, and a key of expiries alone has none.
    ignored = _latest(rows, "ignore").select("_key", "_sequence", "is_deleted", "value")
    assert_rows(ignored, [*latest, ('["e","1"]', "s1", False, "expired later")], schema)
    part = _latest(rows, where="_sequence = 's1' OR _sequence = 's10'").select("_key", "_sequence")
    of_part = ["a", "c", "b", "e", "f", "g"]
    expected = [(f'["{key}","1"]', "s1") for key in of_part] + [(b, "s1"), ('["d","1"]', "s10")]
    assert_rows(part, expected, "_key string, _sequence string")


def test_the_latest_of_20_000_histories_is_what_an_oracle_says(spark: SparkSession) -> None:
    rng = random.Random(18)
    rows, oracle, kept = [], {}, {}
    for number in range(20_000):
        key = json.dumps([f"site {number % 97}", str(number)])
        for place in range(rng.randint(1, 6)):
            label = rng.choice([EARLIER_LABEL, LABEL])
            at = rng.choice(
                [
                    sequence(rng.randrange(10**12), label),
                    f"{label}/-2026-01-0{rng.randint(6, 9)}T00:00:00.000Z",
                ]
            )
            if rng.random() < 0.1:
                at += "+2026-01-09T00:00:00.000Z"
            deleted = rng.random() < 0.3
            kind = rng.choice(["ttl", "user", None]) if deleted else None
            row = (key, at, deleted, kind, None, f"{number} {place}")
            copies = rng.choice([1, 1, 1, 2])
            # Equal sequences are the same change.
            if at in {other[1] for other in rows[-12:] if other[0] == key}:
                continue
            rows += [row] * copies
            if at > oracle.get(key, ("",))[0]:
                oracle[key] = (at, deleted, row[5])
            if kind != "ttl" and at > kept.get(key, ("",))[0]:
                kept[key] = (at, deleted, row[5])
    rng.shuffle(rows)
    frame = spark.createDataFrame(rows, ROWS)
    for ttl_deletes, expected in (("apply", oracle), ("ignore", kept)):
        found = _latest(frame, ttl_deletes).select("_key", "_sequence", "is_deleted", "value").collect()
        assert len(found) == len(expected)
        assert {row[0]: tuple(row)[1:] for row in found} == expected


def test_a_key_of_two_columns_needs_both(spark: SparkSession) -> None:
    records = [
        change(1, site="a"),
        change(1, number="a"),
        change(1, site="a", number=""),
        change(1, site="a", number=7),
    ]
    found = of_lines(lines_frame(spark, records), ITEMS).select("_key", "_problem").collect()
    assert [tuple(row) for row in found] == [(None, None)] * 3 + [('["a","7"]', None)]
