"""Every state table, one file each. A new table is a new file and a line here.

What a table lets be set (thresholds, patterns) is set here too, as arguments of its function, so that every
job and command agrees on it.
"""

from __future__ import annotations

from lakehouse.errors import UnknownTableError
from lakehouse.table import Table
from lakehouse.tables.calls import CALLS
from lakehouse.tables.coaching_insights import coaching_insights
from lakehouse.tables.dashboard_items import dashboard_items
from lakehouse.tables.metric_events import METRIC_EVENTS
from lakehouse.tables.scorecards import SCORECARDS
from lakehouse.tables.transcripts import transcripts

TABLES: tuple[Table, ...] = (
    CALLS,
    SCORECARDS,
    dashboard_items(),
    transcripts(),
    coaching_insights(),
    METRIC_EVENTS,
)


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        UnknownTableError: no table file declares it.
    """
    for candidate in TABLES:
        if candidate.name == name:
            return candidate
    raise UnknownTableError(name, [t.name for t in TABLES])
