"""Quarantine can be emptied: what lies there is shown, landed again by its order, read afresh, or let go."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from tests.local.support import create_table
from tests.spark.support import ITEMS, TRANSCRIPTS, Lake, change, line, sequence

from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.release import fresh_read
from lakehouse.cli import cli, show
from lakehouse.errors import ConfigurationError, QuarantineIdError
from lakehouse.local import warehouse
from lakehouse.local.aws import LocalAws
from lakehouse.operations import quarantine
from lakehouse.operations.quarantine import Filter, Lost, Number
from lakehouse.table import Column

HOUR = "dt=2026-01-05/HH=08"
NASTY = "x'); DROP TABLE silver.items; -- \\' \" \x1b[31m [bold]x[/bold]"
NASTY_SHOWN = NASTY.replace("\x1b", r"\x1b")

LOOSER = dataclasses.replace(
    ITEMS, columns=(Column("site", "string", "First part of the key.", "place"), *ITEMS.columns[1:])
)
"""ITEMS as it would be declared once somebody has seen that the attribute is called `place`."""

LATE = change(3, place="p", number="1", note="older than what is there")
NEW = change(9, place="p", number="2", note="newest")
NO_KEY = change(1, note="a replacement character of its own: \ufffd")
NO_UTF8 = b'{"site": "\xff\xfe\xef\xbf\xbd"}'
REPORT = {"source": "items", "reason": "bad_number", "detail": NASTY, "record": {"eventID": "e"}}


def _again(record: Any) -> bytes:
    """A record as bronze tells it."""
    return json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


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
    there = change(5, site="p", place="p", number="1", note="there")
    made.land("items", there, LATE, NEW, NO_KEY, "no json", NO_UTF8)
    made.write_document("call.json", b"no document", mtime=1_760_000_000)
    made.land("_quarantine/items", REPORT, "no report")
    made.land("_quarantine/others", REPORT | {"source": "../others"})
    made.ingest_well()
    return made


@pytest.fixture
def command(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`lakehouse quarantine …` in this process, whose one session is not that of a warehouse folder."""
    monkeypatch.setattr(warehouse, "local_settings", lambda _: lake.settings)
    monkeypatch.setattr(warehouse, "open_warehouse", lambda *_: lake.spark)
    monkeypatch.setattr(show, "out", Console(width=10_000))

    def run(name: str, *words: str) -> Result:
        return CliRunner().invoke(cli, ["quarantine", name, "--warehouse", str(lake.folder), *words])

    return run


