"""Bronze: every record of a batch, good or bad, appended once; and which rows of it are looked at.

Whatever follows in a batch reads its rows back from here, whichever attempt has appended them. So a batch
that is repeated sees exactly what the first attempt saw, documents that were rewritten since included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.catalog.bronze import CHANGES, DOCUMENTS
from lakehouse.ingest.commits import append_once
from lakehouse.settings import literal
from lakehouse.sql.lines import document_columns, line_columns
from lakehouse.table import Table

_IDENTITY = re.compile(r"[a-z][a-z0-9_]*/[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Reach:
    """Batches of one stream: those behind `after`, up to `upto`."""

    stream: str
    after: int
    upto: int

    def __post_init__(self) -> None:
        assert _IDENTITY.fullmatch(self.stream), self.stream


def within(reaches: Iterable[Reach]) -> str:
    """The condition, as SQL, of the rows of bronze that lie in some of the reaches.

    Streams' names and batches' numbers are ours: they are no data.
    """
    each = (
        f"(_stream = {literal(r.stream)} AND _batch_id > {r.after} AND _batch_id <= {r.upto})"
        for r in reaches
    )
    return " OR ".join(each) or "false"


def append(rows: DataFrame, target: str, writer: str, batch_id: int, stamp: int) -> None:
    """Append the rows of a batch, unless an earlier attempt has done it.

    Args:
        rows: as `of_lines`, `of_documents` or `of_writer_quarantine` give them.
        writer: the stream and the identity of its checkpoint.
        stamp: the time, in microseconds; it tells whether the rows in bronze are those of this call.
    """
    placed = rows.withColumns(
        {
            "_stream": F.lit(writer),
            "_batch_id": F.lit(batch_id).cast("bigint"),
            "_loaded_at": F.timestamp_micros(F.lit(stamp)),
        }
    )
    names = [c.name for c in (DOCUMENTS if "document" in rows.columns else CHANGES)]
    append_once(placed.select(*names), target, writer=writer, version=batch_id)


def of_lines(lines: DataFrame, table: Table) -> DataFrame:
    """Landed lines → rows of bronze.

    Args:
        lines: `value` string (one landed line), `_source_file` string.
        table: of the source; its key is the record's.
    """
    return lines.selectExpr(*line_columns(table))


def of_documents(documents: DataFrame) -> DataFrame:
    """Documents → rows of bronze.

    Args:
        documents: `content` binary, `document_key` string (path below the location), `_source_file` string,
            `_modified_at` timestamp.
    """
    return documents.selectExpr(*document_columns())


def of_writer_quarantine(lines: DataFrame) -> DataFrame:
    """Lines of the writer's raw quarantine, each with its reason → rows of bronze."""
    said = F.from_json("value", "reason string, detail string")
    nothing = {c.name: F.lit(None).cast(c.type) for c in CHANGES}
    return lines.select(
        "*", *(value.alias(name) for name, value in nothing.items() if name not in lines.columns)
    ).withColumns(
        {
            "is_deleted": F.lit(False),
            "_problem": F.coalesce(said["reason"], F.lit("not_json")),
            "_detail": said["detail"],
            "_raw": F.col("value"),
        }
    )
