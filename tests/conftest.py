"""One Spark session for each process of the run, in one Java process, and the order of the files.

A session starts when a test first asks for it; no test stops it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SLOWEST = ("integration", "docs", "spark", "lambda_bench", "local")
"""Folders whose files take longest, the slowest first."""


def pytest_configure(config: pytest.Config) -> None:
    # xdist would begin with the files that have most tests, which are the quick ones. A few that take minutes
    # would come last, with one worker left to do them.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: at the end the quick ones keep every worker busy."""
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0] if tests in item.path.parents else ""
        return SLOWEST.index(folder) if folder in SLOWEST else len(SLOWEST)

    items.sort(key=rank)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes by their length: gzip's have the time in them, and the workers would collect different tests."""
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[SparkSession]:
    from tests.shared_spark import shared_spark

    folder = tmp_path_factory.getbasetemp()
    with shared_spark(folder if worker_id == "master" else folder.parent) as session:
        yield session