def test_records_are_listed_newest_first_and_counted(lake: Lake) -> None:
    entries = quarantine.listed(lake.spark, lake.settings, Filter())
    found = {(e.source, e.reason): e for e in entries}
    assert found.keys() == {
        ("items", "missing_key"),
        ("items", "not_json"),
        ("items", "not_utf8"),
        ("items", "bad_number"),
        ("others", "bad_number"),
        ("transcripts", "not_json"),
    }
    assert len(entries) == 9
    times = [e.quarantined_at for e in entries]
    assert times == sorted(times, reverse=True)
    assert {e.status for e in entries} == {"open"}
    assert found["items", "missing_key"].object == f"items/{HOUR}/0001.ndjson.gz"
    assert len(quarantine.listed(lake.spark, lake.settings, Filter(), limit=3)) == 3
    assert quarantine.listed(lake.spark, lake.settings, Filter("discarded")) == []
    counts = quarantine.counted(lake.spark, lake.settings, Filter(None, source="items"))
    assert [(c.source, c.reason, c.records) for c in counts] == [
        ("items", "missing_key", 3),
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


def _twins() -> tuple[list[str], list[str]]:
    """Two lines of the writer's, and their ids, which begin with the same six digits."""
    place = '{"source":"gone","object":"_quarantine/gone/dt=2026-01-05/HH=08/twins.ndjson.gz"}'
    seen: dict[str, tuple[str, str]] = {}
    for number in range(10**6):
        text = f'{{"reason":"not_json","number":{number}}}'
        id_ = hashlib.sha256((place + text).encode()).hexdigest()
        if id_[:6] in seen:
            other, its_text = seen[id_[:6]]
            return [its_text, text], [other, id_]
        seen[id_[:6]] = (id_, text)
    raise AssertionError("unreachable")


def test_an_id_that_is_not_that_of_one_record_is_refused(lake: Lake) -> None:
    texts, ids = _twins()
    lake.land("_quarantine/gone", *texts, name="twins.ndjson.gz")
    lake.ingest_well()
    first = sorted(ids)[0]
    with pytest.raises(
        QuarantineIdError,
        match=rf"^2 quarantined records have an id that begins with {first[:6]}: {first[:12]}",
    ):
        quarantine.whole(lake.spark, lake.settings, first[:6])
    with pytest.raises(QuarantineIdError, match="No quarantined record has the id 0123456789"):
        quarantine.discard(lake.spark, lake.settings, [first, "0123456789"], why="so")
    for wanted in (NASTY, "12345", "abcde%", "%' OR '1'='1"):
        with pytest.raises(QuarantineIdError, match="is no id of a quarantined record"):
            _requeue(lake, [wanted])
    # Nothing of a command with such an id is done.
    assert quarantine.whole(lake.spark, lake.settings, first).decisions == []
    assert _requeue(lake, [first]).refused[0].because.startswith("no table reads source 'gone'")


def test_a_discard_is_recorded_with_who_and_why(lake: Lake) -> None:
    (full,) = _ids(lake, source="items", reason="bad_number")
    before = quarantine.whole(lake.spark, lake.settings, full)
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
    # The record itself is as it was.
    assert dataclasses.replace(whole, entry=before.entry, decisions=[]) == before
    assert dataclasses.replace(whole.entry, status="open") == before.entry
    said = [(d["decision"], d["decided_by"], d["why"], d["landed_as"]) for d in whole.decisions]
    user = lake.spark.sql("SELECT current_user()").collect()[0][0]
    assert said == [("discarded", NASTY, NASTY, None), ("discarded", user, "twice", None)]
    assert full not in _ids(lake)
    assert lake.rows(ITEMS)


def test_the_commands_show_text_from_data_and_obey_none_of_it(
    lake: Lake, command: Callable[..., Result]
) -> None:
    (entry,) = quarantine.listed(lake.spark, lake.settings, Filter("discarded", "items"))
    filters = ("--status", "discarded", "--source", "items")

    grid = command("list", *filters).output
    cells = next(row for row in grid.splitlines() if entry.quarantine_id[:12] in row).split("│")
    assert cells[4].strip() == NASTY_SHOWN
    assert grid.splitlines()[-1] == "1 records: items bad_number 1"
    assert json.loads(command("list", *filters, "--format", "json").output) == dataclasses.asdict(entry)
    shown = command("show", entry.quarantine_id[:6]).output
    assert f"decided_by: {NASTY_SHOWN}, why: {NASTY_SHOWN}" in shown
    assert json.loads(shown.splitlines()[-1])["record"] == {"eventID": "e"}
    assert "\x1b" not in grid + shown


def test_the_commands_decide_on_all_that_the_filters_let_through(
    lake: Lake, command: Callable[..., Result]
) -> None:
    full = _ids(lake, source="gone")[0]
    done = command("discard", "--all", "--source", "gone", "--why", "made up", "--by", "me")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "Discarded 2 records.")
    assert _ids(lake, source="gone") == []
    assert quarantine.whole(lake.spark, lake.settings, full).decisions[0]["decided_by"] == "me"
    # What is refused is said, and told to a script.
    done = command("requeue", full, "--landing", lake.settings.landing)
    assert done.exit_code == 1
    assert f"{full[:12]}: it is discarded already" in done.output
    assert done.output.endswith("Requeued 0 records.\n")


