"""A local AWS and the bench over it, for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lambda_bench.runs import Bench

from lakehouse.local.aws import LocalAws


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with LocalAws() as aws, Bench.open(aws, tmp_path_factory.mktemp("bench")) as opened:
        yield opened
