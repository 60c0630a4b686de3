"""`lakehouse backfill --run` against a workspace over HTTP: what it starts, waits for and reports."""

from __future__ import annotations

import _thread
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from databricks.sdk.clock import RealClock
from rich.console import Console
from tests.workspace.fake_workspace import WAREHOUSE, FakeWorkspace, Fault, Script

from lakehouse import cli
from lakehouse.aws import client as aws_client
from lakehouse.aws import scan
from lakehouse.aws.objects import Objects
from lakehouse.aws.scan import Scanned
from lakehouse.aws.snapshot import Snapshot, record_complete, state_folder, to_ms
from lakehouse.cli import backfill, job_run, show
from lakehouse.databricks import workspace as client
from lakehouse.errors import JobNotFoundError, LakehouseError, WorkspaceError

JOB = "ingest_available_now"
RUN_NOW, RUNS_GET = "/api/2.2/jobs/run-now", "/api/2.2/jobs/runs/get"
LABEL, TAKEN = "2026-01-01T00:00:00.000", "2026-01-02T00:00:00.000Z"
NAMES = ["aa.ndjson.gz", "bb.ndjson.gz"]

Backfill = Callable[..., Result]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pause is as long as it is meant to be; those of the SDK's retries are noted."""
    pauses: list[float] = []
    really = RealClock.sleep

    def short(clock: RealClock, seconds: float) -> None:
        pauses.append(seconds)
        really(clock, 0.01)

    monkeypatch.setattr(RealClock, "sleep", short)
    monkeypatch.setattr(client, "POLL_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(client, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(client, "GONE_SECONDS", 0.05)
    return pauses


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scan that lands two objects at once; the tables whose items it landed."""
    scanned: list[str] = []

    def backfill_scan(_dynamodb: Any, landing: Objects, table: Any, _name: str, **_more: Any) -> Scanned:
        snapshot = Snapshot(LABEL, to_ms(TAKEN), 1)
        keys = [f"{table.source}/dt=2026-01-02/HH=00/{name}" for name in NAMES]
        record_complete(landing, state_folder(table.source, snapshot), snapshot, keys)
        scanned.append(table.name)
        return Scanned(12, len(keys), 3456, snapshot.sequence, False, 0.5)

    monkeypatch.setattr(scan, "backfill_scan", backfill_scan)
    monkeypatch.setattr(aws_client, "aws_client", lambda _service: None)
    return scanned


@pytest.fixture
def run(
    workspace: FakeWorkspace, landed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Backfill:
    for module in (show, backfill, job_run):
        monkeypatch.setattr(module, "err", Console(stderr=True, width=10_000), raising=False)
    monkeypatch.setattr(show, "out", Console(width=10_000))
    (tmp_path / "landing").mkdir()

    def call(*options: str, table: str = "calls") -> Result:
        place = ["--table-name", "Calls", "--landing", str(tmp_path / "landing"), "--consumer-from", LABEL]
        return CliRunner().invoke(cli.cli, ["backfill", table, *place, "--run", *options])

    return call


def row(result: Result) -> dict[str, Any]:
    """The one row that `--format json` prints."""
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def ended_badly(**more: Any) -> Script:
    return Script(result="FAILED", code="RUN_EXECUTION_ERROR", type="CLIENT_ERROR", **more)


# --- a run that is started ----------------------------------------------------------------------------


def test_a_run_that_succeeds(run: Backfill, workspace: FakeWorkspace, landed: list[str]) -> None:
    job_id = workspace.add_job(JOB)

    done = run()

    assert done.exit_code == 0, done.output
    assert landed == ["calls"]
    (request,) = workspace.asked(RUN_NOW)
    assert request["job_id"] == job_id
    assert request["job_parameters"] == {"tables": "calls", "leave_held": "false"}
    assert 0 < len(request["idempotency_token"]) <= 64
    (made,) = workspace.runs.values()
    page = f"{workspace.url}/?o=900800700600#job/{job_id}/run/{made.id}"
    assert f"SUCCESS after 1 min 1 s: run {made.id} of job {JOB}. {page}" in done.stdout
    states = [line.split()[0] for line in done.stderr.splitlines()]
    assert states == ["Run", "PENDING", "RUNNING", "TERMINATED"]
    assert page in done.stderr


def test_machines_get_one_row_with_what_landed_and_what_became_of_it(
    run: Backfill, workspace: FakeWorkspace
) -> None:
    workspace.add_job(JOB)
    told = row(run("--format", "json"))
    (made,) = workspace.runs.values()
    assert (told["items"], told["objects"], told["seconds"]) == (12, 2, 0.5)
    assert (told["applied"], told["by"], told["run_id"]) == (True, "run", made.id)
    assert (told["run_state"], told["run_result"], told["run_seconds"]) == ("TERMINATED", "SUCCESS", 61.0)
    assert told["page"].endswith(f"/run/{made.id}")
    assert told["failures"] == []

    head, line = run("--format", "csv").stdout.splitlines()
    assert head.count(",") == line.count(",")
    assert "run_result" in head


def test_a_run_that_fails_tells_the_tasks_error_and_what_it_printed(
    run: Backfill, workspace: FakeWorkspace
) -> None:
    printed = "\n".join(
        [*(f"line {n}" for n in range(40)), "calls: The checkpoint of 'calls' is held \x1b[31m"]
    )
    workspace.add_job(
        JOB,
        tasks=("setup", "ingest"),
        script=ended_badly(
            message="Task ingest failed with message: Workload failed, see run output for details.",
            tasks={"setup": ("SUCCESS", "", ""), "ingest": ("FAILED", "SystemExit: 1", printed)},
        ),
    )

    done = run()

    assert done.exit_code == 1
    assert "FAILED after 1 min 1 s" in done.stdout
    assert "RUN_EXECUTION_ERROR: Task ingest failed with message" in done.stdout
    assert "Task ingest: FAILED. SystemExit: 1" in done.stdout
    assert "is held \\x1b[31m" in done.stdout
    assert "line 39" in done.stdout
    assert "line 20" not in done.stdout
    assert "Task setup" not in done.stdout
    again = next(line for line in done.stdout.splitlines() if "databricks jobs run-now" in line)
    assert '"job_parameters": {"tables": "calls", "leave_held": "false"}' in again

    told = row(run("--format", "json"))
    assert told["applied"] is False
    (failure,) = told["failures"]
    assert (failure["task"], failure["result"], failure["error"]) == ("ingest", "FAILED", "SystemExit: 1")


@pytest.mark.parametrize("argument", ["--leave-held", "--leave-held=true"])
def test_a_job_that_ends_well_without_the_checkpoint_proves_nothing(
    run: Backfill, workspace: FakeWorkspace, argument: str
) -> None:
    workspace.add_job(JOB, parameters={"tables": ""}, arguments=(argument,))
    done = run()
    assert done.exit_code == 3
    assert "SUCCESS" in done.stdout
    assert "another run has the checkpoint" in done.stdout


@pytest.mark.parametrize(
    ("result", "code", "kind"),
    [
        ("CANCELED", "USER_CANCELED", "SUCCESS"),
        ("TIMEDOUT", "CANCELED", "CLIENT_ERROR"),
        ("UPSTREAM_FAILED", "SKIPPED", "CLIENT_ERROR"),
        ("SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "SUCCESS"),
        ("INTERNAL_ERROR", "INTERNAL_ERROR", "INTERNAL_ERROR"),
        ("A_RESULT_OF_NEXT_YEAR", "RUN_EXECUTION_ERROR", "CLIENT_ERROR"),
    ],
)
def test_every_other_end_is_told_as_the_api_says_it_and_is_no_success(
    run: Backfill, workspace: FakeWorkspace, result: str, code: str, kind: str
) -> None:
    workspace.add_job(JOB, script=Script(result=result, code=code, type=kind, message="It ended so."))
    done = run("--format", "json")
    assert done.exit_code == 1
    told = row(done)
    # A value that this version of the SDK does not know is lost in it; the code stands for it.
    assert told["run_result"] == (code if result.startswith("A_") else result)
    assert "It ended so." in told["message"]


def test_a_run_that_is_queued_says_why_and_is_waited_for(run: Backfill, workspace: FakeWorkspace) -> None:
    why = "Queued due to reaching the limit of concurrent runs of the job."
    workspace.add_job(JOB, script=Script(states=("QUEUED", "QUEUED", "PENDING", "RUNNING"), queued=why))
    done = run()
    assert done.exit_code == 0
    assert done.stderr.count(f"QUEUED ({why})") == 1


def test_a_job_that_is_at_work_and_does_not_queue_skips_the_run(
    run: Backfill, workspace: FakeWorkspace
) -> None:
    job_id = workspace.add_job(JOB, queue=False)
    workspace.start(job_id, endless=True)
    done = run()
    assert done.exit_code == 1
    assert "MAXIMUM_CONCURRENT_RUNS_REACHED" in done.stdout


def test_a_run_that_takes_longer_than_one_waits_goes_on(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(JOB, script=Script(states=("PENDING",) + ("RUNNING",) * 10_000))
    done = run("--timeout", "0.002", "--format", "json")
    assert done.exit_code == 3
    told = row(done)
    assert told["applied"] is None
    assert told["run_state"] == "RUNNING"
    assert "The run goes on" in told["message"]
    assert f"/run/{told['run_id']}" in told["page"]


def test_ctrl_c_stops_the_waiting_and_says_that_the_run_goes_on(
    run: Backfill, workspace: FakeWorkspace
) -> None:
    workspace.add_job(JOB, script=Script(states=("PENDING",) + ("RUNNING",) * 10_000))
    looks = 0

    def interrupt(_method: str, path: str) -> None:
        nonlocal looks
        looks += path == RUNS_GET
        if path == RUNS_GET and looks == 3:
            _thread.interrupt_main()

    workspace.on_request = interrupt
    done = run()
    assert done.exit_code == 130
    (made,) = workspace.runs.values()
    assert "Stopped waiting. The run goes on." in done.stdout
    assert f"/run/{made.id}" in done.stdout
    assert f"databricks jobs cancel-run {made.id}" in done.stdout
    assert not made.ended


# --- which job ----------------------------------------------------------------------------------------


def test_a_job_with_a_targets_prefix_is_found_among_many(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.page_size = 2
    for n in range(5):
        workspace.add_job(f"other {n}")
    job_id = workspace.add_job(f"[dev zoe] {JOB}")
    workspace.add_job(f"re{JOB}")
    workspace.add_job(f"{JOB}_old")
    done = run()
    assert done.exit_code == 0, done.output
    assert workspace.asked(RUN_NOW)[0]["job_id"] == job_id


def test_the_exact_name_is_meant_first(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(f"[dev zoe] {JOB}")
    workspace.add_job(JOB.upper())
    job_id = workspace.add_job(JOB)
    assert run().exit_code == 0
    assert workspace.asked(RUN_NOW)[0]["job_id"] == job_id


def test_a_job_is_named_by_its_id(run: Backfill, workspace: FakeWorkspace) -> None:
    job_id = workspace.add_job("some name")
    assert run("--job", str(job_id)).exit_code == 0
    assert workspace.asked(RUN_NOW)[0]["job_id"] == job_id


def refused(result: Result, kind: type[LakehouseError] = WorkspaceError) -> str:
    """What an error of ours says, that came before anything was landed or started."""
    assert result.exit_code == 1
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


def test_several_jobs_of_the_name_are_named(
    run: Backfill, workspace: FakeWorkspace, landed: list[str]
) -> None:
    ids = [workspace.add_job(f"[dev {who}] {JOB}") for who in ("ann", "zoe")]
    told = refused(run(), JobNotFoundError)
    assert f"[dev ann] {JOB} ({ids[0]}), [dev zoe] {JOB} ({ids[1]})" in told
    assert "--job ID" in told
    assert not landed
    assert not workspace.runs


def test_a_job_that_is_not_there(run: Backfill, workspace: FakeWorkspace, landed: list[str]) -> None:
    told = refused(run(), JobNotFoundError)
    assert "databricks bundle deploy" in told
    assert workspace.url in told
    near = workspace.add_job("my_Ingest_Available_Now_2")
    assert f"my_Ingest_Available_Now_2 ({near})" in refused(run(), JobNotFoundError)
    refused(run("--job", "123"), JobNotFoundError)
    assert not landed


def test_a_job_that_would_ingest_something_else_is_not_started(
    run: Backfill, workspace: FakeWorkspace, landed: list[str]
) -> None:
    workspace.add_job(JOB, parameters={"max_files": "10"})
    assert "it has no parameter tables" in refused(run())
    assert not landed
    assert not workspace.runs


def test_options_of_the_run_need_the_run(workspace: FakeWorkspace, tmp_path: Path) -> None:
    arguments = ["backfill", "calls", "--table-name", "T", "--landing", str(tmp_path), "--job", "x"]
    result = CliRunner().invoke(cli.cli, arguments)
    assert result.exit_code == 2
    assert "--job: only with --run" in result.output


# --- login --------------------------------------------------------------------------------------------


def test_a_bad_token(
    run: Backfill, workspace: FakeWorkspace, landed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-secret-that-is-none")
    told = refused(run())
    assert "Invalid access token" in told
    assert "databricks auth login" in told
    assert "secret" not in told
    assert not landed


def test_no_login_at_all(
    run: Backfill, workspace: FakeWorkspace, landed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    assert "databricks auth login" in refused(run())
    assert not landed


def test_a_profile_is_used_and_one_that_is_not_there_is_named(
    run: Backfill, workspace: FakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    token = "dapi-of-the-fake-workspace"
    monkeypatch.delenv("DATABRICKS_TOKEN")
    (tmp_path / "databrickscfg").write_text(f"[prod]\nhost = {workspace.url}\ntoken = {token}\n")
    workspace.add_job(JOB, script=ended_badly())
    done = run("--profile", "prod")
    assert "--profile prod" in done.stdout
    assert len(workspace.runs) == 1
    assert "no nope profile" in refused(run("--profile", "nope"))


def test_access_that_ends_while_waiting_tells_where_the_run_is(
    run: Backfill, workspace: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.workspace import fake_workspace

    workspace.add_job(JOB, script=Script(states=("RUNNING",) * 10_000))

    def expire(_method: str, path: str) -> None:
        if path == RUNS_GET:
            monkeypatch.setattr(fake_workspace, "TOKEN", "another one")

    workspace.on_request = expire
    done = run("--format", "json")
    told = refused(done)
    (made,) = workspace.runs.values()
    assert "Log in" in told
    assert f"/run/{made.id}" in told
    assert row(done)["items"] == 12
    assert row(done)["applied"] is None


# --- trouble on the way -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["429", "503", "drop"])
@pytest.mark.parametrize("path", ["/api/2.2/jobs/list", RUN_NOW, RUNS_GET])
def test_the_sdk_repeats_what_is_throttled_or_broken(
    run: Backfill, workspace: FakeWorkspace, quick: list[float], kind: Any, path: str
) -> None:
    workspace.add_job(JOB)
    workspace.faults.append(Fault(path, kind, times=2))
    assert run().exit_code == 0
    assert len(workspace.runs) == 1
    assert len(quick) == 2
    if kind == "429":
        assert all(1 <= pause < 2.1 for pause in quick)  # what Retry-After says, and some chance


def test_a_start_whose_answer_is_lost_starts_one_run(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(JOB)
    workspace.faults.append(Fault(RUN_NOW, "drop_after", times=2))
    assert run().exit_code == 0
    requests = workspace.asked(RUN_NOW)
    assert len(requests) == 3
    assert len({request["idempotency_token"] for request in requests}) == 1
    assert len(workspace.runs) == 1


def test_two_commands_start_two_runs(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(JOB)
    assert [run().exit_code, run().exit_code] == [0, 0]
    assert len(workspace.runs) == 2


@pytest.mark.parametrize("kind", ["500", "502"])
def test_trouble_in_the_workspace_while_waiting_is_waited_out(
    run: Backfill, workspace: FakeWorkspace, kind: Any
) -> None:
    workspace.add_job(JOB)
    workspace.faults.append(Fault(RUNS_GET, kind, times=3))
    done = run()
    assert done.exit_code == 0, done.output
    assert done.stderr.count("NO_ANSWER") == 1


def test_a_connection_that_is_lost_for_longer_than_the_sdk_tries_is_waited_out(
    run: Backfill, workspace: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 1)
    workspace.add_job(JOB)
    lost = Fault(RUNS_GET, "drop", times=10_000)
    looks = 0

    def lose(_method: str, path: str) -> None:
        nonlocal looks
        if path == RUNS_GET:
            looks += 1
            if looks == 1:
                workspace.faults.append(lost)

    workspace.on_request = lose
    began = client.time.monotonic()

    def told(look: client.Look) -> None:
        if look.state == "NO_ANSWER":
            lost.times = 0

    wait = client.Workspace.wait

    def waiting(self: client.Workspace, run_id: int, *, timeout: float, on_look: Any) -> client.Look:
        return wait(self, run_id, timeout=timeout, on_look=lambda look: (told(look), on_look(look)))

    monkeypatch.setattr(client.Workspace, "wait", waiting)
    done = run()
    assert done.exit_code == 0, done.output
    assert "NO_ANSWER" in done.stderr
    assert client.time.monotonic() - began > 0.9


def test_a_workspace_that_does_not_answer_at_the_end_is_an_error_with_the_runs_page(
    run: Backfill, workspace: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 1)
    workspace.add_job(JOB, script=Script(states=("RUNNING",) * 10_000))

    def lose(_method: str, path: str) -> None:
        if path == RUNS_GET and not workspace.faults:
            workspace.faults.append(Fault(RUNS_GET, "drop", times=10_000))

    workspace.on_request = lose
    told = refused(run("--timeout", "0.005"))
    (made,) = workspace.runs.values()
    assert "does not answer" in told
    assert f"/run/{made.id}" in told


def test_a_host_that_is_not_there(
    run: Backfill, workspace: FakeWorkspace, landed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 1)
    monkeypatch.setattr(client, "PROBE_SECONDS", 1)
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    told = refused(run())
    assert "http://127.0.0.1:9 does not answer" in told
    assert not landed


def test_all_tasks_of_a_large_run_are_looked_at(run: Backfill, workspace: FakeWorkspace) -> None:
    tasks = {f"t{n}": ("SUCCESS", "", "") for n in range(5)} | {"t4": ("FAILED", "ValueError: 4", "")}
    workspace.page_size = 2
    workspace.add_job(JOB, tasks=tuple(tasks), script=ended_badly(tasks=tasks))
    (failure,) = row(run("--format", "json"))["failures"]
    assert (failure["task"], failure["error"]) == ("t4", "ValueError: 4")


# --- a stream that is running -------------------------------------------------------------------------


@pytest.fixture
def streaming(workspace: FakeWorkspace) -> int:
    """A job that runs once, and the run of the continuous one beside it."""
    workspace.add_job(f"[dev zoe] {JOB}")
    workspace.add_job("ingest", continuous=True)  # of another deployment
    return workspace.start(workspace.add_job("[dev zoe] ingest", continuous=True), endless=True)


def test_no_run_is_started_beside_a_stream_and_what_is_not_known_is_said(
    run: Backfill, workspace: FakeWorkspace, streaming: int
) -> None:
    done = run()
    assert done.exit_code == 3
    assert not workspace.asked(RUN_NOW)
    assert "The stream of job [dev zoe] ingest has the checkpoint of calls" in done.stdout
    assert "no run was started" in done.stdout
    assert "--warehouse-id" in done.stdout
    assert f"/run/{streaming}" in done.stdout


@pytest.mark.parametrize(
    ("table", "asked"), [("calls", "calls_history"), ("dashboard_items", "dashboard_items")]
)
def test_a_stream_is_waited_for_until_the_table_shows_every_object(
    run: Backfill, workspace: FakeWorkspace, streaming: int, table: str, asked: str
) -> None:
    statements: list[tuple[str, dict[str, str]]] = []

    def answer(statement: str, values: dict[str, str]) -> list[list[str]]:
        statements.append((statement, values))
        return [[str(min(2, len(statements) // 2))]]

    workspace.answer, workspace.pending = answer, 2
    done = run("--warehouse-id", WAREHOUSE, table=table)
    assert done.exit_code == 0, done.output
    assert "2 of 2 objects of the snapshot are seen" in done.stdout
    assert re.findall(r"(\d) of 2 objects applied", done.stderr) == ["0", "1", "2"]
    statement, values = statements[0]
    assert values == {
        "table": f"`main`.`silver`.`{asked}`",
        "snapshot": f"{LABEL}/-{TAKEN}",
        "names": ",".join(NAMES),
    }
    assert not [value for value in values.values() if value in statement]


def test_a_stream_is_waited_for_no_longer_than_one_may(
    run: Backfill, workspace: FakeWorkspace, streaming: int
) -> None:
    workspace.answer = lambda _statement, _values: [["1"]]
    done = run(
        "--warehouse-id", WAREHOUSE, "--timeout", "0.002", "--silver", "dev.silver_zoe", "--format", "json"
    )
    assert done.exit_code == 3
    told = row(done)
    assert told["applied"] is None
    assert "1 of 2 objects of the snapshot are seen in `dev`.`silver_zoe`.`calls_history`" in told["message"]


def test_a_stream_that_ends_before_it_has_applied_the_snapshot(
    run: Backfill, workspace: FakeWorkspace, streaming: int
) -> None:
    def answer(_statement: str, _values: dict[str, str]) -> list[list[str]]:
        workspace.runs[streaming].end()
        return [["1"]]

    workspace.answer = answer
    done = run("--warehouse-id", WAREHOUSE)
    assert done.exit_code == 1
    assert "the stream has ended" in done.stdout
    assert "databricks jobs run-now" in done.stdout


def test_a_statement_that_fails_is_an_error(run: Backfill, workspace: FakeWorkspace, streaming: int) -> None:
    def answer(_statement: str, _values: dict[str, str]) -> list[list[str]]:
        raise ValueError("[TABLE_OR_VIEW_NOT_FOUND] The table or view cannot be found.")

    workspace.answer = answer
    told = refused(run("--warehouse-id", WAREHOUSE))
    assert "TABLE_OR_VIEW_NOT_FOUND" in told
    assert "--silver" in told
    assert "does not exist" in refused(run("--warehouse-id", "nope"))


def test_a_stream_of_other_tables_is_in_nobodys_way(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(JOB)
    stream = workspace.add_job("ingest", continuous=True, parameters={"tables": ""})
    workspace.start(stream, {"tables": "scorecards, transcripts"}, endless=True)
    assert run().exit_code == 0
    assert run(table="scorecards").exit_code == 3
    assert len(workspace.asked(RUN_NOW)) == 1


def test_a_stream_of_another_deployment_is_in_nobodys_way(run: Backfill, workspace: FakeWorkspace) -> None:
    def of(target: str) -> tuple[str, ...]:
        return f"--catalog={target}", f"--checkpoints=/Volumes/{target}", "--tables={{job.parameters.tables}}"

    staging = workspace.add_job(JOB, arguments=of("staging"))
    workspace.add_job(JOB, arguments=of("prod"))
    workspace.start(workspace.add_job("ingest", continuous=True, arguments=of("prod")), endless=True)
    done = run("--job", str(staging))
    assert done.exit_code == 0
    assert [one.job_id for one in workspace.runs.values()].count(staging) == 1


def test_a_stream_that_has_ended_is_in_nobodys_way(run: Backfill, workspace: FakeWorkspace) -> None:
    workspace.add_job(JOB)
    workspace.runs[workspace.start(workspace.add_job("ingest", continuous=True), endless=True)].end()
    assert run().exit_code == 0


# --- the edge -----------------------------------------------------------------------------------------


def test_without_the_sdk_it_says_what_to_install(
    run: Backfill, landed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "databricks.sdk", None)
    assert "pip install 'lakehouse[databricks]'" in refused(run(), LakehouseError)
    assert not landed
