"""Good rows of bronze that a table cannot take: noted in ops.refused, each once, before its mark moves."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import ops
from lakehouse.ingest import floors
from lakehouse.ingest.changes import changes_of_documents
from lakehouse.ingest.commits import insert_missing, same
from lakehouse.settings import Settings, literal
from lakehouse.sql.select import NO_KEY, key_texts
from lakehouse.sql.views import BELOW_FLOOR, record_id
from lakehouse.table import Table


def unusable(
    spark: SparkSession, settings: Settings, table: Table, source: str, where: str = "true"
) -> DataFrame:
    """Good rows of bronze that the table cannot take, with `reason` and `detail`."""
    rows = spark.table(settings.table("bronze", source)).where(where)
    if table.format == "documents":
        places = ["_stream", "_batch_id", "_source_file", "_sequence"]
        bad = changes_of_documents(rows, table).where("_problem IS NOT NULL")
        told = bad.select(*places, F.col("_problem").alias("reason"), F.col("_detail").alias("detail"))
        return rows.join(told.dropDuplicates(places), places).withColumn(
            "_key", F.to_json(F.array("_document_key"))
        )
    paths = ", ".join(path for c in table.columns[: len(table.keys)] for path in c.paths)
    inexact = F.array_contains(F.array(*map(F.expr, key_texts(table, "item"))), F.expr(NO_KEY))
    return rows.where("_problem IS NULL AND _key IS NULL").withColumns(
        {
            "reason": F.when(inexact, "inexact_key").otherwise("missing_key"),
            "detail": F.when(
                inexact, f"a key of more digits than are kept exactly, or no scalar: {paths}"
            ).otherwise(f"no usable value for the key: {paths}"),
        }
    )


def refuse_below_floor(
    spark: SparkSession,
    settings: Settings,
    table: Table,
    source: str,
    rows: DataFrame,
    changes: DataFrame,
    floor: int,
) -> int:
    """Note the upserts below the floor that the MERGE has left out, and must not be lost; how many they are.

    A tombstone that it has left out deletes nothing that is there, and needs no keeping.

    Args:
        rows: of bronze. changes: what `changes.latest` made of them.
    """
    state = spark.table(settings.table("silver", table.name)).select(*table.keys, "_sequence").alias("t")
    # A row of the same key with an older sequence can only have come in after the MERGE, from another writer:
    # the change was not compared with it, and so it is left out all the same.
    decided = same(table.keys) & (F.col("t._sequence") >= F.col("s._sequence"))
    upserts = changes.where(floors.is_below(floor) & ~F.col("is_deleted")).alias("s")
    left = upserts.join(state, decided, "left_anti").select("_key", "_sequence", "_stream", "_batch_id")
    places = ["_stream", "_batch_id", "_key", "_sequence"]
    detail = (
        "its key is not in the table, and a delete of it may have been purged; release it by a fresh read"
    )
    found = rows.join(left, places, "left_semi").dropDuplicates(places)
    marked = found.withColumns({"reason": F.lit(BELOW_FLOOR), "detail": F.lit(detail)})
    count = marked.count()
    if count:
        refuse(settings, table, source, marked)
    return count


def refuse(settings: Settings, table: Table, source: str, rows: DataFrame) -> None:
    """Note rows of bronze, each once, in ops.refused."""
    insert_missing(
        refusals(table, source, rows), settings.table("ops", "refused"), ("table_name", "quarantine_id")
    )


def refusals(table: Table, source: str, rows: DataFrame) -> DataFrame:
    """Rows of bronze with `reason` and `detail` → rows of ops.refused."""
    whole = "document" if "document" in rows.columns else "item"
    values = {
        "quarantine_id": F.expr(record_id(literal(source), whole)),
        "table_name": F.lit(table.name),
        "source": F.lit(source),
        "key": F.col("_key"),
        "sequence": F.col("_sequence"),
        "object": F.col("_source_file"),
        "stream": F.col("_stream"),
        "batch_id": F.col("_batch_id"),
        "reason": F.col("reason"),
        "detail": F.col("detail"),
        "refused_at": F.current_timestamp(),
    }
    return rows.select(*(values[c.name].alias(c.name) for c in ops.REFUSED))
