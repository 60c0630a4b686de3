"""Sentiment and tags by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, grid, left_out, marks, series
from lakehouse.report.words import names, number

_SENTIMENTS = ("positive", "neutral", "mixed", "negative")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def sentiment(answers: Answers) -> Section:
    """The section."""
    figures = [_by_sentiment(answers["sentiment_by_day"]), _by_tag(answers["tags_by_day"])]
    return Section("sentiment", "Sentiment and tags", figures)


def _by_sentiment(rows: Sequence[Row]) -> Figure:
    days = _days(r["day"] for r in rows)
    kinds = series((r["sentiment"] for r in rows), _SENTIMENTS)
    across = list(kinds.values())
    cells = marks(rows, "items", "text", day={day: day for day in days}, sentiment=kinds)
    return Figure(
        "sentiment_by_day",
        "Sentiment by day",
        grid(cells, "day", "sentiment", "items", rows=list(days), columns=across),
        "No analysed text is shown now.",
        "Texts by the day on which their source took them in.",
        charts.columns(
            [cell | {"day": days[cell["day"]]} for cell in cells],
            "day",
            "items",
            "sentiment",
            across=list(days.values()),
            series=across,
            title="day (UTC)",
            counts="texts",
        ),
    )


def _by_tag(rows: Sequence[Row]) -> Figure:
    days = _days(r["day"] for r in rows)
    tags = names(r["tag"] for r in rows)
    most = max((r["items"] for r in rows), default=1)
    cells = marks(rows, "items", "text", tag=tags, day={day: day for day in days})
    return Figure(
        "tags_by_day",
        "Tags by day",
        grid(cells, "tag", "day", "items", rows=list(tags.values()), columns=list(days)),
        "No analysed text has a tag.",
        "A text with several tags counts once for each.",
        charts.heatmap(
            [
                cell
                | {
                    "day": days[cell["day"]],
                    "shade": cell["items"] / most,
                    "text": number(cell["items"]),
                }
                for cell in cells
            ],
            "day",
            "tag",
            across=list(days.values()),
            down=list(tags.values()),
        ),
        left_out(len(tags), rows, "tags", "the most frequent"),
    )


def _days(dates: Iterable[str]) -> dict[str, str]:
    """The dates in order, each with what its column is called: `2026-11-09` is `9 Nov`."""
    return {date: f"{int(date[-2:])} {_MONTHS[int(date[-5:-3]) - 1]}" for date in sorted(set(dates))}
