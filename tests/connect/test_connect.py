"""The streams of every table, through a Spark Connect server, under the limits of serverless compute.

What the server has made is compared with what the classic session makes of the same landing. One server and
one client run for all of these tests; each test looks at one thing that they have seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.connect.client import SETTABLE
from tests.connect.content import places, tables, views
from tests.connect.landed import FLOOR, land
from tests.connect.server import LIMITS, Server, running
from tests.local.support import assert_listens_on_loopback_alone
from tests.spark.support import Lake

from lakehouse.catalog.bronze import WRITER_QUARANTINE
from lakehouse.gold.followers import FOLLOWERS
from lakehouse.ingest import floors
from lakehouse.tables import TABLES
from lakehouse.tables.scorecards import SCORECARDS

pytestmark = [pytest.mark.extra, pytest.mark.alone, pytest.mark.timeout(1800)]
"""A server, its client and a classic session at once: three minutes."""

ROOT = Path(__file__).resolve().parents[2]
STREAMS = [*dict.fromkeys(name for table in TABLES for name in table.sources), WRITER_QUARANTINE]
SECRET = "a credential of the client"


@dataclass(frozen=True)
class Seen:
    """What the client has seen, and the server while it still runs.

    made: what tables and views hold that the server has made. classic: those of the classic session's lake.
    """

    found: dict[str, Any]
    made: dict[str, list[str]]
    classic: dict[str, list[str]]
    server: Server


@pytest.fixture(scope="module")
def seen(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("connect")
    with running(folder / "server") as server:
        lake = Lake(spark, folder / "classic", TABLES, max_files=6)
        land(lake)
        floors.record(spark, lake.settings, SCORECARDS, FLOOR, FLOOR)
        # As on Databricks its tables are managed: nothing but the server arbitrates their commits.
        settings = replace(
            lake.settings,
            bronze="bronze",
            silver="silver",
            gold="gold",
            ops="ops",
            checkpoints=str(folder / "server" / "checkpoints"),
            warehouse=None,
        )
        at = places(settings, folder / "server" / "tables")
        # One after the other: the server waits 10 s for the process of a batch function, and no longer.
        lake.ingest_well()
        classic = tables(spark, places(lake.settings)) | views(spark, lake.settings)
        with _client({"url": server.url, "settings": asdict(settings), "tables": at}, folder) as client:
            status = client.wait(timeout=800)
        log = (folder / "client.log").read_text(encoding="utf-8")
        assert status == 0, f"{log[-6000:]}\n{server.said()[-6000:]}"
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        made = tables(spark, at, found["first"]["versions"]) | found["first"]["views"]
        yield Seen(found, made, classic, server)


@contextmanager
def _client(told: dict[str, Any], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "given.json").write_text(json.dumps(told), encoding="utf-8")
    with (folder / "client.log").open("wb") as log:
        client = subprocess.Popen(
            [sys.executable, "-m", "tests.connect.client", folder / "given.json", folder / "report.json"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(LIMITS), "AWS_SECRET_ACCESS_KEY": SECRET},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield client
    finally:
        client.kill()
        client.wait()


# --- the streams ----------------------------------------------------------------------------------------


def test_every_stream_of_every_table_ends_well_and_has_had_work(seen: Seen) -> None:
    assert seen.found["session"].startswith("pyspark.sql.connect.")
    for run in ("first", "second"):
        assert seen.found[run]["streams"] == dict.fromkeys([*STREAMS, *FOLLOWERS]), run
    assert all(seen.found["first"]["records"][stream] > 0 for stream in STREAMS)


def test_every_table_and_view_is_what_the_classic_session_makes_of_the_same_landing(seen: Seen) -> None:
    assert seen.made.keys() == seen.classic.keys()
    for name, rows in seen.classic.items():
        assert seen.made[name] == rows, name


def test_the_landing_gives_every_table_something_to_hold(seen: Seen) -> None:
    full = ("bronze/", "silver/")
    assert not [name for name, rows in seen.classic.items() if name.startswith(full) and len(rows) == 1]
    quarantine = [json.loads(row) for row in seen.classic["ops/quarantine"][1:]]
    reasons = {row["reason"] for row in quarantine}
    refused = {json.loads(row)["reason"] for row in seen.classic["ops/refused"][1:]}
    assert refused == {"missing_key", "below_tombstone_floor", "unknown_document_shape"}
    assert {"not_json", "not_utf8", "not_an_object", "too_large", *refused} <= reasons
    alerts = [json.loads(row) for row in seen.classic["silver/alerts"][1:]]
    assert len({alert["alert_type"] for alert in alerts}) == 4
    deleted = [row for row in seen.classic["silver/calls"][1:] if json.loads(row)["is_deleted"]]
    assert len(deleted) == 2
    batches = [json.loads(row) for row in seen.classic["ops/batches"][1:]]
    assert {row["stream"] for row in batches} == set(STREAMS)
    assert {row["batch_id"] for row in batches if row["stream"] == "calls"} == {0, 1}


def test_a_second_run_commits_nothing_though_a_batch_is_done_again(seen: Seen) -> None:
    first, second = seen.found["first"], seen.found["second"]
    assert seen.found["done again"] is True
    assert first["versions"]["silver/scorecards"] > 0
    assert second["versions"] == first["versions"]
    assert set(second["records"].values()) == {0}


def test_what_takes_longer_than_a_floor_may_be_relied_on_is_given_up(seen: Seen) -> None:
    assert "was given up" in seen.found["given up"]


# --- the limits -----------------------------------------------------------------------------------------

NO_CACHE = "[NOT_SUPPORTED_WITH_SERVERLESS]"
NO_SETTING = "[CONFIG_NOT_AVAILABLE]"
REFUSED = {
    NO_CACHE: (
        "cache",
        "persist",
        "unpersist",
        "checkpoint",
        "localCheckpoint",
        "catalog.cacheTable",
        "catalog.uncacheTable",
        "catalog.clearCache",
        "catalog.refreshTable",
        "catalog.refreshByPath",
        "createGlobalTempView",
        "CACHE TABLE t AS SELECT 1",
        "CACHE LAZY TABLE t AS SELECT 1",
        "UNCACHE TABLE t",
        "CLEAR CACHE",
        "REFRESH TABLE t",
        "CREATE OR REPLACE GLOBAL TEMPORARY VIEW v AS SELECT 1",
    ),
    NO_SETTING: ("conf.set", "conf.unset", "SET spark.sql.adaptive.enabled = true", "RESET"),
    "[JVM_ATTRIBUTE_NOT_SUPPORTED]": ("sparkContext", "_jvm"),
    "[NOT_IMPLEMENTED]": ("rdd",),
    "[CAST_INVALID_INPUT]": ("a cast that fails",),
}


@pytest.mark.parametrize("where", ["client", "worker"])
def test_what_serverless_refuses_is_refused(seen: Seen, where: str) -> None:
    tried = seen.found["client"] if where == "client" else seen.found["worker"]["tried"]
    expected = {what: condition for condition, whats in REFUSED.items() for what in whats}
    allowed = {what: "ran" for what in tried if what.startswith("set ")}
    assert allowed.keys() == {f"set {name}" for name in SETTABLE}
    assert {what: _condition(told) for what, told in tried.items()} == expected | allowed


def _condition(told: str) -> str:
    """The error condition in what an attempt met."""
    return f"[{told.partition('[')[2].partition(']')[0]}]" if "[" in told else told


def test_the_limits_are_on_in_every_worker_of_a_batch_function(seen: Seen) -> None:
    said = seen.server.said()
    workers = said.count("Streaming ForeachBatch worker is starting")
    assert workers >= 2 * len(STREAMS) + 1
    assert said.count("The limits of serverless compute are on: -m pyspark.sql.connect.streaming") >= workers


def test_a_batch_function_runs_in_a_process_of_its_own_without_the_clients_environment(seen: Seen) -> None:
    worker = seen.found["worker"]
    assert worker["session"].startswith("pyspark.sql.connect.")
    assert worker["process"] not in {seen.found["process"], seen.server.process.pid, os.getpid()}
    assert worker["rows"] == 1
    assert SECRET not in worker["environment"].values()
    ours = {n for n in worker["environment"] if n.startswith(("AWS_", "DATABRICKS_", "LAKEHOUSE_"))}
    assert ours == set()


def test_a_batch_function_may_hold_plain_data_alone(seen: Seen) -> None:
    refused = "[STREAMING_CONNECT_SERIALIZATION_ERROR]"
    tried = {what: _condition(told) for what, told in seen.found["closures"].items()}
    assert tried == dict.fromkeys(("a session", "a frame", "a lock"), refused) | {"plain data": "ran"}


def test_an_interval_is_refused_and_the_stream_says_so(seen: Seen) -> None:
    errors = seen.found["interval"]
    assert errors.keys() == {"calls", WRITER_QUARANTINE}
    for stream, error in errors.items():
        assert error is not None, stream
        assert error.startswith("StreamError:")
        assert "INFINITE_STREAMING_TRIGGER_NOT_SUPPORTED" in error


# --- errors ---------------------------------------------------------------------------------------------


def test_a_commit_that_met_another_writers_is_made_again(seen: Seen) -> None:
    conflict = seen.found["conflict"]
    assert len(conflict["errors"]) == 1
    assert conflict["errors"][0].startswith("[DELTA_CONCURRENT_")
    assert conflict["rows"] == [[1, "new and merged"]]


def test_a_lease_that_is_a_row_is_held_once_and_given_up(seen: Seen) -> None:
    lease = seen.found["lease"]
    assert (lease["first"], lease["after it was given up"]) == ("ran", "ran")
    assert lease["while it is held"].startswith(
        "LeaseHeldError: The checkpoint of 'calls' is held by process"
    )


def test_a_rebuild_writes_what_differs_and_nothing_else(seen: Seen) -> None:
    rebuilt = seen.found["rebuilt"]
    assert rebuilt["wrong"] != rebuilt["held"] == seen.made["silver/calls"]
    assert rebuilt["written"] == 2


def test_a_torn_object_is_named(seen: Seen) -> None:
    torn = seen.found["torn"]
    assert torn["error"] == "CorruptObjectError"
    assert torn["path"] in torn["message"]


def test_the_server_listens_on_this_machine_alone(seen: Seen) -> None:
    assert_listens_on_loopback_alone(seen.server.process.pid)
