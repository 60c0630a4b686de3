"""The AI/BI dashboard: the report's queries, drawn on Databricks.

    python -m lakehouse.report.dashboard > resources/lakehouse.lvdash.json

The file is part of the bundle (resources/dashboard.yml), which names catalog and schema: queries have the
names of views alone. Its format has no public schema; this is what Databricks' own examples have
(databricks/bundle-examples, databricks/databricks-agent-skills): a grid of twelve columns, a version for each
kind of widget, and the fields of a widget under the names by which its encodings find them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from lakehouse.report import queries as q
from lakehouse.report.queries import Query
from lakehouse.tables import TABLES

DAYS: Final = 30
"""How many days are looked at, counted back from the newest that has data."""

COLUMNS: Final = 12
"""Width of the grid."""

VERSIONS: Final = {"counter": 2, "table": 2, "bar": 3}
"""Version of the specification of each kind of widget."""

Scale = Literal["categorical", "quantitative", "temporal"]

Widget = dict[str, Any]
Row = tuple[int, tuple[Widget, ...]]


def dashboard() -> dict[str, Any]:
    """The dashboard, with a page for each section of the report."""
    return {
        "datasets": [_dataset(query) for query in q.queries(TABLES)],
        "pages": [_page(title, rows) for title, rows in _pages().items()],
    }


def _pages() -> dict[str, tuple[Row, ...]]:
    """The rows of widgets of every page, by its title."""
    return {
        "Overview": (
            _row(
                3,
                _counter(q.OVERVIEW, "calls", "Calls"),
                _counter(q.OVERVIEW, "scorecards", "Scorecards"),
                _counter(q.OVERVIEW, "items", "Analysed texts"),
            ),
            _row(
                3,
                _counter(q.OVERVIEW, "insights", "Coaching insights"),
                _counter(q.OVERVIEW, "open_alerts", "Open alerts"),
                _counter(q.OVERVIEW, "critical_alerts", "Critical alerts"),
                _counter(q.OVERVIEW, "quarantined", "Open in quarantine"),
            ),
            _row(
                7,
                _table(
                    q.tables_query(TABLES),
                    table_name="Table",
                    newest_change="Newest change",
                    minutes_old="Age in minutes",
                    last_batch="Last batch",
                    verdict="Compared with its source",
                    compared_at="At",
                    live_rows="Live rows",
                ),
            ),
        ),
        "Calls": (
            _row(
                6,
                _bars(q.CALLS_BY_HOUR, "hour", "calls", "direction"),
                _bars(q.CALLS_BY_HOUR_AND_ANSWER, "hour", "calls", "answer_type"),
            ),
            _row(
                6,
                _bars(q.CALLS_BY_ANSWER, "direction", "calls", "answer_type"),
                _table(
                    q.CALLS_BY_ANSWER,
                    direction="Direction",
                    answer_type="Answer type",
                    calls="Calls",
                    average_seconds="Average seconds",
                    over_a_minute="Over a minute",
                ),
            ),
            _row(
                3,
                _table(
                    q.CALLS_PERIOD,
                    first_call="From",
                    last_call="To",
                    calls="Calls",
                    all_calls="Calls in all",
                    calls_without_time="Without a readable time",
                ),
            ),
        ),
        "Scorecards": (
            _row(6, _bars(q.SCORECARDS_BY_OUTCOME, "outcome", "scorecards")),
            _row(
                8,
                _table(
                    q.SCORECARDS_BY_AGENT,
                    agent="Agent",
                    scorecards="Scorecards",
                    overall="Overall",
                    ask_for_payment="Ask for payment",
                    confirm_location="Confirm location",
                    features_advantages="Features and advantages",
                    handle_objections="Handle objections",
                    size_recommendation="Size recommendation",
                    urgency="Urgency",
                ),
            ),
        ),
        "Sentiment and tags": (
            _row(6, _bars(q.SENTIMENT_BY_DAY, "day", "items", "sentiment", "temporal")),
            _row(6, _bars(q.TAGS_BY_DAY, "day", "items", "tag", "temporal")),
        ),
        "Metrics": (
            _row(
                5,
                _table(
                    q.METRICS_BY_KIND,
                    entity_type="About",
                    as_of="As of",
                    entities="Count",
                    sessions_7d="Sessions 7 days",
                    sessions_14d="14 days",
                    sessions_30d="30 days",
                    ib_calls_7d="Inbound calls 7 days",
                    ib_calls_14d="14 days",
                    mean_rating="Mean rating",
                    mean_health="Mean health",
                ),
            ),
            _row(5, _bars(q.STUDENTS_BY_HEALTH, "health", "students")),
            _row(
                6,
                _table(
                    q.SUPPLY_AND_DEMAND,
                    subject="Subject",
                    region="Region",
                    demand_score="Demand",
                    supply_score="Supply",
                    available_tutors="Available tutors",
                    active_students="Active students",
                    balance_status="Balance",
                ),
            ),
        ),
        "Alerts": (
            _row(6, _bars(q.OPEN_ALERTS, "alert_type", "alerts", "severity")),
            _row(
                8,
                _table(
                    q.NEWEST_ALERTS,
                    alert_type="Rule",
                    severity="Severity",
                    entity_type="About",
                    entity_id="Id",
                    region="Region",
                    opened_at="Open since",
                    published_at="Published",
                ),
            ),
        ),
        "Coaching": (
            _row(6, _bars(q.INSIGHTS_BY_TYPE, "insight_type", "insights", "priority")),
            _row(
                8,
                _table(
                    q.COACHING_BY_AGENT,
                    agent="Agent",
                    last_update="Last update",
                    calls="Calls",
                    insights="Insights",
                    high="High",
                    medium="Medium",
                    low="Low",
                ),
            ),
        ),
        "Freshness": (
            _row(
                8,
                _table(
                    q.STREAMS,
                    stream="Stream",
                    table_name="Table",
                    last_batch="Last batch",
                    batches="Batches",
                    records="Records",
                    upserts="Upserts",
                    deletes="Deletes",
                    stale="Stale",
                    quarantined="Quarantined",
                    misfits="Misfits",
                ),
            ),
            _row(
                4,
                _table(
                    q.FOLLOWERS,
                    follower="Follower",
                    table_name="Follows",
                    seen_until="Has seen until",
                    written_at="Last written",
                    minutes_behind="Minutes behind",
                ),
            ),
            _row(
                6,
                _table(
                    q.QUARANTINE,
                    source="Source",
                    reason="Reason",
                    newest="Newest",
                    open="Open",
                    requeued="Requeued",
                    discarded="Discarded",
                ),
            ),
        ),
    }


def _row(height: int, *widgets: Widget) -> Row:
    """Widgets side by side, of one width."""
    return height, widgets


def _dataset(query: Query) -> dict[str, Any]:
    # The lines are put together as they stand: without its end, a comment would take the next one with it.
    lines = query.bare(DAYS).splitlines()
    return {"name": query.name, "displayName": query.title, "queryLines": [f"{line}\n" for line in lines]}


def _page(title: str, rows: Sequence[Row]) -> dict[str, Any]:
    name = title.lower().replace(" ", "_")
    heading = {"name": f"{name}_title", "multilineTextboxSpec": {"lines": [f"## {title}"]}}
    layout = [_placed(heading, 0, 0, COLUMNS, 1)]
    y = 1
    for height, widgets in rows:
        width = COLUMNS // len(widgets)
        layout += [_placed(widget, i * width, y, width, height) for i, widget in enumerate(widgets)]
        y += height
    return {
        "name": name,
        "displayName": title,
        "pageType": "PAGE_TYPE_CANVAS",
        "layoutVersion": "GRID_V1",
        "layout": layout,
    }


def _placed(widget: Widget, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"widget": widget, "position": {"x": x, "y": y, "width": width, "height": height}}


def _counter(query: Query, column: str, title: str) -> Widget:
    encodings = {"value": {"fieldName": column, "displayName": title}}
    return _widget(query, "counter", f"{query.name}_{column}", title, {column: f"`{column}`"}, encodings)


def _table(query: Query, **columns: str) -> Widget:
    encodings = {
        "columns": [{"fieldName": column, "displayName": title} for column, title in columns.items()]
    }
    fields = {column: f"`{column}`" for column in columns}
    return _widget(query, "table", f"{query.name}_table", query.title, fields, encodings)


def _bars(query: Query, x: str, y: str, series: str | None = None, scale: Scale = "categorical") -> Widget:
    """Bars, stacked by series."""
    total = f"sum({y})"
    fields = {x: f"`{x}`", total: f"SUM(`{y}`)"}
    encodings = {
        "x": {"fieldName": x, "scale": {"type": scale}, "displayName": _words(x)},
        "y": {"fieldName": total, "scale": {"type": "quantitative"}, "displayName": _words(y)},
    }
    if series is not None:
        fields[series] = f"`{series}`"
        encodings["color"] = {
            "fieldName": series,
            "scale": {"type": "categorical"},
            "displayName": _words(series),
        }
    return _widget(query, "bar", f"{query.name}_bars", query.title, fields, encodings)


def _widget(
    query: Query, kind: str, name: str, title: str, fields: Mapping[str, str], encodings: Mapping[str, Any]
) -> Widget:
    asked = {
        "datasetName": query.name,
        "fields": [{"name": name, "expression": expression} for name, expression in fields.items()],
        "disaggregated": kind != "bar",  # rows as they are; bars add them up
    }
    return {
        "name": name,
        "queries": [{"name": "main_query", "query": asked}],
        "spec": {
            "version": VERSIONS[kind],
            "widgetType": kind,
            "encodings": encodings,
            "frame": {"showTitle": True, "title": title},
        },
    }


def _words(column: str) -> str:
    return column.replace("_", " ").capitalize()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n")
