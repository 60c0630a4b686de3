"""Change records as Parquet, snappy: the metadata in columns, and the rest of each line in `item`.

pyarrow is imported by the first object that is made: who lands NDJSON has it neither in memory nor at all.
The bytes of an object depend on its lines and on the version of pyarrow, which the footer names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from change_writer.encode import LandingFormat, Line, Metadata, line_head
from change_writer.errors import SettingsError

SCHEMA_VERSION = 1
"""Of what the columns are and mean; readers refuse one that they do not know.

It stands in the file's metadata, and in each row too: of a file, Spark shows a stream nothing but its rows.
"""
VERSION_KEY = "lakehouse.schema"


def item_json(metadata: Metadata, line: bytes) -> str:
    """A line without the metadata that has a column: the attributes as they stand in it, and `updated_at`.

    `updated_at` has whatever type the item gives it, so no column could hold it.
    """
    rest = line.decode()[len(line_head(metadata)) : -1]
    return "{" + rest.removeprefix(",")


def parquet_body(lines: Sequence[Line]) -> bytes:
    """The lines, of which each has metadata, as one Parquet file. Raises SettingsError without pyarrow."""
    pa, pq = _pyarrow()
    told = [line.metadata for line in lines if line.metadata is not None]
    items = [item_json(metadata, line.data) for metadata, line in zip(told, lines, strict=True)]
    columns = {
        "_schemaVersion": pa.array([SCHEMA_VERSION] * len(told), pa.int32()),
        "_eventID": pa.array([each.event_id for each in told], pa.string()),
        "_eventName": pa.array([each.event_name for each in told], pa.string()),
        "_sequence": pa.array([each.sequence for each in told], pa.string()),
        "_ingestTs": pa.array([each.ingest_ts for each in told], pa.int64()),
        "is_deleted": pa.array([each.is_deleted for each in told], pa.bool_()),
        "_approxStreamTs": pa.array([each.approx_stream_ts for each in told], pa.int64()),
        "_deleteKind": pa.array([each.delete_kind for each in told], pa.string()),
        "item": pa.array(items, pa.string()),
    }
    may_be_null = ("_approxStreamTs", "_deleteKind")
    schema = pa.schema([pa.field(name, c.type, nullable=name in may_be_null) for name, c in columns.items()])
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="snappy",
        # Ids and items hardly repeat, and what the footer tells of a column is not to quote an item.
        use_dictionary=[name for name in columns if name not in ("_eventID", "_sequence", "item")],
        write_statistics=["_sequence", "_ingestTs", "_approxStreamTs"],
        store_schema=False,
        write_page_checksum=True,  # snappy has none: what is corrupt could be taken for other text
    ) as writer:
        writer.write_table(pa.table([*columns.values()], schema))
        writer.add_key_value_metadata({VERSION_KEY: str(SCHEMA_VERSION)})
    body: bytes = sink.getvalue().to_pybytes()
    return body


PARQUET = LandingFormat(".parquet", parquet_body)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SettingsError(
            "LANDING_FORMAT", "parquet", "ndjson, or a function with the layer that has pyarrow"
        ) from None
    return pyarrow, pyarrow.parquet
