"""Metrics of students, tutors, subjects and regions. Students and tutors are counted, not named."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, left_out, series
from lakehouse.report.words import MISSING, counted, name, names, number, time

_COUNTS = ("entities", "sessions_7d", "sessions_14d", "sessions_30d", "ib_calls_7d", "ib_calls_14d")
_BANDS = ("below 50", "50 to 70", "70 to 85", "85 and above", "not reported")
_RULES = {"below 50": "critical", "50 to 70": "warning", "not reported": "not reported"}
_SIDES = ("demand", "supply")


def metrics(answers: Answers) -> Section:
    """The section."""
    return Section(
        "metrics",
        "Metrics",
        [
            _by_kind(answers["metrics_by_kind"]),
            _by_health(answers["students_by_health"]),
            _supply_and_demand(answers["supply_and_demand"]),
        ],
    )


def _by_kind(rows: Sequence[Row]) -> Figure:
    return Figure(
        "metrics_by_kind",
        "Students, tutors, subjects, regions",
        Table(
            [
                *("About", "As of", "Count", "Sessions 7 days", "14 days", "30 days"),
                *("Inbound calls 7 days", "14 days", "Mean rating", "Mean health"),
            ],
            [
                (
                    name(r["entity_type"]),
                    time(r["as_of"]),
                    *(number(r[c]) for c in _COUNTS),
                    number(r["mean_rating"], 2),
                    number(r["mean_health"], 1),
                )
                for r in rows
            ],
            2,
        ),
        "No metrics so far.",
        "Sums over all of a kind, of the days up to the time in the second column. "
        "Ratings and health are means of those that have one.",
        whole=True,
    )


def _by_health(rows: Sequence[Row]) -> Figure:
    bands = [
        {
            "health": r["health"],
            "students": r["students"],
            "rule": _RULES.get(r["health"], "no alert"),
            "told": f"{r['health']}: {counted(r['students'], 'student')}",
        }
        for r in rows
    ]
    rules = series((band["rule"] for band in bands), ("critical", "warning", "no alert", "not reported"))
    return Figure(
        "students_by_health",
        "Students by health score",
        Table(
            ("Health score", "Students", "Sessions 7 days", "Inbound calls 14 days"),
            [
                (r["health"], *(number(r[c]) for c in ("students", "sessions_7d", "ib_calls_14d")))
                for r in rows
            ],
        ),
        "No student has metrics so far.",
        "The latest score that was reported.",
        charts.bars(bands, "health", "students", "rule", down=_BANDS, series=list(rules.values())),
        whole=True,
    )


def _supply_and_demand(rows: Sequence[Row]) -> Figure:
    labels = names(
        ((r["subject"], r["region"]) for r in rows),
        lambda key: " · ".join(name(part) for part in key if part),
    )
    points = []
    for r in rows:
        subject = labels[r["subject"], r["region"]]
        for side in _SIDES:
            score = r[f"{side}_score"]
            if score is not None:
                told = f"{subject}: {side} {number(score, 2)}"
                points.append({"subject": subject, "side": side, "score": float(score), "told": told})
    return Figure(
        "supply_and_demand",
        "Supply and demand by subject",
        Table(
            ("Subject", "Region", "Balance", "Demand", "Supply", "Tutors", "Students"),
            [
                (
                    name(r["subject"]),
                    name(r["region"]) if r["region"] else MISSING,
                    MISSING if r["balance_status"] is None else name(r["balance_status"]),
                    number(r["demand_score"], 2),
                    number(r["supply_score"], 2),
                    number(r["available_tutors"]),
                    number(r["active_students"]),
                )
                for r in rows
            ],
            3,
        ),
        "No supply or demand was reported so far.",
        "The latest scores; the greatest lack of supply first.",
        charts.pairs(points, "subject", "score", "side", down=list(labels.values()), series=_SIDES),
        left_out(len(rows), rows, "subjects", "those that lack supply the most"),
        whole=True,
    )
