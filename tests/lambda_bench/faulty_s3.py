"""A server before an S3 that sometimes does what S3 and networks sometimes do. It listens on 127.0.0.1.

What is wrong with a put is decided by `plan`, called with the object's key. Everything else passes through.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self, get_args
from urllib.parse import unquote, urlsplit

NotStored = Literal[
    "slow down",  # 503
    "internal error",  # 500
    "conflict",  # 409: another put of the key is under way
    "forbidden",  # 403: no client tries that again
    "closed before",  # the connection, before anything happened
    "no answer",  # until the client gives up
]
Stored = Literal[
    "slow",
    "closed after",  # stored, and the connection closed: the client's next attempt meets its own object (412)
    "half an answer",  # stored, and the answer breaks off
    "answer too late",  # stored, and the client has given up waiting
    "internal error after",  # stored, and 500 all the same
    "put twice",  # stored, and stored again by something on the way: 412 for an object that is there
    "killed",  # stored, and the function's process killed before it hears of it
]
Fault = Literal[NotStored, Stored]
FAULTS: tuple[Fault, ...] = (*get_args(NotStored), *get_args(Stored))

HOLD_SECONDS = 0.5
"""How long a client is kept waiting: longer than it waits (short_waits/sitecustomize.py)."""

_ERRORS: dict[Fault, tuple[int, str]] = {
    "slow down": (503, "SlowDown"),
    "internal error": (500, "InternalError"),
    "internal error after": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),
    "forbidden": (403, "AccessDenied"),
}
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length", "date", "server"}


class FaultyS3:
    """The server, for the length of a `with` block.

    `plan` says what befalls the next put of a key, None for nothing; `counts` counts what befell; `on_kill`
    is called for "killed".
    """

    def __init__(self, upstream: str) -> None:
        self.plan: Callable[[str], Fault | None] = lambda key: None
        self.on_kill: Callable[[], None] = lambda: None
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faulty = self
        self._server.upstream = str(urlsplit(upstream).netloc)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    faulty: FaultyS3
    upstream: str

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write, else it waits for the client's acknowledgement
    disable_nagle_algorithm = True
    upstream: http.client.HTTPConnection | None = None

    def do_PUT(self) -> None:
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        fault: Fault | None = None
        faulty = self.server.faulty
        if key and "partNumber" not in self.path:
            with faulty.lock:
                fault = faulty.plan(key)
                faulty.counts["puts"] += 1
                faulty.counts[fault or "none"] += 1
        body = self._body()
        if fault in get_args(NotStored):
            self._refuse(fault)
            return
        if fault == "slow":
            time.sleep(0.02)
        status, headers, answer = self._forward(body)
        if fault == "put twice":
            status, headers, answer = self._forward(body)
        if fault == "killed":
            faulty.on_kill()
        if fault in ("closed after", "killed"):
            self._close()
        elif fault == "answer too late":
            time.sleep(HOLD_SECONDS)
            self._close()
        elif fault == "half an answer":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nETag: ")
            self.wfile.flush()
            self._close()
        elif fault == "internal error after":
            self._refuse(fault)
        else:
            self._answer(status, headers, answer)

    def do_GET(self) -> None:
        self._answer(*self._forward(self._body()))

    do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

    def handle_expect_100(self) -> bool:
        """botocore asks before it sends a body; the buffered answer has to go out at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        for attempt in (1, 2):  # S3 may have closed a connection that was idle
            if self.upstream is None:
                self.upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
            try:
                self.upstream.request(self.command, self.path, body, headers)
                answer = self.upstream.getresponse()
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
                return answer.status, kept, answer.read()
            except (http.client.HTTPException, OSError):
                self.upstream.close()
                self.upstream = None
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _refuse(self, fault: Fault | None) -> None:
        if fault == "closed before":
            self._close()
        elif fault == "no answer":
            time.sleep(HOLD_SECONDS)
            self._close()
        else:
            assert fault is not None
            status, code = _ERRORS[fault]
            text = f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], text)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
