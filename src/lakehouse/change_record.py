"""The change record: one landed NDJSON line, as the writer makes it and the ingest reads it.

Standard library only. The Lambda has these names too, in its own package; a contract test feeds
its bytes to the reader, so that the two cannot drift apart.
"""

from __future__ import annotations

from typing import Final

EVENT_ID: Final = "_eventID"
EVENT_NAME: Final = "_eventName"
SEQUENCE: Final = "_sequence"
CHANGED_MS: Final = "_approxStreamTs"
INGESTED_MS: Final = "_ingestTs"
IS_DELETED: Final = "is_deleted"
DELETE_KIND: Final = "_deleteKind"
UPDATED_AT: Final = "updated_at"

METADATA: Final = (
    EVENT_ID,
    EVENT_NAME,
    SEQUENCE,
    CHANGED_MS,
    INGESTED_MS,
    IS_DELETED,
    DELETE_KIND,
    UPDATED_AT,
)

QUARANTINE_FOLDER: Final = "_quarantine"
"""Where the writer lands records that it could not convert, under the landing prefix."""

BACKFILLS_FOLDER: Final = "_backfills"
"""Where `lakehouse backfill` keeps how far a scan has come, under the landing prefix."""

SET_ASIDE_FOLDER: Final = "_set_aside"
"""Where `lakehouse landing set-aside` moves objects that cannot be read."""

UNDATED_FOLDER: Final = "dt=1970-01-01/HH=00"
"""Where records without a creation time land."""

PARQUET_SCHEMA: Final = 1
"""The schema of Parquet objects that is known here: in each row, and under PARQUET_SCHEMA_KEY in the file."""

PARQUET_SCHEMA_KEY: Final = "lakehouse.schema"

END: Final = r"(?![\s\S])"
"""End of the text. `$` also matches before a last line break, in Java and in Python."""

_LABEL = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}"

_OF_ITEM = rf"{_LABEL}/(\d{{40}}|-{_LABEL}Z(/\d{{4}})?)(\+{_LABEL}Z)*"
_OF_EVENT = r"\d{56}/[A-Za-z0-9_.-]{1,128}/\d{6}"

SEQUENCE_PATTERN: Final = rf"^({_OF_ITEM}|{_OF_EVENT}){END}"
"""A sequence that orders as text: `<stream label>/<number padded to 40>` for a stream record,
`<label>/-<snapshot time>[/<attempt>]` for a snapshot, either with `+<reconcile start>` for a repair;
`<number padded to 56>/<shard>/<index padded to 6>` for an event of a Kinesis stream.
A number that is not padded would sort wrongly, so it is no sequence."""


def landed_name(name: str) -> str:
    """The name under which an attribute lands: one that could be taken for metadata gets `__` in front."""
    return f"__{name}" if name.startswith("_") or name == IS_DELETED else name
