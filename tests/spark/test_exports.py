"""What an incremental export says wins over everything older and loses to its own stream, in any order."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.local.export_support import THINGS, full_line, incremental_line, iso, write_export
from tests.local.support import create_table
from tests.spark.support import EARLIER_LABEL, Lake, change, sequence

from lakehouse.aws.export import backfill_export
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.snapshot import to_ms
from lakehouse.local.aws import LocalAws

MOMENT = 10  # ms
WHEN = {"before": (False, True), "with": (True, True), "behind": (True, False)}
"""When a change is ingested, seen from the export: (in the second run, the export in the second run)."""

# What a change says and its place, what the export says, what must hold; None is deleted.
CASES: dict[str, tuple[str, str | None, str | None, str | None]] = {
    "earlier stream, deleted": ("earlier stream", "old", None, None),
    "earlier stream, changed": ("earlier stream", "old", "new", "new"),
    "earlier stream's delete, put again": ("earlier stream", None, "new", "new"),
    "earlier snapshot, deleted": ("earlier snapshot", "old", None, None),
    "earlier snapshot, changed": ("earlier snapshot", "old", "new", "new"),
    "snapshot of an earlier stream, deleted": ("snapshot of an earlier stream", "old", None, None),
    "later snapshot, put again": ("later snapshot", "later", None, "later"),
    "stream, put again": ("stream", "later", None, "later"),
    "stream, changed": ("stream", "later", "new", "later"),
    "stream, deleted": ("stream", None, "new", None),
}


@pytest.fixture(scope="module")
def dynamodb() -> Any:
    with LocalAws() as aws:
        yield aws.client("dynamodb")


def test_the_order_of_ingests_does_not_matter(spark: SparkSession, tmp_path: Path, dynamodb: Any) -> None:
    name = f"things-{uuid.uuid4().hex}"
    label = create_table(dynamodb, name, {"id": "S"})
    taken_ms = to_ms(f"{label}Z") + 2 * MOMENT
    lake = Lake(spark, tmp_path, (THINGS,))
    places = {
        "earlier stream": sequence(9, EARLIER_LABEL),
        "snapshot of an earlier stream": f"{EARLIER_LABEL}/-{iso(taken_ms + MOMENT)}",
        "earlier snapshot": f"{label}/-{iso(taken_ms - 1)}/0002",
        "later snapshot": f"{label}/-{iso(taken_ms + 1)}/0001",
        "stream": sequence(1, label),
    }

    def export(lines: list[Any], at_ms: int, *, incremental: bool) -> None:
        folder = write_export(
            tmp_path / "exports",
            name,
            at_ms,
            [lines[::2], [], lines[1::2]],
            incremental=incremental,
            export_id=f"{at_ms:014d}-{incremental:08d}",
        )
        backfill_export(
            dynamodb,
            FolderObjects(folder),
            FolderObjects(Path(lake.settings.landing)),
            THINGS,
            name,
            consumer_from="trim-horizon",
        )

    expected: dict[str, str | None] = {"only in it": "new", "only deleted in it": None}
    # Two exports of one time, as if one had half of the keys: the first is ingested before the changes of
    # its keys, the second behind them or with them.
    exported = {False: [incremental_line(key, note) for key, note in expected.items()], True: []}
    changes: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for when, (change_in_second, export_in_second) in WHEN.items():
        for case, (place, note, in_export, holds) in CASES.items():
            key = f"{case}, {when}"
            text = {} if note is None else {"note": note}
            changes[change_in_second].append(change(places[place], deleted=note is None, id=key, **text))
            exported[export_in_second].append(incremental_line(key, in_export))
            expected[key] = holds
    # A full export of an earlier time, ingested last, has every key and says nothing new.
    full = [full_line("older", id={"S": key}) for key in [*expected, "only in the full one"]]
    expected["only in the full one"] = "older"
    for second in (False, True):
        lake.land("things", *changes[second])
        export(exported[second], taken_ms, incremental=True)
        if second:
            export(full, taken_ms - MOMENT, incremental=False)
        lake.ingest_well()

    rows = lake.rows(THINGS)
    assert {key: None if row.is_deleted else row.note for key, row in rows.items()} == expected
    assert {row._event_name for key, row in rows.items() if "deleted" in key and row.is_deleted} == {
        "SNAPSHOT",
        "REMOVE",
    }
    deleted = rows["only deleted in it"]
    assert (deleted._delete_kind, deleted.updated_at) == (None, str(taken_ms))
    assert deleted._sequence == f"{label}/-{iso(taken_ms)}"
    assert lake.quarantine().isEmpty()
    live = {row.id for row in lake.gold("things").collect()}
    assert live == {key for key, note in expected.items() if note is not None}
