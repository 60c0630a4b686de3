"""The sections of the report, a file each: answers in, figures out. None reads a table or writes HTML."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from lakehouse.report.figures import Answers, Page
from lakehouse.report.sections.alerts import alerts
from lakehouse.report.sections.calls import calls
from lakehouse.report.sections.coaching import coaching
from lakehouse.report.sections.freshness import freshness
from lakehouse.report.sections.metrics import metrics
from lakehouse.report.sections.overview import cards
from lakehouse.report.sections.scorecards import scorecards
from lakehouse.report.sections.sentiment import sentiment
from lakehouse.report.words import name

SECTIONS = (calls, scorecards, sentiment, metrics, alerts, coaching, freshness)
"""In the order of the page."""


def make_page(
    answers: Answers, statements: Mapping[str, str], *, made_at: datetime, title: str, days: int
) -> Page:
    """Put the answers in their places.

    Args:
        answers, statements: by the name of the query.
        made_at: UTC.
        title: what the data is called.
        days: how many days were looked at.
    """
    sections = [section(answers) for section in SECTIONS]
    return Page(made_at, name(title), days, cards(answers), sections, statements)
