"""A checkpoint has one holder, whatever becomes of the processes that want it: the lock of one machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lakehouse.errors import LeaseHeldError
from lakehouse.ingest.lease import FileLease, exclusive

HOLD = (
    "import sys, time\n"
    "from lakehouse.ingest.lease import FileLease\n"
    "with FileLease(sys.argv[1], 'calls'):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


def _hold_in_another_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lease_is_given_back_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "calls"
    for _ in range(2):
        with FileLease(str(folder), "calls") as held:
            held.check()
        with pytest.raises(ZeroDivisionError), FileLease(str(folder), "calls"):
            raise ZeroDivisionError


def test_a_second_holder_in_the_same_process_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with FileLease(str(tmp_path), "calls") as held:
        for _ in range(2):
            with pytest.raises(LeaseHeldError) as caught, FileLease(str(tmp_path), "calls"):
                pass
        held.check()
    assert caught.value.transient
    assert caught.value.stream == "calls"
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    assert "lakehouse ingest --wait" in str(caught.value)


def test_another_process_is_refused_until_the_holder_is_killed_and_takes_over_at_once(tmp_path: Path) -> None:
    process = _hold_in_another_process(tmp_path)
    try:
        refused = pytest.raises(LeaseHeldError, match=f"process {process.pid} on ")
        with refused, FileLease(str(tmp_path), "calls"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = time.monotonic()
    with FileLease(str(tmp_path), "calls") as held:
        held.check()
    assert time.monotonic() - begun < 5


def test_whoever_waits_gets_the_lease_when_it_is_given_back(tmp_path: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with FileLease(str(tmp_path), "calls", wait=60):
            got.set()

    with FileLease(str(tmp_path), "calls"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.3)
    assert got.wait(30)
    waiting.join()


def test_whoever_waits_too_long_is_refused(tmp_path: Path) -> None:
    with FileLease(str(tmp_path), "calls"):
        begun = time.monotonic()
        with pytest.raises(LeaseHeldError), FileLease(str(tmp_path), "calls", wait=0.2):
            pass
        assert time.monotonic() - begun >= 0.2


def test_of_many_that_want_it_at_once_one_at_a_time_has_it(tmp_path: Path) -> None:
    inside, most, had = 0, 0, 0
    lock = threading.Lock()

    def want() -> None:
        nonlocal inside, most, had
        with FileLease(str(tmp_path), "calls", wait=60):
            with lock:
                inside, had = inside + 1, had + 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, had) == (1, 8)


def test_one_at_a_time_commits_to_a_warehouse_folder(tmp_path: Path) -> None:
    order: list[str] = []

    def commit() -> None:
        with exclusive(str(tmp_path / "warehouse")):
            order.append("second")

    with exclusive(str(tmp_path / "warehouse")):
        other = threading.Thread(target=commit)
        other.start()
        time.sleep(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_tables_of_a_catalog_need_no_lock() -> None:
    with exclusive(None), exclusive(None):
        pass
