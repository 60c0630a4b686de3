"""Open alerts. Their messages and details are left out: they are free text."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, left_out, marks, series
from lakehouse.report.words import MISSING, key, name, number, time

_SEVERITIES = ("critical", "warning", "info")
_EMPTY = "No alert is open."


def alerts(answers: Answers) -> Section:
    """The section."""
    rows = answers["open_alerts"]
    figures = [_by_rule(rows)]
    if rows:
        figures.append(_gravest(answers["newest_alerts"]))
    return Section("alerts", "Open alerts", figures)


def _by_rule(rows: Sequence[Row]) -> Figure:
    rules = series(r["alert_type"] for r in rows)
    severities = series((r["severity"] for r in rows), _SEVERITIES)
    return Figure(
        "open_alerts",
        "Open alerts by rule",
        Table(
            ("Rule", "Severity", "Oldest", "Newest", "Alerts"),
            [
                (
                    rules[r["alert_type"]],
                    severities[r["severity"]],
                    time(r["oldest"]),
                    time(r["newest"]),
                    number(r["alerts"]),
                )
                for r in rows
            ],
            4,
            badge=1,
        ),
        _EMPTY,
        draw=charts.bars(
            marks(rows, "alerts", "alert", alert_type=rules, severity=severities),
            "alert_type",
            "alerts",
            "severity",
            down=list(rules.values()),
            series=list(severities.values()),
        ),
        whole=True,
    )


def _gravest(rows: Sequence[Row]) -> Figure:
    return Figure(
        "newest_alerts",
        "Open alerts, the gravest first",
        Table(
            ("Rule", "Severity", "About", "Id", "Region", "Open since", "Published"),
            [
                (
                    name(r["alert_type"]),
                    name(r["severity"]),
                    name(r["entity_type"]),
                    key(r["entity_id"]),
                    name(r["region"]) if r["region"] else MISSING,
                    time(r["opened_at"]),
                    time(r["published_at"]),
                )
                for r in rows
            ],
            7,
            badge=1,
        ),
        _EMPTY,
        more=left_out(len(rows), rows, "alerts", "the gravest, and of those the newest"),
        whole=True,
    )
