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
from lakehouse.errors import CorruptObjectError, LakehouseError, StreamError
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


def explain(stream: Streaming, error: PySparkException) -> LakehouseError:
    """Turn Spark's error into ours: a landed object that cannot be read, or a stream that stopped."""
    text = str(error)
    found = re.search(r"FAILED_READ_FILE[^\]]*\][^:]*?(?:file|path)[: ]+(\S+?)\.?(?:\s|$)", text)
    if found and stream.reads_documents:
        return StreamError(stream.name, f"{unquote(found[1])} cannot be read. Mend or remove that document.")
    if found:
        detail = (
            "the object is torn or corrupt" if found[1].endswith((".gz", ".parquet")) else "it cannot be read"
        )
        return CorruptObjectError(stream.name, unquote(found[1]), detail)
    _, refused, after = text.partition(UNKNOWN_SCHEMA)
    if refused:
        said, _ = json.JSONDecoder().raw_decode(after)
        detail = (
            f"its schema is {said.get('version', 'not told')}, and this version of lakehouse reads "
            f"{change_record.PARQUET_SCHEMA}: update lakehouse, if a newer writer landed it"
        )
        return CorruptObjectError(stream.name, said["_source_file"], detail)
    # An error in the batch function comes wrapped in a Python traceback; its own line is the last one.
    raised = re.findall(r"(?m)^[\w.]+(?:Error|Exception): (.+)$", text)
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return StreamError(stream.name, (raised[-1] if raised else first)[:1000])
