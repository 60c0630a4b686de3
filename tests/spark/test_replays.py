"""The content of a table is a function of the set of landed changes: replays, checkpoints, two writers."""

from __future__ import annotations

import dataclasses
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, assert_rows, change

from lakehouse.errors import StreamError
from lakehouse.gold.run import ingest
from lakehouse.ingest.runner import Batches

GOOD = [change(n, site=f"site {n % 7}", number=str(n % 3), note=f"note {n}", amount=n) for n in range(1, 30)]
DELETES = [change(30 + n, deleted=True, site=f"site {n}", number="1") for n in range(3)]
BAD = ["no json", '["no object"]', '{"site": "no number", "_sequence": "x"}', "no json"]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(spark, tmp_path_factory.mktemp("replays"), (ITEMS,), max_files=1)
    lake.land("items", *GOOD[:20], BAD[0], *GOOD[10:15])
    lake.land("items", *BAD, *GOOD[20:], *DELETES, GOOD[3])
    results = lake.ingest_well()
    # In the second object two of the tombstones are newer than an upsert beside them.
    assert results["items"].batches == Batches(
        files=2, records=43, upserts=20 + 7, deletes=3, stale=5 + 3, quarantined=1 + 4
    )
    return lake


def _quarantined(lake: Lake) -> list[tuple[str, str, str]]:
    rows = lake.quarantine().select("reason", "raw", "object").collect()
    return sorted((row.reason, row.raw, row.object.rpartition("/")[2]) for row in rows)


EXPECTED_QUARANTINE = [
    ("missing_sequence", BAD[2], "0002.ndjson.gz"),
    ("not_an_object", BAD[1], "0002.ndjson.gz"),
    # The same line twice in one object is one row; the same line in two objects is two.
    ("not_json", BAD[0], "0001.ndjson.gz"),
    ("not_json", BAD[0], "0002.ndjson.gz"),
]


def test_bad_lines_lie_in_quarantine_once_for_each_object(lake: Lake) -> None:
    assert _quarantined(lake) == EXPECTED_QUARANTINE


def test_a_second_run_finds_nothing_and_commits_nothing(lake: Lake) -> None:
    before = lake.versions()
    result = lake.ingest_well()["items"]
    assert result.batches == Batches()
    assert lake.versions() == before


def test_a_batch_that_is_repeated_after_a_crash_changes_nothing(lake: Lake) -> None:
    before, books, quarantined = lake.state(ITEMS).collect(), lake.books(), _quarantined(lake)
    records = lake.bronze("items").count()
    lake.forget_last_batch(ITEMS)
    lake.ingest_well()
    assert lake.bronze("items").count() == records
    # Not a row was written again: where from and when are the same too.
    assert sorted(lake.state(ITEMS).collect()) == sorted(before)
    assert lake.books() == books
    assert len({(row.stream, row.batch_id) for row in books}) == len(books)
    assert _quarantined(lake) == quarantined


def test_a_batch_that_died_between_two_commits_is_finished_by_its_repetition(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First bronze alone has the batch, then the state table too, then what it refused; at last the books."""
    lake.land(
        "items", change(100, site="died", number="1", note="it"), "no json: died", change(101, site="x")
    )
    before, quarantined = lake.books(), _quarantined(lake)

    def dies(*args: Any, **more: Any) -> None:
        raise RuntimeError("the power went off")

    rows = lake.bronze("items").count()
    for number, unwritten in enumerate(("silver.merge", "refused.insert_missing", "batch.append_once")):
        with monkeypatch.context() as patched:
            patched.setattr(f"lakehouse.ingest.{unwritten}", dies)
            assert isinstance(lake.ingest()["items"].error, StreamError)
        state = sorted(lake.state(ITEMS).collect())
        assert ("died" in {row.site for row in state}) == (number > 0)
        assert lake.books() == before
        assert lake.bronze("items").count() == rows + 3
        assert len(_added(quarantined, _quarantined(lake))) == 1 + (number == 2)
    lake.ingest_well()
    assert sorted(lake.state(ITEMS).collect()) == state
    assert lake.bronze("items").count() == rows + 3
    assert [(row.records, row.stale, row.quarantined) for row in _added(before, lake.books())] == [(3, 1, 2)]
    assert [row[0] for row in _added(quarantined, _quarantined(lake))] == ["missing_key", "not_json"]


def _added(before: list[Any], after: list[Any]) -> list[Any]:
    return [row for row in after if row not in before]


def test_all_of_landing_under_a_new_checkpoint_gives_the_same_content(lake: Lake) -> None:
    before, quarantined = lake.state(ITEMS).collect(), _quarantined(lake)
    again = dataclasses.replace(lake.settings, checkpoints=str(lake.folder / "others"), max_files=1000)
    result = lake.ingest_well(settings=again)["items"]
    assert (result.batches.upserts, result.batches.deletes) == (0, 0)
    # Its batches are batches of their own: the numbers start again, the rows are not mistaken for old ones.
    assert result.batches.records == result.batches.stale + result.batches.quarantined > 0
    assert sorted(lake.state(ITEMS).collect()) == sorted(before)
    assert _quarantined(lake) == quarantined


def test_a_checkpoint_that_was_deleted_starts_again_with_books_of_its_own(lake: Lake) -> None:
    shutil.rmtree(Path(lake.settings.stream_folder("items")) / "checkpoint")
    before = len(lake.books())
    result = lake.ingest_well(settings=dataclasses.replace(lake.settings, max_files=1000))["items"]
    assert result.batches.records == result.batches.stale + result.batches.quarantined > 0
    assert len(lake.books()) == before + 1


# --- any order, any cut, any repetition -----------------------------------------------------------


def _histories(seed: int) -> list[dict[str, Any]]:
    """Some changes for each of 200 keys: updates, deletes, recreations, duplicates; sequences have gaps."""
    rng = random.Random(seed)
    changes = []
    for key in range(200):
        at = rng.randrange(10**21)
        for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
            at += rng.randrange(1, 10 ** rng.choice((1, 3, 20)))
            if rng.random() < 0.3:
                made = change(at, deleted=True, site=f"site {key % 20}", number=str(key // 20))
            else:
                made = change(
                    at, site=f"site {key % 20}", number=str(key // 20), note=f"{key} at {at}", amount=at % 997
                )
            changes += [made] * rng.choice((1, 1, 1, 2, 3))
    return changes


def _oracle(changes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the table must hold: for each key the change of the highest number."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for made in changes:
        key = (made["site"], made["number"])
        if key not in latest or int(made["_sequence"][-40:]) > int(latest[key]["_sequence"][-40:]):
            latest[key] = made
    return [
        (*key, made["_sequence"], made["is_deleted"], made.get("note"), made.get("amount"))
        for key, made in latest.items()
    ]


def test_two_jobs_on_one_table_at_once_make_the_rows_that_one_would(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    changes = _histories(seed=7)[:200]
    lake.land("items", *changes)
    both = [dataclasses.replace(lake.settings, checkpoints=str(tmp_path / name)) for name in ("one", "two")]
    results: list[Any] = []
    jobs = [
        threading.Thread(target=lambda s=s: results.extend(ingest(spark.newSession(), s, [ITEMS])))
        for s in both
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [result.error for result in results] == [None] * 4
    columns = ("site", "number", "_sequence", "is_deleted", "note", "amount")
    schema = "site string, number string, _sequence string, is_deleted boolean, note string, amount bigint"
    expected = _oracle(changes)
    assert_rows(lake.state(ITEMS).select(*columns), expected, schema)
    assert sum(row.upserts + row.deletes for row in lake.books()) == len(expected)
