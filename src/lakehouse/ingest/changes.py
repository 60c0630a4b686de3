"""What a table makes of rows of bronze: the latest change of every key, and a look at those."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakehouse.ingest.commits import KEY_LITERALS
from lakehouse.settings import Settings
from lakehouse.sql.select import BESIDE, MISFITS, latest_of, select
from lakehouse.table import Table

CHANGES_OF = "_changes"
"""How many changes stand behind a latest one; of documents alone."""


def latest(
    spark: SparkSession, settings: Settings, table: Table, source: str, where: str = "true"
) -> DataFrame:
    """The latest change of every key among rows of bronze, as the table has it.

    Args:
        where: a condition on the rows of bronze, as SQL.

    Returns:
        Every column of `table.all_columns` but `_applied_at`, BESIDE and MISFITS; one row a key. Of documents
        there may be one more, without a key, for those that the table cannot take; and CHANGES_OF.
    """
    bronze = settings.table("bronze", source)
    if table.format == "changes":
        records = latest_of(bronze, where, ttl_deletes=table.ttl_deletes)
        return spark.sql(select(table, records, beside=True))
    return latest_documents(changes_of_documents(spark.table(bronze).where(where), table), table)


def latest_documents(changes: DataFrame, table: Table) -> DataFrame:
    """The latest of changes that come from documents, by key; see `latest`."""
    row = F.max_by(F.struct(*changes.columns), "_sequence").alias("_row")
    found = changes.groupBy(*table.keys).agg(row, F.count("*").alias(CHANGES_OF))
    return found.select("_row.*", CHANGES_OF)


def changes_of_documents(documents: DataFrame, table: Table) -> DataFrame:
    """Rows of bronze → changes: one a document, or as many as the table's transform makes.

    Returns:
        As `latest`, and `_problem`, `_detail`; a row with a problem has no key. On a tombstone every column
        but the key and the metadata is null.
    """
    assert table.transform is not None
    nothing = F.lit(None).cast("string")
    stamp = F.substring("_sequence", 1, 24)
    frame = documents.where("_problem IS NULL").select(
        F.col("document").alias("_document"),
        *("_document_key", "_source_file", "_modified_at", "_sequence", "_stream", "_batch_id"),
        F.lit(False).alias("is_deleted"),
        *(
            nothing.alias(name)
            for name in ("_delete_kind", "_event_id", "_event_name", "_problem", "_detail")
        ),
        F.col("_modified_at").alias("_changed_at"),
        stamp.alias("updated_at"),
        F.to_json(F.array("_document_key")).alias("_key"),
    )
    made = table.transform(frame)
    keyless = reduce(lambda a, b: a | b, (F.coalesce(F.col(key) == "", F.lit(True)) for key in table.keys))
    problem = F.coalesce("_problem", F.when(keyless, "missing_key"))
    told = F.coalesce("_detail", F.when(keyless, "no key could be made of the document and its name"))
    made = made.withColumns({"_problem": problem, "_detail": told})
    width = len(table.keys)
    values = {c.name: F.when(~F.col("is_deleted"), F.col(c.name)) for c in table.columns[width:]}
    keys = {key: F.when(F.col("_problem").isNull(), F.col(key)) for key in table.keys}
    values |= keys
    columns = [
        values.get(c.name, F.col(c.name)).cast(c.type).alias(c.name)
        for c in table.all_columns
        if c.name != "_applied_at"
    ]
    return made.select(*columns, *BESIDE, F.lit(0).alias(MISFITS), "_problem", "_detail")


# --- a look ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What rows of bronze are like. `loaded` and `last_changed` are microseconds."""

    records: int
    bad: int
    files: int
    loaded: int | None
    last_changed: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What the latest changes among rows of bronze are like: what decides how they are merged, and counts.

    keyless: changes that the table cannot take. keys: latest changes. oldest_upsert: in microseconds. among:
    the values of the first key, if they are few.
    """

    found: Found
    records: int
    keyless: int
    keys: int
    deletes: int
    misfits: int
    oldest_upsert: int | None
    violations: dict[str, int]
    among: list[str] | None
    floor: int | None


_LONG_AGO = -(2**62)


def _of_rows(rows: DataFrame) -> list[Column]:
    changed = "_modified_at" if "document" in rows.columns else "_changed_at"
    good = F.col("_problem").isNull()
    keyless = good & F.col("_key").isNull() if "_key" in rows.columns else F.lit(False)
    return [
        F.count("*").alias("records"),
        F.count_if(~good).alias("bad"),
        F.count_if(keyless).alias("keyless"),
        F.count_distinct("_source_file").alias("files"),
        F.unix_micros(F.min("_loaded_at")).alias("loaded"),
        F.unix_micros(F.max(changed)).alias("last_changed"),
    ]


def found_in(rows: DataFrame) -> Found:
    """Look at rows of bronze that no table reads."""
    row = rows.select(*_of_rows(rows)).first()
    assert row is not None
    return _found(row)


def _found(row: Row) -> Found:
    return Found(row.records, row.bad, row.files, row.loaded, row.last_changed)


def looked_at(rows: DataFrame, changes: DataFrame, table: Table, floor: DataFrame) -> Look:
    """Look at rows of bronze, at what `latest` makes of them, and at the table's floor, in one query."""
    of_rows = rows.select(*_of_rows(rows))
    live, keyed = ~F.col("is_deleted"), F.col(table.keys[0]).isNotNull()
    of_changes = [
        F.count_if(keyed).alias("keys"),
        F.count_if(keyed & F.col("is_deleted")).alias("deletes"),
        F.coalesce(F.sum(MISFITS), F.lit(0)).alias("misfits"),
        F.min(F.when(keyed & live, F.coalesce(F.unix_micros("_changed_at"), F.lit(_LONG_AGO)))).alias(
            "oldest"
        ),
        *(
            F.count_if(keyed & live & ~F.coalesce(F.expr(rule.check), F.lit(True))).alias(f"_{rule.name}")
            for rule in table.rules
        ),
    ]
    if table.format == "documents":
        of_changes += [
            F.coalesce(F.sum(CHANGES_OF), F.lit(0)).alias("changes"),
            F.coalesce(F.sum(F.when(~keyed, F.col(CHANGES_OF))), F.lit(0)).alias("refused"),
        ]
        some = changes.where(keyed).select(F.to_json(F.array(table.keys[0])).alias("_key"))
    else:
        some = rows.where("_problem IS NULL AND _key IS NOT NULL").select("_key").distinct()
    among = some.limit(KEY_LITERALS + 1).agg(F.collect_list("_key").alias("among"))
    row = of_rows.crossJoin(changes.agg(*of_changes)).crossJoin(among).crossJoin(floor).first()
    assert row is not None
    documents = table.format == "documents"
    return Look(
        found=_found(row),
        records=row["changes"] + row.bad if documents else row.records,
        keyless=row.refused if documents else row.keyless,
        keys=row["keys"],
        deletes=row.deletes,
        misfits=row.misfits,
        oldest_upsert=row.oldest,
        violations={rule.name: n for rule in table.rules if (n := row[f"_{rule.name}"])},
        among=[json.loads(key)[0] for key in row.among] if len(row.among) <= KEY_LITERALS else None,
        floor=None if documents else row.floor,
    )
