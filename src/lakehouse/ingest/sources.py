"""Where streams read from. The one module that knows on which platform it runs.

On Databricks Auto Loader (`cloudFiles`) finds new objects; elsewhere Spark's own file stream does.
Both hand over the same columns, so that everything behind them is the same code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import change_record
from lakehouse.settings import Settings

LandedFormat = Literal["ndjson", "parquet"]

# In the order of a line, so that one can be put together again.
_METADATA = {
    change_record.EVENT_ID: "string",
    change_record.EVENT_NAME: "string",
    change_record.SEQUENCE: "string",
    change_record.INGESTED_MS: "bigint",
    change_record.IS_DELETED: "boolean",
    change_record.CHANGED_MS: "bigint",
    change_record.DELETE_KIND: "string",
}
_LINES = "value string"
_ROWS = ", ".join(
    ("_schemaVersion int", *(f"{name} {kind}" for name, kind in _METADATA.items()), "item string")
)
UNKNOWN_SCHEMA = "Parquet of a schema that is not known: "
"""Begins the error that a row of such an object raises. JSON follows: `_source_file`, `version`."""

_DOCUMENTS = "path string, modificationTime timestamp, length bigint, content binary"
_FOUND = "path string, modificationTime timestamp, length bigint"


@dataclass(frozen=True, slots=True)
class _Form:
    """How Spark reads the landed objects of one format."""

    format: str
    schema: str
    options: Mapping[str, str]


_FORMS: Mapping[LandedFormat, _Form] = {
    "ndjson": _Form("text", _LINES, {"lineSep": "\n", "pathGlobFilter": "*.ndjson.gz"}),
    "parquet": _Form(
        "parquet", _ROWS, {"pathGlobFilter": "*.parquet", "parquet.page.verify-checksum.enabled": "true"}
    ),
}


class Source(Protocol):
    """What a stream reads. Plain data: it travels in the closure of the batch function."""

    def discover(self, spark: SparkSession) -> None:
        """Look for new objects, where the platform does not do so by itself."""

    def stream(self, spark: SparkSession) -> DataFrame:
        """The streaming frame."""

    def rows(self, batch: DataFrame) -> DataFrame:
        """The rows of one batch: `value`, `_source_file`, or the columns of a document."""

    def names(self, batch: DataFrame) -> DataFrame:
        """`_source_file` of every object that one batch names; with `_modified_at`, where the batch itself
        has it. (Auto Loader's is that of the object as it is now.)"""


def source_of(settings: Settings, name: str, state: str) -> Source | None:
    """The source of that name; None for documents whose location is not configured.

    `state` is a folder in which a source may keep what it has found so far.
    """
    if name in settings.documents:
        root = settings.documents[name].rstrip("/")
        if settings.platform == "databricks":
            return _AutoLoaderDocuments(root, settings)
        return _LocalDocuments(root, f"{state}/found", settings.max_files)
    return None


def lines_of(settings: Settings, folder: str, landed: LandedFormat = "ndjson") -> Source:
    """Landed change records: every `*.ndjson.gz`, or every `*.parquet`, under a folder of landing."""
    path = f"{settings.landing}/{folder}"
    return (
        _AutoLoaderLines(path, settings, landed)
        if settings.platform == "databricks"
        else _LocalLines(path, settings.max_files, landed)
    )


# --- Databricks --------------------------------------------------------------------------------


def auto_loader_options(settings: Settings, file_format: str, *, rewritten: bool) -> dict[str, str]:
    """Options of `cloudFiles`; names as in the Auto Loader options reference.

    `rewritten`: objects may be written again under their name (documents). Landing is immutable, and
    there a second look at an object would only repeat its records.
    """
    return {
        "cloudFiles.format": file_format,
        "cloudFiles.includeExistingFiles": "true",
        "cloudFiles.maxFilesPerTrigger": str(settings.max_files),
        "cloudFiles.allowOverwrites": str(rewritten).lower(),
        "cloudFiles.useManagedFileEvents": str(settings.file_events).lower(),
        # dt= and HH= are for people and for pruning by hand; they are no columns.
        "cloudFiles.partitionColumns": "",
    }


@dataclass(frozen=True, slots=True)
class _AutoLoaderLines:
    path: str
    settings: Settings
    landed: LandedFormat

    def discover(self, spark: SparkSession) -> None:
        """Auto Loader does."""

    def stream(self, spark: SparkSession) -> DataFrame:
        form = _FORMS[self.landed]
        reader = spark.readStream.format("cloudFiles").schema(form.schema)
        reader = reader.options(**auto_loader_options(self.settings, form.format, rewritten=False))
        return _lines(reader.options(**form.options).load(self.path), self.landed)

    def rows(self, batch: DataFrame) -> DataFrame:
        return batch

    def names(self, batch: DataFrame) -> DataFrame:
        return batch.select("_source_file").distinct()


@dataclass(frozen=True, slots=True)
class _AutoLoaderDocuments:
    root: str
    settings: Settings

    def discover(self, spark: SparkSession) -> None:
        """Auto Loader does."""

    def stream(self, spark: SparkSession) -> DataFrame:
        reader = spark.readStream.format("cloudFiles").schema(_DOCUMENTS)
        reader = reader.options(**auto_loader_options(self.settings, "binaryFile", rewritten=True))
        return reader.option("pathGlobFilter", "*.json").load(self.root)

    def rows(self, batch: DataFrame) -> DataFrame:
        return _documents(batch, self.root)

    def names(self, batch: DataFrame) -> DataFrame:
        return batch.select(F.col("path").alias("_source_file")).distinct()


# --- one machine -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LocalLines:
    path: str
    max_files: int
    landed: LandedFormat

    def discover(self, spark: SparkSession) -> None:
        """Spark's file stream does."""

    def stream(self, spark: SparkSession) -> DataFrame:
        form = _FORMS[self.landed]
        reader = spark.readStream.format(form.format).schema(form.schema)
        reader = reader.options(**_file_stream_options(self.max_files)).options(**form.options)
        return _lines(reader.load(_glob(self.path)), self.landed)

    def rows(self, batch: DataFrame) -> DataFrame:
        return batch

    def names(self, batch: DataFrame) -> DataFrame:
        return batch.select("_source_file").distinct()


@dataclass(frozen=True, slots=True)
class _LocalDocuments:
    """Documents that may be rewritten.

    Spark's file stream knows a file by its path alone, so it would never see a rewritten one. Here a
    listing is kept of what was found, by path, time and length; the stream reads that listing, and each
    batch reads the documents that its part of the listing names. A document that has changed or gone
    since it was found is left to its next finding.
    """

    root: str
    found: str
    max_files: int

    def discover(self, spark: SparkSession) -> None:
        Path(self.found).mkdir(parents=True, exist_ok=True)
        try:
            found = self._read(spark)
        except AnalysisException as error:
            if error.getCondition() == "PATH_NOT_FOUND":  # S3 has no folder before its first object
                return
            raise
        known = spark.read.schema(_FOUND).json(as_pattern(self.found))
        listing = found.select("path", "modificationTime", "length")
        new = listing.join(known, ["path", "modificationTime", "length"], "left_anti").coalesce(1)
        if not new.isEmpty():
            new.write.mode("append").option("maxRecordsPerFile", self.max_files).json(self.found)

    def stream(self, spark: SparkSession) -> DataFrame:
        options = _file_stream_options(max_files=1)
        return spark.readStream.schema(_FOUND).options(**options).json(as_pattern(self.found))

    def rows(self, batch: DataFrame) -> DataFrame:
        time = F.col("modificationTime")
        # As numbers: a timestamp would pass through Python's local time, which has gaps and an end.
        span = batch.agg(F.unix_micros(F.min(time)), F.unix_micros(F.max(time))).first()
        assert span is not None
        first, last = (F.timestamp_micros(F.lit(micros)) for micros in span)
        # Only files of that span are opened: the condition is looked at before the content.
        documents = self._read(batch.sparkSession).where(time.between(first, last))
        named = documents.join(batch, ["path", "modificationTime", "length"], "left_semi")
        return _documents(named, self.root)

    def names(self, batch: DataFrame) -> DataFrame:
        return batch.select(
            F.col("path").alias("_source_file"), F.col("modificationTime").alias("_modified_at")
        ).distinct()

    def _read(self, spark: SparkSession) -> DataFrame:
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        return reader.option("pathGlobFilter", "*.json").load(as_pattern(self.root))


def _file_stream_options(max_files: int) -> dict[str, str]:
    return {
        "maxFilesPerTrigger": str(max_files),
        "recursiveFileLookup": "true",
        # Spark ignores a file that is this much older than the newest one it has seen (a week, if not
        # said otherwise): a late object would never be read.
        "maxFileAge": "36500d",
    }


def _glob(path: str) -> str:
    """A pattern that matches this path alone: a stream may wait for a pattern that matches nothing yet,
    but not for a path that does not exist."""
    return re.sub(r"([\w.-])$", r"[\1]", as_pattern(path))


def as_pattern(path: str) -> str:
    """The path itself, where Spark would take a character of it for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def stored(rows: DataFrame, path: str) -> DataFrame:
    """Write a frame as Parquet and read it back: worked out once, where there is no cache."""
    rows.write.mode("overwrite").parquet(path)
    return rows.sparkSession.read.schema(rows.schema).parquet(as_pattern(path))


# --- both ---------------------------------------------------------------------------------------------


def _source_file() -> Column:
    """The path of the landed object, out of the URL that Spark makes of it; its + is no blank."""
    url = F.col("_metadata.file_path")
    return F.coalesce(F.try_url_decode(F.replace(url, F.lit("+"), F.lit("%2B"))), url).alias("_source_file")


def _lines(objects: DataFrame, landed: LandedFormat) -> DataFrame:
    """`value`, `_source_file`: of a row of Parquet too the very line that it would be as NDJSON."""
    if landed == "ndjson":
        return objects.select("value", _source_file())
    metadata = F.to_json(F.struct(*_METADATA), {"ignoreNullFields": "true"})
    head = F.substr(metadata, F.lit(1), F.length(metadata) - 1)
    line = (
        F.when(F.col("item") == "{}", metadata)
        .when(F.col("item").startswith("{"), F.concat(head, F.lit(","), F.substr("item", F.lit(2))))
        .otherwise(F.col("item"))  # no object: what reads lines says so
    )
    version = F.col("_schemaVersion")
    known = version.eqNullSafe(change_record.PARQUET_SCHEMA) & F.col("item").isNotNull()
    file = _source_file()
    said = F.concat(F.lit(UNKNOWN_SCHEMA), F.to_json(F.struct(file, version.alias("version"))))
    return objects.select(F.when(known, line).otherwise(F.raise_error(said)).alias("value"), file)


def _documents(files: DataFrame, root: str) -> DataFrame:
    """`content`, `document_key`, `_source_file`, `_modified_at` from Spark's columns of a binary file.

    The key is the object's key in its bucket, or the path below the location if that is no bucket.
    """
    if re.match(r"^s3a?://", root):
        key = F.regexp_replace("path", r"^s3a?://[^/]+/+", "")
    else:
        plain = F.regexp_replace("path", r"^[a-z0-9]+:/*", "/")
        below = re.sub(r"^[a-z0-9]+:/*", "/", root).rstrip("/") + "/"
        key = F.when(plain.startswith(below), plain.substr(F.lit(len(below) + 1), F.length(plain))).otherwise(
            plain
        )
    return files.select(
        "content",
        key.alias("document_key"),
        F.col("path").alias("_source_file"),
        F.col("modificationTime").alias("_modified_at"),
    )
