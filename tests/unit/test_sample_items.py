"""The made-up items: deterministic, applicable in order, with everything that happens to real ones."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from lakehouse.demo.item_figures import item_figures
from lakehouse.demo.sample_day import Delete, Expire, Item, Operation, Put, Update
from lakehouse.demo.sample_items import sample_items

NOW = dt.datetime(2025, 11, 21, 12, 34, 56, 789012, tzinfo=dt.UTC)
KEYS = {"source_id", "ingested_at"}
COLUMNS = {
    *KEYS,
    *("source_type", "source_url", "text_snippet", "sentiment", "model_version", "status", "score"),
    *("matched_tags", "metadata", "updated_at"),
}


@pytest.fixture(scope="module")
def operations() -> list[Operation]:
    return list(sample_items(NOW))


def states(operations: Iterable[Operation]) -> Iterator[tuple[str, Operation, Item | None]]:
    """Key, operation, and the item that it leaves; fails where one does not fit the state that it finds."""
    live: dict[str, Item] = {}
    for each in operations:
        assert isinstance(each, Put | Update | Delete | Expire)
        assert each.table == "sentiment-items-primary"
        key = {name: each.item[name] for name in sorted(KEYS)} if isinstance(each, Put) else each.key
        assert key.keys() == KEYS
        text = json.dumps(key, sort_keys=True)
        assert isinstance(each, Put) == (text not in live)
        if isinstance(each, Put):
            live[text] = each.item
        elif isinstance(each, Update):
            assert each.changes
            assert not each.changes.keys() & KEYS
            live[text] = live[text] | each.changes
        else:
            del live[text]
        yield text, each, live.get(text)


def final(operations: Iterable[Operation]) -> dict[str, Item]:
    ends = {key: item for key, _, item in states(operations)}
    return {key: item for key, item in ends.items() if item is not None}


def time_of(item: Item) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(item["ingested_at"]["S"])
    except ValueError:
        return None


def test_the_same_arguments_give_the_same_items_and_others_give_others(operations: list[Operation]) -> None:
    assert list(sample_items(NOW)) == operations
    assert list(sample_items(NOW, seed=8)) != operations
    assert list(sample_items(NOW + dt.timedelta(days=1))) != operations


@pytest.mark.parametrize("seed", range(5))
def test_every_operation_fits_the_state_that_it_finds(seed: int) -> None:
    assert len({key for key, _, _ in states(sample_items(NOW, seed=seed, items=900))}) == 900


def test_items_is_the_scale() -> None:
    assert list(sample_items(NOW, items=0)) == []
    assert len({key for key, _, _ in states(sample_items(NOW, items=30))}) == 30


def test_operations_come_in_the_order_of_time_and_end_before_the_newest(operations: list[Operation]) -> None:
    told = [each.item if isinstance(each, Put) else getattr(each, "changes", None) for each in operations]
    times = [attributes["updated_at"]["S"] for attributes in told if attributes]
    assert times == sorted(times)
    assert dt.datetime.fromisoformat(times[-1]) <= NOW


def test_items_were_taken_in_within_nine_days_and_none_is_close_to_its_expiry(
    operations: list[Operation],
) -> None:
    ages = [NOW - at for item in final(operations).values() if (at := time_of(item))]
    hours = sorted(age / dt.timedelta(hours=1) for age in ages)
    assert 0 <= hours[0] < 6
    assert 8.5 * 24 < hours[-1] <= 9 * 24
    expiry = 7 * 24
    assert not any(expiry - 5.99 < each < expiry + 5.99 for each in hours)
    assert max(later - earlier for earlier, later in pairwise(hours)) < 18
    assert 0.1 < sum(each > expiry for each in hours) / len(hours) < 0.3


def test_attributes_have_the_names_and_types_that_the_table_reads(operations: list[Operation]) -> None:
    seen: dict[str, set[str]] = {name: set() for name in COLUMNS}
    for item in final(operations).values():
        assert item.keys() <= COLUMNS
        for name, value in item.items():
            (kind,) = value
            seen[name].add(kind)
    assert {name for name, kinds in seen.items() if kinds == {"S"}} == COLUMNS - {
        *("score", "matched_tags", "metadata", "sentiment")
    }
    assert seen["score"] == {"N", "NULL"}
    assert seen["sentiment"] == {"S", "NULL"}
    assert seen["metadata"] == {"M"}
    scores = [item["score"].get("N", "") for item in final(operations).values() if "score" in item]
    assert sum(len(score) == len("0.12005") and score.endswith("5") for score in scores) > 10
    assert sum(len(score) > len("0.123456") for score in scores) > 10
    assert seen["matched_tags"] == {"SS", "L", "NULL"}


def test_everything_that_happens_to_items_happens(operations: list[Operation]) -> None:
    happened: Counter[str] = Counter()
    before: dict[str, Item | None] = {}
    for key, each, now in states(operations):
        was = before.get(key)
        happened[type(each).__name__] += 1
        happened["re-created"] += isinstance(each, Put) and key in before
        if was and now:
            change = f"{was['status']['S']} > {now['status']['S']}"
            happened[change] += 1
            if change == "analyzed > analyzed":
                tags, later = _tags(was), _tags(now)
                happened["tags gone"] += bool(tags) and not later
                happened["tags changed"] += bool(tags) and bool(later) and tags != later
        before[key] = now
    for what in (
        *("Put", "Update", "Delete", "Expire", "re-created", "pending > analyzed", "pending > failed"),
        *("analyzed > pending", "tags gone", "tags changed"),
    ):
        assert happened[what] >= 5, what


def _tags(item: Item) -> set[str]:
    tags: Item = item.get("matched_tags", {})
    return {*tags.get("SS", ()), *(each["S"] for each in tags.get("L", ()))}


def test_ends_that_are_not_shown_are_there_too(operations: list[Operation]) -> None:
    ends = final(operations).values()
    assert {item["status"]["S"] for item in ends} == {"analyzed", "pending", "failed"}
    analyzed = [item for item in ends if item["status"]["S"] == "analyzed"]
    assert any("N" not in item["score"] for item in analyzed)
    assert any("S" not in item["sentiment"] for item in analyzed)
    assert any("matched_tags" not in item for item in analyzed)
    assert any(len(_tags(item)) < len(item.get("matched_tags", {}).get("L", ())) for item in analyzed)
    assert 0 < sum(time_of(item) is None for item in ends) < 20
    endings = Counter(item["ingested_at"]["S"][-6:].lstrip("0123456789.") for item in ends)
    assert min(endings["Z"], endings["+00:00"]) > 20


def test_the_sample_fills_every_day_that_is_shown(operations: list[Operation]) -> None:
    rows: list[Any] = item_figures(final(operations).values(), NOW)
    assert 7 <= len(rows) <= 8
    assert all(row.tag_rows > row.items for row in rows if row.items > 10)
    assert 200 < sum(row.items for row in rows) < 500
    assert rows == item_figures(final(operations).values(), NOW + dt.timedelta(hours=5))
    assert rows == item_figures(final(operations).values(), NOW - dt.timedelta(hours=5))
