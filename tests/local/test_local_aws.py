"""The local AWS: where it listens, whom it can reach, and that it is what the design assumes of AWS."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.local.support import StreamedTable, assert_listens_on_loopback_alone

from lakehouse.errors import PlatformError
from lakehouse.local.aws import ACCESS_KEY, LocalAws


def test_it_listens_on_loopback_alone(aws: LocalAws) -> None:
    assert aws.endpoint_url.startswith("http://127.0.0.1:")
    assert aws._process is not None
    assert_listens_on_loopback_alone(aws._process.pid)


def test_its_clients_ignore_whatever_the_shell_has_of_a_real_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile prod]\nregion = eu-west-1\nendpoint_url = http://192.0.2.1\n")
    for name, value in {
        "AWS_PROFILE": "prod",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_ENDPOINT_URL_S3": "http://192.0.2.1",
        "AWS_ACCESS_KEY_ID": "real",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://192.0.2.1:3128",
        "http_proxy": "http://192.0.2.1:3128",
    }.items():
        monkeypatch.setenv(name, value)
    with LocalAws() as aws:
        for service in ("s3", "dynamodb", "dynamodbstreams", "sqs", "events"):
            client: Any = aws.client(service)
            assert client.meta.endpoint_url == aws.endpoint_url
            assert client.meta.region_name == "us-east-1"
            credentials = client._request_signer._credentials
            assert (credentials.access_key, credentials.token) == (ACCESS_KEY, None)
        aws.client("s3").create_bucket(Bucket="landing")
        assert [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]] == ["landing"]


def test_nothing_remains_of_one_server_in_the_next() -> None:
    with LocalAws() as aws:
        aws.client("s3").create_bucket(Bucket="landing")
    with LocalAws() as aws:
        assert aws.client("s3").list_buckets()["Buckets"] == []


def test_a_client_is_refused_outside_of_the_block() -> None:
    with LocalAws() as aws:
        process = aws._process
    assert process is not None
    assert process.returncode == 0
    with pytest.raises(RuntimeError, match="not running"):
        aws.client("s3")


def test_it_starts_and_ends_without_a_word_on_the_terminal() -> None:
    script = (
        "from lakehouse.local.aws import LocalAws\n"
        "with LocalAws() as aws:\n"
        "    aws.client('s3').create_bucket(Bucket='landing')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_it_ends_when_its_process_is_killed() -> None:
    script = (
        "import os, signal\nfrom lakehouse.local.aws import LocalAws\n"
        "aws = LocalAws().__enter__()\nprint(aws._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    server = int(answer.stdout)
    for _ in range(100):
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its process by ten seconds")


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ministack" else find(name, *rest)
    )
    with pytest.raises(PlatformError, match=r"needs ministack, which is not installed\. .*uv sync"):
        LocalAws().__enter__()


def test_a_put_on_a_name_that_is_taken_fails_if_it_must_not_exist(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="conditional")
    s3.put_object(Bucket="conditional", Key="a", Body=b"first", IfNoneMatch="*")
    with pytest.raises(s3.exceptions.ClientError) as raised:
        s3.put_object(Bucket="conditional", Key="a", Body=b"second", IfNoneMatch="*")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_a_stream_has_the_label_that_sequences_are_built_from(table: StreamedTable) -> None:
    label = table.stream_arn.rpartition("/")[2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", label)


def test_a_stream_switched_off_and_on_again_has_a_later_label(table: StreamedTable) -> None:
    time.sleep(0.002)
    table.client.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    table.client.update_table(
        TableName=table.name,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    second = table.client.describe_table(TableName=table.name)["Table"]["LatestStreamArn"]
    assert second.rpartition("/")[2] > table.stream_arn.rpartition("/")[2]
