"""History: every change once, and versions that follow each other whatever came in when."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import EARLIER_LABEL, ITEMS, LABEL, Lake, assert_same, change, sequence, show_times

from lakehouse.table import Table

SHUFFLED = dataclasses.replace(ITEMS, history=True)
SORTED = dataclasses.replace(SHUFFLED, name="sorted", source="sorted")

NOW_MS = 1_767_870_000_000  # 2026-01-08T11:00:00Z
LABEL_MS = 1_767_600_000_123  # LABEL's own time
SECOND = 1000
DAY = 86_400 * SECOND


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def _snapshot(ms: int) -> str:
    return f"{LABEL}/-{_iso(ms)}"


def _at(key: str, order: str | int, ms: int | None, note: str | None = None, **more: Any) -> dict[str, Any]:
    """A change of a key at a time; a delete if it has no note."""
    text = {} if note is None else {"note": note}
    made = change(order, deleted=note is None, site=key, number="1", _approxStreamTs=ms, **text, **more)
    if "/-" in made["_sequence"]:
        made["_eventName"] = "SNAPSHOT"
    if "+" in made["_sequence"]:
        made["_eventName"] = "REPAIR"
    return made | ({"_eventName": more["_eventName"]} if "_eventName" in more else {})


T = NOW_MS
CASES: dict[str, tuple[list[dict[str, Any]], list[tuple[str | None, int, int | None]]]] = {
    "one change": ([_at("one change", 1, T, "a")], [("a", T, None)]),
    "insert, update, delete, insert": (
        [
            _at("insert, update, delete, insert", n, T + n * DAY, note)
            for n, note in enumerate(["a", "b", None, "c"])
        ],
        [
            ("a", T, T + DAY),
            ("b", T + DAY, T + 2 * DAY),
            (None, T + 2 * DAY, T + 3 * DAY),
            ("c", T + 3 * DAY, None),
        ],
    ),
    "within one second the last one counts": (
        [_at("within one second the last one counts", n, T, f"{n}") for n in (1, 2, 3)],
        [("3", T, None)],
    ),
    "a time that goes back is held up": (
        [_at("a time that goes back is held up", n, T - n * DAY, f"{n}") for n in (1, 2)]
        + [_at("a time that goes back is held up", 3, T, "3")],
        [("2", T - DAY, T), ("3", T, None)],
    ),
    "no time: the one before": (
        [
            _at("no time: the one before", 1, T, "a"),
            _at("no time: the one before", 2, None, "b"),
            _at("no time: the one before", 3, T + DAY, "c"),
        ],
        [("b", T, T + DAY), ("c", T + DAY, None)],
    ),
    "no time at all: the stream's": (
        [_at("no time at all: the stream's", n, None, f"{n}") for n in (1, 2)],
        [("2", LABEL_MS, None)],
    ),
    "a snapshot before the first change shows": (
        [
            _at("a snapshot before the first change shows", _snapshot(T), T, "snapshot"),
            _at("a snapshot before the first change shows", 1, T + DAY, "a"),
        ],
        [("snapshot", T, T + DAY), ("a", T + DAY, None)],
    ),
    "a snapshot after a change does not show": (
        [
            _at("a snapshot after a change does not show", 1, T, "a"),
            _at("a snapshot after a change does not show", _snapshot(T + DAY), T + DAY, "a"),
            _at("a snapshot after a change does not show", 2, T + 2 * DAY, "b"),
        ],
        [("a", T, T + 2 * DAY), ("b", T + 2 * DAY, None)],
    ),
    "of two attempts of one snapshot the later shows": (
        [
            _at("of two attempts of one snapshot the later shows", _snapshot(T), T, "a"),
            _at("of two attempts of one snapshot the later shows", f"{_snapshot(T)}/0001", T, "b"),
        ],
        [("b", T, None)],
    ),
    "an earlier stream, a snapshot, the stream": (
        [
            _at(
                "an earlier stream, a snapshot, the stream",
                sequence(9, EARLIER_LABEL),
                T - 40 * DAY,
                "earlier",
            ),
            _at("an earlier stream, a snapshot, the stream", _snapshot(T), T, "snapshot"),
            _at("an earlier stream, a snapshot, the stream", 1, T + DAY),
        ],
        [("earlier", T - 40 * DAY, T), ("snapshot", T, T + DAY), (None, T + DAY, None)],
    ),
    "a repair shows from its own time": (
        [
            _at("a repair shows from its own time", 5, T, "wrong"),
            _at("a repair shows from its own time", f"{sequence(5)}+{_iso(T + DAY)}", T + DAY, "right"),
        ],
        [("wrong", T, T + DAY), ("right", T + DAY, None)],
    ),
    "a late repair of an old change moves nothing": (
        [_at("a late repair of an old change moves nothing", n, T + n * DAY, f"{n}") for n in (1, 3, 4)]
        + [
            _at(
                "a late repair of an old change moves nothing",
                f"{sequence(2)}+{_iso(T + 9 * DAY)}",
                T + 9 * DAY,
                "4",
            )
        ],
        [("1", T + DAY, T + 3 * DAY), ("3", T + 3 * DAY, T + 4 * DAY), ("4", T + 4 * DAY, None)],
    ),
    "a snapshot that has seen a later insert does not show": (
        [
            _at("a snapshot that has seen a later insert does not show", _snapshot(T), T, "late"),
            _at(
                "a snapshot that has seen a later insert does not show", 1, T + DAY, "a", _eventName="INSERT"
            ),
        ],
        [("a", T + DAY, None)],
    ),
}
"""Name → changes; versions worked out by hand: note (None: deleted), valid_from, valid_to."""


def _random_changes(rng: random.Random, keys: int) -> list[dict[str, Any]]:
    """Histories with snapshots, deletes, missing times, equal times, and times that go back."""
    made = []
    for number in range(keys):
        key, ms = f"random {number}", NOW_MS
        for at in range(1, rng.randrange(2, 9)):
            ms += rng.choice((-2, 0, 0, 1, 5, 3600)) * SECOND
            when = rng.choice((ms, ms, ms, None))
            made.append(_at(key, at, when, None if rng.random() < 0.3 else f"{at}"))
        if rng.random() < 0.7:
            taken = NOW_MS + rng.randrange(-10, 4000) * SECOND
            made.append(_at(key, _snapshot(taken), taken, None if rng.random() < 0.2 else "snapshot"))
        if rng.random() < 0.3:
            made.append(_at(key, sequence(7, EARLIER_LABEL), NOW_MS - 90 * DAY, "earlier"))
    return made


def _versions(changes: Iterable[dict[str, Any]]) -> list[tuple[str | None, int, int | None]]:
    """The versions of one key, by the rule as it is written down, one step at a time."""
    ordered = sorted({c["_sequence"]: c for c in changes}.values(), key=lambda c: c["_sequence"])

    def shows(place: int) -> bool:
        taken = ordered[place]
        later = [c["_approxStreamTs"] for c in ordered[place + 1 :] if c["_approxStreamTs"] is not None]
        if "/-" not in taken["_sequence"] and "+" not in taken["_sequence"]:
            return True
        streams = [
            c["_eventName"] for c in ordered[place + 1 :] if c["_eventName"] not in ("SNAPSHOT", "REPAIR")
        ]
        seen = not taken["is_deleted"] and streams[:1] == ["INSERT"]
        return not seen and not any(ms <= taken["_approxStreamTs"] for ms in later)

    starts: list[tuple[dict[str, Any], int]] = []
    for shown in [c for place, c in enumerate(ordered) if shows(place)]:
        ms = shown["_approxStreamTs"]
        if ms is None:
            ms = starts[-1][1] if starts else LABEL_MS
        starts.append((shown, max(ms, starts[-1][1]) if starts else ms))
    ends = [start for _, start in starts[1:]] + [None]
    return [
        (c.get("note"), start, end)
        for (c, start), end in zip(starts, ends, strict=True)
        if end is None or end > start
    ]


def _by_key(changes: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for made in changes:
        found.setdefault(made["site"], []).append(made)
    return found


ALL = [c for changes, _ in CASES.values() for c in changes] + _random_changes(random.Random(20260109), 150)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same changes in order in one object, and shuffled with duplicates over four batches."""
    lake = Lake(spark, tmp_path_factory.mktemp("history"), (SHUFFLED, SORTED), max_files=1)
    shuffled = ALL + random.Random(3).sample(ALL, len(ALL) // 4)
    random.Random(4).shuffle(shuffled)
    size = -(-len(shuffled) // 4)
    for start in range(0, len(shuffled), size):
        lake.land(SHUFFLED.source, *shuffled[start : start + size])
    lake.land(SORTED.source, *sorted(ALL, key=lambda c: c["_sequence"]))
    lake.ingest_well()
    return lake


def _shown(lake: Lake, table: Table) -> dict[str, list[tuple[str | None, int, int | None]]]:
    """Versions by key in order of time, times in ms; what the view says of itself is checked."""
    frame = lake.gold(table.history_name).selectExpr(
        "site",
        "note",
        "is_deleted",
        "is_current",
        "unix_millis(valid_from) AS f",
        "unix_millis(valid_to) AS t",
    )
    found: dict[str, list[tuple[str | None, int, int | None]]] = {}
    for row in sorted(frame.collect(), key=lambda row: row.f):
        assert row.is_deleted == (row.note is None)
        assert row.is_current == (row.t is None)
        found.setdefault(row.site, []).append((row.note, row.f, row.t))
    return found


@pytest.fixture(scope="module")
def shown(lake: Lake) -> dict[str, list[tuple[str | None, int, int | None]]]:
    return _shown(lake, SHUFFLED)


@pytest.mark.parametrize("case", CASES)
def test_versions_that_were_worked_out_by_hand(
    case: str, shown: dict[str, list[tuple[str | None, int, int | None]]]
) -> None:
    assert shown[case] == CASES[case][1]
    assert _versions(CASES[case][0]) == CASES[case][1]


def test_random_histories_read_as_the_rule_says(
    shown: dict[str, list[tuple[str | None, int, int | None]]],
) -> None:
    assert {key: _versions(made) for key, made in _by_key(ALL).items()} == shown


def test_versions_have_no_gap_no_overlap_and_a_start(
    shown: dict[str, list[tuple[str | None, int, int | None]]],
) -> None:
    assert len(shown) > 150
    for versions in shown.values():
        starts = [start for _, start, _ in versions]
        assert None not in starts
        assert [end for _, _, end in versions] == [*starts[1:], None]
        assert len(set(starts)) == len(starts)


def test_every_distinct_change_is_kept_once_whatever_the_order_of_arrival(lake: Lake) -> None:
    kept = lake.history(SHUFFLED)
    assert kept.count() == len({(c["site"], c["_sequence"]) for c in ALL})
    assert_same(kept, lake.history(SORTED))
    assert_same(lake.gold(SHUFFLED.history_name), lake.gold(SORTED.history_name))


def test_one_condition_tells_the_rows_of_any_moment(lake: Lake) -> None:
    """The condition of docs/analysts.md."""
    moments = [T - 50 * DAY, T - 40 * DAY, T, T + 1, T + DAY - 1, T + DAY, T + 99 * DAY]
    asked = ", ".join(f"({ms}, TIMESTAMP'{_iso(ms)}')" for ms in moments)
    asked_of = f"VALUES {asked} AS moments(ms, moment)"
    versions = lake.settings.table("gold", SHUFFLED.history_name)
    found = lake.spark.sql(
        f"SELECT ms, site, note FROM {versions} CROSS JOIN {asked_of} "
        "WHERE valid_from <= moment AND (valid_to > moment OR valid_to IS NULL) AND NOT is_deleted"
    )
    changes = _by_key(ALL)
    expected = [
        (ms, key, note)
        for ms in moments
        for key, made in changes.items()
        for note, start, end in _versions(made)
        if start <= ms and (end is None or ms < end) and note is not None
    ]
    assert sorted(tuple(row) for row in found.collect()) == sorted(expected)


def test_the_current_version_is_the_row_of_the_state(lake: Lake) -> None:
    live = lake.gold(SHUFFLED.name).select("site", "number", "note", "amount", "updated_at")
    current = lake.gold(SHUFFLED.history_name).where("is_current AND NOT is_deleted")
    assert_same(current.select(*live.columns), live)


def test_a_repeated_batch_adds_no_change_and_finishes_what_is_missing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land(SORTED.source, _at("died", 1, T, "a"), _at("died", 2, T + DAY, "b"))

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the power went off")

    with monkeypatch.context() as patched:
        patched.setattr("lakehouse.ingest.silver.merge", dies)
        assert lake.ingest(SORTED)["sorted"].error is not None
    # History has what has come; the state not yet.
    assert lake.state(SORTED).where("site = 'died'").isEmpty()
    assert lake.history(SORTED).where("site = 'died'").count() == 2
    lake.ingest_well(SORTED)
    lake.forget_last_batch(SORTED)
    lake.ingest_well(SORTED)
    assert _shown(lake, SORTED)["died"] == [("a", T, T + DAY), ("b", T + DAY, None)]
    assert lake.history(SORTED).where("site = 'died'").count() == 2


def test_a_late_change_lands_in_its_place(lake: Lake) -> None:
    lake.land(SORTED.source, _at("late", 3, T + 2 * DAY, "c"))
    lake.land(SORTED.source, _at("late", 1, T, "a"))
    lake.land(SORTED.source, _at("late", 2, T + DAY))
    lake.ingest_well(SORTED)
    assert _shown(lake, SORTED)["late"] == [
        ("a", T, T + DAY),
        (None, T + DAY, T + 2 * DAY),
        ("c", T + 2 * DAY, None),
    ]
    assert show_times(lake.state(SORTED)).where("site = 'late'").collect()[0].note == "c"


def test_a_table_without_history_has_no_view_of_it(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    assert lake.spark.catalog.tableExists(lake.settings.table("gold", "items"))
    assert not lake.spark.catalog.tableExists(lake.settings.table("gold", ITEMS.history_name))
