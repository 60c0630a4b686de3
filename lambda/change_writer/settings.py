"""The function's settings: its environment, parsed once per process."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from change_writer.errors import SettingsError

QUARANTINE = "_quarantine"
UNKNOWN_SOURCE = "unknown"

_LANDING_FORMATS = ("ndjson", "parquet")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")  # of a table; a Kinesis stream's may be shorter
# Not `_` or `.` in front: Spark and Auto Loader take such folders for hidden ones and skip them, and
# `_quarantine` and `_unknown` are ours.
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SOURCE_FORM = "letters, digits, '_', '.', '-', beginning with a letter or digit"


@dataclass(frozen=True)
class Settings:
    """Where change records land and how objects are cut.

    `prefix` has no slash at either end and may be empty. `sources` maps the name of a table, or of a
    Kinesis stream, to its source.
    `max_payload_bytes` counts uncompressed bytes of lines. `landing_format` is `ndjson` or `parquet`.
    """

    bucket: str
    prefix: str
    sources: Mapping[str, str]
    max_records: int
    max_payload_bytes: int
    log_level: str
    landing_format: str = "ndjson"

    def source_of(self, table: str) -> str:
        """The source of a table or a Kinesis stream: as mapped, else its own name.

        Raises SettingsError if the name cannot be a folder that readers see. That stops the one
        stream it belongs to, loudly, until it is mapped: nothing is skipped meanwhile.
        """
        source = self.sources.get(table, table)
        if not _SOURCE.fullmatch(source):
            raise SettingsError(
                "SOURCE_MAP",
                ",".join(f"{name}={value}" for name, value in self.sources.items()),
                f"an entry '{table}=<source>', because this name cannot be a source ({_SOURCE_FORM})",
            )
        return source

    def folder(self, source: str) -> str:
        """The folder of a source's change records: `<prefix>/<source>`."""
        return f"{self.prefix}/{source}" if self.prefix else source

    def quarantine_folder(self, source: str) -> str:
        """The folder of a source's raw records that could not be converted."""
        return self.folder(f"{QUARANTINE}/{source}")


def parse_settings(environ: Mapping[str, str]) -> Settings:
    """Parse the environment; an empty optional variable counts as unset.

    Raises SettingsError, naming the variable, its value and the form that is expected.
    """
    bucket = environ.get("S3_BUCKET", "").strip()
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            "S3_BUCKET", environ.get("S3_BUCKET"), "the name of a bucket, without s3:// or a path"
        )
    log_level = environ.get("LOG_LEVEL", "").strip().upper() or "INFO"
    if log_level not in _LOG_LEVELS:
        raise SettingsError("LOG_LEVEL", environ.get("LOG_LEVEL"), f"one of {', '.join(_LOG_LEVELS)}")
    landing_format = environ.get("LANDING_FORMAT", "").strip() or "ndjson"
    if landing_format not in _LANDING_FORMATS:
        raise SettingsError("LANDING_FORMAT", landing_format, " or ".join(_LANDING_FORMATS))
    return Settings(
        bucket=bucket,
        prefix=_prefix(environ.get("S3_PREFIX", "")),
        sources=_source_map(environ.get("SOURCE_MAP", "")),
        max_records=_positive(environ, "MAX_RECORDS", 2000),
        max_payload_bytes=_positive(environ, "MAX_PAYLOAD_BYTES", 8_000_000),
        log_level=log_level,
        landing_format=landing_format,
    )


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, parsed on first use; tests call `get_settings.cache_clear()`."""
    return parse_settings(os.environ)


def _prefix(text: str) -> str:
    parts = [part for part in text.strip().split("/") if part]
    if not all(part.isprintable() and part.strip(".") for part in parts):
        raise SettingsError("S3_PREFIX", text, "a key prefix such as landing/prod, without '.' or '..' parts")
    return "/".join(parts)


def _source_map(text: str) -> dict[str, str]:
    expected = f"table=source,stream=source2, each name once; a source is {_SOURCE_FORM}"
    sources: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        table, equals, source = (part.strip() for part in entry.partition("="))
        if not (equals and _NAME.fullmatch(table) and _SOURCE.fullmatch(source)) or table in sources:
            raise SettingsError("SOURCE_MAP", text, f"{expected}; the entry {entry!r} is wrong")
        sources[table] = source
    return sources


def _positive(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}", text):
        raise SettingsError(variable, text, "a whole number of at least 1")
    return int(text)
