"""Scorecard criteria by agent, and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, left_out, marks
from lakehouse.report.words import names, number

CRITERIA: Final = {
    "overall": "Overall",
    "ask_for_payment": "Payment",
    "confirm_location": "Location",
    "features_advantages": "Features",
    "handle_objections": "Objections",
    "size_recommendation": "Size",
    "urgency": "Urgency",
}
"""Column of scorecards_by_agent → its heading."""

_EMPTY = "No scorecards in the period."


def scorecards(answers: Answers) -> Section:
    """The section."""
    return Section(
        "scorecards",
        "Scorecards",
        [_by_agent(answers["scorecards_by_agent"]), _by_outcome(answers["scorecards_by_outcome"])],
    )


def _by_agent(rows: Sequence[Row]) -> Figure:
    ranked = sorted(rows, key=lambda r: (r["overall"] is None, -(r["overall"] or 0)))
    agents = names(r["agent"] for r in ranked)
    return Figure(
        "scorecards_by_agent",
        "Scorecard criteria by agent",
        Table(
            ("Agent", "Scorecards", *CRITERIA.values()),
            [
                (agents[r["agent"]], number(r["scorecards"]), *(number(r[c], 1) for c in CRITERIA))
                for r in ranked
            ],
        ),
        _EMPTY,
        "Mean scores, the best overall first. Shades compare the agents by one criterion.",
        charts.heatmap(
            [cell for column in CRITERIA for cell in _cells(ranked, column, agents)],
            "criterion",
            "agent",
            across=list(CRITERIA.values()),
            down=list(agents.values()),
        ),
        left_out(len(rows), rows, "agents", "those with the most scorecards"),
    )


def _cells(rows: Sequence[Row], column: str, agents: Mapping[Any, str]) -> list[dict[str, Any]]:
    """The cells of a criterion, shaded from its lowest mean to its highest."""
    known = [r for r in rows if r[column] is not None]
    low, high = (f((r[column] for r in known), default=0) for f in (min, max))
    return [
        {
            "agent": agents[r["agent"]],
            "criterion": CRITERIA[column],
            "shade": float((r[column] - low) / (high - low)) if high > low else 0.5,
            "text": number(r[column], 1),
            "told": f"{agents[r['agent']]}, {CRITERIA[column]}: {number(r[column], 1)}",
        }
        for r in known
    ]


def _by_outcome(rows: Sequence[Row]) -> Figure:
    outcomes = names(r["outcome"] for r in rows)
    return Figure(
        "scorecards_by_outcome",
        "Scorecards by outcome",
        Table(
            ("Outcome", "Scorecards", "Mean overall score"),
            [(outcomes[r["outcome"]], number(r["scorecards"]), number(r["overall"], 1)) for r in rows],
        ),
        _EMPTY,
        "How the scored calls ended.",
        charts.bars(
            marks(rows, "scorecards", "scorecard", outcome=outcomes),
            "outcome",
            "scorecards",
            down=list(outcomes.values()),
        ),
        left_out(len(rows), rows, "outcomes", "the most frequent"),
    )
