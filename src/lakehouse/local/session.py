"""One Spark session with Delta, in this process, on this machine, listening on 127.0.0.1 alone.

A warehouse is a folder: `tables/` is where schemas put their managed tables, `logs/spark.log` takes what
Spark and Java say (warnings, errors, stack traces). The catalog itself is in memory: tables must be
registered again, by location, in every new session.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lakehouse.errors import ConfigurationError, PlatformError
from lakehouse.local.jars import class_path
from lakehouse.local.java import find_java
from lakehouse.local.spark_settings import (
    LOGGING,
    S3Endpoint,
    cores,
    launch_settings,
    s3_settings,
    session_settings,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["S3Endpoint", "local_session", "stop_local_session"]

_LOG_LIMIT_BYTES = 10_000_000


@dataclass
class _Running:
    """What this process runs: its session and what must be cleaned up behind it."""

    warehouse: Path
    s3a: bool
    s3: S3Endpoint | None
    session: SparkSession
    gateway: Any
    temporary: Path
    process: int


_lock = threading.RLock()
_running: _Running | None = None


def local_session(
    warehouse: Path,
    *,
    s3: S3Endpoint | None = None,
    s3a: bool = False,
    memory: str = "2g",
    quick: bool = True,
    lasting: bool = False,
    app_name: str = "lakehouse",
) -> SparkSession:
    """Start this process's Spark session, or return it if it already runs on the same warehouse.

    s3: the server behind s3a:// and s3:// paths (implies `s3a`). With `s3a` alone the standard AWS
    environment decides: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION, and the default chain of
    credentials (keys, profile, container, instance).
    memory: the heap of the one Java process, as Java writes it.
    quick: for tests and small data: one shuffle partition, no adaptive execution, no whole-stage code.
    False leaves those to Spark, with as many shuffle partitions as cores.
    lasting: the process will be at work for minutes, so that Java may take its time to compile well.

    The session has time zone UTC and ANSI SQL. Environment variables that steer another Spark (SPARK_*,
    PYSPARK_*, HADOOP_CONF_DIR) are removed from this process, or overridden; NO_PROXY gets this machine.
    Timestamps that are collected to Python are still shown in the process's own time zone, as pyspark does.

    Ctrl-C raises KeyboardInterrupt, as without Spark; Java ends with this process.

    Raises PlatformError if Java, pyspark or the jars are missing or Java does not start, and
    ConfigurationError if this process already has a session that cannot serve.
    """
    global _running
    warehouse = warehouse.expanduser().resolve()
    s3a = s3a or s3 is not None
    with _lock:
        if _running is not None and _is_alive(_running.session):
            _check_same(_running, warehouse, s3, s3a)
            return _running.session
        stop_local_session()
        _running = _start(warehouse, s3, s3a, memory, quick, lasting, app_name)
        return _running.session


def use_all_cores(spark: SparkSession) -> None:
    """Have a session that was started for small data work on much: on every core, with whole-stage code.

    Streams that are started from then on work so.
    """
    spark.conf.set("spark.sql.shuffle.partitions", str(cores()))
    spark.conf.set("spark.sql.files.minPartitionNum", str(cores()))
    spark.conf.set("spark.sql.codegen.wholeStage", "true")


def stop_local_session() -> None:
    """Stop this process's session and its Java process, and remove its temporary files, if there is one."""
    global _running
    with _lock:
        running, _running = _running, None
        if running is None or running.process != os.getpid():  # a forked child leaves it to its parent
            return
        with contextlib.suppress(Exception):  # Java may be gone already: what matters is what follows
            running.session.stop()
        _close(running.gateway)
        shutil.rmtree(running.temporary, ignore_errors=True)


atexit.register(stop_local_session)


