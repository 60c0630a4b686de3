"""A checkpoint has one holder: the row of ops.leases, which is what a Databricks workspace has."""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, Lake

from lakehouse.errors import LeaseHeldError, LeaseLostError
from lakehouse.ingest import lease as module
from lakehouse.ingest.lease import TableLease, lease


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(spark, tmp_path_factory.mktemp("leases"), (ITEMS,))


def _lease(lake: Lake, name: str, **more: Any) -> TableLease:
    return TableLease(lake.spark, lake.settings.table("ops", "leases"), name, "items", **more)


def _row(lake: Lake, name: str) -> Any:
    return lake.spark.table(lake.settings.table("ops", "leases")).where(F.col("name") == name).first()


def test_on_databricks_the_lease_is_a_row_and_elsewhere_a_lock(lake: Lake) -> None:
    databricks = dataclasses.replace(lake.settings, platform="databricks", pii_readers="x")
    assert isinstance(lease(lake.spark, databricks, "/folder", "items"), TableLease)
    assert not isinstance(lease(lake.spark, lake.settings, "/folder", "items"), TableLease)


def test_the_row_names_its_holder_and_is_given_back(lake: Lake) -> None:
    for _ in range(2):
        with _lease(lake, "given back") as held:
            held.check()
            row = _row(lake, "given back")
            assert f"process {os.getpid()} on" in row.holder
            with pytest.raises(LeaseHeldError, match=f"process {os.getpid()}"), _lease(lake, "given back"):
                pass
            held.check()
        assert _row(lake, "given back").token is None


def test_a_holder_that_has_been_silent_is_taken_for_dead_and_notices(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.2)
    first = _lease(lake, "silent")
    with first:
        monkeypatch.setattr(first, "_write", lambda *_, **__: None)  # it is cut off
        table = lake.settings.table("ops", "leases")
        lake.spark.sql(f"UPDATE {table} SET renewed_at = renewed_at - INTERVAL '1' DAY WHERE name = 'silent'")
        with _lease(lake, "silent") as second:
            first._beat.join(30)
            with pytest.raises(LeaseLostError, match="nothing is lost"):
                first.check()
            second.check()
    # The first one has not given back what is not its own.
    assert _row(lake, "silent").token is None


def test_the_holder_says_that_it_is_alive(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)
    with _lease(lake, "alive") as held:
        before = _row(lake, "alive").renewed_at
        for _ in range(100):
            if _row(lake, "alive").renewed_at > before:
                break
        assert _row(lake, "alive").renewed_at > before
        held.check()


def test_of_two_that_want_it_at_once_one_has_it(lake: Lake) -> None:
    inside, most = 0, 0
    lock = threading.Lock()
    errors: list[BaseException] = []

    def want() -> None:
        nonlocal inside, most
        try:
            with _lease(lake, "wanted", wait=120):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == (1, [])
