"""A DynamoDB table, or an export of it, as what a state table is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lakehouse.aws.client import aws_client
from lakehouse.aws.export import backfill_export, read_manifest
from lakehouse.aws.fresh import Key, Reader
from lakehouse.aws.objects import FolderObjects, Objects, open_objects
from lakehouse.aws.scan import backfill_scan
from lakehouse.aws.snapshot import lambda_mappings
from lakehouse.errors import ConfigurationError
from lakehouse.table import Table


@dataclass(frozen=True, slots=True)
class DynamoSource:
    """The source of `reconcile`.

    Args:
        landing: where repairs land; None if there are none.
        export: read everything from this export instead of by a scan.
        segments, max_rcu: as for `backfill_scan`.
        on_progress: told how many items have been read, and how many there are.
    """

    reader: Reader
    landing: Objects | None = None
    export: Objects | None = None
    segments: int = 4
    max_rcu: float | None = None
    on_progress: Callable[[int, int], None] = lambda _done, _total: None

    def everything(self, folder: Path) -> int:
        """Write every item as a snapshot record below a folder; how many there are."""
        reader = self.reader
        if self.export is None:
            return backfill_scan(
                reader.dynamodb,
                _objects(folder),
                reader.table,
                reader.table_name,
                segments=self.segments,
                max_rcu=self.max_rcu,
                consumer_from=reader.consumer_from,
                mappings=reader.mappings,
                on_progress=self.on_progress,
            ).items
        if read_manifest(self.export).kind != "full":
            raise ConfigurationError(
                "An incremental export has only what has changed: nothing to compare a whole table with. "
                "Take a full one."
            )
        return backfill_export(
            reader.dynamodb,
            self.export,
            _objects(folder),
            reader.table,
            reader.table_name,
            consumer_from=reader.consumer_from,
            mappings=reader.mappings,
            on_progress=self.on_progress,
        ).items

    def some(self, folder: Path, keys: Sequence[Key]) -> None:
        """Write what the items of these keys are now below a folder."""
        self.reader.land(_objects(folder), [(key, None) for key in keys])

    def repair(self, rows: Sequence[tuple[Key, str | None]]) -> int:
        """Land what these items are now, each above its row's sequence; how many records that are."""
        assert self.landing is not None
        return len(rows) - len(self.reader.land(self.landing, rows).left)


def open_source(
    table: Table,
    table_name: str,
    landing: str,
    *,
    consumer_from: str | None = None,
    max_rcu: int | None = None,
    region: str | None = None,
    credentials: Any = None,
) -> DynamoSource:
    """The DynamoDB table that a state table is made from, and the landing location of its repairs.

    Args:
        consumer_from: as for `snapshot.begin`; without it Lambda's event source mappings tell.
        region, credentials: as for `aws_client`.
    """
    client = partial(aws_client, region=region, credentials=credentials)
    dynamodb: Any = client("dynamodb")
    s3: Any = client("s3") if landing.startswith(("s3://", "s3a://")) else None
    mappings = None if consumer_from else lambda_mappings(client("lambda"))
    reader = Reader(dynamodb, table, table_name, consumer_from or None, mappings)
    return DynamoSource(reader, open_objects(landing, s3), max_rcu=max_rcu)


def _objects(folder: Path) -> Objects:
    folder.mkdir(parents=True, exist_ok=True)
    return FolderObjects(folder)
