"""The tombstone floor: purged in two steps, and nothing that was deleted comes back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, change

from lakehouse.errors import StreamError
from lakehouse.ingest import batch, floors, runner, silver
from lakehouse.ingest import stream as ingest
from lakehouse.operations.maintain import Maintained, maintain
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.table import Table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=20)
FRESH = NOW - timedelta(days=2)
HOUR = timedelta(hours=1)


def _ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def _change(key: str, at: int, when: datetime | None, note: str | None = None) -> dict[str, Any]:
    """A change of a key at a time; a delete if it has no note."""
    ms = None if when is None else _ms(when)
    text = {} if note is None else {"note": note}
    return change(at, deleted=note is None, site=key, number="1", _approxStreamTs=ms, **text)


@dataclass
class One:
    """A table of a test's own in the lake of all of them."""

    lake: Lake
    table: Table

    def maintain(self, now: datetime, *, dry_run: bool = False) -> Maintained:
        (done,) = maintain(self.lake.spark, self.lake.settings, [self.table], now=now, dry_run=dry_run)
        return done

    def floor(self) -> int | None:
        return floors.current(self.lake.spark, self.lake.settings, self.table)

    def ingest(self, *records: Mapping[str, Any] | str) -> None:
        if records:
            self.lake.land(self.table.source, *records)
        self.lake.ingest_well(self.table)

    def rows(self) -> Mapping[str, str | None]:
        return {row.site: row.note for row in self.lake.state(self.table).collect()}

    def quarantined(self) -> list[tuple[str, str]]:
        """Reason and key of everything in quarantine."""
        mine = self.lake.quarantine().where(f"source = '{self.table.source}'")
        rows = mine.selectExpr("reason", "get_json_object(raw, '$.site') AS site").collect()
        return sorted((row.reason, row.site) for row in rows)


TABLES = [dataclasses.replace(ITEMS, name=f"items_{n}", source=f"items_{n}") for n in range(9)]


