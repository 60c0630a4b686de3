"""A scan lands every item once, and goes on where it was killed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.local.support import StreamedTable

from change_writer.dynamodb import attribute_json
from lakehouse.aws import scan
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.scan import ReadLimit, Scanned, backfill_scan
from lakehouse.errors import ConfigurationError, SnapshotRefusedError, SourceError, StreamChangedError
from lakehouse.local.aws import LocalAws
from lakehouse.table import Column, Table

THINGS = Table("things", "things", ("id",), (Column("id", "string", "Id.", "id"),), "Things.")
SCRIPT = """
import sys
from pathlib import Path
from lakehouse.aws.client import aws_client
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.scan import backfill_scan
from lakehouse.table import Column, Table
table = Table("things", "things", ("id",), (Column("id", "string", "Id.", "id"),), "Things.")
backfill_scan(aws_client("dynamodb"), FolderObjects(Path(sys.argv[1])), table, sys.argv[2], segments=2,
              max_rcu=20, object_bytes=1, consumer_from="trim-horizon")
"""


class Dies(FolderObjects):
    """A landing place that refuses everything after some objects."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.left = after
        self._lock = threading.Lock()

    def put_new(self, key: str, body: bytes) -> bool:
        if key.startswith("things/"):
            with self._lock:
                self.left -= 1
                if self.left < 0:
                    raise SourceError(self.url(key), "the disk is full")
        return super().put_new(key, body)


def run(table: StreamedTable, objects: Any, **more: Any) -> Scanned:
    options: dict[str, Any] = {"segments": 2, "object_bytes": 1, "consumer_from": "trim-horizon"}
    return backfill_scan(table.client, objects, THINGS, table.name, **(options | more))


def landed(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("things/dt=*/HH=*/*.ndjson.gz")):
        yield from map(json.loads, gzip.decompress(path.read_bytes()).splitlines())


