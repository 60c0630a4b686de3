"""The tables in which lakehouse keeps its own books: batches, failures, quarantine, floors."""

from __future__ import annotations

from typing import Final

from lakehouse.table import Column, View

BATCHES: Final = (
    Column("stream", "string", "The stream: its name and the identity of its checkpoint.", not_null=True),
    Column("batch_id", "bigint", "Number of the batch in its stream.", not_null=True),
    Column("source", "string", "The source that the stream reads.", not_null=True),
    Column("table_name", "string", "The table that has applied the batch; null where no table reads it."),
    Column("run_id", "string", "The run of the ingest that wrote this row."),
    Column("started_at", "timestamp", "When the batch began."),
    Column("finished_at", "timestamp", "When everything else of the batch was committed."),
    Column("files", "bigint", "Objects in the batch that hold a record."),
    Column("records", "bigint", "Changes in the batch: upserts + deletes + stale + quarantined."),
    Column("upserts", "bigint", "Rows inserted or updated."),
    Column("deletes", "bigint", "Tombstones written."),
    Column("stale", "bigint", "Records that changed nothing: superseded, older or seen before."),
    Column("quarantined", "bigint", "Changes that could not be applied; they are in quarantine."),
    Column("misfits", "bigint", "Values of the latest changes that do not fit their column, which is null."),
    Column("violations", "map<string,bigint>", "Latest changes that break a rule, by the rule's name."),
    Column("last_changed_at", "timestamp", "The newest change time in the batch."),
)

FAILURES: Final = (
    Column("stream", "string", "Name of the stream that stopped.", not_null=True),
    Column("source", "string", "The source that it reads."),
    Column("run_id", "string", "The run of the ingest that the stream was part of."),
    Column("failed_at", "timestamp", "When it stopped.", not_null=True),
    Column("error", "string", "The kind of error."),
    Column("message", "string", "What it says; it may quote a record.", pii=True),
)

REFUSED: Final = (
    Column("quarantine_id", "string", "Hash of source, object and record.", not_null=True),
    Column("table_name", "string", "The table that could not take the record.", not_null=True),
    Column("source", "string", "Source of the record.", not_null=True),
    Column("key", "string", "Its key, as bronze has it; null if it has none."),
    Column("sequence", "string", "Its sequence."),
    Column("object", "string", "The object that it came from, as bronze has it."),
    Column("stream", "string", "The stream that read it."),
    Column("batch_id", "bigint", "The batch of that stream in which it came."),
    Column("reason", "string", "Why the table could not take it, as a code."),
    Column("detail", "string", "The same in words."),
    Column("refused_at", "timestamp", "When."),
)

QUARANTINE: Final = (
    Column("quarantine_id", "string", "Hash of source, object and record."),
    Column("source", "string", "Source of the record."),
    Column("reason", "string", "Why it could not be applied, as a code."),
    Column("detail", "string", "The same in words."),
    Column("object", "string", "The landed object that holds it, below the landing location."),
    Column("raw", "string", "The record, whole.", pii=True),
    Column("quarantined_at", "timestamp", "When it was put here."),
    Column("stream", "string", "The stream that met it."),
    Column("batch_id", "bigint", "The batch that it came in."),
    Column("refused_by", "array<string>", "Tables that could not take it; null where no table could."),
)
"""Of the view."""

QUARANTINE_DECISIONS: Final = (
    Column("quarantine_id", "string", "The record that was decided on.", not_null=True),
    Column("decision", "string", "requeued or discarded."),
    Column("decided_at", "timestamp", "When."),
    Column("decided_by", "string", "Who."),
    Column("why", "string", "Why, in their words."),
    Column("landed_as", "string", "The object that a requeued record landed in."),
)

FLOORS: Final = (
    Column("table_name", "string", "The state table.", not_null=True),
    Column("floor", "timestamp", "Tombstones of changes before this time may be gone.", not_null=True),
    Column("raised_at", "timestamp", "When the floor was recorded; a purge waits a day from here."),
)

DECLARATIONS: Final = (
    Column("table_name", "string", "The state table.", not_null=True),
    Column("made_at", "timestamp", "When the table was created; marks from before it count for nothing."),
    Column("types", "map<string,string>", "Its columns and their types."),
    Column("origins", "map<string,string>", "Its columns and a hash of what they are made of."),
    Column("to_fill", "array<string>", "Columns that have been gained or changed and are not filled yet."),
    Column("noted_at", "timestamp", "When this was written; the newest row of a table holds.", not_null=True),
)

LEASES: Final = (
    Column("name", "string", "What is held: a checkpoint.", not_null=True),
    Column("token", "string", "Of the holder; null where nobody holds it."),
    Column("holder", "string", "The holder, in words."),
    Column("renewed_at", "timestamp", "When the holder last said that it is alive."),
)

