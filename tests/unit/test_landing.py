"""What `landing check` finds, and what `set-aside` moves; on folders, without Java."""

from __future__ import annotations

import gzip
import os
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.errors import ConfigurationError
from lakehouse.operations.landing import (
    all_set_aside,
    bytes_since,
    check,
    check_documents,
    open_store,
    restore,
    set_aside,
)

LINES = gzip.compress(b'{"a":1}\n{"a":2}\n' * 50_000, mtime=0)


def _parquet(rows: int = 999, **metadata: str) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"item": [f'{{"a":{n}}}' for n in range(rows)]})
    pq.write_table(table.replace_schema_metadata(metadata), sink, write_page_checksum=True)
    made: bytes = sink.getvalue().to_pybytes()
    return made


KNOWN = {"lakehouse.schema": "1"}
PARQUET = _parquet(**KNOWN)


def _put(landing: Path, place: str, body: bytes) -> str:
    path = landing / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return str(path)


def _kinds(landing: Path) -> dict[str, str]:
    return {Path(f.path).name: f.kind for f in check(str(landing), ["calls"])}


@pytest.mark.parametrize(
    ("place", "body", "kind"),
    [
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES, None),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES + LINES, None),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", gzip.compress(b"no line break", mtime=0), None),
        ("_quarantine/anything/dt=2025-10-08/HH=14/x.ndjson.gz", LINES, None),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES[:-1], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES[:9], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES[:200] + b"\0\1\2" + LINES[203:], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", b"no gzip", "torn"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES + b"\0" * 9, "torn"),
        ("calls/dt=2025-10-08/HH=14/x?a=#b 'c'.ndjson.gz", LINES[:-1], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", b"", "empty"),
        ("calls/dt=2025-10-08/HH=14/x.ndjson.gz", gzip.compress(b"", mtime=0), "empty"),
        ("calls/x.ndjson.gz", LINES, "misplaced"),
        ("calls/dt=2025-10-08/x.ndjson.gz", LINES, "misplaced"),
        ("calls/dt=2025-10-08/HH=14/x.json", LINES, "misplaced"),
        ("calls/dt=2025-10-08/HH=14/_x.ndjson.gz", LINES, "misplaced"),
        ("sessions/dt=2025-10-08/HH=14/x.ndjson.gz", LINES, "unread"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", PARQUET, None),
        ("calls/dt=2025-10-08/HH=14/x.parquet", PARQUET[:-1], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", PARQUET[:500] + b"\0" * 99 + PARQUET[599:], "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", PARQUET.replace(b"7", b"8", 1), "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", b"", "empty"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", LINES, "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", _parquet(**{"lakehouse.schema": "2"}), "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", _parquet(), "torn"),
        ("calls/dt=2025-10-08/HH=14/x.parquet", _parquet(0), "empty"),
        ("calls/dt=2025-10-08/x.parquet", PARQUET, "misplaced"),
        ("_quarantine/calls/dt=2025-10-08/HH=14/x.parquet", PARQUET, "misplaced"),
        ("sessions/dt=2025-10-08/HH=14/x.parquet", PARQUET, "unread"),
    ],
)
def test_each_object_is_what_it_is(tmp_path: Path, place: str, body: bytes, kind: str | None) -> None:
    _put(tmp_path, place, body)
    assert list(_kinds(tmp_path).values()) == ([kind] if kind else [])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux has a file that nobody can read")
def test_an_object_that_cannot_be_fetched_is_one_finding_among_the_others(tmp_path: Path) -> None:
    _put(tmp_path, "calls/dt=2025-10-08/HH=14/a.ndjson.gz", LINES[:-1])
    os.symlink("/proc/self/mem", tmp_path / "calls/dt=2025-10-08/HH=14/b.ndjson.gz")
    _put(tmp_path, "calls/dt=2025-10-08/HH=14/c.ndjson.gz", b"")
    found = list(check(str(tmp_path), ["calls"]))
    assert [(Path(f.path).name, f.kind) for f in found] == [
        ("a.ndjson.gz", "torn"),
        ("b.ndjson.gz", "unreadable"),
        ("c.ndjson.gz", "empty"),
    ]
    assert "Input/output error" in found[1].detail
    assert "set-aside" not in found[1].detail


def test_documents_that_no_stream_reads_are_reported(tmp_path: Path) -> None:
    read = ("a.json", "deep/er/b.json", "c_d.json", "_e=f/g.json", "notes.txt", "_success")
    unread = ("_a.json", ".a.json", "_deep/a.json", "deep/.er/a.json", "A.JSON", "deep/a.Json")
    for place in (*read, *unread):
        _put(tmp_path, place, b"{}")
    _put(tmp_path, "empty.json", b"")
    found = list(check_documents(str(tmp_path)))
    assert {f.path: f.kind for f in found} == {
        **{str(tmp_path / place): "unread" for place in unread},
        str(tmp_path / "empty.json"): "empty",
    }
    assert [f.path for f in found] == sorted(f.path for f in found)
    with pytest.raises(ConfigurationError, match="Nothing lies at"):
        list(check_documents(str(tmp_path / "nowhere")))


