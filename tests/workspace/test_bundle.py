"""The bundle is what `lakehouse backfill --run` relies on, and deploys to the fake workspace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workspace.fake_workspace import FakeWorkspace

from lakehouse.cli.job_run import LEAVE_HELD
from lakehouse.databricks.workspace import INGEST_JOB, ONCE, connect

ROOT = Path(__file__).parents[2]
OLDEST = (1, 13)
"""The version that the bundle asks for (`databricks_cli_version`)."""
SAID = {
    "landing_location": "s3://bucket/landing",
    "transcripts_location": "s3://bucket/transcripts",
    "pca_location": "s3://bucket/parsedFiles",
    "catalog": "main",
    "aws_region": "us-east-1",
    "service_principal": "00000000-0000-4000-8000-000000000000",
    "notify": "oncall@example.com",
}
"""Values of the bundle's variables that have no default."""


def bundle() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "databricks.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


TARGETS = tuple(bundle()["targets"])


def job(key: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "resources" / f"{key}.job.yml").read_text(encoding="utf-8"))
    job = found["resources"]["jobs"][key]
    assert isinstance(job, dict)
    return job


def test_the_jobs_have_the_names_and_parameters_that_the_backfill_relies_on() -> None:
    once, stream = job(INGEST_JOB), job(INGEST_JOB.removesuffix(ONCE))
    assert once["name"] == INGEST_JOB
    assert stream["name"] == INGEST_JOB.removesuffix(ONCE)
    assert "continuous" in stream
    assert "continuous" not in once
    assert {"name": "tables", "default": ""} in once["parameters"]
    (task,) = once["tasks"]
    assert "--tables={{job.parameters.tables}}" in task["spark_python_task"]["parameters"]
    # Else a run ends well, and has applied nothing, where another one holds the checkpoint.
    assert LEAVE_HELD in {parameter["name"] for parameter in once["parameters"]}
    assert "--leave-held={{job.parameters.leave_held}}" in task["spark_python_task"]["parameters"]
    # Where the stream's tables are: the backfill asks them what a running stream has applied.
    (task,) = stream["tasks"]
    names = {word.partition("=")[0] for word in task["spark_python_task"]["parameters"]}
    assert {"--catalog", "--silver"} <= names


# --- the Databricks command line ----------------------------------------------------------------------


def lacking() -> str:
    """Why the Databricks command line cannot be asked here; empty if it can."""
    if shutil.which("databricks") is None:
        return "there is no `databricks` on the PATH: install the Databricks command line to run this"
    told = subprocess.run(["databricks", "--version"], capture_output=True, text=True, timeout=60)
    found = re.search(r"v(\d+)\.(\d+)\.\d+", told.stdout)  # the old one, of PyPI, says no v
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return (
            f"`databricks` on the PATH is {told.stdout.strip() or 'unknown'}; it has to be {oldest} or newer"
        )
    return ""


LACKING = lacking()
needs_databricks = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundle's root without what is no part of it: the command line writes its state beside it."""
    target = tmp_path / "bundle"
    target.mkdir()
    for name in ("databricks.yml", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, target)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("resources", "jobs", "src", "notebooks", "dashboards", "sql"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignored)
    return target


@pytest.fixture
def databricks(copy: Path, workspace: FakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line, which knows the fake workspace alone (the environment is that of `workspace`)."""
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    unset = [name for name, told in bundle()["variables"].items() if "default" not in told]
    for name in unset:
        monkeypatch.setenv(f"BUNDLE_VAR_{name}", SAID[name])
    monkeypatch.setenv("UV_CACHE_DIR", cache)

    def run(*words: str) -> str:
        done = subprocess.run(
            ["databricks", "bundle", *words],
            cwd=copy,
            env=os.environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=240,
        )
        told = f"{done.stdout}\n{done.stderr}\nunknown to the fake workspace: {workspace.unknown}"
        assert done.returncode == 0, told
        return done.stdout

    return run


def test_every_variable_that_has_to_be_said_has_a_value_here() -> None:
    assert {name for name, told in bundle()["variables"].items() if "default" not in told} <= set(SAID)


@needs_databricks
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_valid(databricks: Any, target: str) -> None:
    databricks("validate", "--strict", "-t", target)


@needs_databricks
def test_what_is_deployed_is_what_the_backfill_finds(databricks: Any, workspace: FakeWorkspace) -> None:
    databricks("deploy", "-t", "dev", "--auto-approve")
    made = {job["settings"]["name"]: id_ for id_, job in workspace.jobs.items()}
    found = connect().find_job(INGEST_JOB)
    assert found.id == made[found.name]
    assert found.name.startswith("[dev ")
    assert "tables" in found.parameters
    (stream,) = connect().streams_of(found)
    assert stream.arguments["catalog"] == SAID["catalog"]
    databricks("deploy", "-t", "dev", "--auto-approve")
    assert {job["settings"]["name"]: id_ for id_, job in workspace.jobs.items()} == made
