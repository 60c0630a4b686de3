"""Landed as Parquet, the same changes make the same tables; also while both formats land side by side."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from tests.spark.histories import COLUMNS, Key, Record, Row, history, landed, latest, row, seed
from tests.spark.support import ITEMS, Lake, assert_rows, change

from change_writer.encode import Line, Metadata, change_record_line
from change_writer.handler import STREAM_KINDS, make_plan
from change_writer.parquet import parquet_body
from change_writer.settings import parse_settings
from lakehouse.errors import CorruptObjectError
from lakehouse.ingest import sources
from lakehouse.operations.landing import check, set_aside
from lakehouse.operations.rebuild import rebuild

EVENTS = Path(__file__).resolve().parents[1] / "fixtures" / "events"
VALUES = "site string, note string"


def _line(record: Record) -> Line:
    """A change record as the writer has it before it makes an object of some format."""
    metadata = Metadata(
        record["_eventID"],
        record["_eventName"],
        record["_sequence"],
        record.get("_approxStreamTs"),
        record["_ingestTs"],
        record.get("_deleteKind"),
    )
    own = {name: value for name, value in record.items() if name[0] != "_" and name != "is_deleted"}
    attributes = [(name, json.dumps(value, ensure_ascii=False)) for name, value in own.items()]
    return Line(0, metadata.event_id, None, change_record_line(metadata, attributes), metadata)


def _parquet(*records: Record) -> bytes:
    return parquet_body([_line(record) for record in records])


def _ndjson(*records: Record) -> bytes:
    return gzip.compress(b"".join(_line(record).data for record in records))


def _lake(spark: SparkSession, folder: Path, *tables: Any) -> Lake:
    lake = Lake(spark, folder, tables)
    lake.settings = dataclasses.replace(lake.settings, parquet=True)
    return lake


# --- the tables --------------------------------------------------------------------------------------


BAD = (
    {**change(1, site="no number"), "note": "ä"},
    {**change(1, site="a", number="1"), "_sequence": "none"},
    {**change(1, site="a", number=""), "nested": {"_x": [1.50, None]}},
)


@pytest.mark.parametrize(
    "way",
    [pytest.param(("ndjson",), marks=pytest.mark.extra), ("parquet",), ("ndjson", "parquet")],
    ids="-".join,
)
def test_the_tables_are_what_the_oracle_says_whatever_the_format(
    spark: SparkSession, tmp_path: Path, way: Sequence[str]
) -> None:
    rng = random.Random(seed())
    histories = [history(seed(), number, 30) for number in range(20)]
    for made in (made for one in histories for made in one.records if made["is_deleted"]):
        made.setdefault("_deleteKind", "user")  # the writer always tells the kind; backfills do not
    records = landed(rng, histories)
    for bad in BAD:
        records.insert(rng.randrange(len(records)), bad)
    places = sorted(rng.sample(range(1, len(records)), 9))
    objects = [records[i:j] for i, j in zip([0, *places], [*places, len(records)], strict=True)]
    table = dataclasses.replace(ITEMS, history=True)
    lake = _lake(spark, tmp_path, table)
    count = 0
    for number, made in enumerate(objects):
        # Side by side: one format, the other, or the same records in both.
        formats = way if number % 3 == 2 else (way[number % len(way)],)
        for landed_as in formats:
            data = _parquet(*made) if landed_as == "parquet" else _ndjson(*made)
            suffix = "parquet" if landed_as == "parquet" else "ndjson.gz"
            lake.land(table.source, name=f"{rng.getrandbits(64):016x}.{suffix}", data=data)
            count += len(made)
        if number == 5:
            lake.ingest_well(table)
    results = lake.ingest_well(table)

    assert {*results} == {"items", "items_parquet", "writer_quarantine"}
    left = {one.key: latest(one.records) for one in histories}
    state = _keyed(lake.state(table).selectExpr(*COLUMNS.split(", ")).collect())
    assert state == {key: row(made) for key, made in left.items() if made is not None}
    kept = [tuple(r) for r in lake.history(table).selectExpr(*COLUMNS.split(", ")).collect()]
    assert len(kept) == len({r[:3] for r in kept})
    assert {*kept} == {row(made) for one in histories for made in one.records}
    found = {(r.reason, r.raw) for r in lake.quarantine().select("reason", "raw").collect()}
    # A bad line as it is; of good ones what they say, their members by name.
    expected = {("missing_sequence", _line(BAD[1]).data.decode().rstrip("\n"))}
    for bad in (BAD[0], BAD[2]):
        text = json.dumps(bad, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        expected.add(("missing_key", text))
    assert found == expected
    books = lake.books()
    assert sum(book.records for book in books) == count
    # Both formats land in one bronze, every record as often as it came.
    assert lake.bronze("items").count() == count
    names = {"ndjson": "items", "parquet": "items_parquet"}
    assert {book.stream.partition("/")[0] for book in books} == {names[one] for one in way}


def _keyed(rows: Sequence[Any]) -> dict[Key, Row]:
    found: dict[Key, Row] = {tuple(each)[:2]: tuple(each) for each in rows}
    assert len(found) == len(rows)
    return found


def test_the_second_stream_has_a_checkpoint_of_its_own_and_is_there_only_if_asked_for(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", name="a.parquet", data=_parquet(change(1, site="parquet", number="1", note="new")))
    lake.land("items", name="b.ndjson.gz", data=_ndjson(change(1, site="lines", number="1", note="old")))
    assert {*lake.ingest_well()} == {"items", "writer_quarantine"}
    assert_rows(lake.state(ITEMS).select("site", "note"), [("lines", "old")], VALUES)

    lake.settings = dataclasses.replace(lake.settings, parquet=True)
    results = lake.ingest_well()
    assert [results[name].batches.records for name in ("items", "items_parquet")] == [0, 1]
    expected = [("lines", "old"), ("parquet", "new")]
    assert_rows(lake.state(ITEMS).select("site", "note"), expected, VALUES)
    assert (Path(lake.settings.stream_folder("items_parquet")) / "stream.json").is_file()
    assert lake.ingest_well()["items_parquet"].batches.records == 0
    assert list(check(lake.settings.landing, ["items"])) == []


@pytest.mark.extra
def test_a_rebuild_has_what_came_in_both_formats(spark: SparkSession, tmp_path: Path) -> None:
    lake = _lake(spark, tmp_path, ITEMS)
    lake.land("items", name="a.parquet", data=_parquet(change(2, site="a", number="1", note="parquet")))
    lake.land("items", name="a.ndjson.gz", data=_ndjson(change(1, site="a", number="1", note="lines")))
    lake.land("items", name="b.ndjson.gz", data=_ndjson(change(1, site="b", number="1", note="lines")))
    lake.ingest_well()
    expected = [("a", "parquet"), ("b", "lines")]
    assert_rows(lake.state(ITEMS).select("site", "note"), expected, VALUES)
    spark.sql(f"UPDATE {lake.settings.table('silver', 'items')} SET note = 'wrong' WHERE site = 'a'")
    spark.sql(f"DELETE FROM {lake.settings.table('silver', 'items')} WHERE site = 'b'")
    done = rebuild(spark, lake.settings, ITEMS, complete=True)
    assert (done.live_before, done.live_after, done.written) == (1, 2, 2)
    assert_rows(lake.state(ITEMS).select("site", "note"), expected, VALUES)
    results = lake.ingest_well()
    assert [results[name].batches.records for name in ("items", "items_parquet")] == [0, 0]


# --- what cannot be read -----------------------------------------------------------------------------


def _of_schema(version: int) -> bytes:
    table = pq.read_table(pa.BufferReader(_parquet(change(1, site="x", number="1"))))
    at = table.schema.get_field_index("_schemaVersion")
    table = table.set_column(at, "_schemaVersion", pa.array([version], pa.int32()))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"lakehouse.schema": str(version)}), sink)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def _foreign() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"callId": ["c1"]}), sink)
    made: bytes = sink.getvalue().to_pybytes()
    return made


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("torn", "the object is torn or corrupt"),
        ("corrupt", "the object is torn or corrupt"),
        ("other text", "the object is torn or corrupt"),
        ("no Parquet", "the object is torn or corrupt"),
        ("another schema", "its schema is 2, and this version of lakehouse reads 1"),
        ("somebody else's", "its schema is not told, and this version of lakehouse reads 1"),
    ],
)
def test_an_object_that_cannot_be_read_stops_its_stream_alone(
    spark: SparkSession, tmp_path: Path, damage: str, says: str
) -> None:
    good = _parquet(*(change(n, site=f"{n} {n * 7919}", number="1") for n in range(300)))
    middle = len(good) // 2
    data = {
        "torn": good[:-100],
        "corrupt": good[:middle] + bytes(200) + good[middle + 200 :],
        "other text": good.replace(b"7919", b"7920"),  # as valid as before, but for the page's checksum
        "no Parquet": _ndjson(change(1, site="x", number="1")),
        "another schema": _of_schema(2),
        "somebody else's": _foreign(),
    }[damage]
    lake = _lake(spark, tmp_path, ITEMS)
    lake.land("items", name="a.parquet", data=_parquet(change(1, site="beside", number="1", note="it")))
    path = lake.land("items", name="b c.parquet", data=data)
    lake.land("items", name="zero.parquet", data=b"")  # S3 takes objects whole: nobody's records are in it
    lake.land("items", name="a.ndjson.gz", data=_ndjson(change(1, site="lines", number="1", note="go on")))
    results = lake.ingest()

    error = results["items_parquet"].error
    assert isinstance(error, CorruptObjectError)
    assert error.path.endswith(str(path))
    assert says in str(error)
    assert results["items"].error is None
    assert_rows(lake.state(ITEMS).select("site", "note"), [("lines", "go on")], VALUES)
    assert [finding.kind for finding in check(lake.settings.landing, ["items"])] == ["torn", "empty"]

    set_aside(error.path)
    assert [finding.kind for finding in check(lake.settings.landing, ["items"])] == ["set_aside", "empty"]
    lake.ingest_well()
    assert_rows(lake.state(ITEMS).select("site", "note"), [("lines", "go on"), ("beside", "it")], VALUES)


# --- the lines ---------------------------------------------------------------------------------------


def test_a_row_is_the_line_again_byte_for_byte(spark: SparkSession, tmp_path: Path) -> None:
    bodies = {}
    for path in EVENTS.glob("*.json"):
        if path.stem == "calls-keys-only":
            continue
        records = json.loads(path.read_text(encoding="utf-8"))["Records"]
        for form in ("ndjson", "parquet"):
            configured = parse_settings({"S3_BUCKET": "bucket", "LANDING_FORMAT": form})
            plan = make_plan(STREAM_KINDS["aws:dynamodb"], records, configured, 1_767_880_000_000)
            bodies[path.stem, form] = [o.body for o in plan.objects if not o.key.startswith("_quarantine/")]
    odd = Metadata('"\\/\t\n\x7fä𝄞', "EVENT", "", None, 0, None)
    lines = [
        Line(0, "", None, change_record_line(odd, attributes), odd)
        for attributes in ([], [("", "null")], [("a", '"}"'), ("updated_at", "[1]")])
    ]
    bodies["odd", "ndjson"] = [gzip.compress(b"".join(one.data for one in lines))]
    bodies["odd", "parquet"] = [parquet_body(lines)]

    expected = []
    for (name, form), objects in bodies.items():
        for number, body in enumerate(objects):
            if form == "ndjson":
                expected += gzip.decompress(body).decode().split("\n")[:-1]
            else:
                (tmp_path / f"{name}-{number}.parquet").write_bytes(body)
    rows = spark.read.schema(sources._ROWS).parquet(str(tmp_path))
    found = [r.value for r in sources._lines(rows, "parquet").collect()]
    assert len(expected) > 10
    assert sorted(found) == sorted(expected)


def test_an_item_that_is_no_object_is_left_to_whoever_reads_lines(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = pa.table({"_schemaVersion": pa.array([1, 1], pa.int32()), "item": ["[1]", "x"]})
    pq.write_table(rows, tmp_path / "a.parquet")
    read = spark.read.schema(sources._ROWS).parquet(str(tmp_path))
    assert sorted(r.value for r in sources._lines(read, "parquet").collect()) == ["[1]", "x"]
