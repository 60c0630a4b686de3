"""Coaching insights by kind and by agent. Their words are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, left_out, marks, series
from lakehouse.report.words import names, number, time

_PRIORITIES = ("high", "medium", "low")
_EMPTY = "No coaching insights in the period."


def coaching(answers: Answers) -> Section:
    """The section."""
    figures = [_by_type(answers["insights_by_type"]), _by_agent(answers["coaching_by_agent"])]
    return Section("coaching", "Coaching", figures)


def _by_type(rows: Sequence[Row]) -> Figure:
    of_kind: Counter[Any] = Counter()
    for r in rows:
        of_kind[r["insight_type"]] += r["insights"]
    kinds = names(sorted(of_kind, key=lambda kind: (-of_kind[kind], str(kind))))
    priorities = series((r["priority"] for r in rows), _PRIORITIES)
    return Figure(
        "insights_by_type",
        "Insights by kind and priority",
        Table(
            ("Kind", "Priority", "Insights"),
            [
                (kinds[r["insight_type"]], priorities[r["priority"]], number(r["insights"]))
                for r in sorted(rows, key=lambda r: list(kinds).index(r["insight_type"]))
            ],
            2,
        ),
        _EMPTY,
        draw=charts.bars(
            marks(rows, "insights", "insight", insight_type=kinds, priority=priorities),
            "insight_type",
            "insights",
            "priority",
            down=list(kinds.values()),
            series=list(priorities.values()),
        ),
    )


def _by_agent(rows: Sequence[Row]) -> Figure:
    agents = names(r["agent"] for r in rows)
    parts = [
        {"agent": r["agent"], "priority": priority, "insights": r[priority]}
        for r in rows
        for priority in _PRIORITIES
        if r[priority]
    ]
    priorities = series((part["priority"] for part in parts), _PRIORITIES)
    return Figure(
        "coaching_by_agent",
        "Insights by agent",
        Table(
            ("Agent", "Last update", "Calls", "Insights", "High", "Medium", "Low"),
            [
                (
                    agents[r["agent"]],
                    time(r["last_update"]),
                    *(number(r[c]) for c in ("calls", "insights", *_PRIORITIES)),
                )
                for r in rows
            ],
            2,
        ),
        _EMPTY,
        "The most of high priority first. Calls: those with an insight.",
        charts.bars(
            marks(parts, "insights", "insight", agent=agents, priority=priorities),
            "agent",
            "insights",
            "priority",
            down=list(agents.values()),
            series=list(priorities.values()),
        ),
        left_out(len(rows), rows, "agents", "those with the most of high priority"),
    )
