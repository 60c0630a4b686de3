"""Every state table, one file each. A new table is a new file and a line here."""

from __future__ import annotations

from lakehouse.errors import UnknownTableError
from lakehouse.table import Table
from lakehouse.tables.calls import CALLS
from lakehouse.tables.scorecards import SCORECARDS
from lakehouse.tables.transcripts import TRANSCRIPTS

TABLES: tuple[Table, ...] = (CALLS, SCORECARDS, TRANSCRIPTS)


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        UnknownTableError: no table file declares it.
    """
    for candidate in TABLES:
        if candidate.name == name:
            return candidate
    raise UnknownTableError(name, [t.name for t in TABLES])
