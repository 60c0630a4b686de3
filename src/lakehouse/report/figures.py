"""What the page is made of, and what the sections share in making it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakehouse.report.charts import Draw, Row
from lakehouse.report.words import counted, names, number

Answers = Mapping[str, Sequence[Row]]
"""Name of a query → its rows."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures as text.

    Args:
        words: how many columns from the left are words and times; the others are numbers.
        badge: the column that holds a severity.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    badge: int = -1


@dataclass(frozen=True, slots=True)
class Figure:
    """What answers one query: a chart and its figures, or the figures alone.

    Args:
        name: of the query, and of the element.
        empty: what is said where there is nothing to show.
        note: a sentence below the title.
        draw: the chart, for a width.
        more: a sentence on what is left out.
        whole: as wide as the page, its figures beside the chart or below it; else they are folded.
    """

    name: str
    title: str
    table: Table
    empty: str
    note: str = ""
    draw: Draw | None = None
    more: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    name: str
    title: str
    figures: Sequence[Figure]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A figure that stands alone. `tone`: good, warn, bad or none; `to`: the section that has more."""

    title: str
    value: str
    note: str
    to: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The report before it is written down. `statements`: name of a query → its text."""

    made_at: datetime
    title: str
    days: int
    cards: Sequence[Card]
    sections: Sequence[Section]
    statements: Mapping[str, str]


def series(values: Iterable[Any], known: Sequence[str] = ()) -> dict[Any, str]:
    """The values that are there, by name: the known ones first and in their order, null last."""
    there = set(values)
    rest = sorted(there - set(known) - {None}) + ([None] if None in there else [])
    return names([*(k for k in known if k in there), *rest])


def marks(rows: Iterable[Row], value: str, noun: str, **labels: Mapping[Any, str]) -> list[dict[str, Any]]:
    """What a chart draws: for each row its `value`, and each column in `labels` by its name there."""
    found = []
    for row in rows:
        shown = {column: names_of[row[column]] for column, names_of in labels.items()}
        told = f"{', '.join(shown.values())}: {counted(row[value], noun)}"
        found.append({**shown, value: row[value], "told": told})
    return found


def grid(
    cells: Iterable[Row], down: str, across: str, value: str, *, rows: Sequence[str], columns: Sequence[str]
) -> Table:
    """Cells as a table with a total; a place without a cell is 0."""
    found = {(cell[down], cell[across]): cell[value] for cell in cells}
    lines = []
    for row in rows:
        counts = [found.get((row, column), 0) for column in columns]
        lines.append((row, *(number(count) for count in counts), number(sum(counts))))
    return Table((down.capitalize(), *columns, "Total"), lines)


def left_out(shown: int, rows: Sequence[Row], what: str, which: str) -> str:
    """What is not shown, if anything is: the column `what` says how many there are."""
    if not rows or rows[0][what] <= shown:
        return ""
    return f"{shown:,} of {rows[0][what]:,} {what} are shown: {which}."
