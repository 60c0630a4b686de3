"""The commands as a user types them: real processes, real Spark, real files."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import command_process
from tests.local.support import create_table

from lakehouse.errors import LeaseHeldError
from lakehouse.ingest.lease import FileLease
from lakehouse.local.aws import LocalAws

pytestmark = pytest.mark.timeout(600)
"""Each command starts a Spark of its own: on a machine with other work to do that can take minutes."""

LABEL = "2025-10-08T14:00:00.000"
HOUR = Path("dt=2025-10-08/HH=14")


def record(number: int, call: str, *, deleted: bool = False, **item: Any) -> str:
    metadata = {
        "_eventID": f"e{number}",
        "_eventName": "REMOVE" if deleted else "INSERT",
        "_sequence": f"{LABEL}/{number:040d}",
        "_approxStreamTs": 1_759_932_000_000 + number,
        "_ingestTs": 1_759_932_001_000,
        "is_deleted": deleted,
    }
    return json.dumps(metadata | {"callId": call} | item)


def land(landing: Path, name: str, lines: list[str], source: str = "calls") -> Path:
    path = landing / source / HOUR / f"{name}.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return path


def lakehouse(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=500,
    )


class Commands:
    """`lakehouse`, in one process for all of the command lines: Spark starts once."""

    def __init__(self, cwd: Path) -> None:
        program = Path(command_process.__file__)
        self.errors = (cwd / "command_process.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, program],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def __call__(self, *arguments: str | Path) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        words = [*map(str, arguments)]
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, Path(self.errors.name).read_text()
        return subprocess.CompletedProcess(words, *json.loads(answer))

    def end(self) -> None:
        """Let the process end by itself, Spark with it."""
        self.process.communicate(timeout=60)
        self.errors.close()


def rows(done: Any) -> list[dict[str, Any]]:
    """What a query with `--format json` has found."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def again(tmp_path: Path) -> Iterator[Commands]:
    """Command lines after the first ones, in a process that finds the warehouse as those left it."""
    commands = Commands(tmp_path)
    yield commands
    commands.end()


def counts(done: Any, table: str) -> list[int]:
    """The numbers of a table's line, without the seconds."""
    line = next(line for line in done.stdout.splitlines() if line.startswith(table))
    return [int(cell.replace(",", "")) for cell in line.split()[1:-1]]


