"""The demo's log of the writer: every line whole, from whichever thread, and nothing on the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lakehouse.demo.run import writer_log

LOGGER = logging.getLogger("change_writer")


def writer(event: Any, _: Any, *, write_metrics: Callable[[Iterable[str]], None]) -> Any:
    """Prints as the writer does, metrics in two lines."""
    LOGGER.error(json.dumps({"message": "put failed", "number": event}))
    write_metrics(json.dumps({"_aws": {}, "number": event, "fill": "é" * 5000}) for _ in range(2))
    return event


def test_lines_of_several_threads_are_whole_and_none_is_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with writer_log(writer, tmp_path) as handler, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(handler, range(200), [None] * 200)) == list(range(200))
    assert capfd.readouterr() == ("", "")
    lines = (tmp_path / "logs" / "writer.log").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert sorted(line["number"] for line in found if "_aws" in line) == sorted([*range(200)] * 2)
    assert sorted(line["number"] for line in found if "message" in line) == list(range(200))


def test_metrics_are_written_whatever_the_level_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, LOGGER.name)
    with writer_log(writer, tmp_path) as handler:
        handler({}, None)
    first, second = (tmp_path / "logs" / "writer.log").read_text().splitlines()
    assert first == second


def failing(event: Any, _: Any, *, write_metrics: Any) -> Any:
    raise KeyError(event, write_metrics)


def test_the_logger_is_left_as_it_was(tmp_path: Path) -> None:
    before = (LOGGER.propagate, [*LOGGER.handlers])
    with pytest.raises(KeyError), writer_log(failing, tmp_path) as handler:
        handler({}, None)
    assert (LOGGER.propagate, LOGGER.handlers) == before
