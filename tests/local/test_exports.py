"""Backfill from exports: what lands, that it lands once, and everything that is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.local.export_support import (
    THINGS,
    full_line,
    incremental_line,
    iso,
    md5,
    write_export,
    write_manifest,
)
from tests.local.support import StreamedTable

from lakehouse import change_record
from lakehouse.aws.export import Export, Exported, backfill_export, read_manifest
from lakehouse.aws.objects import FolderObjects, S3Objects, open_objects
from lakehouse.aws.snapshot import to_ms
from lakehouse.errors import ConfigurationError, ExportError, SnapshotRefusedError, SourceError
from lakehouse.local.aws import LocalAws
from lakehouse.table import Table

REAL = Path(__file__).resolve().parents[3] / "shared" / "real-inputs" / "dynamodb-export"
MOMENT = 10  # ms

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/"


class Place:
    """A streamed DynamoDB table, folders for exports and for landing."""

    def __init__(self, table: StreamedTable, folder: Path) -> None:
        self.name, self.dynamodb = table.name, table.client
        self.label = table.stream_arn.rpartition("/")[2]
        self.taken_ms = to_ms(f"{self.label}Z") + MOMENT
        while time.time() * 1000 < self.taken_ms:  # no export is of a time to come
            time.sleep(0.001)
        self.root, self.landing = folder / "exports", folder / "landing"
        self.landing.mkdir()

    def write(self, *files: list[Any], **more: Any) -> Path:
        return write_export(self.root, more.pop("table_name", self.name), self.taken_ms, files, **more)

    def backfill(self, export: Path, table: Table = THINGS, **more: Any) -> Exported:
        return backfill_export(
            self.dynamodb,
            open_objects(str(export)),
            open_objects(str(self.landing)),
            table,
            self.name,
            consumer_from=more.pop("consumer_from", "trim-horizon"),
            **more,
        )

    def objects(self) -> dict[str, bytes]:
        found = (p for p in self.landing.glob("things/**/*") if p.is_file())
        return {p.relative_to(self.landing).as_posix(): p.read_bytes() for p in found}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(x) for body in self.objects().values() for x in gzip.decompress(body).splitlines()]


@pytest.fixture
def place(table: StreamedTable, tmp_path: Path) -> Place:
    return Place(table, tmp_path)


def _full(*keys: str) -> list[Any]:
    return [full_line(f"note {key}", id={"S": key}) for key in keys]


def test_a_full_export_lands_every_item_as_a_snapshot_record(place: Place) -> None:
    export = place.write(_full("a", "b"), [], _full("c"))
    done = place.backfill(export)
    sequence = f"{place.label}/-{iso(place.taken_ms)}/0000"
    (key,) = place.objects()
    size = len(place.objects()[key])
    assert done == Exported(3, 0, 1, 1, size, sequence)
    hour = iso(place.taken_ms)
    assert re.fullmatch(rf"things/dt={hour[:10]}/HH={hour[11:13]}/[0-9a-f]{{40}}\.ndjson\.gz", key)
    lines = place.lines()
    assert len({line.pop(change_record.EVENT_ID) for line in lines}) == 3
    assert lines == [
        {
            change_record.EVENT_NAME: "SNAPSHOT",
            change_record.SEQUENCE: sequence,
            change_record.INGESTED_MS: place.taken_ms,
            change_record.IS_DELETED: False,
            change_record.CHANGED_MS: place.taken_ms,
            change_record.UPDATED_AT: place.taken_ms,
            "id": key,
            "note": f"note {key}",
        }
        for key in "abc"
    ]


def test_an_incremental_export_lands_items_and_tombstones(place: Place) -> None:
    deletes = [
        incremental_line("absent", None),
        incremental_line("null", None) | {"NewImage": None},
        incremental_line("empty", None) | {"NewImage": {}},
    ]
    new_images_alone = {k: v for k, v in incremental_line("new", "n").items() if k != "OldImage"}
    export = place.write([incremental_line("kept", "now"), *deletes, new_images_alone], incremental=True)
    assert not (export / "data").exists()
    done = place.backfill(export)
    assert (done.items, done.tombstones) == (2, 3)
    lines = {line["id"]: line for line in place.lines()}
    assert {key: line[change_record.IS_DELETED] for key, line in lines.items()} == {
        "kept": False,
        "new": False,
        "absent": True,
        "null": True,
        "empty": True,
    }
    assert lines["kept"]["note"] == "now"
    # The export does not tell why, and a tombstone carries the key alone.
    assert set(lines["absent"]) == {*change_record.METADATA, "id"} - {change_record.DELETE_KIND}
    assert {line[change_record.SEQUENCE] for line in lines.values()} == {
        f"{place.label}/-{iso(place.taken_ms)}"
    }


def test_every_type_keeps_its_value(place: Place) -> None:
    item = {
        "id": {"S": "a"},
        "text": {"S": 'ü " \n'},
        "empty": {"S": ""},
        "whole": {"N": "12345678901234567890123456789012345678"},
        "small": {"N": "1E-130"},
        "bytes": {"B": "AAH/"},
        "yes": {"BOOL": True},
        "no": {"BOOL": False},
        "nothing": {"NULL": True},
        "list": {"L": [{"N": "1.50"}, {"M": {"_x": {"NULL": True}}}, {"L": []}]},
        "texts": {"SS": ["b", "a"]},
        "numbers": {"NS": ["10", "9.5"]},
        "binaries": {"BS": ["/w==", "AA=="]},
        "_sequence": {"S": "mine"},
        "is_deleted": {"BOOL": True},
        "updated_at": {"S": "yesterday"},
    }
    place.backfill(place.write([{"Item": item}]))
    ((text,),) = (gzip.decompress(body).splitlines() for body in place.objects().values())
    assert b'"whole":12345678901234567890123456789012345678,' in text
    assert b'"small":1E-130,' in text
    assert b'"numbers":[9.5,10]' in text
    line = json.loads(text)
    assert {
        k: v for k, v in line.items() if k not in change_record.METADATA or k == change_record.UPDATED_AT
    } == {
        "id": "a",
        "text": 'ü " \n',
        "empty": "",
        "whole": 12345678901234567890123456789012345678,
        "small": 1e-130,
        "bytes": "AAH/",
        "yes": True,
        "no": False,
        "nothing": None,
        "list": [1.5, {"_x": None}, []],
        "texts": ["a", "b"],
        "numbers": [9.5, 10],
        "binaries": ["/w==", "AA=="],
        "___sequence": "mine",
        "__is_deleted": True,
        "updated_at": "yesterday",
    }


def test_running_it_again_lands_nothing_new_and_mends_what_is_missing(place: Place) -> None:
    export = place.write(*(_full(*(f"{file} {n}" for n in range(400))) for file in range(5)))
    first = place.backfill(export, object_bytes=1)
    landed = place.objects()
    assert first.objects == first.new_objects == len(landed) > 1
    assert first.bytes == sum(map(len, landed.values()))
    lost = sorted(landed)[0]
    (place.landing / lost).unlink()
    assert place.backfill(export, object_bytes=1) == dataclasses.replace(first, new_objects=1)
    assert place.objects() == landed


def test_objects_are_cut_by_size_across_data_files(place: Place) -> None:
    export = place.write(*(_full(f"{file}") for file in range(50)))
    assert place.backfill(export).objects == 1
    shutil.rmtree(place.landing / "things")
    big = place.write(_full(*(md5(b"%d" % n) for n in range(20_000))), export_id="01695097218000-00000002")
    done = place.backfill(big, object_bytes=200_000)
    sizes = sorted(map(len, place.objects().values()))
    assert done.objects == len(sizes) > 3
    assert all(200_000 <= size < 400_000 for size in sizes[1:])
    assert len({line["id"] for line in place.lines()}) == done.items == 20_000


def test_a_copy_is_read_where_it_lies_and_lands_the_same(place: Place, aws: LocalAws) -> None:
    full = place.write(_full("a", "b"))
    incremental = place.write(
        [incremental_line("a", None)], incremental=True, export_id="01695097218000-00000002"
    )
    done = [place.backfill(full), place.backfill(incremental)]
    landed = place.objects()

    s3 = aws.client("s3")
    s3.create_bucket(Bucket="copy")
    for path in (p for p in place.root.rglob("*") if p.is_file()):
        s3.put_object(Bucket="copy", Key=f"else/where/{path.relative_to(place.root)}", Body=path.read_bytes())
    for folder, first in zip((full, incremental), done, strict=True):
        copy = S3Objects(s3, "copy", f"else/where/AWSDynamoDB/{folder.name}")
        again = backfill_export(
            place.dynamodb,
            copy,
            FolderObjects(place.landing),
            THINGS,
            place.name,
            consumer_from="trim-horizon",
        )
        assert again == dataclasses.replace(first, new_objects=0)
    assert place.objects() == landed

    # Somebody who copies one incremental export's files may put them into its own folder.
    (incremental / "data").mkdir()
    for path in (place.root / "AWSDynamoDB" / "data").iterdir():
        path.rename(incremental / "data" / path.name)
    assert place.backfill(incremental) == dataclasses.replace(done[1], new_objects=0)


def test_it_lands_in_a_bucket_as_in_a_folder(place: Place, aws: LocalAws) -> None:
    export = place.write(_full("a", "b"))
    done = place.backfill(export)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="landing")
    target = open_objects("s3://landing/prefix", s3)
    again = backfill_export(
        place.dynamodb, FolderObjects(export), target, THINGS, place.name, consumer_from="trim-horizon"
    )
    assert again == done
    assert {key: target.get(key) for key in target.keys("things/")} == place.objects()


def test_progress_is_told_in_items(place: Place) -> None:
    export = place.write(_full(*map(str, range(2500))), _full("last"))
    told: list[tuple[int, int]] = []
    place.backfill(export, on_progress=lambda *both: told.append(both))
    assert told == [(n, 2501) for n in (0, 1000, 2000, 2501)]


def test_an_export_of_nothing_lands_nothing(place: Place) -> None:
    export = place.write([], [])
    for empty in (export / "data").iterdir():  # a file without a byte is as good as one of no lines
        body = empty.read_bytes()
        empty.write_bytes(b"")
        listed = (export / "manifest-files.json").read_text().replace(md5(body), md5(b""))
    write_manifest(export, "manifest-files.json", listed)
    done = place.backfill(export)
    assert (done.items, done.tombstones, done.objects, done.bytes) == (0, 0, 0, 0)
    assert place.objects() == {}


def test_manifests_without_checksums_are_read(place: Place) -> None:
    export = place.write(_full("a"))
    for checksum in export.glob("*.md5"):
        checksum.unlink()
    assert place.backfill(export).items == 1


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    write_manifest(path.parent, path.name, text.replace(old, new))


def _data(export: Path) -> Path:
    return min((export / "data").iterdir())


def _other_checksum(name: str) -> Callable[[Path], None]:
    return lambda export: (export / name).write_text(f"{md5(b'other')}\n") and None


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "not finished": (
        lambda e: (e / "manifest-summary.json").unlink(),
        r"manifest-summary\.json: .*has not ended, or has failed.* Wait, or export again",
    ),
    "another folder": (
        lambda e: [(e / name).unlink() for name in ("_started", "manifest-summary.json")],
        r"manifest-summary\.json: it is not there\. Give the folder that holds",
    ),
    "no list of files": (
        lambda e: [(e / name).unlink() for name in ("_started", "manifest-files.json")],
        r"manifest-files\.json: it is not there",
    ),
    "summary not as its checksum": (
        _other_checksum("manifest-summary.md5"),
        r"manifest-summary\.json: its MD5 is .*copy the export's folder again",
    ),
    "list not as its checksum": (_other_checksum("manifest-files.md5"), r"manifest-files\.json: its MD5 is"),
    "list not as its checksum, as the guide names it": (
        lambda e: (e / "manifest-files.checksum").write_text("x"),
        r"manifest-files\.json: its MD5 is .* says x\.",
    ),
    "data not as its checksum": (
        lambda e: _data(e).write_bytes(gzip.compress(b"{}\n")),
        r"data/abcd12340000\.json\.gz: its MD5 is .*copy the export's folder again",
    ),
    "data missing": (
        lambda e: _data(e).unlink(),
        r"data/abcd12340000\.json\.gz: this file is listed in the manifest, but",
    ),
    "fewer items in all": (
        lambda e: _edit(e / "manifest-summary.json", '"itemCount": 3', '"itemCount": 4'),
        r"manifest-summary\.json: it has 4 items, and its manifest-files\.json lists files of 3",
    ),
    "summary is no JSON": (
        lambda e: write_manifest(e, "manifest-summary.json", "<xml>"),
        r"manifest-summary\.json: it is not as DynamoDB writes it",
    ),
    "summary is no object": (
        lambda e: write_manifest(e, "manifest-summary.json", "[]"),
        r"manifest-summary\.json: it is not as DynamoDB writes it",
    ),
    "summary without a time": (
        lambda e: _edit(e / "manifest-summary.json", '"exportTime"', '"other"'),
        r"manifest-summary\.json: it is not as DynamoDB writes it \(KeyError: 'exportTime'\)",
    ),
    "time that is none": (
        lambda e: _edit(e / "manifest-summary.json", '"exportTime": "', '"exportTime": "about '),
        r"manifest-summary\.json: 'about .*' is no time",
    ),
    "list of other things": (
        lambda e: _edit(e / "manifest-files.json", '"md5Checksum"', '"sum"'),
        r"manifest-files\.json: it is not as DynamoDB writes it",
    ),
    "Ion": (
        lambda e: _edit(e / "manifest-summary.json", '"DYNAMODB_JSON"', '"ION"'),
        r"manifest-summary\.json: it is in ION\. Export again, in DynamoDB JSON",
    ),
    "another table's": (
        lambda e: _edit(e / "manifest-summary.json", ":table/", ":table/x"),
        r"manifest-summary\.json: it is of \S+:table/xtable-\w+, and the DynamoDB table is \S+:table/table-",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_export_that_is_not_whole_is_refused(place: Place, case: str) -> None:
    damage, message = BROKEN[case]
    export = place.write(_full("a", "b", "c"))
    damage(export)
    with pytest.raises(ExportError, match=message) as raised:
        place.backfill(export)
    assert str(export) in str(raised.value)
    assert place.objects() == {}


A = {"S": "a"}
BAD_LINES: dict[str, tuple[Any, bool, str]] = {
    "no JSON": (b"{", False, "JSONDecodeError"),
    "no UTF-8": (b'{"Item": "\xff"}', False, "UnicodeDecodeError"),
    "no object": (b"[]", False, "TypeError"),
    "nested without end": (b"[" * 100_000, False, "RecursionError"),
    "blank": (b"", False, "JSONDecodeError"),
    "another kind": (incremental_line("a", "n"), False, "KeyError: 'Item'"),
    "another kind still": (full_line(id=A), True, "KeyError: 'Keys'"),
    "no key": (full_line("n"), False, "key attribute id is missing"),
    "no key in Keys": ({"Keys": {"other": A}, "NewImage": {"id": A}}, True, "key attribute id is missing"),
    "empty key": (full_line(id={"S": ""}), False, "key attribute id is missing, empty"),
    "key of another type": (full_line(id={"BOOL": True}), False, "or not of type S"),
    "key without a type": (full_line(id="a"), False, "AttributeError"),
    "key of two types": (full_line(id={"S": "a", "N": "1"}), False, "or not of type S"),
    "unknown type": (full_line(id=A, more={"X": 1}), False, "type 'X' is none of DynamoDB's"),
    "no number": (full_line(id=A, more={"N": "NaN"}), False, "'NaN' is no number"),
    "lone surrogate": (full_line(id=A, more={"S": "\ud800"}), False, "surrogates not allowed"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_line_that_cannot_be_read_is_named(place: Place, case: str) -> None:
    line, incremental, message = BAD_LINES[case]
    good = incremental_line("good", "n") if incremental else full_line("n", id={"S": "good"})
    export = place.write([good], [good, line], incremental=incremental)
    with pytest.raises(ExportError, match=rf"data/abcd12340001\.json\.gz, line 2: .*{re.escape(message)}"):
        place.backfill(export)


@pytest.mark.parametrize(("told", "found"), [(1, 2), (3, 2)])
def test_a_file_with_another_number_of_lines_is_refused(place: Place, told: int, found: int) -> None:
    export = place.write(_full("a", "b"), itemCount=told)
    _edit(export / "manifest-files.json", '"itemCount": 2', f'"itemCount": {told}')
    with pytest.raises(ExportError, match=f"it has {found} lines, and the manifest says {told}"):
        place.backfill(export)
    assert place.objects() == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(b'{"Item": {"id": {"S": "a"}}}\n', mtime=0)[:-3], "it is no whole gzip file"),
        (b'{"Item": {}}\n', "it is no whole gzip file"),
        (gzip.compress(b"\0" * (40 << 20), mtime=0), "it has a line of 32 MB or more"),
    ],
    ids=["torn", "not compressed", "without end"],
)
def test_a_file_that_does_not_inflate_to_lines_is_refused(place: Place, body: bytes, message: str) -> None:
    export = place.write(_full("a"))
    _edit(export / "manifest-files.json", md5(_data(export).read_bytes()), md5(body))
    _data(export).write_bytes(body)
    with pytest.raises(ExportError, match=message):
        place.backfill(export)
    assert place.objects() == {}


def test_what_landed_before_a_bad_file_is_valid_and_found_again(place: Place) -> None:
    export = place.write(_full(*map(str, range(500))), _full("last"))
    last = max((export / "data").iterdir())
    body = last.read_bytes()
    last.write_bytes(body + b"x")
    with pytest.raises(ExportError, match="its MD5 is"):
        place.backfill(export, object_bytes=1)
    landed = set(place.objects())
    assert "last" not in {line["id"] for line in place.lines()}
    last.write_bytes(body)
    done = place.backfill(export, object_bytes=1)
    assert done.new_objects == done.objects - len(landed)
    assert len(place.lines()) == done.items == 501


def test_an_export_is_refused_where_a_snapshot_is(place: Place) -> None:
    early = write_export(place.root, place.name, to_ms(f"{place.label}Z"), [_full("a")])
    with pytest.raises(SnapshotRefusedError, match=r"its stream was enabled at .*, not before the snapshot"):
        place.backfill(early)
    export = place.write(_full("a"), export_id="01695097218000-00000002")
    with pytest.raises(SnapshotRefusedError, match=r"landed since .* only, later than the snapshot"):
        place.backfill(export, consumer_from=iso(place.taken_ms + 1))
    with pytest.raises(SnapshotRefusedError, match="no enabled event source mapping"):
        place.backfill(export, consumer_from=None, mappings=lambda _: [])
    other = dataclasses.replace(
        THINGS, columns=(dataclasses.replace(THINGS.columns[0], path="other"), THINGS.columns[1])
    )
    with pytest.raises(ConfigurationError, match="has the key id; table"):
        place.backfill(export, other)
    assert place.objects() == {}


def test_an_export_of_a_table_that_is_gone_is_refused(place: Place) -> None:
    export = place.write(_full("a"))
    place.dynamodb.delete_table(TableName=place.name)
    with pytest.raises(SourceError, match="ResourceNotFound"):
        place.backfill(export)


def test_where_expiries_are_ignored_an_incremental_export_is_refused(place: Place) -> None:
    keeps = dataclasses.replace(THINGS, ttl_deletes="ignore")
    export = place.write([incremental_line("a", None)], incremental=True)
    with pytest.raises(ConfigurationError, match=r"does not tell an expiry .* Use a full export, or a scan"):
        place.backfill(export, keeps)
    assert place.objects() == {}
    full = place.write(_full("a"), export_id="01695097218000-00000002")
    assert place.backfill(full, keeps).items == 1


def _real(name: str) -> str:
    if not REAL.is_dir():
        pytest.skip("needs ../shared/real-inputs")
    return (REAL / name).read_text()


def _list_as_jsonl(folder: Path, listed: str, item_count: int) -> None:
    """The guide shows the line of manifest-files.json broken into several; it is one in the file."""
    entry = json.loads(listed) | {"itemCount": item_count}
    write_manifest(folder, "manifest-files.json", json.dumps(entry) + "\n")


def test_the_developer_guides_manifests_are_read(tmp_path: Path) -> None:
    _list_as_jsonl(tmp_path, _real("aws-docs.manifest-files.json"), 8)
    write_manifest(tmp_path, "manifest-summary.json", _real("aws-docs.manifest-summary.json"))
    told = read_manifest(FolderObjects(tmp_path))
    (file,) = told.files
    assert (file.key, file.item_count, file.md5) == (
        "data/33334444EXAMPLE.json.gz",
        8,
        "sQMSpEILNgoQmarvDFonGQ==",
    )
    assert told == Export("full", f"{ARN}ProductCatalog", to_ms("2020-11-04T07:28:34.028Z"), 8, (file,))

    _list_as_jsonl(tmp_path, _real("aws-docs.manifest-files.json"), 7)
    write_manifest(tmp_path, "manifest-summary.json", _real("shape.incremental-manifest-summary.json"))
    told = read_manifest(FolderObjects(tmp_path))
    assert (told.kind, told.table_arn, told.time_ms, told.item_count) == (
        "incremental",
        f"{ARN}calls",
        to_ms("2025-11-17T04:00:00.000Z"),
        7,
    )


def _table_with(key: str, kind: str, aws: LocalAws, tmp_path: Path) -> tuple[Place, Table]:
    client = aws.client("dynamodb")
    name = f"{tmp_path.name[:40]}-{key}"
    told = client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind}],  # type: ignore[typeddict-item]
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    place = Place(StreamedTable(client, name, told["TableDescription"]["LatestStreamArn"]), tmp_path)
    column = dataclasses.replace(THINGS.columns[0], path=key)
    return place, dataclasses.replace(THINGS, columns=(column, THINGS.columns[1]))


def test_the_developer_guides_item_lands(aws: LocalAws, tmp_path: Path) -> None:
    item = json.loads(_real("aws-docs.full-export-item.json"))
    place, table = _table_with("Id", "N", aws, tmp_path)
    assert place.backfill(place.write([item]), table).items == 1
    (line,) = place.lines()
    assert {name: line[name] for name in line if name not in change_record.METADATA} == {
        "Authors": ["Author1", "Author2"],
        "Dimensions": "8.5 x 11.0 x 1.5",
        "ISBN": "333-3333333333",
        "Id": 103,
        "InPublication": False,
        "PageCount": 600,
        "Price": 2000,
        "ProductCategory": "Book",
        "Title": "Book 103 Title",
    }


def test_the_incremental_lines_of_awslabs_land(aws: LocalAws, tmp_path: Path) -> None:
    lines = [x.encode() for x in _real("awslabs.incremental-lines.jsonl").splitlines() if '"id"' in x]
    place, table = _table_with("id", "N", aws, tmp_path)
    done = place.backfill(place.write(lines, incremental=True), table)
    assert (done.items, done.tombstones) == (2, 3)
    assert [(x["id"], x.get("name"), x["is_deleted"]) for x in place.lines()] == [
        (123, "John Doe", False),
        (123, "John Doe", False),
        (123, None, True),
        (123, None, True),
        (123, None, True),
    ]