def slow_pages(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """Pages of a few items each, without waiting for them."""
    monkeypatch.setattr(ReadLimit, "page", lambda *_: {"Limit": items})


def toggle_stream(table: StreamedTable) -> None:
    table.client.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    table.client.update_table(
        TableName=table.name,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def test_every_item_lands_once_with_the_text_that_the_writer_would_give_it(
    table: StreamedTable, tmp_path: Path
) -> None:
    names = [f"i{n:03d}" for n in range(300)]
    table.put(*names)
    item = {
        "id": {"S": "whole"},
        "n": {"N": "12345678901234567890123456789012345678"},
        "set": {"NS": ["10", "9", "-1"]},
        "bytes": {"B": b"\x00\xff"},
        "in": {"M": {"list": {"L": [{"NULL": True}, {"BOOL": False}]}}},
        "_sequence": {"S": "mine"},
        "is_deleted": {"BOOL": True},
        "empty": {"S": ""},
    }
    table.client.put_item(TableName=table.name, Item=item)
    seen: list[tuple[int, int]] = []
    done = run(table, FolderObjects(tmp_path), on_progress=lambda *told: seen.append(told))

    records = {r["id"]: r for r in landed(tmp_path)}
    assert Counter(r["id"] for r in landed(tmp_path)) == Counter([*names, "whole"])
    assert (done.items, done.resumed) == (301, False)
    assert seen[0][0] == 0
    assert seen[-1] == (301, 301)
    assert {r["_sequence"] for r in records.values()} == {done.sequence}
    assert {(r["_eventName"], r["is_deleted"]) for r in records.values()} == {("SNAPSHOT", False)}
    assert len({r["_eventID"] for r in records.values()}) == 301
    whole = records["whole"]
    for name in ("n", "set", "bytes", "in", "empty"):
        assert whole[name] == json.loads(attribute_json(item[name]))
    assert (whole["___sequence"], whole["__is_deleted"]) == ("mine", True)
    assert whole["updated_at"] == whole["_approxStreamTs"]


def test_objects_end_at_their_size_and_not_before(
    table: StreamedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put(*(f"i{n}" for n in range(60)))
    slow_pages(monkeypatch, 5)
    many = run(table, FolderObjects(tmp_path), object_bytes=1, segments=1)
    few = run(table, FolderObjects(tmp_path), object_bytes=1 << 20, segments=1)
    assert (many.objects, few.objects) == (12, 1)


def test_a_scan_of_nothing_lands_nothing_and_is_done(table: StreamedTable, tmp_path: Path) -> None:
    assert run(table, FolderObjects(tmp_path)).items == 0
    assert not list(landed(tmp_path))


def test_a_resumed_scan_goes_on_behind_its_last_objects_as_an_attempt_of_its_own(
    table: StreamedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"i{n:03d}" for n in range(100)}
    table.put(*names)
    slow_pages(monkeypatch, 10)
    with pytest.raises(SourceError, match="the disk is full"):
        run(table, Dies(tmp_path, 2), segments=1)
    first = [(r["id"], r["_sequence"]) for r in landed(tmp_path)]
    assert len(first) == 20

    # The number of segments is the plan's: another one would cut the table elsewhere.
    done = run(table, FolderObjects(tmp_path), segments=7)
    records = [(r["id"], r["_sequence"]) for r in landed(tmp_path)]
    assert {name for name, _ in records} == names
    assert done.resumed
    assert done.sequence.endswith("/0002")
    assert {s for _, s in records} == {done.sequence, done.sequence[:-1] + "1"}
    assert len(json.loads((tmp_path / next(tmp_path.rglob("plan.json"))).read_text())["keys"]) == 1
    assert len(list(tmp_path.rglob("segments/*.json"))) == 1
    # Done, so the next one is a new snapshot.
    assert run(table, FolderObjects(tmp_path)).sequence.rpartition("/")[0] > done.sequence.rpartition("/")[0]


def test_a_resumed_scan_segment_reads_a_key_twice_as_two_changes(
    table: StreamedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between landing an object and writing the position behind it."""
    table.put(*(f"i{n:03d}" for n in range(20)))
    slow_pages(monkeypatch, 10)
    real = FolderObjects.put

    def dies(self: FolderObjects, key: str, body: bytes) -> None:
        if "/segments/" in key:
            raise SourceError(key, "killed")
        real(self, key, body)

    with monkeypatch.context() as patched:
        patched.setattr(FolderObjects, "put", dies)
        with pytest.raises(SourceError, match="killed"):
            run(table, FolderObjects(tmp_path), segments=1)
    run(table, FolderObjects(tmp_path), segments=1)
    seen = Counter(r["id"] for r in landed(tmp_path))
    assert set(seen.values()) == {1, 2}
    assert len({(r["id"], r["_sequence"]) for r in landed(tmp_path)}) == sum(seen.values())


def test_a_killed_process_is_gone_on_with(aws: LocalAws, table: StreamedTable, tmp_path: Path) -> None:
    names = {f"i{n:04d}" for n in range(400)}
    table.put(*names)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), table.name], env=os.environ | aws.environment
    )
    patience = time.monotonic() + 60
    while not any(landed(tmp_path)) and time.monotonic() < patience:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len({r["id"] for r in landed(tmp_path)})
    assert 0 < before < 400
    assert run(table, FolderObjects(tmp_path)).resumed
    assert {r["id"] for r in landed(tmp_path)} == names
    assert not [
        p for p in tmp_path.glob("things/**/*") if p.is_file() and not p.name.endswith(".ndjson.gz")
    ] or (
        # What the killed process was writing has a name that readers pass over.
        all(p.name.startswith(".") for p in tmp_path.glob("things/**/*.part"))
    )


def test_a_scan_stops_when_the_stream_was_switched_off_and_on(
    table: StreamedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put("a", "b")
    with pytest.raises(SourceError, match="the disk is full"):
        run(table, Dies(tmp_path, 0))
    toggle_stream(table)
    with pytest.raises(StreamChangedError, match="--restart"):
        run(table, FolderObjects(tmp_path))
    assert run(table, FolderObjects(tmp_path), restart=True).items == 2

    # While it runs: the last look is behind the last page.
    monkeypatch.setattr(
        scan._Scan, "run", lambda self, real=scan._Scan.run: (real(self), toggle_stream(table))[0]
    )
    with pytest.raises(StreamChangedError):
        run(table, FolderObjects(tmp_path))


def test_a_scan_is_not_gone_on_with_if_the_stream_was_not_landed_since_its_start(
    table: StreamedTable, tmp_path: Path
) -> None:
    table.put("a", "b")
    with pytest.raises(SourceError, match="the disk is full"):
        run(table, Dies(tmp_path, 0))
    time.sleep(1.1)
    later = datetime.now(UTC).isoformat()
    with pytest.raises(SnapshotRefusedError, match="changes in between are in neither"):
        run(table, FolderObjects(tmp_path), consumer_from=later)
    assert not list(landed(tmp_path))


@pytest.mark.parametrize("kind", ["B", "N"])
def test_a_scan_goes_on_behind_a_key_of_any_type(
    aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    client = aws.client("dynamodb")
    name = f"typed-{kind}-{tmp_path.name}".lower()
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": kind}],  # type: ignore[typeddict-item]
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    table = StreamedTable(client, name, "")
    for n in range(30):
        value: Any = {"B": bytes([n, 255 - n])} if kind == "B" else {"N": str(n * 10**20)}
        client.put_item(TableName=name, Item={"id": value})
    slow_pages(monkeypatch, 5)
    with pytest.raises(SourceError):
        run(table, Dies(tmp_path, 2), segments=1)
    run(table, FolderObjects(tmp_path))
    assert len({str(r["id"]) for r in landed(tmp_path)}) == 30


def test_another_tables_scan_is_not_gone_on_with(aws: LocalAws, table: StreamedTable, tmp_path: Path) -> None:
    table.put("a")
    with pytest.raises(SourceError):
        run(table, Dies(tmp_path, 0))
    client, other = aws.client("dynamodb"), f"{table.name}-2"
    client.create_table(
        TableName=other,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    assert not run(StreamedTable(client, other, ""), FolderObjects(tmp_path)).resumed


def test_what_leaves_a_gap_or_is_another_table_is_refused_before_anything_is_read(
    table: StreamedTable, tmp_path: Path
) -> None:
    objects = FolderObjects(tmp_path)
    with pytest.raises(SnapshotRefusedError, match="is landed since 2999"):
        run(table, objects, consumer_from="2999-01-01T00:00:00Z")
    with pytest.raises(SnapshotRefusedError, match="--consumer-from"):
        run(table, objects, consumer_from=None)
    calls = Table("calls", "calls", ("call_id",), (Column("call_id", "string", "Id.", "callId"),), "Calls.")
    with pytest.raises(ConfigurationError, match="has the key id"):
        backfill_scan(table.client, objects, calls, table.name, consumer_from="trim-horizon")
    with pytest.raises(SourceError, match=r"(?i)not found"):
        backfill_scan(table.client, objects, THINGS, "no-such-table", consumer_from="trim-horizon")
    assert not list(tmp_path.iterdir())


def test_reads_are_shared_out_to_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(scan.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(scan.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    limit, expected, began = ReadLimit(10), 1.0, []
    for units in (1, 20, 20, 5, 5):
        limit.wait(expected)
        began.append(now[0] - 100)
        limit.used(expected, units)
        expected = units
    # Each begins once all that was read before it has been paid for.
    assert began == pytest.approx([0, 0.1, 2.1, 4.1, 4.6])
    assert limit.page(100, 20) == {"Limit": 50}
    assert limit.page(1, 400) == {"Limit": 1}
    assert ReadLimit(None).page(100, 20) == {}
