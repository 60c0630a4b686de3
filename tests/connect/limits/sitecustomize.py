"""Every Python process that finds this folder on its path lives with the limits of serverless compute.

Python imports this module by its name as it starts: the client, and each worker that the server starts for a
batch function. Whatever goes to the server goes through one channel, and there a request that serverless
compute refuses is refused, however it was made: by a DataFrame, by the catalog or in SQL. What is refused,
and in which words, is from Databricks' documentation (limitations of serverless compute, Spark properties).

Each process says so on its standard error: the server's log tells of every worker.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message
from pyspark.errors import AnalysisException
from pyspark.sql.connect.client.core import ChannelBuilder
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.session import SparkSession

SETTABLE = frozenset(
    {
        "spark.sql.shuffle.partitions",
        "spark.sql.session.timeZone",
        "spark.sql.ansi.enabled",
        "spark.sql.files.maxPartitionBytes",
        "spark.sql.legacy.timeParserPolicy",
        "spark.databricks.execution.timeout",
    }
)
NO_CACHE = {
    "spark.connect.AnalyzePlanRequest.Persist": "PERSIST TABLE",
    "spark.connect.AnalyzePlanRequest.Unpersist": "UNPERSIST TABLE",
    "spark.connect.CacheTable": "CACHE TABLE",
    "spark.connect.UncacheTable": "UNCACHE TABLE",
    "spark.connect.ClearCache": "CLEAR CACHE",
    "spark.connect.RefreshTable": "REFRESH TABLE",
    "spark.connect.RefreshByPath": "REFRESH",
    "spark.connect.CheckpointCommand": "CHECKPOINT",
}
_SQL = re.compile(r"(?is)\s*((?:UN)?CACHE\s+(?:LAZY\s+)?TABLE|CLEAR\s+CACHE|REFRESH(?:\s+TABLE)?)\b")
_SET = re.compile(r"(?is)\s*(?:RESET|SET(?!\s+TIME\s+ZONE))(?:\s+`?([\w.]+)`?)?")
_GLOBAL_VIEW = re.compile(r"(?is)\s*CREATE\s+(?:OR\s+REPLACE\s+)?GLOBAL\s+TEMP")


def check(request: Message) -> None:
    """Raise if serverless compute would refuse a request, or anything in it."""
    for part in _parts(request):
        name = part.DESCRIPTOR.full_name
        if name in NO_CACHE:
            raise _unsupported(NO_CACHE[name])
        if name in _CHECKS:
            _CHECKS[name](part)


def _parts(message: Message) -> Iterator[Any]:
    """A message and every message in it."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is None:
                continue
            if isinstance(value, Message):
                waiting.append(value)
            else:
                found = value.values() if hasattr(value, "values") else value
                waiting += [each for each in found if isinstance(each, Message)]


def _set(keys: list[str]) -> None:
    for key in keys:
        if key not in SETTABLE:
            raise AnalysisException(f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available.")


def _sql(text: str) -> None:
    if found := _SQL.match(text):
        raise _unsupported(" ".join(found[1].upper().split()))
    if _GLOBAL_VIEW.match(text):
        raise _unsupported("GLOBAL TEMPORARY VIEW")
    if found := _SET.match(text):
        _set([found[1] or "(all)"])


def _view(command: Any) -> None:
    if command.is_global:
        raise _unsupported("GLOBAL TEMPORARY VIEW")


def _stream(start: Any) -> None:
    if not (start.available_now or start.once):
        raise AnalysisException(
            f"[INFINITE_STREAMING_TRIGGER_NOT_SUPPORTED] Trigger type "
            f"{start.WhichOneof('trigger') or 'none'} is not supported for this cluster type."
        )


def _unsupported(what: str) -> AnalysisException:
    return AnalysisException(
        f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute."
    )


_CHECKS: dict[str, Callable[[Any], None]] = {
    "spark.connect.ConfigRequest.Set": lambda part: _set([pair.key for pair in part.pairs]),
    "spark.connect.ConfigRequest.Unset": lambda part: _set(list(part.keys)),
    "spark.connect.SQL": lambda part: _sql(part.query),
    "spark.connect.SqlCommand": lambda part: _sql(part.sql),
    "spark.connect.CreateDataFrameViewCommand": _view,
    "spark.connect.WriteStreamOperationStart": _stream,
}


class Limits(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Looks at every request on its way out."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Message) -> Any:
        check(request)
        return continuation(details, request)

    intercept_unary_stream = intercept_unary_unary


def _install() -> None:
    make = ChannelBuilder.__init__

    def limited(self: ChannelBuilder, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        self.add_interceptor(Limits())

    def unpicklable(self: Any) -> Any:
        raise pickle.PicklingError(f"{type(self).__name__} is no plain data")

    ChannelBuilder.__init__ = limited  # type: ignore[method-assign]
    # Spark itself pickles both, as it finds the same session again in a worker of its own.
    SparkSession.__reduce__ = DataFrame.__reduce__ = unpicklable  # type: ignore[method-assign]
    print(
        f"The limits of serverless compute are on: {' '.join(sys.orig_argv[1:4])}",
        file=sys.stderr,
        flush=True,
    )


_install()