def test_an_object_that_was_set_aside_is_kept_whole_and_its_place_holds_an_empty_one(tmp_path: Path) -> None:
    place = "calls/dt=2025-10-08/HH=14/x.ndjson.gz"
    torn = _put(tmp_path, place, LINES[:-1])

    target = set_aside(torn)

    assert Path(target) == tmp_path / "_set_aside" / place
    assert Path(target).read_bytes() == LINES[:-1]
    assert gzip.decompress(Path(torn).read_bytes()) == b""
    assert _kinds(tmp_path) == {"x.ndjson.gz": "set_aside"}


def test_what_takes_the_place_of_a_parquet_object_is_one_without_a_row(tmp_path: Path) -> None:
    place = "calls/dt=2025-10-08/HH=14/x.parquet"
    torn = _put(tmp_path, place, PARQUET[:-1])
    assert Path(set_aside(torn)).read_bytes() == PARQUET[:-1]
    assert pq.read_table(torn).num_rows == 0
    assert _kinds(tmp_path) == {"x.parquet": "set_aside"}


def test_the_command_that_is_shown_works_for_any_name(tmp_path: Path) -> None:
    _put(tmp_path / "it's", "calls/dt=2025-10-08/HH=14/x?a=#b %20+.ndjson.gz", LINES[:-1])
    (finding,) = check(str(tmp_path / "it's"), ["calls"])
    command = shlex.split(finding.detail.split("lakehouse landing set-aside ")[1])
    assert Path(set_aside(f"file://{command[0]}")).read_bytes() == LINES[:-1]


def test_a_writers_quarantine_object_can_be_set_aside_too(tmp_path: Path) -> None:
    place = "_quarantine/calls/dt=2025-10-08/HH=14/x.ndjson.gz"
    assert Path(set_aside(_put(tmp_path, place, b"torn"))) == tmp_path / "_set_aside" / place


def test_setting_aside_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    elsewhere = _put(tmp_path, "x.ndjson.gz", b"torn")
    with pytest.raises(ConfigurationError, match="no landed object"):
        set_aside(elsewhere)
    with pytest.raises(ConfigurationError, match="does not exist"):
        set_aside(str(tmp_path / "calls/dt=2025-10-08/HH=14/x.ndjson.gz"))
    torn = _put(tmp_path, "calls/dt=2025-10-08/HH=14/x.ndjson.gz", b"torn")
    set_aside(torn)
    with pytest.raises(ConfigurationError, match="set aside before"):
        set_aside(torn)


@pytest.mark.parametrize(("name", "whole"), [("x.ndjson.gz", LINES), ("a.b.parquet", PARQUET)])
def test_what_was_set_aside_comes_back_whole_and_under_a_new_name(
    tmp_path: Path, name: str, whole: bytes
) -> None:
    store = open_store(str(tmp_path))
    torn = _put(tmp_path, f"calls/dt=2025-10-08/HH=14/{name}", whole[:-1])
    assert all_set_aside(store, "calls") == []
    aside = set_aside(torn)
    assert all_set_aside(store, "calls") == [f"calls/dt=2025-10-08/HH=14/{name}"]
    assert all_set_aside(store, "scorecards") == []
    with pytest.raises(ConfigurationError, match="still cannot be read"):
        restore(aside)
    Path(aside).write_bytes(whole)

    back = restore(aside)

    stem, dot, ending = name.partition(".")
    assert Path(back) == Path(torn).with_name(f"{stem}-restored{dot}{ending}")
    assert Path(back).read_bytes() == whole
    assert not Path(aside).exists()
    # The stream has read the empty one under the old name; and nothing is set aside any more.
    assert _kinds(tmp_path) == {}
    assert all_set_aside(store, "calls") == []
    # What came back is not written over by another one, or by an empty twin.
    again = set_aside(torn)
    Path(again).write_bytes(whole)
    with pytest.raises(ConfigurationError, match="has come back before"):
        restore(again)
    assert Path(back).read_bytes() == whole


def test_restoring_refuses_what_was_not_set_aside(tmp_path: Path) -> None:
    there = _put(tmp_path, "calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES)
    for wrong in (there, str(tmp_path / "_set_aside/calls/dt=2025-10-08/HH=14/x.ndjson.gz")):
        with pytest.raises(ConfigurationError, match="no object that was set aside"):
            restore(wrong)


def test_the_bytes_that_came_after_a_time_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        path = Path(_put(tmp_path, f"calls/dt=2025-10-08/HH={number:02d}/x.ndjson.gz", b"12345"))
        os.utime(path, (1000 + number, 1000 + number))
    assert bytes_since(f"{tmp_path}/calls", 0) == 15
    assert bytes_since(f"{tmp_path}/calls", 1000) == 10
    assert bytes_since(f"{tmp_path}/scorecards", 0) == 0


def test_what_a_backfill_keeps_of_itself_is_no_landed_object(tmp_path: Path) -> None:
    _put(tmp_path, "calls/dt=2025-10-08/HH=14/x.ndjson.gz", LINES)
    _put(tmp_path, "_backfills/calls/20251008T140000Z/plan.json", b"{}")
    assert list(check(str(tmp_path), ["calls"])) == []


def test_a_location_that_holds_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Nothing lies at"):
        list(check(str(tmp_path / "nowhere"), []))
    with pytest.raises(ConfigurationError, match="use a folder, or an s3:// URL"):
        list(check("gs://bucket", []))
