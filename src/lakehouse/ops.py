"""The tables in which lakehouse keeps its own books: batches and quarantine."""

from __future__ import annotations

from typing import Final

from lakehouse.table import Column

BATCHES: Final = (
    Column("stream", "string", "The stream: its table and the identity of its checkpoint.", not_null=True),
    Column("batch_id", "bigint", "Number of the batch in its stream.", not_null=True),
    Column("table_name", "string", "The table that the batch was for."),
    Column("run_id", "string", "The run of the ingest that wrote this row."),
    Column("started_at", "timestamp", "When the batch began."),
    Column("finished_at", "timestamp", "When everything else of the batch was committed."),
    Column("files", "bigint", "Objects in the batch that hold a record."),
    Column("records", "bigint", "Records in the batch: upserts + deletes + stale + quarantined."),
    Column("upserts", "bigint", "Rows inserted or updated."),
    Column("deletes", "bigint", "Tombstones written."),
    Column("stale", "bigint", "Records that changed nothing: superseded, older or seen before."),
    Column("quarantined", "bigint", "Records that could not be applied; they are in quarantine."),
    Column("rescued", "bigint", "Records with attributes that are unknown or do not fit their column."),
    Column("last_changed_at", "timestamp", "The newest change time in the batch."),
)

QUARANTINE: Final = (
    Column("quarantine_id", "string", "Hash of source, object and raw record.", not_null=True),
    Column("source", "string", "Source of the record."),
    Column("reason", "string", "Why it could not be applied, as a code."),
    Column("detail", "string", "The same in words."),
    Column("object", "string", "The landed object that holds it, below the landing location."),
    Column("raw", "string", "The record, whole.", pii=True),
    Column("quarantined_at", "timestamp", "When it was put here."),
    Column("stream", "string", "The stream that met it."),
    Column("batch_id", "bigint", "The batch that it came in."),
)

TABLES: Final = {
    "batches": (BATCHES, "One row per batch: what came in and what became of it.", ("stream", "batch_id")),
    "quarantine": (
        QUARANTINE,
        "Records that could not be applied, whole, with the reason.",
        ("quarantine_id",),
    ),
}
"""Name → columns, comment, clustering columns."""
