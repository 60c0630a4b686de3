"""What a batch, or a rebuild, of a state table brings up to date in other tables."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from lakehouse.gold.alerts import apply_insights
from lakehouse.gold.entities import apply_events, refresh_metrics
from lakehouse.settings import Settings
from lakehouse.table import Table
from lakehouse.tables import table
from lakehouse.tables.metric_events import METRIC_EVENTS

REFRESH_WAIT_SECONDS = 3600.0
"""How long a rebuild waits for a refresh that is at work."""

_INSIGHTS = table("coaching_insights").name


def before_state(
    spark: SparkSession,
    settings: Settings,
    of: Table,
    changes: DataFrame,
    scratch: str,
    among: list[str] | None,
) -> None:
    """Before a batch's MERGE into its state table, while that still says what was there before.

    Args:
        changes: the batch's changes, several of one key among them.
        scratch: the stream's folder, for what is read more than once.
        among: the values of the first key column in `changes`, if they are few.
    """
    if of.name == METRIC_EVENTS.name:
        apply_events(spark, settings, changes, scratch, among)


def after_state(
    spark: SparkSession, settings: Settings, of: Table, changes: DataFrame, among: list[str] | None
) -> None:
    """After a batch's MERGE into its state table, from what that says now."""
    if of.name == _INSIGHTS:
        apply_insights(spark, settings, changes, among)


def before_rebuild(settings: Settings, of: Table) -> None:
    """Before the content of a state table is replaced: note that `after_rebuild` has to follow."""
    note = _note(settings, of)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def after_rebuild(spark: SparkSession, settings: Settings, of: Table) -> None:
    """After the content of a state table was replaced, by this process or by one that has died since.

    The caller holds the table's checkpoints.
    """
    note = _note(settings, of)
    if not note.exists():
        return
    if of.name == METRIC_EVENTS.name:
        refresh_metrics(spark, settings, everything=True, held=True, wait=REFRESH_WAIT_SECONDS)
    elif of.name == _INSIGHTS:
        apply_insights(spark, settings)
    note.unlink()


def _note(settings: Settings, of: Table) -> Path:
    return Path(settings.checkpoints) / "_rebuilds" / of.name / "replaced"
