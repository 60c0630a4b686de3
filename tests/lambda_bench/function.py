"""The function as Lambda runs it: its archive, unpacked, under the real runtime client (awslambdaric).

The other side of that client is Lambda's runtime API ("Using the Lambda runtime API for custom runtimes" in
the developer guide), served here on 127.0.0.1: `invocation/next`, `invocation/<id>/response`,
`invocation/<id>/error` and `init/error`. One process serves one invocation after the other, and is started
anew when it has died.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.lambda_bench.event_source import FunctionError

HERE = Path(__file__).resolve().parent
LAMBDA = HERE.parents[1] / "lambda"
HANDLER = "change_writer.handler.lambda_handler"
"""As lambda/template.yaml has it, which a test compares."""
FUNCTION_NAME = "change-writer"
_ARN = f"arn:aws:lambda:eu-west-1:123456789012:function:{FUNCTION_NAME}"
_API = "/2018-06-01/runtime"


class Function:
    """The function, for the length of a `with` block.

    Args:
        environment: its variables, and those that lead its AWS clients.
        folder: where the archive is unpacked and the log is written.
        timeout: seconds after which an invocation is killed, as Lambda does.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, timeout: float = 60) -> None:
        self.starts = 0
        self.invocations = 0
        self.log = folder / "log"
        self.environment = environment
        self._folder = folder
        self._timeout = timeout
        self._api: _Api | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        archive = self._folder / "change_writer.zip"
        subprocess.run(
            [sys.executable, LAMBDA / "build.py", "--output", archive], check=True, capture_output=True
        )
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(self._folder / "task")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, event: object) -> Any:
        """Invoke it. Raises FunctionError if it raised, was killed, or did not start."""
        self._start()
        assert self._api is not None
        assert self._process is not None
        self.invocations += 1
        self._api.events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            try:
                kind, body = self._api.answers.get(timeout=0.05)
            except queue.Empty:
                if self._process.poll() is None:
                    continue
                try:  # it may have answered, and then died
                    kind, body = self._api.answers.get(timeout=0.05)
                except queue.Empty:
                    self._stop()
                    raise FunctionError("Runtime.ExitError") from None
            if kind == "response":
                return json.loads(body)
            told = json.loads(body)
            if kind == "init":
                self._stop()
            raise FunctionError(f"{told['errorType']}: {told['errorMessage']}")
        self._stop()
        raise FunctionError("Sandbox.Timedout")

    def kill(self) -> None:
        """Kill its process, as Lambda does at the time-out, or the kernel when memory ends."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._stop()
        self.starts += 1
        # An interface of its own for each process: what a dead one had asked for nobody answers.
        self._api = _Api()
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (HERE / "short_waits", self._folder / "task"))),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.port}",
            "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "_HANDLER": HANDLER,
            **self.environment,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", HANDLER],
                env=variables,
                cwd=self._folder / "task",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        api, self._api = self._api, None
        if api is not None:
            api.close()


class _Api:
    """The runtime API for one process."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self.answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.events.put(None)  # for a thread that waits
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: _Api

    def handle_error(self, request: object, client_address: object) -> None:
        """A process that was killed has left its connections."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write, else each costs 40 ms
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != f"{_API}/invocation/next":
            self._answer(404)
            return
        asked = self.server.api.events.get()
        if asked is None:
            self.close_connection = True
            return
        request, event = asked
        deadline = int((time.time() + 60) * 1000)
        self._answer(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": request,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": _ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = {"response": "response", "error": "error"}.get(self.path.rpartition("/")[2])
        if kind is None or not self.path.startswith(f"{_API}/"):
            self._answer(404)
            return
        self._answer(202, b'{"status":"OK"}')
        self.server.api.answers.put(("init" if self.path == f"{_API}/init/error" else kind, body))

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