@pytest.mark.extra
def test_the_demo_ends_in_agreement_and_leaves_a_warehouse_to_query(tmp_path: Path) -> None:
    done = lakehouse(
        "demo", "--warehouse", "made", "--calls", "150", cwd=tmp_path, env={"AWS_PROFILE": "nope"}
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The tables and the source agree." in done.stdout
    assert "✗" not in done.stdout
    assert '"_aws"' not in done.stdout + done.stderr
    log = [json.loads(line) for line in (tmp_path / "made" / "logs" / "writer.log").read_text().splitlines()]
    assert {line["Source"] for line in log if "_aws" in line} == {
        "calls",
        "scorecards",
        "sentiment_items",
        "metric_events",
    }
    for title in ("The analysts' answer", "Scorecards", "Dashboard items", "Coaching insights"):
        assert title in done.stdout
    shown = """
      SELECT count_if(tag IS NULL) AS items, count_if(tag IS NOT NULL) AS tag_rows,
        (SELECT count(*) FROM gold.coaching_insights) AS insights,
        (SELECT count(DISTINCT shape) FROM silver.transcripts) AS shapes,
        (SELECT sort_array(collect_set(ifnull(_delete_kind, ''))) FROM silver.calls WHERE is_deleted) AS kinds
      FROM gold.dashboard_items
    """
    (found,) = rows(lakehouse("sql", "--warehouse", "made", "--format", "json", shown, cwd=tmp_path))
    assert found["kinds"] == ["ttl", "user"]
    assert found["tag_rows"] > found["items"] > 15
    assert found["insights"] > 3
    assert found["shapes"] == 3


@pytest.mark.extra
def test_a_day_of_trouble_each_thing_ends_where_it_should(tmp_path: Path, again: Commands) -> None:
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    markup = "\x1b[31m<b>[bold]'\"\\"
    land(landing, "a", [record(1, "c1", payload={"agentName": markup}), record(2, "c2"), "no json"])
    land(landing, "b", [record(3, "c2", deleted=True)])
    raw = {"source": "calls", "reason": "bad_number", "detail": "at payload.x", "record": {"eventID": "9"}}
    quarantined = landing / "_quarantine" / "calls" / HOUR / "q.ndjson.gz"
    quarantined.parent.mkdir(parents=True)
    quarantined.write_bytes(gzip.compress(json.dumps(raw).encode() + b"\n"))

    done = lakehouse("ingest", "--landing", "landing", "--warehouse", "warehouse", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    #                               files records upserts deletes stale quarantined
    assert counts(done, "calls") == [2, 4, 1, 1, 1, 1]
    assert counts(done, "writer_quarantine") == [1, 1, 0, 0, 0, 1]

    # A torn object stops its own table only, and says what to do; nothing of its batch is applied.
    torn = land(landing, "torn", [record(10 + i, f"t{i}") for i in range(50)])
    torn.write_bytes(torn.read_bytes()[:-30])
    land(landing, "good", [record(99, "c9")])
    land(landing, "s", [record(5, "x").replace('"callId"', '"guid"')], source="scorecards")
    done = again("ingest", "--landing", "landing", "--warehouse", "warehouse")
    assert done.returncode == 1
    assert "torn.ndjson.gz" in done.stderr
    assert counts(done, "scorecards") == [1, 1, 1, 0, 0, 0]
    assert counts(done, "calls") == [0, 0, 0, 0, 0, 0]

    command = shlex.split(done.stderr.split("lakehouse landing set-aside ")[1])[0]
    assert again("landing", "set-aside", command).returncode == 0
    done = again("ingest", "calls", "--landing", "landing", "--warehouse", "warehouse")
    assert done.returncode == 0, done.stderr
    assert counts(done, "calls") == [1, 1, 1, 0, 0, 0]

    with FileLease(str(warehouse / "checkpoints" / "bronze" / "calls"), "calls"):
        done = again("ingest", "calls", "--landing", "landing", "--warehouse", "warehouse")
    assert done.returncode == 1
    assert f"held by process {os.getpid()}" in done.stderr

    before = {p: p.stat().st_mtime_ns for p in (warehouse / "tables").rglob("_delta_log/*.json")}
    done = again("ingest", "--landing", "landing", "--warehouse", "warehouse")
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in (warehouse / "tables").rglob("_delta_log/*.json")} == before

    both = """
      SELECT 'live' AS what, call_id AS a, agent_name AS b, NULL AS raw FROM gold.calls
      UNION ALL SELECT 'quarantined', source, reason, raw FROM ops.quarantine ORDER BY 1, 2, 3
    """
    found = rows(again("sql", "--warehouse", "warehouse", "--format", "json", both))
    assert [(r["what"], r["a"], r["b"]) for r in found] == [
        ("live", "c1", markup),
        ("live", "c9", None),
        ("quarantined", "calls", "bad_number"),
        ("quarantined", "calls", "not_json"),
    ]
    assert json.loads(found[2]["raw"]) == raw

    refused = again("sql", "--warehouse", warehouse, "DELETE FROM silver.calls")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "only reads" in refused.stderr
    listed = again("tables", "--warehouse", warehouse, "--format", "json")
    calls = next(json.loads(line) for line in listed.stdout.splitlines() if '"calls"' in line)
    assert (calls["key"], calls["rows"], calls["tombstones"]) == ("call_id", 2, 1)


@pytest.mark.extra
def test_ingest_backfill_and_landing_check_work_on_an_s3_server(tmp_path: Path) -> None:
    with LocalAws() as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="landing")
        folder = f"pre/fix/calls/{HOUR}"
        s3.put_object(
            Bucket="landing",
            Key=f"{folder}/a.ndjson.gz",
            Body=gzip.compress(record(1, "c1").encode() + b"\n"),
        )
        torn = f"s3://landing/{folder}/torn.ndjson.gz"
        s3.put_object(Bucket="landing", Key=f"{folder}/torn.ndjson.gz", Body=gzip.compress(b"x" * 99)[:-9])
        check = lakehouse(
            "landing",
            "check",
            "--landing",
            "s3://landing/pre/fix",
            "--format",
            "json",
            cwd=tmp_path,
            env=aws.environment,
        )
        assert check.returncode == 1, check.stderr
        assert [(f["kind"], f["path"]) for f in map(json.loads, check.stdout.splitlines())] == [
            ("torn", torn)
        ]
        aside = lakehouse("landing", "set-aside", torn, cwd=tmp_path, env=aws.environment)
        assert aside.returncode == 0, aside.stderr
        s3.get_object(Bucket="landing", Key=f"pre/fix/_set_aside/calls/{HOUR}/torn.ndjson.gz")

        create_table(aws.client("dynamodb"), "prod-calls", {"callId": "S"})
        for name in ("c1", "c2"):
            aws.client("dynamodb").put_item(TableName="prod-calls", Item={"callId": {"S": name}})
        arguments = ("backfill", "calls", "--table-name", "prod-calls", "--landing", "s3://landing/pre/fix")
        refused = lakehouse(*arguments, cwd=tmp_path, env=aws.environment)
        assert refused.returncode == 1
        assert "--consumer-from TIME" in refused.stderr
        assert "Traceback" not in refused.stderr
        arguments += ("--consumer-from", "trim-horizon", "--format", "json")
        filled = lakehouse(*arguments, cwd=tmp_path, env=aws.environment)
        assert filled.returncode == 0, filled.stderr
        assert json.loads(filled.stdout)["items"] == 2

        arguments = ("ingest", "--landing", "s3://landing/pre/fix", "--warehouse", "w")
        done = lakehouse(*arguments, cwd=tmp_path, env=aws.environment)
        assert done.returncode == 0, done.stderr
        # The snapshot is of a later stream than the record.
        _, *numbers = counts(done, "calls")
        assert numbers == [3, 2, 0, 1, 0]


@pytest.mark.extra
def test_following_holds_its_checkpoints_and_ends_well_when_it_is_asked_to(tmp_path: Path) -> None:
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    landing.mkdir()
    arguments = ["ingest", "calls", "--landing", str(landing), "--warehouse", str(warehouse)]
    following = subprocess.Popen(
        [sys.executable, "-m", "lakehouse.cli", *arguments, "--follow", "1 second"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lease = warehouse / "checkpoints" / "bronze" / "calls" / "lease"
        _wait(lambda: lease.exists() and (lease.parent / "checkpoint" / "metadata").exists())
        land(landing, "late", [record(1, "c1")])
        refused = pytest.raises(LeaseHeldError, match=f"held by process {following.pid}")
        with refused, FileLease(str(lease.parent), "calls"):
            pass
        _wait(lambda: list((lease.parent / "checkpoint/commits").glob("0")))
    finally:
        following.send_signal(signal.SIGTERM)
        out, err = following.communicate(timeout=240)
    assert following.returncode == 0, err
    assert "Traceback" not in err
    assert [line.split()[:3] for line in out.splitlines() if line.startswith("calls")] == [
        ["calls", "1", "1"]
    ]
    with FileLease(str(lease.parent), "calls"):
        pass


def _wait(ready: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"not ready after {seconds} s")
        time.sleep(0.2)
