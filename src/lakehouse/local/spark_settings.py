"""The settings of a local Spark session, as plain data: what differs from Spark's own defaults, and why."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LOGGING = """rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS}{UTC}Z %p %c{1}: %m%n%ex
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.metrics.name = org.apache.hadoop.metrics2
logger.metrics.level = error
"""
"""log4j2.properties: warnings and errors to the standard error stream, which session.py sends to a file."""

_LASTING = [
    "-XX:+UseParallelGC",
    "-XX:NewRatio=1",
    "-XX:InitialRAMPercentage=25",
    "-XX:MetaspaceSize=512m",
    # Java's second compiler takes a minute to pay: a command is through by then, and has the first alone.
    # Plans of all kinds, each made once, take it as much time as they gain: it begins ten times as late.
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
]
"""Of Java that is at work for minutes. A heap that need not grow is not collected whole, again and again."""

_DEFAULT_CHAIN = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 server and how to sign for it; `url` such as http://127.0.0.1:4566."""

    url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"S3Endpoint(url={self.url!r}, region={self.region!r})"


def launch_settings(
    jars: list[Path], memory: str, quick: bool, temporary: Path, *, lasting: bool = False
) -> dict[str, str]:
    """What Java must know when it starts. It stands in the process list: nothing secret here."""
    options = ["-Duser.timezone=UTC", f'"-Djava.io.tmpdir={temporary}"']
    if quick:
        options += ["-XX:ReservedCodeCacheSize=256m"]
        options += _LASTING if lasting else ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return {
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
    }


def session_settings(warehouse: Path, quick: bool, temporary: Path) -> dict[str, str]:
    """What makes the session: Delta, UTC, ANSI, 127.0.0.1 alone, and few partitions."""
    partitions = "1" if quick else str(cores())
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.hadoop.tmp.dir": str(temporary),
        "spark.pyspark.python": sys.executable,
        "spark.sql.warehouse.dir": str(warehouse / "tables"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": partitions,
        "spark.databricks.delta.snapshotPartitions": partitions,
    }
    if quick:
        settings |= {
            "spark.default.parallelism": "1",
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.cache.maxEntries": "2000",
            # Of tables that nobody asks for any more, and for a UI that is not there, Java need keep nothing.
            "spark.databricks.delta.delta.log.cacheSize": "100",
            "spark.ui.retainedJobs": "10",
            "spark.ui.retainedStages": "10",
            "spark.ui.retainedTasks": "100",
            "spark.sql.ui.retainedExecutions": "10",
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
        }
    return settings


def s3_settings(s3: S3Endpoint | None, temporary: Path) -> dict[str, str]:
    """S3A behind both spellings of an S3 path, on an explicit server or as the AWS environment says."""
    url = s3.url if s3 else os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = s3.region if s3 else os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings = {
        "fs.s3a.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.AbstractFileSystem.s3a.impl": "org.apache.hadoop.fs.s3a.S3A",
        "fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
        "fs.s3a.buffer.dir": str(temporary / "s3a"),
        "fs.s3a.aws.credentials.provider": _DEFAULT_CHAIN,
    }
    if s3:
        settings |= {
            "fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "fs.s3a.access.key": s3.access_key,
            "fs.s3a.secret.key": s3.secret_key,
        }
    if url:
        settings |= {
            "fs.s3a.endpoint": url,
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": "true" if urlsplit(url).scheme == "https" else "false",
        }
    if region:
        settings["fs.s3a.endpoint.region"] = region
    return {f"spark.hadoop.{key}": value for key, value in settings.items()}


def cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
