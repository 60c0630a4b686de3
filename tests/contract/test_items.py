"""Snapshots say the same as the stream: both sides write one value, one name and one order alike."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from change_writer.dynamodb import attribute_json
from change_writer.encode import escape_name
from lakehouse import change_record
from lakehouse.aws.items import value_json
from lakehouse.aws.snapshot import Snapshot, landed_record
from lakehouse.change_record import landed_name
from lakehouse.errors import DataError

LABEL, EARLIER_LABEL = "2026-01-05T08:00:00.123", "2025-06-01T00:00:00.000"
LABEL_MS = 1_767_600_000_123

_TEXTS = st.text(max_size=8)
_DIGITS = st.integers(1, 10**38 - 1)
_NUMBERS = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    # As DynamoDB answers, and as people write: any place of the point, exponents up to its range.
    st.builds(
        lambda sign, digits, e: f"{sign}{digits}E{e}",
        st.sampled_from(["", "-"]),
        _DIGITS,
        st.integers(-130, 87),
    ),
    st.builds(
        lambda sign, whole, part: f"{sign}{whole}.{part}",
        st.sampled_from(["", "-", "+"]),
        st.integers(0, 10**20).map(str),
        st.integers(0, 10**18 - 1).map("{:018}".format),
    ),
    st.sampled_from(
        [
            "0",
            "-0",
            "0.00",
            "-0.0",
            "0E-50",
            "0E+50",
            "007",
            ".5",
            "5.",
            "1e2",
            "9.9E+125",
            "1E-130",
            "1" * 38,
            "0." + "1" * 38,
            "1" + "0" * 38,
        ]
    ),
)
_BYTES = st.binary(max_size=6)
_BINARIES = _BYTES | _BYTES.map(lambda b: base64.b64encode(b).decode())
_SCALARS = st.one_of(
    st.builds(lambda v: {"S": v}, _TEXTS),
    st.builds(lambda v: {"N": v}, _NUMBERS),
    st.builds(lambda v: {"B": v}, _BINARIES),
    st.builds(lambda v: {"BOOL": v}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda v: {"SS": v}, st.lists(_TEXTS, max_size=4)),
    st.builds(lambda v: {"NS": v}, st.lists(_NUMBERS, max_size=4)),
    st.builds(lambda v: {"BS": v}, st.lists(_BINARIES, max_size=4)),
)
_VALUES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _SCALARS,
    lambda inner: (
        st.builds(lambda v: {"L": v}, st.lists(inner, max_size=4))
        | st.builds(lambda v: {"M": v}, st.dictionaries(_TEXTS, inner, max_size=4))
    ),
    max_leaves=12,
)


@given(_VALUES)
@settings(max_examples=1000, deadline=None)
def test_both_write_one_value_as_the_same_text(value: dict[str, Any]) -> None:
    written = value_json(value)
    assert written == attribute_json(value)
    json.loads(written)


@given(_NUMBERS)
@settings(max_examples=1000, deadline=None)
def test_both_write_one_number_as_the_same_text(number: str) -> None:
    assert value_json({"N": number}) == attribute_json({"N": number})


@pytest.mark.parametrize(
    "name", [*change_record.METADATA, "_", "__x", "___x", "_Sequence", "Is_Deleted", "id", ""]
)
def test_both_land_an_attribute_under_the_same_name(name: str) -> None:
    assert landed_name(name) == escape_name(name)


@given(_TEXTS)
def test_both_land_any_attribute_under_the_same_name(name: str) -> None:
    assert landed_name(name) == escape_name(name)


ITEM: dict[str, Any] = {
    "id": {"S": "a"},
    "_eventID": {"S": "mine"},
    "is_deleted": {"N": "1"},
    "n": {"N": "1"},
}
KEYS = {"id": ITEM["id"]}


@pytest.mark.parametrize("item", [ITEM, ITEM | {"updated_at": {"S": "x"}}, None])
@pytest.mark.parametrize("attempt", [None, 1])
def test_a_snapshot_line_has_the_names_of_metadata_beside_the_items(
    item: dict[str, Any] | None, attempt: int | None
) -> None:
    snapshot = Snapshot(LABEL, LABEL_MS + 1, attempt)
    event_id, text = snapshot.record(KEYS, item, 5)
    line = json.loads(text)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    # A snapshot does not tell why something is gone.
    assert set(line) == {*change_record.METADATA, *map(escape_name, item or KEYS)} - {
        change_record.DELETE_KIND
    }
    assert line[change_record.EVENT_ID] == event_id
    assert line[change_record.SEQUENCE] == snapshot.sequence
    assert (line[change_record.EVENT_NAME], line[change_record.IS_DELETED]) == ("SNAPSHOT", item is None)
    assert (line[change_record.CHANGED_MS], line[change_record.INGESTED_MS]) == (LABEL_MS + 1, 5)
    assert line[change_record.UPDATED_AT] == ("x" if item and "updated_at" in item else LABEL_MS + 1)


def test_the_id_is_of_the_sequence_and_the_key_alone() -> None:
    one = Snapshot(LABEL, LABEL_MS + 1, 1)
    event_id, _ = one.record(KEYS, ITEM, 5)
    assert one.record(KEYS, None, 6)[0] == event_id
    others = [
        one.record({"id": {"S": "b"}}, ITEM, 5),
        one.record({"id": {"S": "a"}, "sort": {"S": ""}}, ITEM, 5),
        Snapshot(LABEL, LABEL_MS + 1, 2).record(KEYS, ITEM, 5),
        Snapshot(LABEL, LABEL_MS + 2, 1).record(KEYS, ITEM, 5),
        landed_record("REPAIR", f"{one.sequence}+2026-01-05T09:00:00.000Z", LABEL_MS, KEYS, ITEM, 5),
    ]
    assert len({event_id, *(found for found, _ in others)}) == 6


@pytest.mark.parametrize(
    "value",
    [
        {"X": "a"},
        {},
        {"S": "a", "N": "1"},
        {"N": "NaN"},
        {"N": "Infinity"},
        {"N": "x"},
        {"S": "\ud800"},
        None,
    ],
)
def test_a_value_that_no_table_can_hold_is_no_record(value: Any) -> None:
    with pytest.raises(DataError, match=r'The item with key .*"a".* cannot be landed'):
        Snapshot(LABEL, LABEL_MS).record(KEYS, {**ITEM, "more": value}, 5)


def test_snapshots_sort_below_their_stream_and_above_what_was_before() -> None:
    later = LABEL_MS + 1
    in_order = [
        f"{EARLIER_LABEL}/{'9' * 40}",
        Snapshot(LABEL, later).sequence,
        Snapshot(LABEL, later, 1).sequence,
        Snapshot(LABEL, later, 2).sequence,
        Snapshot(LABEL, later, 10).sequence,
        Snapshot(LABEL, later + 1).sequence,
        Snapshot(LABEL, later + 1000, 1).sequence,
        Snapshot(LABEL, later + 1000, 1).sequence + "+2027-01-05T09:00:00.000Z",
        Snapshot(LABEL, 4_000_000_000_000, 1).sequence,
        f"{LABEL}/{'0' * 40}",
    ]
    assert [s.encode() for s in in_order] == sorted({s.encode() for s in in_order})
    assert all(re.search(change_record.SEQUENCE_PATTERN, s) for s in in_order)
