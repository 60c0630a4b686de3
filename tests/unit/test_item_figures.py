"""The dashboard's figures, worked out by hand for small inputs of each kind."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.demo.item_figures import ItemRow, item_figures

NOW = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)
DAY = dt.date(2025, 10, 7)


def item(
    at: str = "2025-10-07T10:00:00Z", *, score: str | None = "0.5", tags: object = (), **other: str | None
) -> dict[str, Any]:
    texts = {"source_id": "s", "ingested_at": at, "status": "analyzed", "sentiment": "mixed", **other}
    typed = {name: {"S": text} if text is not None else {"NULL": True} for name, text in texts.items()}
    typed["score"] = {"N": score} if score is not None else {"NULL": True}
    return typed | ({"matched_tags": {"SS": list(tags)}} if isinstance(tags, tuple) and tags else {})


def test_one_item_with_two_tags_is_three_rows() -> None:
    assert item_figures([item(tags=("a", "b"))], NOW) == [ItemRow(DAY, 1, 2, Decimal("0.5000"))]


def test_days_come_in_order_and_each_has_its_own_figures() -> None:
    items = [
        item("2025-10-08T00:00:00Z", score="1", tags=("a",)),
        item("2025-10-07T23:59:59.999Z", score="0.25", tags=("a", "b", "c")),
        item("2025-10-07T00:00:00+00:00", score="0.5"),
    ]
    assert item_figures(items, NOW) == [
        ItemRow(dt.date(2025, 10, 7), 2, 3, Decimal("0.3750")),
        ItemRow(dt.date(2025, 10, 8), 1, 1, Decimal("1.0000")),
    ]


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2025-10-07T23:30:00-02:00", 8),
        ("2025-10-08T01:30:00+02:00", 7),
        ("2025-10-07T10:00:00.123456", 7),  # no zone: UTC
    ],
)
def test_the_day_is_the_date_in_utc(at: str, day: int) -> None:
    assert [row.day.day for row in item_figures([item(at)], NOW)] == [day]


@pytest.mark.parametrize("at", ["", "unknown 17", "13:45 3", "2025-13-45T99:00:00Z"])
def test_an_item_whose_time_cannot_be_read_is_not_shown(at: str) -> None:
    assert item_figures([item(at)], NOW) == []


@pytest.mark.parametrize(
    ("at", "shown"),
    [("2025-10-01T12:00:00.001Z", True), ("2025-10-01T12:00:00Z", False), ("2025-09-30T12:00:00Z", False)],
)
def test_an_item_is_shown_for_seven_days_from_its_own_time(at: str, shown: bool) -> None:
    assert bool(item_figures([item(at)], NOW)) is shown


@pytest.mark.parametrize(
    "hidden",
    [
        item(status="pending"),
        item(status="failed"),
        item(status="Analyzed"),
        item(status=None),
        item(sentiment=None),
        item(score=None),
        item(score="1000"),
        item(score="999.9999999"),  # it rounds to 1000
        item(score="12345678901234567890123456789012345678"),
        {"source_id": {"S": "s"}, "ingested_at": {"S": "2025-10-07T10:00:00Z"}},
    ],
)
def test_only_complete_analysed_items_are_shown(hidden: dict[str, Any]) -> None:
    assert item_figures([hidden], NOW) == []
    assert item_figures([hidden, item()], NOW) == [ItemRow(DAY, 1, 0, Decimal("0.5000"))]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"SS": ["a", "b"]}, 2),
        ({"L": [{"S": "a"}, {"S": "b"}, {"S": "a"}]}, 2),
        ({"L": [{"S": "a"}, {"NULL": True}]}, 1),
        ({"L": []}, 0),
        ({"NULL": True}, 0),
        (None, 0),
    ],
)
def test_tags_are_a_set_or_a_list_and_count_once_each(tags: dict[str, Any] | None, expected: int) -> None:
    tagged = item() | ({"matched_tags": tags} if tags else {})
    (row,) = item_figures([tagged], NOW)
    assert (row.items, row.tag_rows) == (1, expected)


def test_scores_are_rounded_half_up_first_to_six_places_and_their_mean_to_four() -> None:
    assert item_figures([item(score="0.0000995")], NOW)[0].mean_score == Decimal("0.0001")
    six_first = [item(score="0.0000995"), item(score="0")]  # 0.000100, then 0.00005 up
    assert item_figures(six_first, NOW)[0].mean_score == Decimal("0.0001")
    assert item_figures([item(score="0.00005")], NOW)[0].mean_score == Decimal("0.0001")
    assert item_figures([item(score="0.00015")], NOW)[0].mean_score == Decimal("0.0002")
    assert item_figures([item(score=s) for s in ("1", "1", "2")], NOW)[0].mean_score == Decimal("1.3333")
    assert item_figures([item(score=s) for s in ("-0.5", "7.5E-1")], NOW)[0].mean_score == Decimal("0.125")
