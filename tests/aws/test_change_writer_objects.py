"""Names, folders and sizes of objects are functions of the records they hold, never of the clock."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aws_support import load_event
from hypothesis import given, settings
from hypothesis import strategies as st

from change_writer.dynamodb import convert
from change_writer.encode import (
    Line,
    canonical_json,
    cut,
    gzip_lines,
    hour_folder,
    object_name,
    pack,
    quarantine_line,
)
from change_writer.handler import STREAM_KINDS, make_plan
from change_writer.settings import parse_settings

HOUR = 3_600_000
properties = settings(max_examples=200, deadline=None, database=None)
DYNAMODB = STREAM_KINDS["aws:dynamodb"]


def a_line(index: int, size: int = 10, created_ms: int | None = 0) -> Line:
    return Line(index, f"e{index}", created_ms, b"x" * (size - 1) + b"\n")


def planned(records: list[dict[str, Any]], ingest_ts_ms: int = 0, **variables: str) -> dict[str, list[str]]:
    """Keys of the objects planned for these records, with the event ids they hold."""
    configured = parse_settings({"S3_BUCKET": "bucket", **variables})
    plan = make_plan(DYNAMODB, records, configured, ingest_ts_ms)
    lines = {o.key: gzip.decompress(o.body).decode().split("\n")[:-1] for o in plan.objects}
    return {
        key: [json.loads(line).get("_eventID", json.loads(line).get("eventID")) for line in text]
        for key, text in lines.items()
    }


def test_a_name_is_forty_hex_digits_of_the_hash_of_the_event_ids_in_order() -> None:
    assert object_name(["a", "b"]) == hashlib.sha256(b'["a","b"]').hexdigest()[:40]
    assert object_name(["a", "b"]) != object_name(["b", "a"])
    assert object_name(["ab"]) != object_name(["a", "b"])
    assert object_name(['a","b']) != object_name(["a", "b"])
    assert object_name(["\ud800"]) != object_name(["\ud801"])


def test_the_same_event_gives_the_same_names_whatever_the_clock_says() -> None:
    records = load_event("calls-changes")["Records"]
    assert planned(records, ingest_ts_ms=1) == planned(records, ingest_ts_ms=2**40)


def test_a_repeated_record_keeps_both_its_lines() -> None:
    first, *_ = load_event("calls-changes")["Records"]
    ((_, ids),) = planned([first, first]).items()
    assert ids == [first["eventID"]] * 2


def test_the_gzip_bytes_depend_on_nothing_but_the_lines() -> None:
    body = gzip_lines([b"a\n", b"b\n"])
    assert body == gzip_lines([b"a\n", b"b\n"])
    assert body[4:8] == b"\0\0\0\0"  # the member's time
    assert gzip.decompress(body) == b"a\nb\n"


@pytest.mark.parametrize(
    ("created", "folder"),
    [
        ([0], "dt=1970-01-01/HH=00"),
        ([HOUR - 1], "dt=1970-01-01/HH=00"),
        ([HOUR], "dt=1970-01-01/HH=01"),
        ([None, None, 1_767_873_599_999, 0], "dt=2026-01-08/HH=11"),
        ([1_767_873_600_000], "dt=2026-01-08/HH=12"),
        ([253_402_300_799_999], "dt=9999-12-31/HH=23"),
        ([None], "dt=1970-01-01/HH=00"),
        ([], "dt=1970-01-01/HH=00"),
    ],
)
def test_the_folder_is_the_utc_hour_of_the_first_creation_time(
    created: list[int | None], folder: str
) -> None:
    assert hour_folder(created) == folder


def test_an_object_that_crosses_the_hour_stays_whole_in_the_hour_of_its_first_record() -> None:
    records = load_event("calls-changes")["Records"]
    ids = [record["eventID"] for record in records]
    assert planned(records) == {f"calls/dt=2026-01-08/HH=11/{object_name(ids)}.ndjson.gz": ids}


def test_each_object_of_a_cut_has_the_folder_of_its_own_first_record() -> None:
    records = load_event("calls-changes")["Records"]
    del records[0]["dynamodb"]["ApproximateCreationDateTime"]
    ids = [record["eventID"] for record in records]
    assert planned(records, MAX_RECORDS="3", S3_PREFIX="a/b") == {
        f"a/b/calls/dt=2026-01-08/HH=11/{object_name(ids[:3])}.ndjson.gz": ids[:3],
        f"a/b/calls/dt=2026-01-08/HH=12/{object_name(ids[3:])}.ndjson.gz": ids[3:],
    }
    assert next(iter(planned(records, MAX_RECORDS="1"))).startswith("calls/dt=1970-01-01/HH=00/")


def test_sources_are_cut_apart_and_mapped() -> None:
    calls = load_event("calls-changes")["Records"]
    cards = load_event("scorecards-changes")["Records"]
    mixed = [calls[0], cards[0], calls[1], cards[1]]
    assert planned(mixed, SOURCE_MAP="scorecards=cards") == {
        f"calls/dt=2026-01-08/HH=11/{object_name([r['eventID'] for r in calls[:2]])}.ndjson.gz": [
            r["eventID"] for r in calls[:2]
        ],
        f"cards/dt=2026-01-08/HH=11/{object_name([r['eventID'] for r in cards])}.ndjson.gz": [
            r["eventID"] for r in cards
        ],
    }


def test_a_line_that_exactly_fits_stays_and_the_next_one_is_cut() -> None:
    sizes = [[len(line.data) for line in run] for run in cut([a_line(i) for i in range(7)], 1000, 30)]
    assert sizes == [[10, 10, 10], [10, 10, 10], [10]]


def test_a_line_above_the_size_gets_an_object_of_its_own() -> None:
    lines = [a_line(0), a_line(1, size=100), a_line(2), a_line(3)]
    assert [[line.place for line in run] for run in cut(lines, 1000, 30)] == [[0], [1], [2, 3]]


@properties
@given(
    st.lists(st.integers(min_value=1, max_value=50), max_size=30),
    st.integers(min_value=1, max_value=8),
    st.integers(min_value=1, max_value=100),
)
def test_a_cut_keeps_every_line_in_order_within_its_limits(sizes: list[int], most: int, limit: int) -> None:
    lines = [a_line(index, size) for index, size in enumerate(sizes)]
    runs = list(cut(lines, most, limit))
    assert [line for run in runs for line in run] == lines
    assert all(1 <= len(run) <= most for run in runs)
    assert all(len(run) == 1 or sum(len(line.data) for line in run) <= limit for run in runs)
    # Greedy: no run could have taken the line that opens the next one.
    for run, following in itertools.pairwise(runs):
        size = sum(len(line.data) for line in run)
        assert len(run) == most or size + len(following[0].data) > limit


@properties
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20), st.integers(min_value=1, max_value=4))
def test_objects_come_in_the_order_of_their_first_records(folders: list[str], most: int) -> None:
    objects = pack([(folder, a_line(index)) for index, folder in enumerate(folders)], most, 10**6)
    firsts = [landing_object.first_index for landing_object in objects]
    assert firsts == sorted(set(firsts))
    assert firsts[0] == 0
    assert sum(landing_object.lines for landing_object in objects) == len(folders)


def test_the_line_of_a_record_of_the_largest_size_is_cut_by_its_uncompressed_bytes() -> None:
    record, *_ = load_event("calls-changes")["Records"]
    record["dynamodb"]["NewImage"]["text"] = {"S": "a" * 400_000}
    size = len(convert(record, 0).line)
    assert len(planned([record] * 3, MAX_PAYLOAD_BYTES=str(2 * size))) == 2
    assert len(planned([record] * 3, MAX_PAYLOAD_BYTES=str(2 * size - 1))) == 1  # equal ids, equal names
    configured = parse_settings({"S3_BUCKET": "bucket", "MAX_PAYLOAD_BYTES": str(2 * size - 1)})
    assert len(make_plan(DYNAMODB, [record] * 3, configured, 0).objects) == 3


# --- quarantine's raw records -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5, "ü"]}, '{"a":[true,null,1.5,"\\u00fc"],"b":1}'),
        ({"x": b"\x00\x01"}, '{"x":{"B64": "AAE="}}'.replace(": ", ":")),
        (Decimal("1.10"), '"1.10"'),
        (datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01T00:00:00+00:00"'),
        ("\ud800 \U0001f4de", '"\\ud800 \\ud83d\\udcde"'),
        ([float("nan"), float("inf")], '["nan","inf"]'),
        ((1, (2,)), "[1,[2]]"),
        ({"s": {"b", "a"}}, '{"s":["a","b"]}'),
        ({1: "x"}, '{"1":"x"}'),
        (object(), '"<object>"'),
        ({}, "{}"),
        ([], "[]"),
    ],
)
def test_any_value_can_be_kept_raw(value: object, text: str) -> None:
    assert canonical_json(value) == text


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
)


@properties
@given(json_values)
def test_raw_json_is_what_the_json_module_would_write(value: Any) -> None:
    assert canonical_json(value) == json.dumps(value, sort_keys=True, separators=(",", ":"))


def test_raw_json_does_not_mind_depth() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    assert canonical_json(value) == "[" * 50_000 + "1" + "]" * 50_000


def test_a_quarantined_line_says_what_why_and_whole() -> None:
    line = quarantine_line("calls", "bad_number", "attribute a: …", None, '{"a":1}')
    assert line == (
        b'{"source":"calls","reason":"bad_number","detail":"attribute a: \\u2026","eventID":null,'
        b'"record":{"a":1}}\n'
    )
