"""Make the report of a lakehouse: ask, put in place, write down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lakehouse.report.charts import Row
from lakehouse.report.page import html
from lakehouse.report.queries import ask, queries
from lakehouse.report.sections import make_page
from lakehouse.settings import Settings
from lakehouse.table import Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def make_report(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Table],
    *,
    title: str,
    days: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """The report as one HTML page.

    Args:
        spark: a session whose time zone is UTC.
        tables: the state tables.
        title: what the page calls the data.
        days: how many days are looked at, counted back from the newest that has data.
        on_progress: told (queries answered, queries in all).
    """
    made_at = datetime.now(UTC)
    statements = {query.name: query.text(settings, days) for query in queries(tables)}
    answers: dict[str, Sequence[Row]] = {}
    for name, statement in statements.items():
        on_progress(len(answers), len(statements))
        answers[name] = ask(spark, statement)
    on_progress(len(answers), len(statements))
    return html(make_page(answers, statements, made_at=made_at, title=title, days=days))
