"""Who may write: one holder for a checkpoint, and one process at a time for a warehouse folder.

Two queries on one checkpoint damage it. Spark notices late and Databricks' `max_concurrent_runs` knows only
its own job, so whoever opens a checkpoint takes its lease first. On one machine that is a lock on a file,
which dies with its process; on Databricks a row of ops.leases, as a volume promises neither exclusive
creation nor locks.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.errors import LeaseHeldError, LeaseLostError
from lakehouse.ingest.commits import retrying
from lakehouse.settings import Settings

RENEW_SECONDS = 120.0
"""How often the holder of a row says that it is alive."""

EXPIRY_SECONDS = 900.0
"""The holder of a row that has been silent for so long is taken for dead."""


class Lease(Protocol):
    """Holds the checkpoint of one stream while the `with` block runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def check(self) -> None:
        """Raise LeaseLostError if another process holds the lease by now."""


def lease(spark: SparkSession, settings: Settings, folder: str, stream: str, *, wait: float = 0.0) -> Lease:
    """The lease of a stream's checkpoint.

    Args:
        folder: the stream's folder, beside whose checkpoint the lock lies.
        stream: its name, for messages.
        wait: seconds to wait for another holder to finish; 0 to fail at once.

    Raises:
        LeaseHeldError: on entering, when another holder is alive.
    """
    if settings.platform == "local":
        return FileLease(folder, stream, wait=wait)
    return TableLease(spark, settings.table("ops", "leases"), folder, stream, wait=wait)


@contextmanager
def exclusive(warehouse: str | None) -> Iterator[None]:
    """Let one batch at a time commit to the tables of a warehouse folder, whichever process it runs in.

    Delta's commits exclude each other within one Java process, but on a local file system two processes
    can both rename their file to the same version, and one commit is gone. The lock dies with its process.
    None, for tables of a catalog that arbitrates its commits, does nothing.
    """
    if warehouse is None:
        yield
        return
    import fcntl

    Path(warehouse).mkdir(parents=True, exist_ok=True)
    with (Path(warehouse) / "commit.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class FileLease:
    """A lock on a file in the stream's folder; it dies with its process."""

    def __init__(self, folder: str, stream: str, *, wait: float = 0.0) -> None:
        self._path = Path(folder) / "lease"
        self._stream = stream
        self._wait = wait
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        import fcntl

        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._wait
        file = self._path.open("a+", encoding="utf-8")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = self._holder(file)
                    file.close()
                    raise LeaseHeldError(self._stream, holder, str(self._path)) from None
                time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))
        file.seek(0)
        file.truncate()
        json.dump({"holder": _holder()}, file)
        file.flush()
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def check(self) -> None:
        """A lock is never lost while its process lives."""

    @staticmethod
    def _holder(file: IO[str]) -> str:
        file.seek(0)
        with suppress(ValueError, KeyError, TypeError):
            return str(json.load(file)["holder"])
        return "another process"


class TableLease:
    """A row of ops.leases, taken by a MERGE on condition that nobody alive holds it, and renewed.

    Args:
        table: the quoted name of ops.leases.
        name: what is held.
    """

    def __init__(self, spark: SparkSession, table: str, name: str, stream: str, *, wait: float = 0.0) -> None:
        self._spark = spark
        self._table = table
        self._name = name
        self._stream = stream
        self._wait = wait
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._lost: str | None = None
        self._beat = threading.Thread(target=self._keep, name=f"lease-{stream}", daemon=True)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._wait
        while (holder := self._take()) is not None:
            if time.monotonic() >= deadline:
                raise LeaseHeldError(self._stream, holder, f"row {self._name} of {self._table}")
            time.sleep(min(10.0, max(0.1, deadline - time.monotonic())))
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join(timeout=RENEW_SECONDS)
        # What is not given up expires.
        with suppress(PySparkException):
            self._write(F.lit(None).cast("string"), mine=True)

    def check(self) -> None:
        """Raise LeaseLostError if another process holds the lease by now."""
        if self._lost is not None:
            raise LeaseLostError(self._stream, f"row {self._name} of {self._table}", self._lost)

    def _take(self) -> str | None:
        """Take the row; the live holder in words if there is one."""
        self._write(F.lit(self._token), mine=False)
        return self._other()

    def _write(self, token: F.Column, *, mine: bool) -> None:  # type: ignore[name-defined]
        """Set the row's token and time. `mine`: only if it is ours; else also if nobody alive holds it."""
        row = self._spark.range(1).select(
            F.lit(self._name).alias("name"),
            token.alias("token"),
            F.lit(_holder()).alias("holder"),
            F.current_timestamp().alias("renewed_at"),
        )
        ours = F.col("t.token").eqNullSafe(F.lit(self._token))
        silent = F.unix_micros(F.current_timestamp()) - F.unix_micros("t.renewed_at")
        free = F.col("t.token").isNull() | (silent > int(EXPIRY_SECONDS * 1_000_000))
        may = ours if mine else ours | free

        def merge() -> None:
            statement = (
                DeltaTable.forName(self._spark, self._table)
                .alias("t")
                .merge(row.alias("s"), F.col("t.name") == F.col("s.name"))
                .whenMatchedUpdateAll(condition=may)
            )
            (statement if mine else statement.whenNotMatchedInsertAll()).execute()

        retrying(merge, f"the lease of {self._stream}")

    def _other(self) -> str | None:
        """Whoever else holds the row, in words."""
        rows = self._spark.table(self._table).where(F.col("name") == F.lit(self._name))
        row = rows.select("token", "holder").first()
        return None if row is None or row.token == self._token else str(row.holder)

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            with suppress(PySparkException):  # a renewal that fails is caught up by the next one
                self._write(F.lit(self._token), mine=True)
                self._lost = self._other()
            if self._lost is not None:
                return


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
