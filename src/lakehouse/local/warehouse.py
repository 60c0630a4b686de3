"""A warehouse folder on this machine: the same tables in every process that opens it."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.catalog.set_up import EARLIER
from lakehouse.errors import ConfigurationError
from lakehouse.ingest.lease import exclusive
from lakehouse.local.session import S3Endpoint, local_session
from lakehouse.settings import LAYERS, Layer, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakehouse.table import Table


def local_settings(
    warehouse: Path,
    *,
    landing: str = "",
    documents: Mapping[str, str] | None = None,
    max_files: int = 1000,
    parquet: bool = False,
) -> Settings:
    """Settings of the local platform; checkpoints lie in the warehouse.

    Raises:
        ConfigurationError: a location that is neither a folder that exists nor an S3 URL, or a warehouse
            that is no folder (commits of several writers exclude each other on a local file system only).
    """
    if re.match(r"[a-z0-9]+:/", str(warehouse)):
        raise ConfigurationError(
            f"{warehouse} is no folder: a warehouse of this platform lies on this machine."
        )
    warehouse = warehouse.expanduser().resolve()
    return Settings(
        landing=_location(landing) if landing else "",
        checkpoints=str(warehouse / "checkpoints"),
        documents={name: _location(at) for name, at in (documents or {}).items()},
        warehouse=str(warehouse),
        platform="local",
        max_files=max_files,
        parquet=parquet,
        deletion_vectors=False,
    )


def open_warehouse(
    settings: Settings,
    tables: tuple[Table, ...],
    *,
    s3: S3Endpoint | None = None,
    lasting: bool = False,
    with_views: bool = True,
) -> SparkSession:
    """Start Spark on a warehouse: create what is missing, and know the tables that are there.

    Args:
        tables: what the process will work with; it knows no other ones.
        lasting: the process will be at work for minutes.
        with_views: it will look at views.

    Raises:
        PlatformError: Java or the jars are missing.
    """
    from lakehouse.catalog.declared import other_tables, state_table
    from lakehouse.catalog.set_up import set_up
    from lakehouse.ingest.fill import fill

    assert settings.warehouse is not None
    remote = [settings.landing, *settings.documents.values()]
    spark = local_session(
        Path(settings.warehouse), s3=s3, s3a=any(at.startswith("s3a:") for at in remote), lasting=lasting
    )
    known = {(made.layer, made.name) for made in (*other_tables(tables), *map(state_table, tables))}
    with exclusive(settings.warehouse):
        attach(spark, settings, {*known, EARLIER})
        fill(spark, settings, tables, set_up(spark, settings, tables, with_views=with_views))
    return spark


def attach(spark: SparkSession, settings: Settings, only: Container[tuple[Layer, str]] | None = None) -> None:
    """Tell the session's catalog, which is in memory, of the tables in the warehouse folder.

    `only`: layers and names of those that are wanted; all if not given.
    """
    for layer in LAYERS:
        folder = Path(settings.location(layer) or "")
        if not folder.is_dir():
            continue
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {settings.schema(layer)} LOCATION '{_quoted(folder)}'")
        for table in sorted(folder.iterdir()):
            if only is not None and (layer, table.name) not in only:
                continue
            name, log = settings.table(layer, table.name), table / "_delta_log"
            if not any(log.glob("*.json")):
                with suppress(OSError):  # left by a process that died while it made the table
                    log.rmdir()
            elif not spark.catalog.tableExists(name):
                spark.sql(f"CREATE TABLE {name} USING DELTA LOCATION '{_quoted(table)}'")


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")


def _location(text: str) -> str:
    """A folder's absolute path, or an S3 URL in the spelling that Hadoop knows."""
    scheme, found, rest = text.partition("://")
    if found and scheme in ("s3", "s3a"):
        return f"s3a://{rest}"
    if found and scheme != "file":
        raise ConfigurationError(f"{text}: use a folder, or an s3:// URL.")
    path = os.path.abspath(os.path.expanduser(rest if found else text))
    if not os.path.isdir(path):
        raise ConfigurationError(f"{path} is no folder. Check the path, or create it.")
    return path
