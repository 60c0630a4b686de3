"""A commit that met another writer's is made again, whole; any other error is not."""

from __future__ import annotations

import pytest
from pyspark.errors import PySparkException

from lakehouse.ingest.commits import ATTEMPTS, is_conflict, retrying

CONFLICTS = [
    "[DELTA_CONCURRENT_APPEND] ConcurrentAppendException: Files were added",
    "[DELTA_CONCURRENT_APPEND.WITHOUT_HINT] Transaction conflict",
    "[DELTA_CONCURRENT_DELETE_READ] This transaction attempted to read",
    "[DELTA_CONCURRENT_WRITE] A concurrent transaction",
    "[DELTA_CONCURRENT_TRANSACTION] ConcurrentTransactionException",
    "[DELTA_METADATA_CHANGED] MetadataChangedException",
    "[DELTA_PROTOCOL_CHANGED] ProtocolChangedException",
]
OTHERS = [
    "[TABLE_OR_VIEW_NOT_FOUND] The table",
    "[DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE] Cannot perform Merge",
    "a value that says [DELTA_CONCURRENT_APPEND]",
    "",
]


@pytest.mark.parametrize("text", CONFLICTS)
def test_a_conflict_is_told_by_its_condition(text: str) -> None:
    assert is_conflict(PySparkException(text))


@pytest.mark.parametrize("text", OTHERS)
def test_another_error_is_no_conflict(text: str) -> None:
    assert not is_conflict(PySparkException(text))


def test_work_is_done_again_until_it_succeeds() -> None:
    pauses: list[float] = []
    tries = iter([PySparkException(CONFLICTS[0]), PySparkException(CONFLICTS[1]), None])

    def work() -> str:
        error = next(tries)
        if error:
            raise error
        return "done"

    assert retrying(work, "work", sleep=pauses.append) == "done"
    assert len(pauses) == 2
    assert all(0 <= pause <= 30 for pause in pauses)


def test_it_gives_up_after_some_attempts_with_the_conflict_itself() -> None:
    made = 0
    conflict = PySparkException(CONFLICTS[0])

    def work() -> None:
        nonlocal made
        made += 1
        raise conflict

    with pytest.raises(PySparkException) as caught:
        retrying(work, "work", sleep=lambda _: None)
    assert caught.value is conflict
    assert made == ATTEMPTS


@pytest.mark.parametrize("error", [PySparkException(OTHERS[0]), ValueError("x")])
def test_another_error_is_raised_at_once(error: Exception) -> None:
    made = 0

    def work() -> None:
        nonlocal made
        made += 1
        raise error

    with pytest.raises(type(error)):
        retrying(work, "work", sleep=lambda _: None)
    assert made == 1