def _start(
    warehouse: Path,
    s3: S3Endpoint | None,
    s3a: bool,
    memory: str,
    quick: bool,
    lasting: bool,
    app_name: str,
) -> _Running:
    find_java()
    try:
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]
        from pyspark import SparkConf, SparkContext
        from pyspark.errors import PySparkException
        from pyspark.java_gateway import launch_gateway
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise PlatformError("pyspark is not installed.", "Run: uv sync --extra local") from error
    if SparkContext._active_spark_context is not None or SparkContext._gateway is not None:
        raise ConfigurationError(
            "This process already runs a Spark that lakehouse did not start. "
            "Run lakehouse in a process of its own."
        )
    jars = class_path(s3a=s3a)
    log = _open_log(warehouse)
    temporary = Path(tempfile.mkdtemp(prefix="lakehouse-spark-"))
    gateway = None
    start = 0
    try:
        _set_environment(temporary)
        launch = SparkConf(loadDefaults=False).setAll(
            list(launch_settings(jars, memory, quick, temporary, lasting=lasting).items())
        )
        with log.open("ab") as stderr:
            start = stderr.tell()
            gateway = launch_gateway(launch, {"stderr": stderr})  # type: ignore[no-untyped-call]
        settings = session_settings(warehouse, quick, temporary) | (s3_settings(s3, temporary) if s3a else {})
        conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
        conf.setMaster(f"local[{cores()}]").setAppName(app_name)
        interrupt = signal.getsignal(signal.SIGINT)
        context = SparkContext(conf=conf, gateway=gateway)
        if threading.current_thread() is threading.main_thread():
            default = interrupt in {signal.default_int_handler, _interrupt}
            signal.signal(signal.SIGINT, _interrupt if default else interrupt)  # not pyspark's: see there
        session = SparkSession.builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        _close(gateway)
        shutil.rmtree(temporary, ignore_errors=True)
        raise PlatformError(
            f"Spark did not start: {_last_lines(log, start)}", f"All of it is in {log}."
        ) from error
    except BaseException:
        _close(gateway)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    assert context is session.sparkContext
    return _Running(warehouse, s3a, s3, session, gateway, temporary, os.getpid())


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt out of a call to Java, in place of pyspark's handler and py4j's cleaning up.

    pyspark's handler calls Java in the middle of a call to Java, which ends in a Py4JError. py4j, left with
    the interrupted connection, has Java close it and whatever else is open by then: now and then the
    connection of the next call too. Closed here, it leaves nothing for py4j to do.
    """
    running = _running
    if running is not None:
        with contextlib.suppress(Exception):
            connection = running.gateway._gateway_client.get_thread_connection()
            if connection is not None:
                connection.close()
    raise KeyboardInterrupt


def _set_environment(temporary: Path) -> None:
    """Leave to this process's Spark, and to the Python workers, no setting of any other Spark."""
    import pyspark

    for name in list(os.environ):
        if name.startswith(("SPARK_", "PYSPARK_")) or name in {"HADOOP_CONF_DIR", "YARN_CONF_DIR"}:
            del os.environ[name]
    configuration = temporary / "conf"
    configuration.mkdir()
    (configuration / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["SPARK_CONF_DIR"] = str(configuration)  # the first entry of Java's class path
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_DIRS"] = str(temporary)
    for name in ("NO_PROXY", "no_proxy"):  # Java's AWS client honours HTTP_PROXY, even for this machine
        hosts = filter(None, os.environ.get(name, "").split(","))
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


def _open_log(warehouse: Path) -> Path:
    """Begin a new entry in the warehouse's Spark log, and send py4j's messages there too."""
    log = warehouse / "logs" / "spark.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            os.replace(log, log.with_suffix(".log.1"))
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\n{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} session of process {os.getpid()}\n")
    except OSError as error:
        raise ConfigurationError(
            f"The warehouse {warehouse} cannot be written: {error}. "
            "Choose another folder, or mend its permissions."
        ) from error
    _log_py4j_to(log)
    return log


def _log_py4j_to(log: Path) -> None:
    """Keep py4j off the terminal: it repeats as log messages, with stack traces, what it raises as errors."""
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # pyspark prints every refused query to stderr as JSON, stack trace included, and raises it too.
        logging.getLogger(name).disabled = True
    py4j = logging.getLogger("py4j")
    for handler in list(py4j.handlers):
        if isinstance(handler, logging.FileHandler):
            py4j.removeHandler(handler)
            handler.close()
    py4j.addHandler(logging.FileHandler(log, delay=True))
    py4j.setLevel(logging.WARNING)
    py4j.propagate = False
    logging.getLogger().addFilter(_divert_py4j)


def _divert_py4j(record: logging.LogRecord) -> bool:
    """Send on what py4j writes to the root logger; a filter of it."""
    if Path(record.pathname).parent.name != "py4j":
        return True
    logging.getLogger("py4j").handle(record)
    return False


def _check_same(running: _Running, warehouse: Path, s3: S3Endpoint | None, s3a: bool) -> None:
    if running.warehouse != warehouse:
        raise ConfigurationError(
            f"This process already has a Spark session on {running.warehouse}; a session on {warehouse} "
            "needs stop_local_session() first, or a process of its own."
        )
    if (s3a and not running.s3a) or (s3 is not None and s3 != running.s3):
        has = (
            f"with {running.s3}"
            if running.s3
            else "with the environment's S3"
            if running.s3a
            else "without S3"
        )
        raise ConfigurationError(
            f"This process's Spark session was started {has}, which cannot be changed to {s3 or 's3a'} while "
            "it runs: call stop_local_session() first."
        )


def _is_alive(session: SparkSession) -> bool:
    return session.sparkContext._jsc is not None


def _close(gateway: Any) -> None:
    """Let Java go, and forget it: pyspark keeps one Java process, with its class path, for good."""
    from pyspark import SparkContext

    if gateway is None:
        return
    with contextlib.suppress(Exception):
        gateway.shutdown()
    gateway.proc.stdin.close()
    try:
        gateway.proc.wait(timeout=20)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
    if SparkContext._gateway is gateway:
        SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None


def _last_lines(log: Path, start: int) -> str:
    """What Java wrote since `start` (bytes), at most its last three lines."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read()[-2000:].decode("utf-8", "replace").splitlines()
    return " / ".join(line.strip() for line in lines[-3:]) or "it wrote nothing."
