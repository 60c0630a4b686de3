"""Landed objects as they may lie there: torn, empty, old, large, in folders with odd names."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, TRANSCRIPTS, Lake, assert_rows, change, line

from lakehouse.errors import CorruptObjectError, LeaseHeldError, StreamError
from lakehouse.gold.run import ingest
from lakehouse.ingest.trigger import Trigger

OTHERS = dataclasses.replace(ITEMS, name="others", source="others")
VALUES = "site string, note string"


def _gz(*records: dict[str, object]) -> bytes:
    return gzip.compress(b"".join(line(r) + b"\n" for r in records))


@pytest.mark.parametrize("damage", ["torn", "corrupt", "no gzip"])
def test_a_damaged_object_stops_its_own_table_and_is_never_skipped(
    spark: SparkSession, tmp_path: Path, damage: str
) -> None:
    many = _gz(*(change(n, site=f"lost {os.urandom(20).hex()}", number="1") for n in range(300)))
    data = {
        "torn": many[:-500],
        "corrupt": many[:2000] + bytes(200) + many[2200:],
        "no gzip": line(change(1, site="plain", number="1")) + b"\n",
    }[damage]
    lake = Lake(spark, tmp_path, (ITEMS, OTHERS) if damage == "torn" else (ITEMS,))
    lake.land("items", change(1, site="good", number="1", note="beside it"))
    path = lake.land("items", name="bad.ndjson.gz", data=data)
    if damage == "torn":
        lake.land("others", change(1, site="other", number="1", note="goes on"))
    results = lake.ingest()

    error = results["items"].error
    assert isinstance(error, CorruptObjectError)
    assert error.table == "items"
    assert error.path.endswith(str(path))
    assert f"lakehouse landing set-aside {shlex.quote(error.path)}" in str(error)
    assert (lake.state(ITEMS).count(), lake.quarantine().count()) == (0, 0)
    assert lake.bronze("items").isEmpty()
    assert results["items"].batches.records == 0
    if damage != "torn":
        return

    assert results["others"].error is None
    assert_rows(lake.state(OTHERS).select("site", "note"), [("other", "goes on")], VALUES)
    # It stops again as long as it lies there; once it is away, the rest of its batch is applied.
    assert isinstance(lake.ingest(ITEMS)["items"].error, CorruptObjectError)
    path.unlink()
    result = lake.ingest(ITEMS)["items"]
    assert result.error is None, result.error
    assert_rows(lake.state(ITEMS).select("site", "note"), [("good", "beside it")], VALUES)


def test_empty_old_and_large_objects_and_odd_folders_are_read(spark: SparkSession, tmp_path: Path) -> None:
    # Blanks, what Spark takes for a pattern, what a URL escapes.
    lake = Lake(spark, tmp_path, (ITEMS,), max_files=10, landing_name="land [a]{b,c} *?+ 50% ü#x")
    lake.land("items", name="0-zero.ndjson.gz", data=b"")
    lake.land("items", name="1-nothing.ndjson.gz", data=gzip.compress(b""))
    lake.land("items", change(1, site="new", number="1", note="x" * 400_000))
    lake.land("items", "bad", name="4 50%+[b]*.ndjson.gz")
    lake.land(
        "items",
        name="5-members.ndjson.gz",
        data=_gz(change(1, site="first member", number="1"))
        + _gz(change(1, site="second member", number="1")),
    )
    lake.land(
        "items",
        name="6-no-newline.ndjson.gz",
        data=gzip.compress(line(change(1, site="no newline", number="1"))),
    )
    lake.land("items", "no change record", name="7-note.txt")
    lake.land("items", name="8-unfinished.ndjson.gz.tmp", data=b"x")
    result = lake.ingest_well()["items"]
    assert (result.batches.files, result.batches.upserts, result.batches.quarantined) == (4, 4, 1)
    assert result.batches.records == 5

    # Found after newer ones were read, and older than Spark's file stream would look at on its own.
    lake.land("items", change(1, site="old", number="1", note="late"), mtime=time.time() - 5 * 365 * 86_400)
    lake.land("items", change(1, site="of 1970", number="1", note="later"), mtime=0)
    lake.ingest_well()
    rows = lake.state(ITEMS).selectExpr("site", "length(note) AS size")
    assert_rows(
        rows,
        [
            ("new", 400_000),
            ("first member", None),
            ("second member", None),
            ("no newline", None),
            ("old", 4),
            ("of 1970", 5),
        ],
        "site string, size int",
    )
    assert_rows(
        lake.quarantine().select("object", "raw"),
        [("items/dt=2026-01-05/HH=08/4 50%+[b]*.ndjson.gz", "bad")],
        "object string, raw string",
    )


@pytest.fixture
def zone() -> Iterator[None]:
    """This process is in a place where 02:30 of 26 October 2025 came twice."""
    with patch.dict(os.environ, TZ="Europe/Berlin"):
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_the_zone_of_the_process_changes_no_time(spark: SparkSession, tmp_path: Path) -> None:
    times = {
        "half past two, the first time": (1_761_438_600_000, "2025-10-26 00:30:00"),
        "year 10000 in Berlin": (253_402_300_799_999, "9999-12-31 23:59:59.999"),
        "year 1": (-62_135_596_800_000, "0001-01-01 00:00:00"),
    }
    lake = Lake(spark, tmp_path, (ITEMS, TRANSCRIPTS), max_files=1)
    records = {
        name: change(1, site=name, number="1") | {"_approxStreamTs": ms} for name, (ms, _) in times.items()
    }
    lake.land("items", records["half past two, the first time"], records["year 1"])
    lake.land("items", records["year 10000 in Berlin"])
    lake.write_document("twice.json", {"results": {}}, mtime=1_761_438_600)
    begun = time.time()
    results = lake.ingest()
    assert [result.error for result in results.values() if result.error] == []
    shown = [row.last_changed_at for row in lake.books() if row.table_name == "items"]
    assert shown == ["2025-10-26 00:30:00", "9999-12-31 23:59:59.999"]
    found = {name: row._changed_at for name, row in lake.rows(ITEMS).items()}
    assert found == {name: at for name, (_, at) in times.items()}
    documents = {name: row._changed_at for name, row in lake.rows(TRANSCRIPTS).items()}
    assert documents == {"twice": "2025-10-26 00:30:00"}
    for row in lake.state(ITEMS).selectExpr("double(_applied_at) AS at").collect():
        assert begun - 1 <= row.at <= time.time() + 1


def test_a_second_process_is_kept_from_a_checkpoint_and_harms_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="s", number="1"))
    script = (
        "import sys\nfrom lakehouse.ingest.lease import FileLease\n"
        "with FileLease(sys.argv[1], 'items'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, lake.settings.stream_folder("items")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        results = lake.ingest()
        other.communicate("")
    error = results["items"].error
    assert isinstance(error, LeaseHeldError)
    assert f"process {other.pid} " in str(error)
    assert results["writer_quarantine"].error is None
    assert not (Path(lake.settings.stream_folder("items")) / "checkpoint").exists()
    assert lake.ingest_well()["items"].batches.upserts == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stream_that_dies_of_something_unforeseen_is_reported(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    lake = Lake(spark, tmp_path, (ITEMS,))
    monkeypatch.setattr("lakehouse.ingest.stream.lease", no_space)
    results = ingest(spark, lake.settings, lake.tables, Trigger())
    assert [r.stream for r in results] == ["items", "writer_quarantine"]
    for result in results:
        assert isinstance(result.error, StreamError)
        assert str(result.error).endswith(
            "the disk is full. Make room on it and run this again: nothing is lost."
        )
