"""The dashboard is the report's, follows the rules of its format, and single mistakes in it are found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bundle.resolver import ROOT
from tests.bundle.shown import dashboard_problems

from lakehouse.catalog.declared import all_views
from lakehouse.report.dashboard import DAYS, dashboard
from lakehouse.report.queries import queries
from lakehouse.tables import TABLES

FILE = ROOT / "resources" / "lakehouse.lvdash.json"
VIEWS = frozenset(view.name for layer, view in all_views(TABLES) if layer == "gold")
MADE = dashboard()


def test_the_file_is_what_the_code_makes() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == MADE, "make dashboard"


def test_it_asks_what_the_report_asks() -> None:
    shown = {dataset["name"]: "".join(dataset["queryLines"]).strip() for dataset in MADE["datasets"]}
    assert shown == {query.name: query.bare(DAYS) for query in queries(TABLES)}


def test_nothing_is_wrong_with_it() -> None:
    assert dashboard_problems(FILE.read_text(encoding="utf-8"), VIEWS) == ()


def test_the_sections_of_the_report_are_its_pages() -> None:
    assert [page["displayName"] for page in MADE["pages"]] == [
        *(
            "Overview",
            "Calls",
            "Scorecards",
            "Sentiment and tags",
            "Metrics",
            "Alerts",
            "Coaching",
            "Freshness",
        )
    ]


Told = dict[str, Any]


def _widget(told: Told, name: str) -> Told:
    [found] = [
        placed for page in told["pages"] for placed in page["layout"] if placed["widget"]["name"] == name
    ]
    return found


def _line(told: Told, line: str) -> None:
    told["datasets"][0]["queryLines"].append(line)


def _field(told: Told, **new: str) -> None:
    _widget(told, "calls_by_hour_bars")["widget"]["queries"][0]["query"]["fields"][1] |= new


def _spec(told: Told, **new: Any) -> None:
    _widget(told, "calls_by_hour_bars")["widget"]["spec"] |= new


def _encoding(told: Told, channel: str, **new: Any) -> None:
    _widget(told, "calls_by_hour_bars")["widget"]["spec"]["encodings"][channel] |= new


def _query(told: Told, **new: Any) -> None:
    _widget(told, "calls_by_hour_bars")["widget"]["queries"][0]["query"] |= new


def _position(told: Told, **new: int) -> None:
    _widget(told, "calls_by_hour_bars")["position"] |= new


def _from(told: Told, old: str, new: str) -> None:
    [dataset] = [d for d in told["datasets"] if d["name"] == "metrics_by_kind"]
    dataset["queryLines"] = [line.replace(old, new) for line in dataset["queryLines"]]


MISTAKES: dict[str, tuple[Callable[[Told], object], str]] = {
    "a schema in front": (lambda t: _from(t, "FROM metrics", "FROM gold.metrics"), "a schema in front"),
    "a view that is not there": (lambda t: _from(t, "FROM metrics", "FROM metric"), "no 'metric' in gold"),
    "a table of silver": (
        lambda t: _from(t, "FROM metrics", "FROM metric_entity_events"),
        "no 'metric_entity_events' in gold",
    ),
    "a name for two things": (
        lambda t: _from(t, "FROM metrics", "FROM (WITH metrics AS (SELECT 1) SELECT * FROM metrics)"),
        "'metrics' is a view too",
    ),
    "lines that run into each other": (lambda t: _line(t, "-- the end"), "run into each other"),
    "two statements": (lambda t: _line(t, "; SELECT 1\n"), "is not one query"),
    "a statement that writes": (
        lambda t: t["datasets"][0].update(queryLines=["DELETE FROM calls\n"]),
        "is not one query",
    ),
    "a statement that is none": (lambda t: _line(t, "FROM WHERE (\n"), "overview: "),
    "a column that is not there": (lambda t: _field(t, expression="SUM(`call`)"), "no expression over"),
    "an expression that is not taken": (
        lambda t: _field(t, expression="CAST(`calls` AS INT)"),
        "no expression over",
    ),
    "a field under another name": (lambda t: _field(t, name="calls"), "fields and its encodings differ"),
    "an encoding of another field": (lambda t: _encoding(t, "x", fieldName="day"), "encodings differ"),
    "an axis without a scale": (
        lambda t: _widget(t, "calls_by_hour_bars")["widget"]["spec"]["encodings"]["x"].pop("scale"),
        "without a scale",
    ),
    "an axis without a name": (lambda t: _encoding(t, "y", displayName=""), "without a name"),
    "a scale of no kind": (lambda t: _encoding(t, "x", scale={"type": "ordinal"}), "the product's classes"),
    "a channel of another widget": (lambda t: _spec(t, encodings={"columns": []}), "bar has no ['columns']"),
    "another version": (lambda t: _spec(t, version=2), "bar of version 2"),
    "a widget of no kind": (lambda t: _spec(t, widgetType="bars"), "bars of version 3"),
    "no title": (lambda t: _spec(t, frame={"showTitle": False, "title": "x"}), "shows no title"),
    "rows that are not added up": (lambda t: _query(t, disaggregated=True), "rows are added up"),
    "a dataset that is not there": (lambda t: _query(t, datasetName="hours"), "no dataset 'hours'"),
    "a dataset twice": (lambda t: t["datasets"].append(t["datasets"][0]), "two datasets are called"),
    "a dataset that nothing shows": (
        lambda t: t["datasets"].append(
            {"name": "more", "displayName": "x", "queryLines": ["SELECT 1 AS a\n"]}
        ),
        "nothing shows the dataset 'more'",
    ),
    "a widget on another": (lambda t: _position(t, x=3), "lies on"),
    "a row that is not full": (lambda t: _position(t, width=5), "are not 12 wide"),
    "a row too wide": (lambda t: _position(t, width=7), "lies on"),
    "a page of an older grid": (lambda t: t["pages"][0].pop("layoutVersion"), "a page of no kind"),
    "a name with a space": (
        lambda t: _widget(t, "calls_by_hour_bars")["widget"].update(name="calls by hour"),
        "is no name of its own",
    ),
    "a name twice": (
        lambda t: _widget(t, "calls_by_hour_bars")["widget"].update(name="calls_period_table"),
        "is no name of its own",
    ),
    "a text of two lines": (
        lambda t: _widget(t, "calls_title")["widget"]["multilineTextboxSpec"]["lines"].append("more"),
        "a text has one line",
    ),
    "a query of another name": (
        lambda t: _widget(t, "calls_by_hour_bars")["widget"]["queries"][0].update(name="query"),
        "main_query",
    ),
}


@pytest.mark.parametrize(("make", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(make: Callable[[Told], object], words: str) -> None:
    told = copy.deepcopy(MADE)
    make(told)
    found = dashboard_problems(json.dumps(told), VIEWS)
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").iterdir()), ids=lambda path: path.name)
def test_notebooks_are_in_source_format(path: Path) -> None:
    assert path.suffix == ".sql"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "-- Databricks notebook source"
    assert lines.count("-- COMMAND ----------") > 3
    # A comment that is one character off is a cell of its own.
    for line in lines[1:]:
        assert not line.startswith("--") or line.startswith("-- MAGIC") or line == "-- COMMAND ----------", (
            line
        )
