"""An AWS without an account: S3, SQS, DynamoDB with streams, Kinesis, EventBridge; on 127.0.0.1, in memory.

The server is ministack, in a child process that has no setting of this one's environment and ends with
it. (Inside this process it would set up the root logger, read its settings from os.environ when it is
imported, and keep its content between two servers.)
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from lakehouse.errors import PlatformError
from lakehouse.local.spark_settings import S3Endpoint

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
ACCESS_KEY = "local"
SECRET_KEY = "local"  # noqa: S105 - it opens nothing
_SERVICES = "s3,sqs,sns,dynamodb,dynamodbstreams,kinesis,events,sts"
_INHERITED = ("PATH", "PYTHONPATH", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LANG", "LC_ALL")
_START_SECONDS = 60


class LocalAws:
    """A server for the length of a `with` block; everything in it is gone afterwards.

        with LocalAws() as aws:
            aws.client("s3").create_bucket(Bucket="landing")

    Clients sign with fake keys for one explicit endpoint, and read no profile, no configuration file, no
    proxy and no AWS_* variable: whatever the shell has, they cannot reach a real account.
    """

    def __init__(self) -> None:
        self.endpoint_url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[str, Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the server. Raises PlatformError if ministack or boto3 is missing, or it does not start."""
        for package in ("ministack", "hypercorn", "boto3"):
            if importlib.util.find_spec(package) is None:
                raise PlatformError(
                    f"The local AWS needs {package}, which is not installed.",
                    "In a checkout of lakehouse run: uv sync (the dev group, which is the default, has it).",
                )
        self._session = _isolated_session()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "lakehouse.local.aws"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_server_environment(),
                start_new_session=True,  # Ctrl-C is for this process, which then ends the server
            )
            assert process.stdout is not None
            impatience = threading.Timer(_START_SECONDS, process.kill)
            impatience.start()
            try:
                port = process.stdout.readline().strip()
            except BaseException:
                process.kill()
                raise
            finally:
                impatience.cancel()
            if not port:
                process.kill()
                process.wait()
                errors.seek(0)
                said = errors.read()[-1000:].decode("utf-8", "replace").strip() or "it wrote nothing"
                raise PlatformError(
                    f"The local AWS did not start: {said}.",
                    "Run `python -m lakehouse.local.aws` to see it fail, and `uv sync` to mend its packages.",
                )
        self._process = process
        self.endpoint_url = f"http://127.0.0.1:{int(port)}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()  # its signal to end
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    @property
    def s3_endpoint(self) -> S3Endpoint:
        """What `local_session(s3=…)` needs to read s3a:// paths from this server."""
        return S3Endpoint(self.endpoint_url, ACCESS_KEY, SECRET_KEY, REGION)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point a child process's AWS clients at this server, and at nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["dynamodbstreams"]) -> DynamoDBStreamsClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """Return a boto3 client of this server; the same one each time (boto3 clients are thread-safe)."""
        from botocore.config import Config

        if self._process is None:
            raise RuntimeError("LocalAws is not running: use it in a `with` block.")
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    endpoint_url=self.endpoint_url,
                    region_name=REGION,
                    aws_access_key_id=ACCESS_KEY,
                    aws_secret_access_key=SECRET_KEY,
                    config=Config(
                        proxies={},
                        use_fips_endpoint=False,
                        use_dualstack_endpoint=False,
                        retries={"mode": "standard", "total_max_attempts": 3},
                        connect_timeout=5,
                        read_timeout=30,
                        max_pool_connections=32,
                        s3={"addressing_style": "path"},
                        inject_host_prefix=False,
                    ),
                )
            return self._clients[service]


def _isolated_session() -> Any:
    """A boto3 session that knows no profile and reads no file of the user's."""
    import boto3
    import botocore.session

    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(botocore_session=core)


def _server_environment() -> dict[str, str]:
    """Little of this process's environment: no AWS setting, no Docker, nothing written to disk."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "SERVICES": _SERVICES,
        "MINISTACK_HOST": "127.0.0.1",
        "BIND_HOST": "127.0.0.1",
        "LOG_LEVEL": "ERROR",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _serve() -> None:
    """The child process: say the port on stdout, serve until stdin ends, leave without a word."""
    import asyncio
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    os.environ["GATEWAY_PORT"] = str(port)  # ministack reads it when it is imported

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
        # ministack's own start would run scripts from /etc, open more ports, and remove containers.
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait_for_parent() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)
            threading.Timer(3, os._exit, (0,)).start()  # a request under way may not keep the process

        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.loglevel = "ERROR"
        config.graceful_timeout = 0.2
        config.keep_alive_timeout = 75
        config.backlog = 1024
        threading.Thread(target=wait_for_parent, daemon=True).start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await serve(without_lifespan, config, shutdown_trigger=stop.wait)

    asyncio.run(run())
    os._exit(0)  # ministack leaves threads behind


if __name__ == "__main__":
    _serve()
