"""Calls by hour, direction and answer type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, grid, marks, series
from lakehouse.report.words import counted, number, time

_DIRECTIONS = ("inbound", "outbound")
_ANSWER_TYPES = ("Human", "Voicemail", "NoAnswer", "Unknown")
_HOURS = [f"{hour:02}" for hour in range(24)]
_EMPTY = "No calls in the period."


def calls(answers: Answers) -> Section:
    """The section."""
    (period,) = answers["calls_period"]
    return Section(
        "calls",
        "Calls",
        [
            _by_hour(answers["calls_by_hour"], "calls_by_hour", "direction", _DIRECTIONS),
            _by_hour(
                answers["calls_by_hour_and_answer"], "calls_by_hour_and_answer", "answer_type", _ANSWER_TYPES
            ),
            _by_answer(answers["calls_by_answer"]),
        ],
        _period(period),
    )


def _period(period: Row) -> str:
    if not period["calls"]:
        said = "There is no call with a readable time so far."
    else:
        first, last = time(period["first_call"]), time(period["last_call"])
        said = f"{counted(period['calls'], 'call')} from {first} to {last}."
    untimed = period["calls_without_time"]
    others = period["all_calls"] - period["calls"] - untimed
    if others:
        said += f" Outside the period: {counted(others, 'call')}."
    if untimed:
        said += f" Without a readable time, and so on no day: {counted(untimed, 'call')}."
    return said


def _by_hour(rows: Sequence[Row], name: str, what: str, known: Sequence[str]) -> Figure:
    kinds = series((r[what] for r in rows), known)
    hours = {int(hour): hour for hour in _HOURS}
    cells = marks(rows, "calls", "call", hour=hours, **{what: kinds})
    across = list(kinds.values())
    busiest: Counter[str] = Counter()
    for cell in cells:
        busiest[cell["hour"]] += cell["calls"]
    note = ""
    if busiest:
        hour = max(sorted(busiest), key=lambda h: busiest[h])
        note = f"The busiest hour is {hour}:00 to {hour}:59 UTC with {counted(busiest[hour], 'call')}."
    return Figure(
        name,
        f"Calls by hour and {what.replace('_', ' ')}",
        grid(cells, "hour", what, "calls", rows=sorted(busiest), columns=across),
        _EMPTY,
        note,
        charts.columns(
            cells,
            "hour",
            "calls",
            what,
            across=_HOURS,
            series=across,
            title="hour of the day (UTC)",
            labelled=_HOURS[::3],
        ),
    )


def _by_answer(rows: Sequence[Row]) -> Figure:
    directions = series((r["direction"] for r in rows), _DIRECTIONS)
    types = series((r["answer_type"] for r in rows), _ANSWER_TYPES)
    return Figure(
        "calls_by_answer",
        "Calls by direction and answer type",
        Table(
            ("Direction", "Answer type", "Calls", "Average seconds", "Over a minute"),
            [
                (
                    directions[r["direction"]],
                    types[r["answer_type"]],
                    number(r["calls"]),
                    number(r["average_seconds"], 1),
                    number(r["over_a_minute"]),
                )
                for r in rows
            ],
            2,
        ),
        _EMPTY,
        "Who answered is known from the transcript; without one it is Unknown.",
        charts.bars(
            marks(rows, "calls", "call", direction=directions, answer_type=types),
            "direction",
            "calls",
            "answer_type",
            down=list(directions.values()),
            series=list(types.values()),
        ),
        whole=True,
    )
