"""Who may write: one holder for a checkpoint, and one process at a time for a warehouse folder.

A checkpoint's lease is a file beside it, with the holder's name and heartbeat.

Two queries on one checkpoint damage it. Spark notices late and Databricks' `max_concurrent_runs` knows
only its own job, so whoever opens a checkpoint takes its lease first.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lakehouse.errors import LeaseHeldError, LeaseLostError

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 120.0
"""A holder that has been silent for so long is taken for dead. One that died on this machine is
recognised at once, by its process id and the time it started."""


@dataclass(frozen=True, slots=True)
class _Record:
    token: str
    host: str
    pid: int
    started: str
    heartbeat: float

    @property
    def holder(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def exclusive(warehouse: str | None) -> Iterator[None]:
    """Let one batch at a time commit to the tables of a warehouse folder, whichever process it runs in.

    Delta's commits exclude each other within one Java process, but on a local file system two processes
    can both rename their file to the same version, and one commit is gone. The lock dies with its process.
    None, for tables of a catalog that arbitrates its commits, does nothing.
    """
    if warehouse is None:
        yield
        return
    import fcntl

    Path(warehouse).mkdir(parents=True, exist_ok=True)
    with (Path(warehouse) / "commit.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Lease:
    """Holds the checkpoint of one stream while the `with` block runs.

    Args:
        folder: the stream's folder, in which `lease.json` lies beside the checkpoint.
        stream: its name, for messages.
        wait: seconds to wait for another holder to finish; 0 to fail at once.

    Raises:
        LeaseHeldError: on entering, when another holder is alive.
        LeaseLostError: from `check`, when another holder has taken over meanwhile.
    """

    def __init__(
        self, folder: str, stream: str, *, wait: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(folder) / "lease.json"
        self._stream = stream
        self._wait = wait
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._lost: _Record | None = None
        self._beat = threading.Thread(target=self._keep, name=f"lease-{stream}", daemon=True)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._wait
        while (other := self._take()) is not None:
            if time.monotonic() >= deadline:
                age = max(0.0, self._clock() - other.heartbeat)
                raise LeaseHeldError(self._stream, other.holder, str(self._path), age)
            time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join(timeout=HEARTBEAT_SECONDS)
        held = self._read()
        if held is not None and held.token == self._token:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def check(self) -> None:
        """Raise LeaseLostError if another process holds the lease by now."""
        if self._lost is not None:
            raise LeaseLostError(self._stream, str(self._path), self._lost.holder)

    def _take(self) -> _Record | None:
        """Take the lease; the live holder's record if there is one."""
        held = self._read()
        if held is not None:
            if self._is_alive(held):
                return held
            taken = self._move_away(held)
            if taken is not None:
                return taken
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return self._read() or self._record()
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self._record()), file)
        # Two takers of one dead lease: the later one may have moved the earlier one's file away.
        time.sleep(0.05)
        now = self._read()
        return None if now is not None and now.token == self._token else now

    def _move_away(self, dead: _Record) -> _Record | None:
        """Move a dead holder's lease away; the live record, put back, if it was another's by then."""
        aside = self._path.with_name(f"lease.{self._token}.old")
        try:
            os.replace(self._path, aside)
            moved = _Record(**json.loads(aside.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            moved = dead  # another taker was first, or its writer died while writing it
        live = None
        if moved.token != dead.token:
            with suppress(OSError):  # a third one has it by now, and its holder will notice
                os.link(aside, self._path)
            live = moved
        with suppress(FileNotFoundError):
            aside.unlink()
        return live

    def _keep(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            held = self._read()
            if held is not None and held.token != self._token:
                self._lost = held
                return
            self._write(self._record())

    def _write(self, record: _Record) -> None:
        temporary = self._path.with_name(f"lease.{self._token}.new")
        with suppress(OSError):  # a beat that fails is caught up by the next one
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
            os.replace(temporary, self._path)

    def _read(self) -> _Record | None:
        for _ in range(20):
            try:
                return _Record(**json.loads(self._path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                return None
            except (ValueError, TypeError):
                time.sleep(0.05)  # it is being written
        # Never finished: the writer died between creating and writing it.
        age = self._path.stat().st_mtime if self._path.exists() else 0.0
        return _Record("", "an unknown host", 0, "", age)

    def _record(self) -> _Record:
        return _Record(self._token, socket.gethostname(), os.getpid(), _started(os.getpid()), self._clock())

    def _is_alive(self, held: _Record) -> bool:
        if held.host == socket.gethostname() and held.started:
            return _started(held.pid) == held.started
        return self._clock() - held.heartbeat < EXPIRY_SECONDS


def _started(pid: int) -> str:
    """When a process of this machine started, so that a number that is used again is not mistaken for it;
    empty where there is no /proc or no such process."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        # A process that was killed and that nobody has waited for is still listed.
        return "" if fields[0] in "ZX" else fields[19]
    return ""
