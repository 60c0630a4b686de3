"""Landed lines and documents as rows of bronze and as a table has them, without tables or streams between."""

from __future__ import annotations

import uuid

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.catalog.bronze import CHANGES
from lakehouse.ingest import bronze
from lakehouse.ingest.changes import changes_of_documents
from lakehouse.sql.select import select
from lakehouse.table import Table


def landed(lines: DataFrame, table: Table) -> DataFrame:
    """Lines as `lines_frame` gives them → rows of bronze, with their place in it."""
    return _placed(bronze.of_lines(lines, table)).select(*(c.name for c in CHANGES))


def parse(lines: DataFrame, table: Table) -> DataFrame:
    """Lines → the columns of the table but `_applied_at`, where they lie in bronze, and `_misfits`.

    Every line that has a key and no problem; the latest of a key is not looked for.
    """
    return selected(landed(lines, table), table)


def selected(rows: DataFrame, table: Table) -> DataFrame:
    """Rows of bronze → the table's SELECT over those that have a key and no problem."""
    view = f"rows_{uuid.uuid4().hex}"
    rows.createOrReplaceTempView(view)
    good = f"(SELECT * FROM {view} WHERE _problem IS NULL AND _key IS NOT NULL)"
    return rows.sparkSession.sql(select(table, good, beside=True))


def documents(files: DataFrame, table: Table) -> DataFrame:
    """Documents (`content`, `document_key`, `_source_file`, `_modified_at`) → changes of the table.

    What the table refuses is among them, with its `_problem`; so is what bronze refuses, with its `_raw`.
    """
    rows = _placed(bronze.of_documents(files))
    changes = changes_of_documents(rows, table).withColumn("_raw", F.lit(None).cast("string"))
    bad = rows.where("_problem IS NOT NULL")
    kept = {c: F.col(c) if c in bad.columns else F.lit(None) for c in changes.columns}
    kept["is_deleted"] = F.lit(False)
    types = dict(changes.dtypes)
    return changes.unionByName(bad.select(*(kept[c].cast(types[c]).alias(c) for c in changes.columns)))


def _placed(rows: DataFrame) -> DataFrame:
    return rows.withColumns(
        {
            "_stream": F.lit("test/000000000000"),
            "_batch_id": F.lit(0).cast("bigint"),
            "_loaded_at": F.current_timestamp(),
        }
    )
