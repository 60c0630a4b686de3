"""One Java process for all workers of a run: what Java compiles, half of its work, it compiles once.

The first worker that needs Spark starts it; the others join, each with a session of its own. Settings, views
and streams are a session's; tables are everybody's, and a test's lie in schemas of its own.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from lakehouse.local.session import local_session

QUICKER = {
    # Java code for each expression of each query is a fifth of all work where a table has ten rows. Commands
    # that tests start as processes, and the tests of Spark Connect, have Spark's own setting.
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.ui.explainMode": "simple",  # for a UI that is not there
}


@contextmanager
def shared_spark(folder: Path) -> Iterator[SparkSession]:
    """A session in the Java process of all who name this folder, on this machine."""
    told = folder / "spark.json"
    with (folder / "spark.start").open("w") as start, (folder / "spark.guests").open("w") as guests:
        fcntl.flock(start, fcntl.LOCK_EX)
        is_guest = told.exists()
        if is_guest:
            fcntl.flock(guests, fcntl.LOCK_SH)  # held to the end, whatever that is
            session = _join(**json.loads(told.read_text()))
        else:
            session = local_session(folder / "spark", lasting=True, memory="6g")
            told.write_text(json.dumps(_serve(session.sparkContext._jvm)))
        fcntl.flock(start, fcntl.LOCK_UN)
        for name, value in QUICKER.items():
            session.conf.set(name, value)
        yield session
        if not is_guest:
            fcntl.flock(start, fcntl.LOCK_EX)
            told.unlink()  # who comes now starts another
            fcntl.flock(start, fcntl.LOCK_UN)
            # Java ends with this process: not before the last guest has left.
            fcntl.flock(guests, fcntl.LOCK_EX)


def _serve(java: Any) -> dict[str, Any]:
    """Let one more process in, on 127.0.0.1."""
    server = java.org.apache.spark.api.python.Py4JServer(java.org.apache.spark.SparkConf())
    server.start()
    return {"port": server.getListeningPort(), "secret": server.secret()}


def _join(port: int, secret: str) -> SparkSession:
    # Each process by a server of its own: Java calls the functions of foreachBatch where that was told to.
    gateway = _gateway(**_serve(_gateway(port, secret).jvm))
    spark = gateway.jvm.org.apache.spark
    context = spark.api.java.JavaSparkContext.fromSparkContext(spark.SparkContext.getOrCreate())
    SparkContext(gateway=gateway, jsc=context, conf=SparkConf(_jconf=context.getConf()))
    return SparkSession.builder.getOrCreate().newSession()


def _gateway(port: int, secret: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_GATEWAY_PORT", str(port))
        patch.setenv("PYSPARK_GATEWAY_SECRET", secret)
        return launch_gateway()
