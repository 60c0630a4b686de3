"""What the streams ask of Auto Loader, and what they ask of Spark's own file stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from lakehouse.ingest import sources
from lakehouse.settings import Settings

DATABRICKS = Settings(
    landing="s3://bucket/landing/",
    checkpoints="/Volumes/main/ops/checkpoints",
    documents={"transcripts": "s3://bucket/transcripts/"},
    max_files=77,
)


@dataclass
class Reader:
    """Stands in for spark.readStream: there is no cloudFiles outside Databricks."""

    asked: dict[str, Any] = field(default_factory=dict)

    def format(self, name: str) -> Reader:
        self.asked["format"] = name
        return self

    def schema(self, text: str) -> Reader:
        self.asked["schema"] = text
        return self

    def option(self, name: str, value: str) -> Reader:
        return self.options(**{name: value})

    def options(self, **options: str) -> Reader:
        self.asked.setdefault("options", {}).update(options)
        return self

    def load(self, path: str) -> Reader:
        self.asked["path"] = path
        return self

    def select(self, *columns: Any) -> Reader:
        self.asked["columns"] = len(columns)
        return self


@dataclass
class Session:
    readStream: Reader = field(default_factory=Reader)  # noqa: N815 - Spark's name


def test_auto_loaders_options_have_their_documented_names() -> None:
    assert sources.auto_loader_options(DATABRICKS, "text", rewritten=False) == {
        "cloudFiles.format": "text",
        "cloudFiles.includeExistingFiles": "true",
        "cloudFiles.maxFilesPerTrigger": "77",
        "cloudFiles.allowOverwrites": "false",
        "cloudFiles.useManagedFileEvents": "true",
        "cloudFiles.partitionColumns": "",
    }


def test_documents_may_be_written_again_and_file_events_can_be_switched_off() -> None:
    import dataclasses

    settings = dataclasses.replace(DATABRICKS, file_events=False)
    options = sources.auto_loader_options(settings, "binaryFile", rewritten=True)
    assert options["cloudFiles.allowOverwrites"] == "true"
    assert options["cloudFiles.useManagedFileEvents"] == "false"
    assert options["cloudFiles.format"] == "binaryFile"


def test_no_option_ignores_a_file_for_its_age_or_its_damage() -> None:
    for rewritten in (False, True):
        names = {
            name.lower() for name in sources.auto_loader_options(DATABRICKS, "text", rewritten=rewritten)
        }
        assert not names & {
            "cloudfiles.maxfileage",
            "ignorecorruptfiles",
            "ignoremissingfiles",
            "modifiedafter",
        }


def test_landing_is_read_as_lines_on_databricks(spark: object) -> None:
    session = Session()
    sources.lines_of(DATABRICKS, "calls").stream(session)  # type: ignore[arg-type]
    asked = session.readStream.asked
    assert (asked["format"], asked["schema"], asked["path"]) == (
        "cloudFiles",
        "value string",
        "s3://bucket/landing/calls",
    )
    assert asked["options"] == sources.auto_loader_options(DATABRICKS, "text", rewritten=False) | {
        "lineSep": "\n",
        "pathGlobFilter": "*.ndjson.gz",
    }
    assert asked["columns"] == 2


def test_parquet_is_read_with_a_schema_of_its_own_and_neither_format_sees_the_other(spark: object) -> None:
    session = Session()
    sources.lines_of(DATABRICKS, "calls", "parquet").stream(session)  # type: ignore[arg-type]
    asked = session.readStream.asked
    assert (asked["format"], asked["path"], asked["columns"]) == (
        "cloudFiles",
        "s3://bucket/landing/calls",
        2,
    )
    assert asked["schema"] == (
        "_schemaVersion int, _eventID string, _eventName string, _sequence string, _ingestTs bigint, "
        "is_deleted boolean, _approxStreamTs bigint, _deleteKind string, item string"
    )
    assert asked["options"] == sources.auto_loader_options(DATABRICKS, "parquet", rewritten=False) | {
        "pathGlobFilter": "*.parquet",
        "parquet.page.verify-checksum.enabled": "true",
    }


def test_documents_are_read_whole_on_databricks() -> None:
    session = Session()
    source = sources.source_of(DATABRICKS, "transcripts", "/state")
    assert source is not None
    source.stream(session)  # type: ignore[arg-type]
    asked = session.readStream.asked
    assert (asked["format"], asked["path"]) == ("cloudFiles", "s3://bucket/transcripts")
    assert asked["schema"] == "path string, modificationTime timestamp, length bigint, content binary"
    assert asked["options"]["cloudFiles.allowOverwrites"] == "true"
    assert asked["options"]["cloudFiles.format"] == "binaryFile"
    assert asked["options"]["pathGlobFilter"] == "*.json"


def test_documents_without_a_location_have_no_source() -> None:
    assert sources.source_of(DATABRICKS, "pca_calls", "/state") is None


@pytest.mark.parametrize(
    ("root", "path", "key"),
    [
        ("s3://bucket/transcripts", "s3://bucket/transcripts/a/b.json", "transcripts/a/b.json"),
        ("s3a://bucket/transcripts", "s3a://bucket/transcripts/b c.json", "transcripts/b c.json"),
        ("s3://bucket", "s3a://bucket/b.json", "b.json"),
        ("/data/docs", "file:/data/docs/transcripts/b.json", "transcripts/b.json"),
        ("/data/docs", "file:///data/docs/b.json", "b.json"),
        ("/Volumes/main/ops/docs", "dbfs:/Volumes/main/ops/docs/x/b.json", "x/b.json"),
        ("/data/docs", "file:/data/docs-two/b.json", "/data/docs-two/b.json"),
        ("/data/d.cs", "file:/data/docs/b.json", "/data/docs/b.json"),
    ],
)
def test_a_documents_key_is_its_key_in_the_bucket_or_its_path_below_the_location(
    spark: Any, root: str, path: str, key: str
) -> None:
    from datetime import UTC, datetime

    files = spark.createDataFrame(
        [(path, datetime(2026, 1, 8, tzinfo=UTC), 0, bytearray())],
        "path string, modificationTime timestamp, length bigint, content binary",
    )
    assert sources._documents(files, root).select("document_key").collect()[0][0] == key
