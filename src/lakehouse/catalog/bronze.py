"""The bronze tables: an append-only log of every record that came from a source, good or bad."""

from __future__ import annotations

from typing import Final

from lakehouse.table import Column

_ENVELOPE: Final = (
    Column("_sequence", "string", "Total order of the changes of one key; compared as text."),
    Column("_event_id", "string", "Id of the change, the same on every redelivery."),
    Column("_event_name", "string", "INSERT, MODIFY, REMOVE, SNAPSHOT, REPAIR or EVENT."),
    Column("is_deleted", "boolean", "True on a tombstone."),
    Column("_delete_kind", "string", "Why a tombstone is one: ttl (expiry) or user."),
    Column("_changed_at", "timestamp", "When the source made the change, to the second; orders nothing."),
    Column("updated_at", "string", "The item's own updated_at as landed, else the change time in ms."),
)

_PLACE: Final = (
    Column(
        "_problem", "string", "What is wrong with the line or document, as a code; null where nothing is."
    ),
    Column("_detail", "string", "The same in words."),
    Column(
        "_raw",
        "string",
        "The line, whole, where it has a problem, or a number that VARIANT may not hold exactly.",
        pii=True,
    ),
    Column("_source_file", "string", "The object that it came from.", not_null=True),
    Column(
        "_stream", "string", "The stream that read it: its name and its checkpoint's identity.", not_null=True
    ),
    Column("_batch_id", "bigint", "The batch of that stream in which it came.", not_null=True),
    Column("_loaded_at", "timestamp", "When that batch was appended.", not_null=True),
)

CHANGES: Final = (
    Column("_key", "string", "The item's key: a JSON array of its attributes' texts; null if it has none."),
    *_ENVELOPE,
    Column("item", "variant", "The change record, whole.", pii=True),
    *_PLACE,
)
"""Of a source of change records."""

DOCUMENTS: Final = (
    Column("_document_key", "string", "The document's key in its bucket, or its path below the location."),
    Column("_modified_at", "timestamp", "When the document was written."),
    Column("_sequence", "string", "Order of the versions of a document: time, key, hash of the content."),
    Column("document", "variant", "The document, whole.", pii=True),
    *_PLACE,
)
"""Of a source of documents."""

WRITER_QUARANTINE: Final = "writer_quarantine"
"""Name of the bronze table of the raw objects of the writer: records that it could not convert."""


def columns(format_: str) -> tuple[Column, ...]:
    """The columns of the bronze table of a source of that format (`Table.format`)."""
    return DOCUMENTS if format_ == "documents" else CHANGES
