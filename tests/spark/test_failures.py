"""A stream that stops is in ops.failures; and whatever keeps it from there, its error reaches the caller."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, change

from lakehouse.errors import CorruptObjectError, StreamError
from lakehouse.gold.run import ingest
from lakehouse.ingest import stream as module
from lakehouse.ingest.failures import MESSAGE_LIMIT
from lakehouse.ingest.lease import lease


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    made = Lake(spark, tmp_path / "lake", (ITEMS,))
    made.land("items", change(1, site="a", number="1"))
    return made


def _torn(lake: Lake) -> None:
    [landed] = Path(lake.settings.landing).rglob("*.ndjson.gz")
    landed.write_bytes(landed.read_bytes()[:-9])


def _failures(lake: Lake) -> list[dict[str, Any]]:
    rows = lake.spark.table(lake.settings.table("ops", "failures")).collect()
    return [row.asDict() for row in rows]


def test_a_stream_that_stops_is_in_the_books(lake: Lake) -> None:
    _torn(lake)
    result = lake.ingest()["items"]
    assert isinstance(result.error, CorruptObjectError)
    [failure] = _failures(lake)
    assert (failure["stream"], failure["source"], failure["error"]) == (
        *("items", "items"),
        "CorruptObjectError",
    )
    assert failure["message"] == str(result.error)
    assert failure["failed_at"] is not None
    assert failure["run_id"]


def test_a_stream_that_ends_well_or_waits_for_another_is_not(lake: Lake) -> None:
    with lease(lake.spark, lake.settings, lake.settings.stream_folder("items"), "items"):
        assert lake.ingest()["items"].error is not None
    assert lake.ingest()["items"].error is None
    assert _failures(lake) == []


def test_a_long_message_is_cut(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StreamError("items", "ä" * 5_000_000)

    monkeypatch.setattr(module, "_run", fail)
    lake.ingest()
    assert {len(f["message"]) for f in _failures(lake)} == {MESSAGE_LIMIT}


def test_without_the_table_the_error_is_told_all_the_same(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    _torn(lake)
    lake.spark.sql(f"DROP TABLE {lake.settings.table('ops', 'failures')}")
    with caplog.at_level(logging.WARNING):
        assert isinstance(lake.ingest()["items"].error, CorruptObjectError)
    assert "run jobs/setup.py" in caplog.text
    # A plain append would have made it, without its properties, for good.
    assert not lake.spark.catalog.tableExists(lake.settings.table("ops", "failures"))


class Dead:
    """A session whose other side has ended: each use raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("refused"), ValueError("a closed channel")], ids=str
)
def test_a_session_that_is_gone_is_told_as_the_streams_error(lake: Lake, error: Exception) -> None:
    settings = replace(lake.settings, checkpoints=str(lake.folder / "other"))
    results = ingest(Dead(error), settings, lake.tables)  # type: ignore[arg-type]
    assert [result.stream for result in results] == ["items", "writer_quarantine"]
    for result in results:
        assert isinstance(result.error, StreamError)
        assert str(error) in str(result.error)
