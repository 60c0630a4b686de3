"""A Parquet object holds, record by record and byte for byte, what the NDJSON object of its event holds."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aws_support import EVENTS, LAMBDA, REAL_EVENTS, Landing, load_event
from hypothesis import given, settings
from hypothesis import strategies as st

from change_writer.encode import LandingObject, Line, Metadata, change_record_line
from change_writer.errors import SettingsError, UnsupportedStreamViewError
from change_writer.handler import STREAM_KINDS, lambda_handler, make_plan
from change_writer.parquet import SCHEMA_VERSION, VERSION_KEY, parquet_body
from change_writer.settings import parse_settings
from lakehouse import change_record
from lakehouse.aws.writer import Writer

NOW_MS = 1_767_880_000_000
DONE: dict[str, Any] = {"batchItemFailures": []}
REAL = sorted(
    path for kind in ("dynamodb-streams", "kinesis") for path in (REAL_EVENTS.parent / kind).glob("*")
)


def plan(records: list[dict[str, Any]], **variables: str) -> list[LandingObject]:
    """The objects planned for these records."""
    configured = parse_settings({"S3_BUCKET": "bucket", **variables})
    kind = STREAM_KINDS[records[0]["eventSource"]]
    return [*make_plan(kind, records, configured, NOW_MS).objects]


def lines_in(landing_object: LandingObject) -> list[bytes]:
    """The lines of an NDJSON object."""
    return gzip.decompress(landing_object.body).splitlines(keepends=True)


def rows_in(body: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet object."""
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(body)).to_pylist()
    return rows


def line_of(row: dict[str, Any]) -> bytes:
    """The NDJSON line that a row stands for: its metadata, and behind it the members of `item`."""
    order = (*change_record.METADATA[:3], "_ingestTs", "is_deleted", "_approxStreamTs", "_deleteKind")
    metadata = {name: row[name] for name in order if row[name] is not None}
    head = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))[:-1]
    rest = row["item"][1:]
    return f"{head}{'' if rest == '}' else ','}{rest}\n".encode()


def assert_the_same(records: list[dict[str, Any]], **variables: str) -> int:
    """Both formats land the same lines under the same names; returns how many records landed as Parquet."""
    ndjson, parquet = plan(records, **variables), plan(records, LANDING_FORMAT="parquet", **variables)
    landed = 0
    for one, other in zip(ndjson, parquet, strict=True):
        assert (one.folder, one.first_index, one.lines) == (other.folder, other.first_index, other.lines)
        if "_quarantine/" in one.key:
            assert other == one
            continue
        assert other.key == one.key.removesuffix(".ndjson.gz") + ".parquet"
        rows = rows_in(other.body)
        assert [line_of(row) for row in rows] == lines_in(one)
        assert {row["_schemaVersion"] for row in rows} == {SCHEMA_VERSION}
        landed += len(rows)
    return landed


def records_in(content: Any) -> list[list[dict[str, Any]]]:
    """Every list of stream records that a sample file holds, wherever it lies in it."""
    if isinstance(content, list):
        return [found for each in content for found in records_in(each)]
    if not isinstance(content, dict):
        return []
    records = content.get("Records")
    if isinstance(records, list) and records and records[0].get("eventSource") in STREAM_KINDS:
        return [records]
    return [found for each in content.values() for found in records_in(each)]


@pytest.mark.parametrize("name", sorted(path.stem for path in EVENTS.glob("*.json")))
def test_every_fixture_lands_the_same_in_both_formats(name: str) -> None:
    records = load_event(name)["Records"]
    if name == "calls-keys-only":
        with pytest.raises(UnsupportedStreamViewError):
            plan(records, LANDING_FORMAT="parquet")
        return
    bad = name == "scorecards-one-bad-number"
    assert assert_the_same(records) == len(records) - bad > 0
    assert assert_the_same(records, MAX_RECORDS="2", S3_PREFIX="a/b") == len(records) - bad