@pytest.fixture(scope="module")
def unused(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    """Tables with a live key and tombstones of both ages, and nothing else."""
    lake = Lake(spark, tmp_path_factory.mktemp("floors"), tuple(TABLES))
    for table in TABLES:
        lake.land(
            table.source,
            _change("live", 1, OLD, "it"),
            _change("gone", 1, OLD - HOUR, "it"),
            _change("gone", 5, OLD),
            _change("just gone", 5, FRESH),
            _change("undated", 5, None),
        )
    lake.ingest_well()
    return (One(lake, table) for table in TABLES)


@pytest.fixture
def one(unused: Iterator[One]) -> One:
    return next(unused)


def test_a_purge_takes_two_steps_a_day_apart(one: One) -> None:
    retired = NOW - timedelta(days=14)
    plan = Maintained(one.table.name, 3, 1, 0, None, retired.strftime("%Y-%m-%dT%H:%M:%SZ"), False, 0)
    before = one.lake.versions()
    assert one.maintain(NOW, dry_run=True) == plan
    assert one.lake.versions() == before
    assert one.floor() is None

    assert one.maintain(NOW) == plan
    assert one.floor() == floors.micros(retired)
    # Twice within seconds: the floor is raised again, and neither rise purges anything.
    again = one.maintain(NOW + timedelta(seconds=2))
    assert (again.purged, again.floor) == (0, plan.raised_to)
    assert again.raised_to == (retired + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert one.maintain(NOW + 24 * HOUR - timedelta(seconds=1)).purged == 0
    assert "gone" in one.rows()

    assert one.maintain(NOW + 24 * HOUR, dry_run=True).purged == 1
    assert "gone" in one.rows()
    assert one.maintain(NOW + 24 * HOUR).purged == 1
    # The tombstone within its retention stays, the one of unknown age for good, and so does the live row.
    assert set(one.rows()) == {"live", "just gone", "undated"}
    last = one.maintain(NOW + 26 * HOUR)
    assert (last.purged, last.due, last.raised_to) == (0, 0, None)


def test_below_the_floor_an_unknown_key_is_quarantined_and_a_known_one_compared(one: One) -> None:
    one.maintain(NOW)
    one.maintain(NOW + 24 * HOUR)
    assert "gone" not in one.rows()
    books = one.lake.books()
    one.ingest(
        _change("gone", 3, OLD - HOUR, "late"),  # what the purged tombstone would have beaten
        _change("undated upsert", 1, None, "late"),
        _change("deleted in the end", 1, OLD, "late"),
        _change("deleted in the end", 2, OLD),
        _change("unknown", 9, OLD),
        _change("live", 2, OLD, "newer"),
        _change("just gone", 4, OLD, "older"),
        _change("young", 1, FRESH, "it"),
        _change("superseded", 1, OLD, "old"),
        _change("superseded", 2, FRESH, "it"),
        "no json",
    )
    expected = {
        "live": "newer",
        "just gone": None,
        "undated": None,
        "young": "it",
        "superseded": "it",
    }
    assert one.rows() == expected
    aside = [(BELOW_FLOOR, "gone"), (BELOW_FLOOR, "undated upsert"), ("not_json", None)]
    assert one.quarantined() == aside
    (book,) = [b for b in one.lake.books() if b not in books]
    counts = (book.records, book.upserts, book.deletes, book.stale, book.quarantined)
    assert counts == (11, 3, 0, 5, 3)
    # Whole, as it landed: what is released must be the record itself.
    raw = {row.raw for row in one.lake.quarantine().where(f"reason = '{BELOW_FLOOR}'").collect()}
    assert any('"note":"late"' in text and '"site":"gone"' in text for text in raw)
    late = one.lake.history(one.table).where("note = 'late'").select("site").collect()
    assert {row.site for row in late} == {"deleted in the end", "gone"}  # both are over by now

    one.lake.forget_last_batch(one.table)
    one.ingest()
    assert one.rows() == expected
    assert one.quarantined() == aside


def test_the_floor_itself_is_no_longer_below_it(one: One) -> None:
    one.maintain(NOW)
    floor = NOW - timedelta(days=14)
    one.ingest(
        _change("at the floor", 1, floor, "it"),
        _change("a ms below", 1, floor - timedelta(milliseconds=1), "it"),
        # A delete's time may be a little lower than that of what it deletes, or missing.
        _change("a second below", 2, floor - timedelta(seconds=1)),
        _change("no time", 2, None),
    )
    one.ingest(_change("a second below", 1, floor, "it"), _change("no time", 1, floor, "it"))
    assert one.rows().get("at the floor") == "it"
    assert {"a second below", "no time"} <= {name for name, note in one.rows().items() if note is None}
    assert one.quarantined() == [(BELOW_FLOOR, "a ms below")]


def test_a_batch_at_work_while_the_floor_is_raised_twice_brings_nothing_back(
    one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works by the floor that it read; what that floor still needs is there for a day."""
    seen = []
    prepare = silver.prepare

    def raised_meanwhile(*given: Any) -> Any:
        prepared = prepare(*given)
        seen.append(prepared.look.floor)
        for seconds in (0, 2):
            assert one.maintain(NOW + timedelta(seconds=seconds)).purged == 0
        return prepared

    with monkeypatch.context() as patched:
        patched.setattr(silver, "prepare", raised_meanwhile)
        one.lake.land(
            one.table.source, _change("gone", 3, OLD - HOUR, "late"), _change("unknown", 1, OLD, "it")
        )
        # Without the lock of a warehouse folder, which would keep the upkeep waiting.
        one.lake.ingest_well(one.table, settings=dataclasses.replace(one.lake.settings, warehouse=None))
    assert seen[0] is None
    assert one.rows() == {"live": "it", "gone": None, "just gone": None, "undated": None, "unknown": "it"}
    assert one.floor() is not None


def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = floors.record

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    def killed_after(*args: Any) -> None:
        record(*args)
        raise KeyboardInterrupt

    for dies in (killed, killed_after):
        with monkeypatch.context() as patched:
            patched.setattr(floors, "record", dies)
            with pytest.raises(KeyboardInterrupt):
                one.maintain(NOW)
    assert one.maintain(NOW).raised_to is None  # it is recorded
    with monkeypatch.context() as patched:
        patched.setattr("lakehouse.operations.maintain.DeltaTable.delete", killed)
        with pytest.raises(KeyboardInterrupt):
            one.maintain(NOW + 24 * HOUR)
    assert "gone" in one.rows()
    assert one.maintain(NOW + 24 * HOUR).purged == 1
    assert "gone" not in one.rows()


def test_each_table_has_a_retention_and_a_floor_of_its_own(one: One, unused: Iterator[One]) -> None:
    other = next(unused)
    other.table = dataclasses.replace(other.table, tombstone_retention_days=30)
    done = maintain(one.lake.spark, one.lake.settings, [one.table, other.table], now=NOW)
    assert [(d.due, d.raised_to is None) for d in done] == [(1, False), (0, True)]
    other.ingest(_change("unknown", 1, OLD, "it"))
    assert other.rows()["unknown"] == "it"
    assert other.quarantined() == []


def test_the_floor_of_a_table_that_is_behind_stays_until_it_has_what_its_sibling_has(
    spark: SparkSession, tmp_path: Path
) -> None:
    sibling = dataclasses.replace(ITEMS, name="sibling")
    lake = Lake(spark, tmp_path, (ITEMS, sibling))
    lake.land("items", _change("gone", 1, OLD))
    lake.ingest_well()
    lake.land("items", _change("late", 1, OLD, "it"))
    lake.ingest_well(ITEMS)
    done = maintain(spark, lake.settings, [ITEMS, sibling], now=NOW)
    assert [(d.behind, d.raised_to is None) for d in done] == [(False, False), (True, True)]
    lake.ingest_well()
    assert lake.rows(sibling)["late"].note == "it"
    (done_again,) = maintain(spark, lake.settings, [sibling], now=NOW)
    assert (done_again.behind, done_again.raised_to) == (False, done[0].raised_to)


def test_a_key_that_is_there_twice_is_told(one: One) -> None:
    assert one.maintain(NOW).duplicate_keys == 0
    name = one.lake.settings.table("silver", one.table.name)
    one.lake.spark.table(name).where("site = 'live'").write.format("delta").mode("append").saveAsTable(name)
    assert one.maintain(NOW).duplicate_keys == 1


def test_a_batch_that_works_too_long_by_its_floor_is_given_up(
    one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed, given_up = threading.Event(), batch.given_up

    def slow(*_: Any) -> None:
        assert noticed.wait(60)
        raise AssertionError("a batch that was given up must not look as if it had ended well")

    def notice(stream: str) -> StreamError:
        noticed.set()
        return given_up(stream)

    one.lake.land(one.table.source, _change("late", 1, OLD, "it"))
    for seconds, during in ((1.0, True), (-1.0, False)):
        with monkeypatch.context() as patched:
            patched.setattr(floors, "GIVE_UP_SECONDS", seconds)
            if during:
                patched.setattr(ingest, "process_batch", slow)
                patched.setattr(runner, "given_up", notice)
            error = one.lake.ingest(one.table)[one.table.source].error
        assert isinstance(error, StreamError)
        assert "given up" in str(error)
        assert "late" not in one.rows()
    one.ingest()
    assert one.rows()["late"] == "it"
