"""What the bundle needs of the files in jobs/, beside their arguments."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.session import get_session
from tests.bundle.checks import module_of, parser_of

from lakehouse.aws.client import aws_client
from lakehouse.databricks.job import credentials_from, end
from lakehouse.errors import CorruptObjectError, LakehouseError, LeaseHeldError
from lakehouse.ingest.runner import Batches, Result

PLACES = ["--landing=/x", "--checkpoints=/y"]
HELD = LeaseHeldError("calls", "process 1 on a", "/y/bronze/calls/lease")
TORN = CorruptObjectError("scorecards", "s3://b/x.ndjson.gz", "torn")


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("jobs/ingest.py", "no_file_events"),
        ("jobs/ingest.py", "leave_held"),
        ("jobs/maintain.py", "dry_run"),
        ("jobs/rebuild.py", "complete"),
        ("jobs/reconcile.py", "repair"),
        ("jobs/refresh_metrics.py", "everything"),
    ],
)
def test_a_flag_takes_what_a_jobs_parameter_says(script: str, flag: str) -> None:
    parser, option = parser_of(script), f"--{flag.replace('_', '-')}"
    needed = [*PLACES, "--table-name=t"] if script == "jobs/reconcile.py" else PLACES

    def said(*arguments: str) -> Any:
        return getattr(parser.parse_args([*needed, *arguments]), flag)

    assert said() is False
    assert said(option) is True
    assert said(f"{option}=true") is True
    assert said(f"{option}=false") is False
    with pytest.raises(SystemExit):
        said(f"{option}=perhaps")


@pytest.mark.parametrize(
    ("errors", "arguments", "status"),
    [
        ([None, None], [], 0),
        ([HELD, None], [], 1),
        ([HELD, None], ["--leave-held"], 0),
        ([HELD, None], ["--leave-held=false"], 1),
        ([HELD, TORN], ["--leave-held"], 1),
    ],
)
def test_a_checkpoint_that_is_held_may_be_left_to_its_holder(
    errors: list[LakehouseError | None], arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = module_of("jobs/ingest.py")
    results = [
        Result(name, Batches(), 1.0, e) for name, e in zip(("calls", "scorecards"), errors, strict=True)
    ]
    monkeypatch.setattr(job, "utc_session", lambda: None)
    monkeypatch.setattr(job, "ingest", lambda *_given, **_named: results)
    assert job.main([*PLACES, *arguments]) == status


def test_a_job_that_went_well_ends_without_an_exception() -> None:
    end(0)
    with pytest.raises(SystemExit) as ended:
        end(3)
    assert ended.value.code == 3


def test_a_service_credential_is_asked_of_databricks_on_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    credentials = SimpleNamespace(
        getServiceCredentialsProvider=lambda name: asked.append(name) or "a session"
    )
    runtime = ModuleType("databricks.sdk.runtime")
    monkeypatch.setattr(runtime, "dbutils", SimpleNamespace(credentials=credentials), raising=False)
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    assert credentials_from(SimpleNamespace(service_credential="alerts")) == "a session"  # type: ignore[arg-type]
    assert asked == ["alerts"]
    assert credentials_from(SimpleNamespace(service_credential=None)) is None  # type: ignore[arg-type]


def test_a_client_uses_the_credential_and_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    session = get_session()
    session.set_credentials("key-of-the-service", "secret")
    client = aws_client("lambda", region="eu-west-1", credentials=session)
    assert client.meta.region_name == "eu-west-1"
    assert client._get_credentials().access_key == "key-of-the-service"
    assert aws_client("lambda", credentials=session).meta.region_name == "us-east-1"