@pytest.mark.skipif(not REAL, reason="the sample events are not beside the repository")
def test_every_sample_event_lands_the_same_in_both_formats() -> None:
    landed, seen = 0, 0
    for path in REAL:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # some are broken on purpose
            continue
        for records in records_in(content):
            seen += 1
            # Most ARNs of the samples are made up: so they go to quarantine, and with another one they land.
            for arn in (
                None,
                "arn:aws:dynamodb:eu-west-1:123456789012:table/abc/stream/2026-01-05T08:00:00.123",
            ):
                mended = [r if arn is None else r | {"eventSourceARN": arn} for r in records]
                with contextlib.suppress(UnsupportedStreamViewError):
                    landed += assert_the_same(mended)
    assert seen > 8
    assert landed > 12


def test_events_of_kinesis_land_the_same_in_both_formats() -> None:
    number = "49590338271490256608559692538361571095921575989136580000"
    data = b'{"a":1.10,"_b":"\xc3\xa9\\n"} {} {"is_deleted":12345678901234567890123456789,"updated_at":[1]}'
    record = {
        "kinesis": {"sequenceNumber": number, "data": base64.b64encode(data).decode()},
        "eventSource": "aws:kinesis",
        "eventID": f"shardId-000000000001:{number}",
        "eventName": "aws:kinesis:record",
        "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/metric-events",
    }
    assert assert_the_same([record]) == 3
    record["kinesis"]["approximateArrivalTimestamp"] = 1_767_873_600.125  # type: ignore[index]
    assert assert_the_same([record]) == 3


