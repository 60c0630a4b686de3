"""What the sources write and what the columns read are the same: no path is a name that no item has.

The items are events of each source in its true shape (`tests/source_items.py`). A member that no column
reads, and a path that no item has, are told by name.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.source_items import FOLDERS, OWN, SOURCES, items, plain, source_of

from lakehouse.demo.sample_day import Put, sample_day
from lakehouse.demo.sample_items import sample_items
from lakehouse.demo.sample_metrics import events_in, sample_metrics
from lakehouse.table import Column, Table
from lakehouse.tables import TABLES

READ = {table.source: table for table in TABLES if table.format == "changes"}

UNNAMED = {"metric_events": {"ingested_at", "payload.reason"}}
"""Members by source that the contract names no column for."""

WHOLE = {"scores", "metadata"}
"""Columns that hold an object as its JSON text: what no other column reads of it arrives there."""

CASES = [(folder, name) for folder, at in FOLDERS.items() for name in items(at)]


def _members(value: object, path: str = "") -> Iterator[str]:
    """Paths of the leaves, of which an empty object is one; an object may be its JSON text."""
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError):  # then it is a text that begins like one
            value = json.loads(value)
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from _members(member, f"{path}.{name}" if path else name)
    else:
        yield path


def _is_read(member: str, columns: Iterable[Column]) -> bool:
    """By a column of its own, or as part of an object that one column takes whole and no other reads in."""
    paths = {path: column for column in columns for path in column.paths}
    if member in paths:
        return True
    wholes = [
        path for path, column in paths.items() if column.name in WHOLE and member.startswith(f"{path}.")
    ]
    return any(not any(path.startswith(f"{whole}.") for path in paths) for whole in wholes)


def unread(table: Table, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Members of the items that no column reads."""
    members = dict.fromkeys(member for item in found for member in _members(item))
    return [m for m in members if m not in UNNAMED.get(table.source, ()) and not _is_read(m, table.columns)]


def nowhere(table: Table, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paths of columns that no item has, each with its column."""
    members = {member for item in found for member in _members(item)}
    whole = members | {m.rsplit(".", n)[0] for m in members for n in range(1, m.count(".") + 1)}
    return [f"{c.name} reads {p}" for c in table.columns for p in c.paths if p not in whole]


def _of(source: str, *folders: str) -> list[dict[str, Any]]:
    return [
        item
        for folder in folders
        for name, found in items(FOLDERS[folder]).items()
        if source_of(name) == source
        for item in found
    ]


def test_every_source_has_items_and_every_file_is_looked_at() -> None:
    assert {source_of(name) for name in items(OWN)} == set(SOURCES.values()) == set(READ)
    for at in FOLDERS.values():
        assert {path.name for path in at.iterdir() if path.suffix == ".json"} <= set(items(at))


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_every_member_of_an_item_arrives_in_a_column(folder: str, name: str) -> None:
    found = items(FOLDERS[folder])[name]
    assert found
    assert unread(READ[source_of(name)], found) == []


@pytest.mark.parametrize("source", READ)
@pytest.mark.parametrize("folders", [("own",), tuple(FOLDERS)], ids=["own", "all"])
def test_no_column_reads_a_path_that_no_item_has(source: str, folders: tuple[str, ...]) -> None:
    assert nowhere(READ[source], _of(source, *folders)) == []


def test_the_events_of_a_stream_are_the_decoded_ones() -> None:
    for at in FOLDERS.values():
        found = items(at)
        assert found["metric-events.kinesis-event.json"] == found["metric-events.decoded.json"]


MISSPELT = [
    (source, place, path)
    for source, table in READ.items()
    for place, column in enumerate(table.columns)
    for path in column.paths
]


def _snake(path: str) -> str:
    """The path as somebody would write it who goes by the columns' names: another path, whatever it was."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in path)
    return snake if snake != path else f"{path}_"


@pytest.mark.parametrize(("source", "place", "path"), MISSPELT)
def test_a_path_misspelt_once_is_found_and_named(source: str, place: int, path: str) -> None:
    table = READ[source]
    column, wrong = table.columns[place], _snake(path)
    changed = replace(column, path=tuple(wrong if each == path else each for each in column.paths))
    columns = (*table.columns[:place], changed, *table.columns[place + 1 :])
    mutated = replace(table, columns=columns)
    found = _of(source, "own")
    assert nowhere(mutated, found) == [f"{column.name} reads {wrong}"]
    others = {p for n, c in enumerate(table.columns) if n != place for p in c.paths}
    if path not in others and column.name not in WHOLE:
        assert unread(mutated, found) == [path]


@pytest.mark.parametrize("member", ["payload.agent_id", "agentId", "payload.agentid"])
def test_a_member_of_another_spelling_is_found_and_named(member: str) -> None:
    parent, _, name = member.rpartition(".")
    [item, *_] = [each for each in _of("calls", "own") if isinstance(each["payload"], dict)]
    item = item | ({"payload": item["payload"] | {name: "x"}} if parent else {name: "x"})
    assert unread(READ["calls"], [item]) == [member]


def test_figures_beside_the_payload_of_an_event_are_not_read() -> None:
    event = {"event_type": "session_started", "student_id": "s", "payload": {"tutor_id": "t"}}
    assert unread(READ["metric_events"], [event]) == ["student_id"]


def test_an_empty_object_is_a_member_and_a_text_in_braces_is_a_text() -> None:
    card = {"guid": "g", "notes": "{no fees} twice", "more": {}}
    assert unread(READ["scorecards"], [card]) == ["more"]


AT = dt.datetime(2026, 1, 9, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("calls", ["updated_at"]),
        ("scorecards", ["scores.empathy.score", "scores.empathy.evidence"]),
        ("sentiment_items", ["updated_at"]),
        ("metric_events", ["payload.strokes", "payload.tool.name"]),
    ],
)
def test_what_the_demo_makes_has_every_path_and_nothing_else_but(source: str, more: list[str]) -> None:
    operations = (*sample_day(AT.date()), *sample_items(AT))
    if source == "metric_events":
        found = [event for record in sample_metrics(AT) for event in events_in(record.data)]
    else:
        puts = [each for each in operations if isinstance(each, Put) and SOURCES[each.table] == source]
        found = [{name: plain(value) for name, value in put.item.items()} for put in puts]
    assert len(found) > 100
    assert nowhere(READ[source], found) == []
    assert unread(READ[source], found) == more
