"""What is shown on Databricks runs on local tables: the dashboard, the alerts on the books, the notebooks."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.bundle.checks import given_for
from tests.bundle.resolver import ROOT, files, resolve
from tests.bundle.shown import ALERTS
from tests.spark.report_data import discard, fill, put, put_bad
from tests.spark.support import ITEMS, Lake

from lakehouse.catalog import ops
from lakehouse.catalog.bronze import CHANGES, DOCUMENTS
from lakehouse.ingest.refused import refusals
from lakehouse.report.dashboard import DAYS, dashboard
from lakehouse.report.queries import queries
from lakehouse.settings import LAYERS
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.tables import TABLES

MADE = dashboard()
DATASETS = {dataset["name"]: "".join(dataset["queryLines"]) for dataset in MADE["datasets"]}
NUMBERS = count()
NOW = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(spark, tmp_path_factory.mktemp("shown") / "lake", TABLES)
    fill(made)
    return made


# --- dashboard ----------------------------------------------------------------------------------------------


def test_datasets_say_what_the_report_says(lake: Lake) -> None:
    """They mean the same, name by name; the report's own tests run them."""
    for query in queries(TABLES):
        wanted = lake.spark.sql(query.text(lake.settings, DAYS))
        lake.spark.sql(f"USE {lake.settings.schema('gold')}")
        try:
            found = lake.spark.sql(DATASETS[query.name])
        finally:
            lake.spark.sql("USE default")
        assert _plan(found) == _plan(wanted), query.name


def _plan(frame: DataFrame) -> str:
    """What Spark has understood, without the numbers that it gives to columns."""
    plan = frame._jdf.queryExecution().analyzed().toString()
    return re.sub(r"#\d+L?|(?<=CTERelation)(Def|Ref) \d+", "", plan)


def test_widgets_find_their_fields(lake: Lake) -> None:
    lake.spark.sql(f"USE {lake.settings.schema('gold')}")
    try:
        for page in MADE["pages"]:
            for widget in (placed["widget"] for placed in page["layout"]):
                for asked in widget.get("queries", []):
                    _drawn(lake, asked["query"])
    finally:
        lake.spark.sql("USE default")


def _drawn(lake: Lake, query: Mapping[str, Any]) -> None:
    """The statement that a widget makes of its dataset is understood, and gives rows of as many columns."""
    fields = {field["name"]: field["expression"] for field in query["fields"]}
    chosen = ", ".join(f"{expression} AS `{name}`" for name, expression in fields.items())
    by = "" if query["disaggregated"] else " GROUP BY ALL"
    frame = lake.spark.sql(f"SELECT {chosen} FROM (\n{DATASETS[query['datasetName']]}\n){by}")
    assert frame.columns == list(fields)


# --- alerts on the books ------------------------------------------------------------------------------------


def _alerts(lake: Lake) -> dict[str, Mapping[str, Any]]:
    """The alerts of staging, whose schemas are those of the lake."""
    own = {f"{layer}_schema": getattr(lake.settings, layer) for layer in LAYERS}
    return _resolved(tuple((given_for("staging") | own | {"catalog": "spark_catalog"}).items()))