texts = st.text(st.characters(exclude_categories=("Cs",)))


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(
            st.builds(
                Metadata, texts, texts, texts, st.none() | st.integers(0, 2**53), st.integers(0, 2**53)
            ),
            st.dictionaries(texts, texts | st.integers() | st.none(), max_size=4),
            st.none() | st.sampled_from(("ttl", "replicated", "user")),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_record_can_be_put_together_again(
    made: list[tuple[Metadata, dict[str, Any], str | None]],
) -> None:
    lines = []
    for place, (told, item, kind) in enumerate(made):
        metadata = told._replace(delete_kind=kind)
        attributes = [(name, json.dumps(value)) for name, value in item.items()]
        data = change_record_line(metadata, attributes)
        lines.append(Line(place, "", None, data, metadata))
    rows = rows_in(parquet_body(lines))
    for row, line in zip(rows, lines, strict=True):
        assert line.metadata is not None
        # The json module escapes control characters of metadata in its own way: values count, not escapes.
        assert json.loads(line_of(row)) == json.loads(line.data)
        assert line.data.endswith(row["item"][1:].encode() + b"\n")


def test_the_columns_are_typed_and_the_file_says_its_schema() -> None:
    (landed,) = plan(load_event("calls-changes")["Records"], LANDING_FORMAT="parquet")
    file = pq.ParquetFile(pa.BufferReader(landed.body))
    assert [(f.name, str(f.type), f.nullable) for f in file.schema_arrow] == [
        ("_schemaVersion", "int32", False),
        ("_eventID", "string", False),
        ("_eventName", "string", False),
        ("_sequence", "string", False),
        ("_ingestTs", "int64", False),
        ("is_deleted", "bool", False),
        ("_approxStreamTs", "int64", True),
        ("_deleteKind", "string", True),
        ("item", "string", False),
    ]
    assert {*change_record.METADATA} - {f.name for f in file.schema_arrow} == {
        "updated_at"
    }  # that is in `item`
    assert file.metadata.metadata == {VERSION_KEY.encode(): str(SCHEMA_VERSION).encode()}
    group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert {column.compression for column in columns} == {"SNAPPY"}
    # What the footer tells of a column quotes no item.
    told = {column.path_in_schema for column in columns if column.statistics is not None}
    assert told == {"_sequence", "_ingestTs", "_approxStreamTs"}


def test_a_changed_byte_is_found_by_its_pages_checksum() -> None:
    (landed,) = plan(load_event("calls-changes")["Records"], LANDING_FORMAT="parquet")
    changed = landed.body.replace(b"callId", b"callID", 1)
    assert changed != landed.body
    pq.ParquetFile(pa.BufferReader(changed)).read()
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(pa.BufferReader(changed), page_checksum_verification=True).read()


def test_the_item_is_exact_text() -> None:
    (landed,) = plan(load_event("calls-every-type")["Records"], LANDING_FORMAT="parquet")
    (row,) = rows_in(landed.body)
    assert '"__is_deleted":' in row["item"]
    assert "9.9999999999999999999999999999999999999E+125" in row["item"]
    assert not {"_eventID", "_sequence", "_ingestTs", "is_deleted"} & json.loads(row["item"]).keys()


def test_the_same_event_makes_the_same_bytes_under_the_same_name() -> None:
    records = load_event("calls-changes")["Records"]
    assert plan(records, LANDING_FORMAT="parquet") == plan(records, LANDING_FORMAT="parquet")


def test_it_lands_as_parquet_and_a_redelivery_adds_nothing(landing: Landing) -> None:
    landing.configure(LANDING_FORMAT="parquet")
    event = load_event("scorecards-one-bad-number")
    assert lambda_handler(event, None) == lambda_handler(event, None) == DONE
    quarantined, landed = landing.object_keys()
    assert quarantined.startswith("landing/_quarantine/scorecards/")
    assert quarantined.endswith(".ndjson.gz")
    assert len(landing.lines(quarantined)) == 1
    found = landing.client.get_object(Bucket=landing.bucket, Key=landed)
    assert found["ContentType"] == "application/vnd.apache.parquet"
    assert len(rows_in(found["Body"].read())) == len(event["Records"]) - 1


def test_a_redrive_lands_what_the_function_would_have_landed(landing: Landing) -> None:
    event = load_event("calls-changes")
    environ = {"S3_BUCKET": landing.bucket, "S3_PREFIX": "landing", "LANDING_FORMAT": "parquet"}
    writer = Writer(environ, landing.client)
    planned = writer.plan(event)
    assert writer.put(planned.objects).created == planned.lands == len(event["Records"])
    landing.configure(LANDING_FORMAT="parquet")
    assert lambda_handler(event, None) == DONE
    (key,) = landing.object_keys()  # the function has found it there already
    assert key.endswith(".parquet")


# --- pyarrow is there for Parquet alone, and is all that Parquet needs ----------------------------------

_LAND = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[3].split(","):
    sys.modules[name] = None  # an import of it fails
from change_writer.handler import STREAM_KINDS, make_plan
from change_writer.settings import parse_settings
with open(sys.argv[2]) as file:
    records = json.load(file)["Records"]
settings = parse_settings({"S3_BUCKET": "bucket", **os.environ})
assert sys.modules.get("pyarrow") is None, "the handler brought it"
plan = make_plan(STREAM_KINDS["aws:dynamodb"], records, settings, 0)
print([o.key[o.key.index('.'):] for o in plan.objects], sys.modules.get("pyarrow") is not None)
"""


def land_without(*modules: str, landing_format: str) -> subprocess.CompletedProcess[str]:
    event = EVENTS / "calls-changes.json"
    command = [sys.executable, "-c", _LAND, str(LAMBDA), str(event), ",".join(modules)]
    environment = {**os.environ, "LANDING_FORMAT": landing_format}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_ndjson_needs_no_pyarrow() -> None:
    assert land_without("pyarrow", landing_format="ndjson").stdout == "['.ndjson.gz'] False\n"


def test_pyarrow_is_imported_by_the_first_parquet_object_and_needs_no_numpy() -> None:
    # The layer has no numpy.
    assert land_without("numpy", landing_format="parquet").stdout == "['.parquet'] True\n"


def test_parquet_without_pyarrow_is_said_by_the_name_of_the_variable() -> None:
    done = land_without("pyarrow", landing_format="parquet")
    assert done.returncode == 1
    assert f"{SettingsError.__name__}: LANDING_FORMAT is 'parquet'. Expected: ndjson, or" in done.stderr


def test_the_schema_is_the_one_that_the_reader_knows() -> None:
    assert (SCHEMA_VERSION, VERSION_KEY) == (change_record.PARQUET_SCHEMA, change_record.PARQUET_SCHEMA_KEY)


def test_another_format_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"LANDING_FORMAT is 'orc'\. Expected: ndjson or parquet\."):
        parse_settings({"S3_BUCKET": "bucket", "LANDING_FORMAT": "orc"})