COMPLETENESS: Final = (
    Column("source", "string", "The source.", not_null=True),
    Column(
        "since",
        "string",
        "`beginning`, or the time of a snapshot that bronze holds whole; null for what was found missing.",
    ),
    Column("noted_at", "timestamp", "When this was found.", not_null=True),
    Column("basis", "string", "How it was found, or which object was set aside."),
)

FOLLOWED: Final = (
    Column("stream", "string", "The follower and the identity of its checkpoint.", not_null=True),
    Column(
        "batch_id", "bigint", "The batch of that checkpoint; -1: a look at the whole table.", not_null=True
    ),
    Column("follower", "string", "Who follows: metrics, insight_alerts."),
    Column("table_name", "string", "The state table that is followed."),
    Column("run_id", "string", "The run that did it."),
    Column("started_at", "timestamp", "When the batch began."),
    Column("finished_at", "timestamp", "When it was done."),
    Column("changes", "bigint", "Images of rows, before and after a change, that the batch has read."),
    Column("entities", "bigint", "Students, tutors, subjects, regions or calls that it has looked at."),
    Column("committed_at", "timestamp", "When the latest of the changes was committed to the state table."),
)

RECONCILIATIONS: Final = (
    Column("table_name", "string", "The state table that was compared with its source.", not_null=True),
    Column("started_at", "timestamp", "When the comparison began."),
    Column("finished_at", "timestamp", "When its verdict was written."),
    Column("verdict", "string", "agree, differ or repaired."),
    Column("source_items", "bigint", "Items that the source had at the first look."),
    Column("live_rows", "bigint", "Live rows that the table had at the first look."),
    Column("missing", "bigint", "Items without a live row."),
    Column("stale", "bigint", "Rows with another content than their item."),
    Column("phantom", "bigint", "Live rows without an item."),
    Column("unsettled", "bigint", "Keys that moved at every look, so that nothing can be said of them."),
    Column("repaired", "bigint", "Repair records that were landed."),
    Column("examples", "string", "Some of the differences, as JSON: kind and key.", pii=True),
)

TABLES: Final = {
    "batches": (
        BATCHES,
        "One row per batch and table: what came in and what became of it.",
        ("stream", "batch_id"),
    ),
    "followed": (
        FOLLOWED,
        "One row per batch of a follower: up to which change of a state table gold is.",
        ("stream", "batch_id"),
    ),
    "failures": (
        FAILURES,
        "One row each time a stream stopped with an error. What its batch had not committed is repeated.",
        ("stream",),
    ),
    "refused": (
        REFUSED,
        "Records that are good lines and that a table could not take, with the reason.",
        ("table_name", "quarantine_id"),
    ),
    "quarantine_decisions": (
        QUARANTINE_DECISIONS,
        "What was decided on quarantined records. Rows are only ever added.",
        ("quarantine_id",),
    ),
    "reconciliations": (
        RECONCILIATIONS,
        "One row per comparison of a table with its source.",
        ("table_name",),
    ),
    "floors": (FLOORS, "Tombstone floors; the highest of a table holds.", ("table_name",)),
    "declarations": (DECLARATIONS, "What state tables were made of when they were set up.", ("table_name",)),
    "leases": (LEASES, "Who holds which checkpoint, on Databricks.", ("name",)),
    "completeness": (
        COMPLETENESS,
        "Since when bronze has every change of a source, and what was set aside.",
        ("source",),
    ),
}
"""Name → columns, comment, clustering columns."""

IN_GOLD: Final = (
    View("batches", "What came in: one row per batch and table.", "SELECT * FROM {ops}.batches", BATCHES),
    View(
        "reconciliations",
        "How tables compared with their source: one row per comparison.",
        "SELECT * EXCEPT (examples) FROM {ops}.reconciliations",
        RECONCILIATIONS,
    ),
    View(
        "followers",
        "How far gold is behind silver: one row per follower and the state table that it follows.",
        """
WITH followed AS (
  SELECT follower, table_name, max(committed_at) AS seen_until, max(finished_at) AS last_batch
  FROM {ops}.followed GROUP BY follower, table_name
),
written AS (
  SELECT table_name, max(finished_at) AS written_at
  FROM {ops}.batches WHERE upserts + deletes > 0 GROUP BY table_name
)
SELECT follower, table_name, seen_until, last_batch, written_at,
  -- A batch is in the books some seconds after its commit.
  IF(written_at > seen_until + INTERVAL 1 MINUTE, timestampdiff(MINUTE, seen_until, written_at), 0)
    AS minutes_behind
FROM followed LEFT JOIN written USING (table_name)
""",
    ),
    View(
        "quarantine_counts",
        "How many records could not be applied, by source, reason and what was decided on them.",
        """
SELECT source, reason, status, count(*) AS records, max(quarantined_at) AS newest
FROM {ops}.quarantine GROUP BY source, reason, status
""",
    ),
)
"""What analysts see of the books; nothing of a record."""
