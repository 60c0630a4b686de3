"""One Spark session for the whole run. It starts when a test first asks for it; no test stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> SparkSession:
    from lakehouse.local.session import local_session

    return local_session(tmp_path_factory.mktemp("spark"), lasting=True, memory="4g")
