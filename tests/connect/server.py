"""A Spark Connect server in a process of its own: Delta, the local platform's settings, 127.0.0.1 alone."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyspark
from delta.connect.proto import base_pb2, relations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from lakehouse.local.jars import class_path
from lakehouse.local.java import find_java
from lakehouse.local.spark_settings import LOGGING, launch_settings, session_settings

LIMITS = Path(__file__).parent / "limits"
"""On Python's path, it puts the limits of serverless compute on a process."""

_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_LOGGING = f"""{LOGGING}
logger.connect.name = {_CLASS}
logger.connect.level = info
"""
_PLUGIN = Path(__file__).with_name("DeltaRelations.scala")
START_SECONDS = 300


class Server:
    """A server that starts, or runs; `log` takes what Java and the workers of batch functions say."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def said(self) -> str:
        """The whole log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def url(self) -> str:
        """Where it listens, once it does: it chooses the port itself and says it."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"server started at: 127\.0\.0\.1:(\d+)", self.said())):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"The Spark Connect server did not start:\n{self.said()[-4000:]}")
            time.sleep(0.1)
        return f"sc://127.0.0.1:{found[1]}"

    def stop(self) -> None:
        """End it and whatever it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start a server whose tables, log and temporary files lie below a folder; it ends with the block."""
    temporary, configuration = folder / "tmp", folder / "conf"
    temporary.mkdir(parents=True)
    configuration.mkdir()
    (configuration / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    jars = class_path(s3a=False)
    settings = launch_settings([_compiled(folder / "plugin", jars), *jars], "2g", True, temporary)
    settings |= session_settings(folder, True, temporary)
    settings |= {
        "spark.master": "local[2]",
        "spark.python.authenticate.socketTimeout": "300s",  # all the streams' workers start at once
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.connect.extensions.relation.classes": "org.apache.spark.sql.connect.lakehouse.DeltaRelations",
    }
    properties = configuration / "spark.properties"
    lines = (f"{name} {value}\n" for name, value in settings.items())
    properties.write_text("".join(lines), encoding="utf-8")
    home = Path(pyspark.__file__).parent
    command = [str(home / "bin" / "spark-submit"), "--class", _CLASS, "--properties-file", str(properties)]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=temporary,
            env=_environment(home, configuration, temporary),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, log)
    atexit.register(server.stop)
    try:
        yield server
    finally:
        server.stop()
        atexit.unregister(server.stop)


def _compiled(folder: Path, jars: list[Path]) -> Path:
    """Compile the plugin for Delta with the compiler that pyspark brings; the folder of its classes."""
    folder.mkdir()
    classes = [str(Path(pyspark.__file__).parent / "jars" / "*"), *map(str, jars)]
    command = [str(find_java().program), "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join(classes)]
    command += ["scala.tools.nsc.Main", "-usejavacp", "-nowarn", "-d", str(folder), str(_PLUGIN)]
    subprocess.run(command, check=True)
    descriptors = FileDescriptorSet()
    for module in (base_pb2, relations_pb2):
        descriptors.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    (folder / "delta-connect.descriptors").write_bytes(descriptors.SerializeToString())
    return folder


def _environment(home: Path, configuration: Path, temporary: Path) -> dict[str, str]:
    """All that the server has of the environment, and its workers after it: no credentials among it."""
    return {
        "PATH": os.pathsep.join([str(find_java().program.parent), "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "HOME": str(temporary),
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(configuration),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(temporary),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(LIMITS),
    }