def test_requeued_lines_go_through_the_same_ordered_apply(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _objects(lake)
    lines = _ids(lake, source="items")
    with monkeypatch.context() as patched:  # a crash when all has landed and nothing is decided
        patched.setattr(quarantine, "_decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _requeue(lake, Filter(source="items"))
    assert len(_objects(lake) - before) == 5
    assert _ids(lake, source="items") == lines
    outcome = _requeue(lake, Filter(source="items"), by="me", why="the key is called place")
    # What the writer refused is not landed as it is; here is no source table to read its item from.
    because = {r.quarantine_id: r.because for r in outcome.refused}
    assert len(because) == 1
    assert all("--table-name" in text for text in because.values())
    landed = {d.quarantine_id: d.landed_as for d in outcome.decided}
    assert landed.keys() | because.keys() == set(lines)
    assert _objects(lake) - before == set(landed.values())
    assert {str(key).rpartition("/")[0] for key in landed.values()} == {f"items/{HOUR}"}
    bodies = {
        gzip.decompress((Path(lake.settings.landing) / str(key)).read_bytes()) for key in landed.values()
    }
    # A bad line as it was; a good one member by member.
    assert bodies == {
        *(_again(record) + b"\n" for record in (LATE, NEW, NO_KEY)),
        *(line(record) + b"\n" for record in ("no json", NO_UTF8)),
    }

    # What has been decided on is left alone.
    refused = _requeue(lake, list(landed)).refused
    assert {r.quarantine_id for r in refused} == set(landed)

    books = lake.ingest_well(LOOSER)["items"].batches
    assert (books.files, books.records, books.upserts, books.stale, books.quarantined) == (5, 5, 1, 1, 3)
    assert {r.number: r.note for r in lake.state(ITEMS).collect()} == {"1": "there", "2": "newest"}

    # What is still bad is open again under a new id; what was requeued stays so.
    reopened = set(_ids(lake, source="items")) - because.keys()
    assert len(reopened) == 3
    assert not reopened & set(landed)
    assert set(_ids(lake, "requeued")) == set(landed)
    kept = [quarantine.whole(lake.spark, lake.settings, id_) for id_ in reopened]
    assert {(w.entry.reason, w.raw) for w in kept} == {
        ("missing_key", _again(NO_KEY)),
        ("not_json", b"no json"),
        ("not_utf8", NO_UTF8),
    }

    # Read from the beginning again: what was decided on does not open, and nothing comes twice.
    found = _records(lake)
    shutil.rmtree(lake.settings.checkpoints)
    books = lake.ingest_well(LOOSER)["items"].batches
    assert (books.files, books.upserts, books.quarantined) == (6, 0, 6)
    assert _records(lake) == found


def test_documents_and_unknown_sources_are_refused_with_the_next_step(lake: Lake) -> None:
    before, objects = _records(lake), _objects(lake)
    (document,) = _ids(lake, source="transcripts")
    (unknown,) = _ids(lake, source="others")
    outcome = _requeue(lake, [document, unknown])
    assert outcome.decided == []
    because = {r.quarantine_id: r.because for r in outcome.refused}
    assert "call.json again" in because[document]
    assert "no table reads source 'others'" in because[unknown]
    assert (_records(lake), _objects(lake)) == (before, objects)


def test_bytes_that_were_not_kept_are_not_landed(lake: Lake) -> None:
    """As in a table that mends what is no UTF-8."""
    before = set(_ids(lake, None, reason="not_utf8"))
    target = lake.settings.table("bronze", "items")
    rows = lake.spark.table(target).where("_problem = 'not_utf8'").limit(1)
    mended = F.lit(NO_UTF8.decode("utf-8", "replace"))
    rows.withColumn("_raw", mended).localCheckpoint().write.format("delta").mode("append").saveAsTable(target)
    (new,) = set(_ids(lake, None, reason="not_utf8")) - before
    (refused,) = _requeue(lake, [new]).refused
    assert "not kept byte for byte" in refused.because


def test_a_fresh_read_finds_items_by_keys_of_every_type(tmp_path: Path) -> None:
    """A landed line has its key as plain JSON: numbers with all their digits, binary as base64 text."""
    site, digits = b"\xff\x00", "12345678901234567890123456789012345678"
    text = base64.b64encode(site).decode()
    with LocalAws() as aws:
        dynamodb = aws.client("dynamodb")
        label = create_table(dynamodb, "prod-items", {"site": "B", "number": "N"})
        near = f"{digits[:-1]}9"  # the same number in 28 digits
        for number, note in ((digits, "now"), (near, "near")):
            item = {"site": {"B": site}, "number": {"N": number}, "note": {"S": note}}
            dynamodb.put_item(TableName="prod-items", Item=item)
        there = {"site": text, "number": Number(digits)}
        changes = [
            Lost("a", sequence(1, label), attributes=there),
            Lost("b", sequence(2, label), attributes=there),
            Lost("c", sequence(3, label), keys={"site": {"B": text}, "number": {"N": digits}}),
            Lost("d", sequence(4, label), attributes={"site": text, "number": Number("8")}),
            Lost("n", sequence(4, label), attributes={"site": text, "number": Number(near)}),
            Lost("e", sequence(5, label), attributes={"site": "no base64", "number": Number("8")}),
            Lost("f", sequence(6, label), keys={"site": {"S": text}, "number": {"N": digits}}),
        ]
        reader = Reader(dynamodb, ITEMS, "prod-items", "trim-horizon")
        outcome = fresh_read({"items": reader}.__getitem__, FolderObjects(tmp_path))("items", changes)
    assert [r.quarantine_id for r in outcome.refused] == ["e", "f"]
    (landed_as,) = {d.landed_as for d in outcome.decided}
    landed = gzip.decompress((tmp_path / str(landed_as)).read_bytes()).decode().splitlines()
    records = [json.loads(record, parse_int=str) for record in landed]
    assert [(r["site"], r["number"], r["is_deleted"], r.get("note")) for r in records] == [
        (text, digits, False, "now"),
        (text, digits, False, "now"),
        (text, digits, False, "now"),
        (text, "8", True, None),
        (text, near, False, "near"),
    ]
    # Records of one key are each above their own change.
    assert [r["_sequence"].partition("+")[0] for r in records] == [c.sequence for c in changes[:5]]
