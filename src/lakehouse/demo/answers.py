"""What the demo asks the tables at its end, shown beside what the source itself says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from lakehouse.demo import sample_items
from lakehouse.demo.coaching_figures import coaching_figures
from lakehouse.demo.item_figures import item_figures
from lakehouse.demo.source_figures import analyst_figures, scorecard_figures
from lakehouse.demo.transcript_figures import ListedDocument

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows: TypeAlias = Mapping[tuple[Any, ...], tuple[Any, ...]]
"""Figures by what they are of."""

ANALYSTS_QUERY = """
SELECT direction, answer_type,
  count(*) AS calls,
  avg(call_duration_seconds) AS average_seconds,
  count_if(call_duration_seconds > 60) AS over_a_minute
FROM gold.calls
WHERE to_date(call_timestamp_utc) = DATE'{day}'
GROUP BY direction, answer_type
ORDER BY direction, answer_type
"""
"""A day's calls by direction and by who answered: how many, how long, how many over a minute."""

SCORECARD_QUERY = """
SELECT call_type, count(*) AS scorecards, round(avg(overall_score), 4) AS mean_score
FROM gold.scorecards GROUP BY call_type ORDER BY call_type
"""

ITEMS_QUERY = """
SELECT day_partition,
  count_if(tag IS NULL) AS items,
  count_if(tag IS NOT NULL) AS tag_rows,
  round(avg(score) FILTER (WHERE tag IS NULL), 4) AS mean_score
FROM gold.dashboard_items
GROUP BY day_partition
ORDER BY day_partition
"""
"""Items that the dashboard shows now, by day: each has a base row, whose tag is null, and a row per tag."""

COACHING_QUERY = """
SELECT insight_type, priority, count(*) AS insights
FROM gold.coaching_insights
GROUP BY insight_type, priority
ORDER BY insight_type, priority
"""


@dataclass(frozen=True)
class Answer:
    """One question: what the tables say and what the source says, each as figures by key.

    `keys` and `figures` are the headings of the columns. `may_be_empty`: a small demo may have nothing to
    show here; otherwise to agree on nothing is not to agree.
    """

    title: str
    keys: tuple[str, ...]
    figures: tuple[str, ...]
    tables: Rows
    source: Rows
    may_be_empty: bool = False

    @property
    def agrees(self) -> bool:
        """Whether both say the same; averages of floating-point numbers to a millionth."""
        same = self.tables.keys() == self.source.keys() and all(map(self.same, self.source))
        return same and (bool(self.source) or self.may_be_empty)

    def same(self, key: tuple[Any, ...]) -> bool:
        """Whether both say the same of one key."""
        left, right = self.tables.get(key), self.source.get(key)
        return left is not None and right is not None and all(map(_same, left, right))


def answers(
    spark: SparkSession,
    items: Mapping[str, Iterable[Mapping[str, Any]]],
    documents: Sequence[ListedDocument],
    day: dt.date,
) -> list[Answer]:
    """Ask the tables, and work out the same from the source.

    Args:
        spark: a session that knows the warehouse's tables.
        items: live items by DynamoDB table, as a scan returns them.
        documents: all objects that S3 lists: key, body, modification time.
        day: the day of the calls, UTC.
    """
    calls = analyst_figures(items["calls"], documents, day)
    cards = scorecard_figures(items["scorecards"])
    # An item is shown until it expires: the source is asked as of the time at which the tables are.
    shown = ask(spark, ITEMS_QUERY, 1)
    dashboard = item_figures(items[sample_items.TABLE], dt.datetime.now(dt.UTC))
    return [
        Answer(
            f"The analysts' answer for {day} (UTC): from the tables, and counted from the source",
            ("direction", "answered"),
            ("calls", "avg s", "> 1 min"),
            ask(spark, ANALYSTS_QUERY.format(day=day.isoformat()), 2),
            {(r.direction, r.answer_type): (r.calls, r.average_seconds, r.over_a_minute) for r in calls},
        ),
        Answer(
            "Scorecards by call type",
            ("call type",),
            ("scorecards", "mean score"),
            ask(spark, SCORECARD_QUERY, 1),
            {(r.group,): (r.scorecards, r.mean_score) for r in cards},
        ),
        Answer(
            "Dashboard items that are shown now, by day (UTC)",
            ("day",),
            ("items", "tag rows", "mean score"),
            shown,
            {(r.day,): (r.items, r.tag_rows, r.mean_score) for r in dashboard},
        ),
        Answer(
            "Coaching insights",
            ("insight", "priority"),
            ("calls",),
            ask(spark, COACHING_QUERY, 2),
            {insight: (count,) for insight, count in coaching_figures(documents).items()},
            may_be_empty=True,
        ),
    ]


def ask(spark: SparkSession, query: str, keys: int) -> Rows:
    """The rows of a query by its first columns."""
    return {tuple(row[:keys]): tuple(row[keys:]) for row in spark.sql(query).collect()}


def show(console: Console, answer: Answer) -> None:
    """Print the answer as a table, a tick or a cross at the end of each line."""
    grid = plain_grid(answer.title)
    for name in answer.keys:
        grid.add_column(name, no_wrap=True)
    for name in answer.figures:
        grid.add_column(name, justify="right", no_wrap=True)
        grid.add_column("source", justify="right", style="dim", no_wrap=True)
    grid.add_column("")
    nothing = (None,) * len(answer.figures)
    for key in sorted({*answer.tables, *answer.source}, key=lambda k: [str(part or "") for part in k]):
        both = zip(answer.tables.get(key, nothing), answer.source.get(key, nothing), strict=True)
        names = ("[dim]null[/]" if part is None else escape(str(part)) for part in key)
        verdict = "[green]✓[/]" if answer.same(key) else "[bold red]✗[/]"
        grid.add_row(*names, *(_cell(value) for pair in both for value in pair), verdict)
    console.print(grid)


def plain_grid(title: str) -> Grid:
    """An empty table in the demo's style."""
    return Grid(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) < 1e-6
    return left == right


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)