@cache
def _resolved(given: tuple[tuple[str, Any], ...]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = resolve(files(), "staging", dict(given)).resources("alerts")
    return found


def _fires(lake: Lake, alert: Mapping[str, Any]) -> bool:
    """Whether the alert would be sent: without an aggregation the first row decides."""
    evaluation = alert["evaluation"]
    first = lake.spark.sql(alert["query_text"]).first()
    if first is None:
        return bool(evaluation["empty_result_state"] != "OK")
    assert evaluation["comparison_operator"] == "GREATER_THAN"
    value = first[evaluation["source"]["name"]]
    return bool(float(value) > evaluation["threshold"]["value"]["double_value"])


def _firing(lake: Lake, *keys: str) -> set[str]:
    """Which of these alerts would be sent; of all if none is named."""
    return {key for key, alert in _alerts(lake).items() if key in (keys or ALERTS) and _fires(lake, alert)}


@pytest.fixture
def books(spark: SparkSession, tmp_path: Path) -> Lake:
    """Empty books."""
    return Lake(spark, tmp_path / "lake", (ITEMS,))


def _batches(lake: Lake, stream: str, *minutes_ago: float, tables: tuple[str, ...] = ("some",)) -> None:
    at = [(next(NUMBERS), NOW - dt.timedelta(minutes=minutes)) for minutes in minutes_ago]
    rows = [
        {"stream": f"{stream}/abc", "batch_id": i, "source": stream, "table_name": table, "finished_at": time}
        for i, time in at
        for table in tables
    ]
    put(lake, "ops", "batches", rows)


def _failures(lake: Lake, stream: str, *minutes_ago: float) -> None:
    at = [NOW - dt.timedelta(minutes=minutes) for minutes in minutes_ago]
    put(
        lake,
        "ops",
        "failures",
        [{"stream": stream, "failed_at": time, "error": "StreamError"} for time in at],
    )


def _quarantined(lake: Lake, line: str, reason: str, days: int = 0) -> None:
    """A line that could not be applied, or a good one that the table could not take."""
    at = NOW - dt.timedelta(days=days)
    put_bad(lake, "items", (line, reason, at))
    if reason == BELOW_FLOOR:
        rows = lake.bronze("items").where(F.col("_raw") == line)
        told = rows.withColumns({"reason": F.col("_problem"), "detail": F.lit("it came late")})
        refused = refusals(ITEMS, "items", told)
        refused.write.format("delta").mode("append").saveAsTable(lake.settings.table("ops", "refused"))
        DeltaTable.forName(lake.spark, lake.settings.table("bronze", "items")).update(
            F.col("_raw") == line, {"_problem": F.lit(None)}
        )


DAY = 24 * 60.0


def test_empty_books_are_well(books: Lake) -> None:
    assert set(_alerts(books)) == ALERTS
    assert _firing(books) == set()


def _daily(lake: Lake, stream: str, first: int, last: float) -> None:
    """A batch a day, from so many days ago on."""
    _batches(lake, stream, *(DAY * day for day in range(first, int(last), -1)), DAY * last)


def test_silence_is_told_by_the_streams_own_habit(books: Lake) -> None:
    _daily(books, "calls", 12, 2.5)
    _batches(books, "scorecards", 10)
    assert _firing(books) == {"freshness"}
    _batches(books, "calls", 60)
    assert _firing(books, "freshness") == set()


def test_an_outage_is_no_habit_and_an_end_is_told_for_good(books: Lake) -> None:
    _daily(books, "calls", 70, 60)
    _daily(books, "calls", 50, 40)  # ten days out, and then silent for forty
    assert _firing(books, "freshness") == {"freshness"}


def test_a_stream_that_is_seldom_or_new_may_be_silent(books: Lake) -> None:
    _batches(books, "calls", 50 * DAY, 43 * DAY, 36 * DAY, 29 * DAY, 22 * DAY, 15 * DAY, 8 * DAY)
    _batches(books, "transcripts", 5 * DAY, 5 * DAY - 1, 5 * DAY - 2)
    assert _firing(books, "freshness") == set()


WRITERS = {"stream": "writer_quarantine/abc", "batch_id": 0, "source": "writer_quarantine"}


def test_the_writers_quarantine_is_best_silent(books: Lake) -> None:
    at = [NOW - dt.timedelta(days=day) for day in range(20, 10, -1)]
    put(books, "ops", "batches", [WRITERS | {"finished_at": t} for t in at])
    assert _firing(books, "freshness") == set()


def test_a_stream_of_two_tables_has_a_batch_once(books: Lake) -> None:
    at = (20 * DAY, 19 * DAY, 18 * DAY, 17 * DAY, 16 * DAY)
    _batches(books, "pca_calls", *at, tables=("transcripts", "coaching_insights"))
    assert _firing(books, "freshness") == set()  # as of any stream of a few batches
    own = [DAY * day for day in range(15, 8, -1)]
    rows = [
        {
            "stream": "pca_calls/def",
            "batch_id": i,
            "source": "pca_calls",
            "table_name": table,
            "finished_at": t,
        }
        for i, t in enumerate(NOW - dt.timedelta(minutes=m) for m in own)
        for table in ("transcripts", "coaching_insights")
    ]
    put(books, "ops", "batches", rows)
    assert _firing(books, "freshness") == {"freshness"}


def test_a_batch_of_the_future_hides_nothing(books: Lake) -> None:
    _daily(books, "calls", 12, 3)
    _batches(books, "calls", -10 * DAY)
    assert _firing(books, "freshness") == {"freshness"}


def test_a_stream_that_was_started_over_is_one_stream(books: Lake) -> None:
    _daily(books, "calls", 12, 3)
    rows = [
        {"stream": "calls/def", "source": "calls", "batch_id": 0, "table_name": "calls", "finished_at": NOW}
    ]
    put(books, "ops", "batches", rows)
    assert _firing(books, "freshness") == set()


def test_failures_are_told_when_they_do_not_end(books: Lake) -> None:
    _batches(books, "calls", 50)
    _failures(books, "calls", 60, 59, 58, 57)  # and then a batch
    _failures(books, "calls", 40, 30)  # twice
    assert _firing(books, "failed_batches") == set()
    _failures(books, "calls", 20)
    assert _firing(books) == {"failed_batches"}
    _batches(books, "calls", 1)
    assert _firing(books, "failed_batches") == set()


def test_a_stream_that_never_had_a_batch_is_told(books: Lake) -> None:
    _failures(books, "transcripts", 40, 30, 20)
    assert _firing(books, "failed_batches") == {"failed_batches"}


def test_what_is_new_in_quarantine_is_told(books: Lake) -> None:
    for reason in ("bad_number", "below_tombstone_floor"):
        _quarantined(books, f"old {reason}", reason, days=2)  # was told
    assert _firing(books) == set()
    _quarantined(books, "q1", "not_json")
    assert _firing(books) == {"quarantine"}
    _quarantined(books, "q2", "below_tombstone_floor")
    assert _firing(books) == {"quarantine", "tombstone_floor"}
    discard(books, "q1", "q2", at=NOW)
    assert _firing(books, "quarantine", "tombstone_floor") == set()


def test_the_floors_reason_is_called_so(books: Lake) -> None:
    alerts = _alerts(books)
    for key in ("quarantine", "tombstone_floor"):
        assert f"'{BELOW_FLOOR}'" in alerts[key]["query_text"]


# --- notebooks ----------------------------------------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.sql"))
_WIDGET = re.compile(r"CREATE WIDGET TEXT (\w+) DEFAULT '([^']*)'")


def _cells(path: Path) -> list[str]:
    """The statements of a notebook in source format."""
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first == "-- Databricks notebook source"
    told = "\n".join(line for line in lines if not line.startswith("-- MAGIC"))
    return [cell.strip() for cell in told.split("-- COMMAND ----------") if cell.strip()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(lake: Lake, path: Path) -> None:
    own = {"catalog": "spark_catalog"} | {x: getattr(lake.settings, x) for x in LAYERS}
    values: dict[str, str] = {}
    empty = []
    try:
        for cell in _cells(path):
            if found := _WIDGET.fullmatch(cell):
                values[found[1]] = own.get(found[1], found[2])
                continue
            # Written in: Spark with Delta 4.4.0 loses parameters where a name is made of them.
            for name, value in values.items():
                cell = re.sub(rf":{name}\b", f"'{value}'", cell)
            rows = lake.spark.sql(cell).collect()
            if not rows and not cell.startswith("USE"):
                empty.append(cell)
    finally:
        lake.spark.sql("USE default")
    assert set(values) <= {*own, "at"}
    # The lake of the report has no rows of these.
    for cell in empty:
        assert re.search("_history|violations|reconciliations|floors|failures|completeness|leases", cell), (
            cell
        )


def test_views_of_the_books_have_nothing_of_a_record(lake: Lake) -> None:
    personal = {c.name for columns, _, _ in ops.TABLES.values() for c in columns if c.pii}
    personal |= {c.name for c in (*ops.QUARANTINE, *CHANGES, *DOCUMENTS) if c.pii}
    assert personal == {"raw", "examples", "message", "item", "document", "_raw"}
    for view in ops.IN_GOLD:
        assert not personal & set(lake.spark.table(lake.settings.table("gold", view.name)).columns)
