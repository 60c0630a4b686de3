"""Each job of the bundle, as declared, from the built wheel in an environment of its own, on local Spark."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.bundle import checks
from tests.bundle.resolver import files, resolve

from lakehouse.demo.run import load_writer, writer_environment
from lakehouse.demo.sample_day import sample_day
from lakehouse.demo.sample_items import TABLE, sample_items
from lakehouse.demo.sample_metrics import sample_metrics
from lakehouse.demo.source import BUCKET, DOCUMENTS, Chain
from lakehouse.local.aws import REGION, LocalAws

pytestmark = [pytest.mark.extra, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]

# What a workspace has and this machine has not: a session whose catalog outlives it, and a service credential
# on the driver.
RUNNER = """
import runpy, sys, types
from pathlib import Path
from lakehouse.local.session import local_session
from lakehouse.local.warehouse import attach, local_settings
warehouse, script, *arguments = sys.argv[1:]
attach(local_session(Path(warehouse), s3a=True), local_settings(Path(warehouse)))
import boto3, botocore.session
runtime = types.ModuleType("databricks.sdk.runtime")
class Credentials:
    def getServiceCredentialsProvider(self, name):
        assert name in ("lakehouse-alerts", "lakehouse-source"), name
        return botocore.session.Session()
runtime.dbutils = types.SimpleNamespace(credentials=Credentials())
for name in ("databricks", "databricks.sdk"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["databricks.sdk.runtime"] = runtime
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""

TABLES = [("calls", "calls"), ("scorecards", "scorecards"), ("dashboard_items", TABLE)]
PARAMETERS = {
    "consumer_from": "trim-horizon",  # no local Lambda could tell
    "lag": "0",
    "tables": json.dumps([{"table": table, "dynamodb_table": source} for table, source in TABLES]),
}
"""What somebody says who runs the job `reconcile` by hand."""


@dataclass(frozen=True)
class Workspace:
    """The environment that the wheel is installed in, and where everything lies."""

    folder: Path
    python: Path
    aws: LocalAws

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """A job's command, with what a workspace names put where it is here."""
        places = {
            r"^--catalog=.*": "--catalog=spark_catalog",
            r"^--region=.*": f"--region={REGION}",
            r"/Volumes/[^/]+/[^/]+/checkpoints": str(self.folder / "checkpoints"),
            r"/Volumes/[^/]+/[^/]+/transcripts": f"s3a://{BUCKET}/{DOCUMENTS['transcripts']}",
            r"/Volumes/[^/]+/[^/]+/pca_calls": f"s3a://{BUCKET}/{DOCUMENTS['pca_calls']}",
            r"^--landing=/Volumes/.*": f"--landing=s3a://{BUCKET}/landing",
            r"^--landing=s3://.*": f"--landing=s3://{BUCKET}/landing",
        }
        told = []
        for argument in arguments:
            for pattern, replacement in places.items():
                argument = re.sub(pattern, replacement, argument)
            assert "/Volumes/" not in argument, argument
            told.append(argument)
        local = ["--platform=local", f"--warehouse={self.folder}"]
        runner = self.folder / "runner.py"
        return [str(self.python), str(runner), str(self.folder), str(ROOT / script), *told, *local]

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """A process that knows the local AWS and nothing of the checkout."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        environment = kept | self.aws.environment
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, arguments: Sequence[str]) -> tuple[int, str]:
        """Run a job to its end: exit status, and what it said."""
        process = self.start(self.command(script, arguments))
        said, _ = process.communicate(timeout=300)
        return process.returncode, said


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("workspace")
    build = ["uv", "build", "--wheel", "--quiet", "--out-dir", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    # What Databricks brings, at the versions of the lock file; then the wheel, without anything.
    export = ["uv", "export", "--quiet", "--locked", "--no-dev", "--extra=local", "--extra=aws"]
    export += ["--no-emit-project", "--no-hashes", f"--output-file={folder / 'brought.txt'}"]
    subprocess.run(export, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    install = ["uv", "pip", "install", "--quiet", f"--python={python}"]
    subprocess.run([*install, "-r", str(folder / "brought.txt")], check=True)
    subprocess.run([*install, "--no-deps", str(next((folder / "dist").glob("*.whl")))], check=True)
    (folder / "runner.py").write_text(RUNNER, encoding="utf-8")
    now = dt.datetime.now(dt.UTC)
    with LocalAws() as aws, writer_environment(aws):
        chain = Chain(aws, load_writer())
        chain.write(list(sample_day(dt.date(2025, 10, 8), seed=3, calls=30)), lambda _: None)
        chain.write(list(sample_items(now, seed=3, items=20)), lambda _: None)
        chain.write(list(sample_metrics(now, seed=3, students=20)), lambda _: None)
        chain.pump(lambda _: None)
        yield Workspace(folder, python, aws)


def test_every_declared_job_runs_from_the_wheel_and_ends_right(workspace: Workspace) -> None:
    bundle = resolve(files(), "prod", checks.given_for("prod"))
    declared = {step.key: step for step in checks.steps(bundle)}
    order = ["setup", "ingest_available_now", "refresh_metrics", "publish_alerts", "maintain", "rebuild"]
    assert {*order, "reconcile", "ingest"} == set(declared)
    for key in order:
        # Without the snapshot that a rebuild asks for, bronze has everything; rebuild is for one table.
        told = {"tables": "calls", "complete": "true", "wait": "0"} if key == "rebuild" else {}
        status, said = workspace.run(declared[key].script, _arguments(declared[key], told))
        assert status == 0, f"{key}:\n{said}"
        if key == "ingest_available_now":
            assert re.search(r"calls → calls: Batches\(files=[1-9]", said), said
        if key == "publish_alerts":
            assert re.search(r"published=[1-9]\d*, unpublished=0", said), said
    for number in json.loads(PARAMETERS["tables"]):
        told = {name: value for name, value in PARAMETERS.items() if name != "tables"}
        arguments = _arguments(declared["reconcile"], told, **{f"input.{k}": v for k, v in number.items()})
        status, said = workspace.run(declared["reconcile"].script, arguments)
        assert status == 0, said
        assert "verdict='agree'" in said, said


def test_the_stream_takes_what_lands_until_it_is_cancelled(workspace: Workspace) -> None:
    bundle = resolve(files(), "prod", checks.given_for("prod"))
    [stream] = [step for step in checks.steps(bundle) if step.key == "ingest"]
    arguments = _arguments(stream, {})
    process = workspace.start(workspace.command(stream.script, arguments))
    commits = workspace.folder / "checkpoints" / "bronze" / "metric_events" / "checkpoint" / "commits"
    deadline = time.monotonic() + 240
    try:
        while not (commits.is_dir() and any(p.name.isdigit() for p in commits.iterdir())):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(1)
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=120)
    assert "Traceback" not in said, said


def _arguments(step: checks.Step, parameters: Mapping[str, str], **more: str) -> list[str]:
    """What a task is given when somebody runs its job with some parameters."""
    given = {f"job.parameters.{name}": value for name, value in parameters.items()}
    return [checks.filled(argument, checks.defaults(step.job) | given | more) for argument in step.arguments]
