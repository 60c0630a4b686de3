"""Where everything lies: parsed once at the edge, then passed along as plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from lakehouse.errors import ConfigurationError

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,255}")


def _absolute(location: str) -> str:
    """A relative path would not be found again in the paths that Spark tells."""
    return location if "://" in location or not location else os.path.abspath(location)


Layer = Literal["bronze", "silver", "gold", "ops"]
LAYERS: tuple[Layer, ...] = ("bronze", "silver", "gold", "ops")

PII_READERS = "lakehouse_pii_readers"
"""The account group that sees personal data, if no other is named."""


def literal(words: str) -> str:
    """Our own words as a SQL literal: comments, properties, paths, groups. Never data."""
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"


def principal(name: str) -> str:
    """The quoted name of a user, group or service principal.

    Raises:
        ConfigurationError: it is empty, or has characters that no name has.
    """
    if not name.strip() or not name.isprintable():
        raise ConfigurationError(f"{name!r} is no name of a user, group or service principal.")
    return "`" + name.replace("`", "``") + "`"


def parse_time(text: str) -> datetime:
    """A time in ISO 8601, in UTC; without a zone it is UTC.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{text!r} is no time. Write it as 2026-01-31T12:00:00Z.") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation of lakehouse.

    Args:
        landing: folder or URL under which the writer lands change records, one folder a source.
        checkpoints: folder of the streams' checkpoints: a local path or `/Volumes/…`.
        documents: name of a document source → folder or URL where its documents lie.
        catalog, bronze, silver, gold, ops: names of the catalog and of its schemas.
        warehouse: folder for the tables of the local platform; None for managed tables.
        platform: `databricks` reads with Auto Loader, `local` with Spark's own file stream.
        max_files: how many landed objects a batch takes at most.
        parquet: landing has Parquet objects too (the writer's LANDING_FORMAT): each source of change records
            gets a second stream, which reads them. NDJSON is always read: backfills, repairs and what is
            requeued land as that.
        file_events: on Databricks, find new objects through the external location's file events;
            False lists folders instead.
        pii_readers: account group whose members see personal data in the views; others see null in its place.
            None: on Databricks the group PII_READERS; on one machine, where there are no groups, everybody
            sees it.
        deletion_vectors: mark replaced rows instead of rewriting their files. With row tracking this is
            what row-level concurrency needs, which only Databricks has; without it a MERGE into a small
            table takes about twice as long for nothing.

    Raises:
        ConfigurationError: a name that is none, or checkpoints that are no file path.
    """

    landing: str
    checkpoints: str
    documents: Mapping[str, str] = field(default_factory=dict)
    catalog: str = "spark_catalog"
    bronze: str = "bronze"
    silver: str = "silver"
    gold: str = "gold"
    ops: str = "ops"
    warehouse: str | None = None
    platform: Literal["databricks", "local"] = "databricks"
    max_files: int = 1000
    parquet: bool = False
    file_events: bool = True
    pii_readers: str | None = None
    deletion_vectors: bool = True

    def __post_init__(self) -> None:
        for name in (self.catalog, self.bronze, self.silver, self.gold, self.ops):
            if not _IDENTIFIER.fullmatch(name):
                raise ConfigurationError(
                    f"{name!r} is no name for a catalog or schema: use letters, digits, _ and -."
                )
        if self.pii_readers is None and self.platform == "databricks":
            object.__setattr__(self, "pii_readers", PII_READERS)
        if self.pii_readers is not None:
            principal(self.pii_readers)
        if "://" in self.checkpoints:
            raise ConfigurationError(
                f"Checkpoints cannot lie at {self.checkpoints}: the lease beside them needs a file path. "
                "Use a folder, or /Volumes/<catalog>/<schema>/<volume> on Databricks."
            )
        if self.max_files < 1:
            raise ConfigurationError(f"max_files is {self.max_files}; it must be at least 1.")
        object.__setattr__(self, "landing", _absolute(self.landing).rstrip("/") or "/")
        documents = {name: _absolute(at) for name, at in self.documents.items()}
        object.__setattr__(self, "documents", documents)

    def schema(self, layer: Layer) -> str:
        """The quoted two-part name of a schema."""
        return f"`{self.catalog}`.`{getattr(self, layer)}`"

    def table(self, layer: Layer, name: str) -> str:
        """The quoted three-part name of a table or view."""
        if not _IDENTIFIER.fullmatch(name):
            raise ConfigurationError(f"{name!r} is no name for a table: use letters, digits, _ and -.")
        return f"{self.schema(layer)}.`{name}`"

    def in_schemas(self, text: str) -> str:
        """SQL in which `{bronze}`, `{silver}`, `{gold}`, `{ops}` stand for the schemas, with their names."""
        for layer in LAYERS:
            text = text.replace(f"{{{layer}}}", self.schema(layer))
        return text

    def stream_folder(self, stream: str) -> str:
        """Where a stream has its checkpoint."""
        return f"{self.checkpoints}/bronze/{stream}"

    def follower_folder(self, follower: str) -> str:
        """Where a follower has its checkpoint."""
        return f"{self.checkpoints}/gold/{follower}"

    def location(self, layer: Layer, name: str = "") -> str | None:
        """Where a schema or table lies; None where the catalog decides (managed tables)."""
        if self.warehouse is None:
            return None
        return "/".join(
            part for part in (self.warehouse.rstrip("/"), "tables", getattr(self, layer), name) if part
        )
