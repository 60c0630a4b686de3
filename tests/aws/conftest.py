"""A local S3 and DynamoDB for these tests, and the change writer's folder on the import path."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

HERE = Path(__file__).resolve().parent
# The Lambda's folder is no part of the package, and `aws_support` lies beside the tests.
sys.path[:0] = [str(HERE.parents[1] / "lambda"), str(HERE)]

if TYPE_CHECKING:
    from aws_support import Landing


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a ministack server of this session's own, on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("ministack")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MINISTACK_"))
    }
    environment |= {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/_ministack/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        else:
            pytest.fail(f"ministack did not answer: {(folder / 'log').read_text()}")
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def aws_session() -> boto3.session.Session:
    """One session for all tests: it reads boto3's service models once, and nobody's profile."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.delenv("AWS_DEFAULT_PROFILE", raising=False)
        return boto3.session.Session("local", "local", region_name="eu-west-1")


@pytest.fixture
def aws(aws_url: str, aws_session: boto3.session.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point boto3 at the local server, with made-up credentials: a real account is out of reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", aws_session)


@pytest.fixture
def landing(
    aws: None, aws_session: boto3.session.Session, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Landing]:
    """A bucket of this test's own and the function configured for it: S3_PREFIX is `landing`."""
    from aws_support import Landing

    from change_writer.landing import s3_client
    from change_writer.settings import get_settings

    # The function's client is made anew, so that faults hooked into it end with the test.
    s3_client.cache_clear()
    client = aws_session.client("s3")
    bucket = f"test-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for name in ("SOURCE_MAP", "MAX_RECORDS", "MAX_PAYLOAD_BYTES", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    place = Landing(bucket, client, monkeypatch)
    place.configure(S3_BUCKET=bucket, S3_PREFIX="landing")
    yield place
    s3_client.cache_clear()
    get_settings.cache_clear()
