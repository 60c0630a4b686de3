"""The job files as Databricks runs them: arguments in, exit status out."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from lakehouse.databricks.job import utc_session
from lakehouse.errors import ConfigurationError, UnknownTableError

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def _job(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments(folder: Path) -> list[str]:
    return [
        *("--landing", str(folder / "landing"), "--checkpoints", str(folder / "checkpoints")),
        *("--platform", "local", "--warehouse", str(folder / "warehouse")),
        *("--bronze", "job_bronze", "--silver", "job_silver", "--gold", "job_gold", "--ops", "job_ops"),
    ]


def test_set_up_and_ingest_run_as_jobs(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "landing/calls/dt=2025-10-08/HH=14"
    folder.mkdir(parents=True)
    record = {"callId": "c1", "_sequence": f"2025-10-08T14:00:00.000/{1:040d}", "is_deleted": False}
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(json.dumps(record).encode() + b"\n"))

    assert _job("setup").main(_arguments(tmp_path)) == 0
    assert _job("ingest").main([*_arguments(tmp_path), "--tables", "calls"]) == 0
    assert [r.call_id for r in spark.table("job_gold.calls").collect()] == ["c1"]
    assert "calls: Batches(files=1, records=1, upserts=1" in capsys.readouterr().out

    (folder / "torn.ndjson.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    assert _job("ingest").main([*_arguments(tmp_path), "--tables", "calls"]) == 1
    assert "torn.ndjson.gz" in capsys.readouterr().out


NEEDED = {"rebuild": ["--tables", "calls"], "reconcile": ["--tables", "calls", "--table-name", "calls"]}


@pytest.mark.parametrize("name", [path.stem for path in sorted(JOBS.glob("*.py"))])
def test_every_job_works_in_utc(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        utc_session()
        raise StoppedError

    module, mine = _job(name), SparkSession.builder.getOrCreate()
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setattr(module.job if name == "reconcile" else module, "utc_session", stop)
    try:
        mine.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
        with pytest.raises(StoppedError):
            module.main([*_arguments(tmp_path), *NEEDED.get(name, [])])
        assert mine.conf.get("spark.sql.session.timeZone") == "UTC"
    finally:
        mine.conf.set("spark.sql.session.timeZone", "UTC")
    assert "SparkSession" not in (JOBS / f"{name}.py").read_text(encoding="utf-8")


def test_a_job_refuses_arguments_that_cannot_be_right(tmp_path: Path) -> None:
    with pytest.raises(UnknownTableError, match="sessions"):
        _job("setup").main([*_arguments(tmp_path), "--tables", "calls,sessions"])
    with pytest.raises(ConfigurationError, match="SOURCE=LOCATION"):
        _job("setup").main([*_arguments(tmp_path), "--documents", "transcripts"])
    with pytest.raises(ConfigurationError, match="no name for a catalog or schema"):
        _job("setup").main([*_arguments(tmp_path), "--silver", "a`; DROP"])
    with pytest.raises(SystemExit):
        _job("ingest").main(["--landing", "x"])
