"""A stream that stops: what its error says, and where it is noted."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import change_record
from lakehouse.errors import CorruptObjectError, LakehouseError, StreamError, UnreadableObjectError
from lakehouse.ingest.causes import cause_of
from lakehouse.ingest.lease import exclusive
from lakehouse.ingest.sources import UNKNOWN_SCHEMA

if TYPE_CHECKING:
    from lakehouse.ingest.runner import Streaming

MESSAGE_LIMIT = 4000
"""How much of an error's message ops.failures keeps, in characters."""

log = logging.getLogger(__name__)


def note_failure(spark: SparkSession, stream: Streaming, run_id: str, error: LakehouseError) -> None:
    """Add the failure to ops.failures, for those who are not looking at this run.

    It raises nothing: the error itself must reach whoever started this, also where it was Spark that ended.
    """
    target = stream.settings.table("ops", "failures")
    try:
        if not spark.catalog.tableExists(target):
            log.warning("%s is not there, and takes no failures: run jobs/setup.py", target)
            return
        row = spark.range(1).select(
            F.lit(stream.name).alias("stream"),
            F.lit(stream.target).alias("source"),
            F.lit(run_id).alias("run_id"),
            F.current_timestamp().alias("failed_at"),
            F.lit(type(error).__name__).alias("error"),
            F.lit(str(error)[:MESSAGE_LIMIT]).alias("message"),
        )
        with exclusive(stream.settings.warehouse):
            row.write.format("delta").mode("append").saveAsTable(target)
    except Exception as caught:  # noqa: BLE001 - whatever keeps it from being noted
        log.warning("%s is not in ops.failures: %s: %s", error, type(caught).__name__, caught)


def explain(stream: Streaming, error: Exception) -> LakehouseError:
    """Turn an error of Spark's into ours: an object that cannot be read, or a stream that stopped."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, PySparkException):  # over Connect the server's stack comes beside the message
        text = f"{error}\n{getattr(error, 'getStackTrace', lambda: '')() or ''}"
    cause = cause_of(text)
    found = re.search(r"FAILED_READ_FILE[^\]]*\][^:]*?(?:file|path)[: ]+(\S+?)\.?(?:\s|$)", text)
    if found:
        path = unquote(found[1])
        if cause.torn and not stream.reads_documents:
            return CorruptObjectError(stream.name, path, cause.text)
        remedy = "Mend or remove that document." if stream.reads_documents else "Mend that, and run it again."
        return UnreadableObjectError(stream.name, path, cause.text, cause.remedy or remedy)
    # As it was raised: the query's plan, which may be in the text too, has no JSON behind these words.
    refused = re.search(re.escape(UNKNOWN_SCHEMA) + r"(?=\{)", text)
    if refused:
        said, _ = json.JSONDecoder().raw_decode(text[refused.end() :])
        detail = (
            f"its schema is {said.get('version', 'not told')}, and this version of lakehouse reads "
            f"{change_record.PARQUET_SCHEMA}: update lakehouse, if a newer writer landed it"
        )
        return CorruptObjectError(stream.name, said["_source_file"], detail)
    return StreamError(stream.name, str(cause))
