"""A stream whose process was not in time is started again; any other error is the caller's."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.errors import PySparkException

from lakehouse.ingest import runner


class Writer:
    """A stream whose start meets errors first."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.started = 0

    def start(self) -> Any:
        self.started += 1
        if self.errors:
            raise PySparkException(self.errors.pop(0))
        return "a query"


LATE = "Python worker failed to connect back."


def start(writer: Writer) -> Any:
    return runner._started(writer)  # type: ignore[arg-type]


def test_a_process_that_was_late_is_started_again() -> None:
    writer = Writer(LATE, LATE)
    assert (start(writer), writer.started) == ("a query", 3)


@pytest.mark.parametrize(
    ("errors", "starts"), [(["another error"], 1), ([LATE, "another error"], 2), ([LATE] * 9, runner.STARTS)]
)
def test_what_remains_is_the_callers(errors: list[str], starts: int) -> None:
    writer = Writer(*errors)
    with pytest.raises(PySparkException, match=errors[min(starts, len(errors)) - 1]):
        start(writer)
    assert writer.started == starts
