"""A checkpoint has one holder, whatever becomes of the processes that want it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lakehouse import lease as lease_module
from lakehouse.errors import LeaseHeldError, LeaseLostError
from lakehouse.lease import EXPIRY_SECONDS, Lease

HOLD = (
    "import sys, time\n"
    "from lakehouse.lease import Lease\n"
    "with Lease(sys.argv[1], 'calls'):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


def _hold_in_another_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _write(folder: Path, **changes: object) -> None:
    record = {"token": "other", "host": "elsewhere", "pid": 1, "started": "1", "heartbeat": time.time()}
    (folder / "lease.json").write_text(json.dumps(record | changes))


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "calls"
    with Lease(str(folder), "calls") as held:
        held.check()
        record = json.loads((folder / "lease.json").read_text())
        assert (record["host"], record["pid"]) == (socket.gethostname(), os.getpid())
    assert list(folder.iterdir()) == []


def test_a_lease_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lease(str(tmp_path), "calls"):
        raise ZeroDivisionError
    with Lease(str(tmp_path), "calls"):
        pass


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with (
        Lease(str(tmp_path), "calls"),
        pytest.raises(LeaseHeldError) as caught,
        Lease(str(tmp_path), "calls"),
    ):
        pass
    assert caught.value.transient
    assert caught.value.stream == "calls"
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    assert "lakehouse ingest --wait" in str(caught.value)


def test_the_refused_one_leaves_the_holders_lease_alone(tmp_path: Path) -> None:
    with Lease(str(tmp_path), "calls") as held:
        for _ in range(2):
            with pytest.raises(LeaseHeldError), Lease(str(tmp_path), "calls"):
                pass
        held.check()
        assert [p.name for p in tmp_path.iterdir()] == ["lease.json"]


def test_another_process_is_refused_until_the_holder_is_killed_and_takes_over_at_once(tmp_path: Path) -> None:
    process = _hold_in_another_process(tmp_path)
    try:
        with pytest.raises(LeaseHeldError, match=f"process {process.pid} on "), Lease(str(tmp_path), "calls"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "lease.json").exists()
    begun = time.monotonic()
    with Lease(str(tmp_path), "calls") as held:
        held.check()
        assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()
    assert time.monotonic() - begun < 5
    assert list(tmp_path.iterdir()) == []


def test_a_process_number_that_is_used_again_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    _write(tmp_path, host=socket.gethostname(), pid=os.getpid(), started="another time")
    with Lease(str(tmp_path), "calls"):
        pass


def test_a_holder_on_another_machine_is_taken_for_dead_when_it_has_been_silent(tmp_path: Path) -> None:
    now = time.time()
    _write(tmp_path, heartbeat=now)
    for later, held in ((0, True), (EXPIRY_SECONDS - 1, True), (EXPIRY_SECONDS + 1, False)):
        lease = Lease(str(tmp_path), "calls", clock=lambda later=later: now + later)
        if held:
            with pytest.raises(
                LeaseHeldError, match=f"process 1 on elsewhere .last heartbeat {later:.0f} s ago"
            ):
                lease.__enter__()
        else:
            with lease:
                lease.check()


def test_a_lease_that_was_never_finished_is_taken_over_after_the_expiry(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text('{"token": "half a re')
    with pytest.raises(LeaseHeldError, match="an unknown host"), Lease(str(tmp_path), "calls"):
        pass
    os.utime(path, (time.time() - EXPIRY_SECONDS - 1,) * 2)
    with Lease(str(tmp_path), "calls"):
        pass


def test_waiting_ends_when_the_holder_is_done(tmp_path: Path) -> None:
    first = Lease(str(tmp_path), "calls").__enter__()
    done = threading.Timer(0.3, first.__exit__, (None, None, None))
    done.start()
    with Lease(str(tmp_path), "calls", wait=20) as second:
        second.check()
    done.join()


def test_waiting_ends_with_an_error_when_its_time_is_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    with (
        Lease(str(tmp_path), "calls"),
        pytest.raises(LeaseHeldError),
        Lease(str(tmp_path), "calls", wait=0.3),
    ):
        pass
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_holder_keeps_its_lease_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.02)
    with Lease(str(tmp_path), "calls") as held:
        first = json.loads((tmp_path / "lease.json").read_text())
        deadline = time.monotonic() + 5
        while json.loads((tmp_path / "lease.json").read_text())["heartbeat"] == first["heartbeat"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        held.check()


def test_a_holder_that_lost_its_lease_is_told_and_leaves_the_new_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.02)
    with Lease(str(tmp_path), "calls") as held:
        held.check()
        # As another process does that takes this one for dead.
        _write(tmp_path / ".", token="the taker's")
        deadline = time.monotonic() + 5
        with pytest.raises(LeaseLostError, match="now names process 1 on elsewhere") as caught:  # noqa: PT012
            while time.monotonic() < deadline:
                held.check()
                time.sleep(0.01)
        assert not caught.value.transient
    assert json.loads((tmp_path / "lease.json").read_text())["token"] == "the taker's"


def test_a_dead_holders_lease_has_one_taker_however_they_interleave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower of two takers saw the dead holder's lease; when it acts, the quicker one's is there."""
    _write(tmp_path, heartbeat=0.0)
    quick, slow = Lease(str(tmp_path), "calls"), Lease(str(tmp_path), "calls")
    original = Lease._is_alive

    def is_alive(self: Lease, held: lease_module._Record) -> bool:
        answer = original(self, held)
        if self is slow and not answer:
            quick.__enter__()
        return answer

    monkeypatch.setattr(Lease, "_is_alive", is_alive)
    try:
        with pytest.raises(LeaseHeldError):
            slow.__enter__()
    finally:
        slow.__exit__(None, None, None) if slow._beat.is_alive() else None
        quick.__exit__(None, None, None)


def test_many_takers_of_a_dead_holders_lease_make_one_holder(tmp_path: Path) -> None:
    _write(tmp_path, heartbeat=0.0)
    holders: list[Lease] = []
    leases = [Lease(str(tmp_path), "calls") for _ in range(8)]

    def take(lease: Lease) -> None:
        with contextlib.suppress(LeaseHeldError):
            holders.append(lease.__enter__())

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(holders) == 1
    finally:
        for lease in holders:
            lease.__exit__(None, None, None)
