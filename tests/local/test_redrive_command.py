"""`lakehouse redrive` as it is typed: what it says, and its exit status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.local.test_redrive import Place, failed, load, place  # noqa: F401 - a fixture

from lakehouse.aws import client as clients
from lakehouse.cli import cli
from lakehouse.local.aws import LocalAws


@pytest.fixture(autouse=True)
def _local(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's variables as an operator has them, on the local AWS."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["redrive", *arguments])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def filled(place: Place) -> Place:  # noqa: F811
    place.keep("aws/lambda/m/s/2026/01/08/a", failed(load("calls-changes")))
    place.keep("aws/lambda/m/s/2026/01/08/b", failed(load("calls-expired"), as_text=False))
    return place


def test_a_bucket_is_redriven_and_told_in_a_table(filled: Place) -> None:
    result = run(f"s3://{filled.failures}", "--landing", f"s3://{filled.landing}/landing")
    assert result.exit_code == 0, result.output
    assert "2 objects, 5 records: 5 landed in s3://" in result.output
    assert "0 to look at" in result.output
    assert "failed batch" in result.output
    assert len(filled.left()) == 2
    assert len(filled.lines("landing/calls/")) == 5


def test_again_as_json_and_with_delete(filled: Place) -> None:
    where = ("--landing", f"s3://{filled.landing}/landing", "--format", "json")
    first = rows(run(f"s3://{filled.failures}/aws/lambda/m", *where))
    assert [one["landed"] for one in first] == [4, 1]
    assert set(first[0]) == {
        "object", "kind", "records", "landed", "already_there", "quarantined", "failed", "deleted", "problem",
        "done",
    }  # fmt: skip
    (one,) = rows(run(f"s3://{filled.failures}/{filled.left()[0]}", *where, "--delete"))
    assert (one["already_there"], one["deleted"], one["done"]) == (4, True, True)
    assert len(filled.left()) == 1


def test_what_is_left_makes_the_exit_status_1(filled: Place) -> None:
    filled.keep("aws/other", b"something else")
    result = run(f"s3://{filled.failures}", "--landing", f"s3://{filled.landing}/landing")
    assert result.exit_code == 1
    assert "1 to look at" in result.output
    assert len(filled.lines("landing/calls/")) == 5


def test_a_dry_run_says_what_would_land(filled: Place) -> None:
    result = run(f"s3://{filled.failures}", "--landing", f"s3://{filled.landing}/landing", "--dry-run")
    assert result.exit_code == 0
    assert "5 can be converted for" in result.output
    assert "(not looked up)" in result.output
    assert filled.landed() == {}


def test_only_what_was_written_since(filled: Place) -> None:
    where = ("--landing", f"s3://{filled.landing}", "--format", "json")
    assert run(f"s3://{filled.failures}", *where, "--since", "2999-01-01").stdout == ""
    assert len(rows(run(f"s3://{filled.failures}", *where, "--since", "2020-01-01T00:00:00Z"))) == 2


def test_the_function_says_where_to_land(filled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lambda:
        def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803
            assert FunctionName == "change-writer"
            variables = {"S3_BUCKET": filled.landing, "S3_PREFIX": "here", "SOURCE_MAP": "calls=scorecards"}
            return {"Environment": {"Variables": variables}}

    real = clients.aws_client
    monkeypatch.setattr(
        clients, "aws_client", lambda service: Lambda() if service == "lambda" else real(service)
    )
    result = run(f"s3://{filled.failures}", "--function", "change-writer")
    assert result.exit_code == 0, result.output
    assert len(filled.lines("here/scorecards/")) == 5


@pytest.mark.parametrize("location", ["", "s3://", "s3:///", "./no-such-folder"])
def test_a_location_that_is_none_is_refused(location: str) -> None:
    result = run(location, "--landing", "s3://landing")
    assert result.exit_code == 2
    assert "names no bucket and no folder" in result.output or "There is no /" in result.output


@pytest.mark.parametrize("style", ["table", "json"])
def test_a_folder_without_objects_is_told(place: Place, style: str) -> None:  # noqa: F811
    result = run(f"s3://{place.failures}/aws/lambada", "--landing", "s3://landing", "--format", style)
    assert result.exit_code == 0  # what there was may have been redriven, and deleted
    assert f"nothing at s3://{place.failures}/aws/lambada" in result.stderr


@pytest.mark.parametrize("source", ["transcripts", "pca_calls"])
def test_a_location_of_documents_is_no_place_for_change_records(filled: Place, source: str) -> None:
    where = ("--landing", f"s3://{filled.landing}", "--source-map", f"calls={source}", "--format", "json")
    result = run(f"s3://{filled.failures}", *where, "--delete")
    assert result.exit_code == 1
    for one in rows(result):
        assert "--source-map calls=SOURCE" in one["problem"]
        assert not one["deleted"]
    assert filled.landed() == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--function NAME, or --landing"),
        (("--landing", "s3://b", "--function", "f"), "--function NAME, or --landing"),
        (("--function", "f", "--source-map", "a=b"), "a function has its own"),
        (("--landing", "./landing"), "the writer lands in S3 alone"),
    ],
)
def test_it_wants_to_know_where_to_land(arguments: tuple[str, ...], says: str) -> None:
    result = run("s3://failures", *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_a_source_map_that_is_wrong_is_told(filled: Place) -> None:
    result = run(f"s3://{filled.failures}", "--landing", f"s3://{filled.landing}", "--source-map", "calls")
    assert result.exit_code == 1
    assert "SOURCE_MAP" in str(result.exception)
