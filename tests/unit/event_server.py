"""A server on 127.0.0.1 that speaks as much of EventBridge's protocol as putting events needs.

The embedded AWS takes every entry. This one checks requests by the documented limits, and fails what a test
tells it to fail.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
"""For a client that is to reach this server and nothing else."""

Answer = str | tuple[int, str] | None
"""`drop` before or `lose` after taking the events: the connection ends without an answer. A status and a
code: the request is refused. None: it is answered."""


@dataclass
class EventServer:
    """What came, and what is to fail.

    requests: the alert ids of each PutEvents request. events: the entries that were taken. signed: the
    Authorization headers.
    on_request: number of the request, from 1 → what becomes of it as a whole.
    on_entry: alert id, number of times it has come → the code it fails with, or None.
    """

    url: str = ""
    buses: tuple[str, ...] = ("default",)
    requests: list[list[str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    on_request: Callable[[int], Answer] = lambda _number: None
    on_entry: Callable[[str, int], str | None] = lambda _id, _time: None
    max_bytes: int = 1_048_576
    _times: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> list[str]:
        """The alert ids of the entries that were taken."""
        return [json.loads(entry["Detail"])["alert_id"] for entry in self.events]

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Status and body; None to end the connection."""
        if operation == "DescribeEventBus":
            if request["Name"] in self.buses:
                return 200, {"Name": request["Name"]}
            return 400, {"__type": "ResourceNotFoundException", "message": "Event bus does not exist."}
        assert operation == "PutEvents", operation
        entries = request["Entries"]
        ids = [json.loads(entry["Detail"])["alert_id"] for entry in entries]
        self.requests.append(ids)
        whole = self.on_request(len(self.requests))
        if whole == "drop":
            return None
        if isinstance(whole, tuple):
            return whole[0], {"__type": whole[1], "message": "refused: " + entries[0]["Detail"]}
        if not 1 <= len(entries) <= 10 or sum(map(_size, entries)) >= self.max_bytes:
            return 400, {"__type": "ValidationException", "message": "over the limit"}
        results = [self._take(alert_id, entry) for alert_id, entry in zip(ids, entries, strict=True)]
        if whole == "lose":
            return None
        return 200, {"FailedEntryCount": sum("ErrorCode" in r for r in results), "Entries": results}

    def _take(self, alert_id: str, entry: dict[str, Any]) -> dict[str, str]:
        self._times[alert_id] += 1
        code = self.on_entry(alert_id, self._times[alert_id])
        if code:
            return {"ErrorCode": code, "ErrorMessage": f"about {entry['Detail']}"}
        self.events.append(entry)
        return {"EventId": f"event-{len(self.events)}"}


def _size(entry: dict[str, Any]) -> int:
    texts = (entry["Source"], entry["DetailType"], entry["Detail"])
    return 14 * ("Time" in entry) + sum(len(text.encode()) for text in texts)


@contextmanager
def event_server() -> Iterator[EventServer]:
    """A server that answers while the block runs."""
    state = EventServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.signed.append(self.headers["Authorization"])
            answer = state.answer(self.headers["X-Amz-Target"].rpartition(".")[2], request)
            if answer is None:
                self.close_connection = True
                return
            body = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it has above
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
