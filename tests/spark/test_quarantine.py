"""Quarantine can be emptied: what lies there is shown, landed again by its order, read afresh, or let go."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.spark.support import ITEMS, Lake, change, line

from lakehouse import quarantine
from lakehouse.errors import ConfigurationError, QuarantineIdError
from lakehouse.quarantine import Filter
from lakehouse.table import Column
from lakehouse.tables.transcripts import TRANSCRIPTS

HOUR = "dt=2026-01-05/HH=08"
NASTY = "x'); DROP TABLE silver.items; -- \\' \" \x1b[31m"

LOOSER = dataclasses.replace(
    ITEMS, columns=(Column("site", "string", "First part of the key.", "place"), *ITEMS.columns[1:])
)
"""ITEMS as it would be declared once somebody has seen that the attribute is called `place`."""

LATE = change(3, place="p", number="1", note="older than what is there")
NEW = change(9, place="p", number="2", note="newest")
NO_UTF8 = b'{"site": "\xff\xfe\xef\xbf\xbd"}'
REPORT = {"source": "items", "reason": "bad_number", "detail": "no number", "record": {"eventID": "e"}}


def _put(lake: Lake) -> Any:
    """The landing folder as a place to put objects in."""

    def put(key: str, body: bytes) -> bool:
        path = Path(lake.settings.landing) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(body)
        except FileExistsError:
            return False
        return True

    return put


def _requeue(lake: Lake, which: Any, **more: Any) -> quarantine.Outcome:
    tables = more.pop("tables", lake.tables)
    return quarantine.requeue(lake.spark, lake.settings, which, tables, _put(lake), **more)


def _ids(lake: Lake, status: Any = "open", **which: str) -> list[str]:
    found = quarantine.listed(lake.spark, lake.settings, Filter(status, **which))
    return [entry.quarantine_id for entry in found]


def _objects(lake: Lake) -> set[str]:
    landing = Path(lake.settings.landing)
    return {str(path.relative_to(landing)) for path in landing.rglob("*.gz")}


def _records(lake: Lake) -> set[tuple[Any, ...]]:
    """What quarantine holds, and whether each record is there once."""
    rows = lake.quarantine().select("quarantine_id", "reason", "status", "landed_as").collect()
    assert len({row.quarantine_id for row in rows}) == len(rows)
    return {tuple(row) for row in rows}


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(spark, tmp_path_factory.mktemp("quarantine"), (ITEMS, TRANSCRIPTS))
    made.land("items", change(5, site="p", number="1", note="there"), LATE, NEW, "no json", NO_UTF8)
    made.write_document("call.json", b"no document", mtime=1_760_000_000)
    made.land("_quarantine/items", REPORT, "no report")
    made.land("_quarantine/others", REPORT | {"source": "../others"})
    made.ingest_well()
    return made


def test_records_are_listed_newest_first_and_counted(lake: Lake) -> None:
    entries = quarantine.listed(lake.spark, lake.settings, Filter())
    found = {(e.source, e.reason): e for e in entries}
    assert found.keys() == {
        ("items", "missing_key"),
        ("items", "not_json"),
        ("items", "not_utf8"),
        ("items", "bad_number"),
        ("../others", "bad_number"),
        ("transcripts", "not_json"),
    }
    assert len(entries) == 8
    times = [e.quarantined_at for e in entries]
    assert times == sorted(times, reverse=True)
    assert {e.status for e in entries} == {"open"}
    assert found["items", "missing_key"].object == f"items/{HOUR}/0001.ndjson.gz"
    assert len(quarantine.listed(lake.spark, lake.settings, Filter(), limit=3)) == 3
    assert quarantine.listed(lake.spark, lake.settings, Filter("discarded")) == []
    counts = quarantine.counted(lake.spark, lake.settings, Filter(None, source="items"))
    assert [(c.source, c.reason, c.records) for c in counts] == [
        ("items", "missing_key", 2),
        ("items", "not_json", 2),
        ("items", "bad_number", 1),
        ("items", "not_utf8", 1),
    ]


def test_a_record_is_shown_whole_by_the_beginning_of_its_id(lake: Lake) -> None:
    (full,) = _ids(lake, reason="not_utf8")
    for wanted in (full, full[:12], full[:12].upper()):
        whole = quarantine.whole(lake.spark, lake.settings, wanted)
        assert (whole.entry.quarantine_id, whole.raw, whole.decisions) == (full, NO_UTF8, [])
        assert (whole.batch_id, str(whole.stream).partition("/")[0]) == (0, "items")


def test_an_id_that_is_not_that_of_one_record_is_refused(lake: Lake) -> None:
    twins = [("f00baa" + n * 58, "gone", "not_json", "x") for n in "12"]
    target = lake.settings.table("ops", "quarantine_records")
    rows = lake.spark.createDataFrame(twins, "quarantine_id string, source string, reason string, raw string")
    schema = lake.spark.table(target).schema
    rows = rows.select(
        *(
            F.col(f.name) if f.name in rows.columns else F.lit(None).cast(f.dataType).alias(f.name)
            for f in schema
        )
    )
    rows.write.format("delta").mode("append").saveAsTable(target)
    with pytest.raises(
        QuarantineIdError, match=r"^2 quarantined records have an id that begins with f00baa: f00baa111111"
    ):
        quarantine.whole(lake.spark, lake.settings, "f00baa")
    with pytest.raises(QuarantineIdError, match="No quarantined record has the id 0123456789"):
        quarantine.discard(lake.spark, lake.settings, [twins[0][0], "0123456789"], why="so")
    for wanted in (NASTY, "12345", "abcde%", "%' OR '1'='1"):
        with pytest.raises(QuarantineIdError, match="is no id of a quarantined record"):
            _requeue(lake, [wanted])
    # Nothing of a command with such an id is done.
    assert quarantine.whole(lake.spark, lake.settings, twins[0][0]).decisions == []
    assert _requeue(lake, [twins[0][0][:7]]).refused[0].because.startswith("no table reads source 'gone'")


def test_a_discard_is_recorded_with_who_and_why(lake: Lake) -> None:
    (full,) = _ids(lake, source="items", reason="bad_number")
    with pytest.raises(ConfigurationError, match="say why"):
        quarantine.discard(lake.spark, lake.settings, [full], why=" ")
    outcome = quarantine.discard(lake.spark, lake.settings, [full], why=NASTY, by=NASTY)
    assert [d.quarantine_id for d in outcome.decided] == [full]
    again = quarantine.discard(lake.spark, lake.settings, [full], why="again")
    assert (again.decided, [r.quarantine_id for r in again.refused]) == ([], [full])
    assert "discarded already" in again.refused[0].because
    quarantine.discard(
        lake.spark, lake.settings, Filter(None, "items", "bad_number"), why="twice", again=True
    )
    whole = quarantine.whole(lake.spark, lake.settings, full)
    assert whole.entry.status == "discarded"
    said = [(d["decision"], d["decided_by"], d["why"], d["landed_as"]) for d in whole.decisions]
    user = lake.spark.sql("SELECT current_user()").collect()[0][0]
    assert said == [("discarded", NASTY, NASTY, None), ("discarded", user, "twice", None)]
    assert full not in _ids(lake)
    assert lake.rows(ITEMS)


def test_requeued_lines_go_through_the_same_ordered_apply(lake: Lake) -> None:
    before = _objects(lake)
    lines = _ids(lake, source="items")
    outcome = _requeue(lake, Filter(source="items"), by="me", why="the key is called place")
    # What the writer refused is not landed as it is; here is no source table to read its item from.
    because = {r.quarantine_id: r.because for r in outcome.refused}
    assert len(because) == 1
    assert "--table-name" in because[next(iter(because))]
    landed = {d.quarantine_id: d.landed_as for d in outcome.decided}
    assert landed.keys() | because.keys() == set(lines)
    assert _objects(lake) - before == set(landed.values())
    assert {str(key).rpartition("/")[0] for key in landed.values()} == {f"items/{HOUR}"}
    bodies = {
        gzip.decompress((Path(lake.settings.landing) / str(key)).read_bytes()) for key in landed.values()
    }
    assert bodies == {line(record) + b"\n" for record in (LATE, NEW, "no json", NO_UTF8)}

    # Once more, decided or not, nothing new lands.
    refused = _requeue(lake, list(landed)).refused
    assert {r.quarantine_id for r in refused} == set(landed)
    again = _requeue(lake, list(landed), again=True)
    assert {d.quarantine_id: d.landed_as for d in again.decided} == landed
    assert _objects(lake) - before == set(landed.values())

    books = lake.ingest_well(LOOSER)["items"].batches
    assert (books.files, books.records, books.upserts, books.stale, books.quarantined) == (4, 4, 1, 1, 2)
    notes = {row.number: row.note for row in lake.rows(ITEMS).values()}
    assert {r.number: r.note for r in lake.state(ITEMS).collect()} == {"1": "there", "2": "newest"}, notes

    # What is still bad is open again under a new id; what was requeued stays so.
    reopened = set(_ids(lake, source="items")) - because.keys()
    assert len(reopened) == 2
    assert not reopened & set(landed)
    assert set(_ids(lake, "requeued")) == set(landed)
    kept = [quarantine.whole(lake.spark, lake.settings, id_) for id_ in reopened]
    assert {(w.entry.reason, w.raw) for w in kept} == {("not_json", b"no json"), ("not_utf8", NO_UTF8)}

    found = _records(lake)
    lake.forget_last_batch(ITEMS)
    lake.ingest_well(LOOSER)
    assert _records(lake) == found


def test_documents_and_unknown_sources_are_refused_with_the_next_step(lake: Lake) -> None:
    before, objects = _records(lake), _objects(lake)
    (document,) = _ids(lake, source="transcripts")
    (unknown,) = _ids(lake, source="../others")
    outcome = _requeue(lake, [document, unknown])
    assert outcome.decided == []
    because = {r.quarantine_id: r.because for r in outcome.refused}
    assert "call.json again" in because[document]
    assert "no table reads source '../others'" in because[unknown]
    assert (_records(lake), _objects(lake)) == (before, objects)


def test_bytes_that_were_not_kept_are_not_landed(lake: Lake) -> None:
    """As a table would that mends what is no UTF-8; a replacement character of the line's own is none."""
    (entry,) = (
        e
        for e in quarantine.listed(lake.spark, lake.settings, Filter(None, reason="not_utf8"))
        if e.object.endswith("0001.ndjson.gz")
    )
    target = lake.settings.table("ops", "quarantine_records")
    mended = NO_UTF8.decode("utf-8", "replace")
    rows = lake.spark.table(target).where(F.col("quarantine_id") == entry.quarantine_id)
    rows = rows.withColumns({"quarantine_id": F.lit("0" * 64), "raw": F.lit(mended)})
    rows.write.format("delta").mode("append").saveAsTable(target)
    (refused,) = _requeue(lake, ["0" * 64]).refused
    assert "not kept byte for byte" in refused.because
    (text,) = (line(change(1, note="\ufffd")),)
    lake.land("items", text)
    lake.ingest_well(ITEMS)
    (found,) = (
        i for i in _ids(lake, source="items") if quarantine.whole(lake.spark, lake.settings, i).raw == text
    )
    assert len(_requeue(lake, [found]).decided) == 1
