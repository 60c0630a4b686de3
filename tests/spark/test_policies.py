"""What a table asks for: how expiries count, and what must hold of its rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, assert_rows, change

from lakehouse.table import Rule

RULED = dataclasses.replace(
    ITEMS,
    name="ruled",
    source="ruled",
    history=True,
    rules=(
        Rule("amount_positive", "amount > 0", "An amount is positive."),
        Rule("note_short", "length(note) < 5", "Nobody reads more.", "quarantine-from-gold"),
        Rule("site_known", "site <> 'nowhere'", "It must be somewhere.", "quarantine-from-gold"),
    ),
)
KEPT = dataclasses.replace(ITEMS, name="kept", source="kept", history=True, ttl_deletes="ignore")
EXPIRED = dataclasses.replace(KEPT, name="expired", source="expired", ttl_deletes="apply")


def _item(at: int, number: str, **more: Any) -> dict[str, Any]:
    return change(at, site=more.pop("site", "a"), number=number, **more)


def _expiry(at: int, number: str) -> dict[str, Any]:
    return change(at, deleted=True, site="a", number=number) | {"_deleteKind": "ttl"}


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(spark, tmp_path_factory.mktemp("policies"), (RULED, KEPT, EXPIRED), max_files=1)
    lake.land(
        "ruled",
        _item(1, "good", note="ok", amount=1),
        _item(1, "warned", note="ok", amount=0),
        _item(1, "hidden", note="far too long", amount=1),
        _item(1, "both", note="far too long", amount=-1, site="nowhere"),
        _item(1, "nulls"),
        _item(1, "mended", note="far too long", amount=1),
        _item(1, "spoilt", note="ok", amount=1),
        change(2, deleted=True, site="nowhere", number="gone"),
    )
    lake.land("ruled", _item(2, "mended", note="ok", amount=1), _item(2, "spoilt", note="far too long"))
    for source in ("kept", "expired"):
        lake.land(source, *(_item(1, n, note="it") for n in ("expiry", "delete", "both", "again")))
        lake.land(
            source,
            _expiry(2, "expiry"),
            change(2, deleted=True, site="a", number="delete"),
            _expiry(2, "both"),
            change(3, deleted=True, site="a", number="both"),
            _expiry(2, "again"),
            _item(3, "again", note="again"),
            _expiry(5, "unknown"),
        )
    lake.ingest_well()
    return lake


def test_a_rule_warns_or_keeps_a_row_out_of_gold_and_null_breaks_none(lake: Lake) -> None:
    found = {row.number for row in lake.gold("ruled").collect()}
    assert found == {"good", "warned", "nulls", "mended"}
    # The state has them all, so that no older one lives in their place.
    assert {row.number for row in lake.state(RULED).where("NOT is_deleted").collect()} == {
        "good", "warned", "hidden", "both", "nulls", "mended", "spoilt",
    }  # fmt: skip


def test_the_history_view_hides_the_versions_that_break_a_rule_and_keeps_the_others(lake: Lake) -> None:
    shown = {(row.number, row.note) for row in lake.gold("ruled_history").where("NOT is_deleted").collect()}
    assert {n for n, _ in shown} == {"good", "warned", "nulls", "mended"}
    assert ("mended", "ok") in shown
    assert ("gone", None) in {(r.number, r.note) for r in lake.gold("ruled_history").collect()}


def test_the_books_count_what_broke_each_rule(lake: Lake) -> None:
    violations = [row.violations for row in lake.books() if row.table_name == "ruled"]
    assert violations == [
        {"amount_positive": 2, "note_short": 3, "site_known": 1},
        {"note_short": 1},
    ]
    assert [row.violations for row in lake.books() if row.table_name == "kept"] == [None, None]


def test_an_ignored_expiry_leaves_the_row_and_its_history_and_stands_in_bronze(lake: Lake) -> None:
    schema = "number string, note string, is_deleted boolean"
    columns = ("number", "note", "is_deleted")
    assert_rows(
        lake.state(KEPT).select(*columns),
        [("expiry", "it", False), ("delete", None, True), ("both", None, True), ("again", "again", False)],
        schema,
    )
    assert_rows(
        lake.state(EXPIRED).select(*columns),
        [
            ("expiry", None, True),
            ("delete", None, True),
            ("both", None, True),
            ("again", "again", False),
            ("unknown", None, True),
        ],
        schema,
    )
    expiries = "_delete_kind = 'ttl'"
    assert lake.bronze("kept").where(expiries).count() == lake.bronze("expired").where(expiries).count() == 4
    assert lake.history(KEPT).where(expiries).count() == 0
    assert lake.history(EXPIRED).where(expiries).count() == 4
    current = {r.number: r.is_deleted for r in lake.gold("kept_history").where("is_current").collect()}
    assert current == {"expiry": False, "delete": True, "both": True, "again": False}


def test_an_ignored_expiry_is_counted_as_changing_nothing(lake: Lake) -> None:
    (_, second) = [row for row in lake.books() if row.table_name == "kept"]
    assert (second.records, second.upserts, second.deletes, second.stale) == (7, 1, 2, 4)
