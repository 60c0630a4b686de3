"""The SQL that a declaration becomes, as text; what it does stands in tests/spark/test_select.py."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.sql.lines import document_columns, line_columns
from lakehouse.sql.paths import is_path, json_path, landed_path, parse_path
from lakehouse.sql.select import latest_of, select
from lakehouse.sql.values import fitted
from lakehouse.sql.views import history
from lakehouse.table import METADATA_COLUMNS, Column, Table
from lakehouse.tables import TABLES

CHANGES = [table for table in TABLES if table.format == "changes"]

THINGS = Table(
    name="things",
    source="things",
    keys=("id",),
    comment="A table.",
    columns=(
        Column("id", "string", "Key.", "thingId"),
        Column("size", "int", "A number.", "payload.size"),
        Column("seen_at", "timestamp", "A time.", ("seenAt", "payload.seenAt"), default="_changed_at"),
        Column("loud", "string", "The id, in capitals.", sql="upper(id)"),
    ),
    json_text=("payload",),
)

WRITTEN = r"""WITH record AS (
  SELECT *,
    IF(is_deleted, NULL, item) AS _live,
    try_variant_get(_live, '$.payload', 'string') AS _payload_text,
    IF(LONE, NULL, try_parse_json(concat('[', _payload_text, ',', xxhash64(_payload_text), ']'))) AS _payload_frame,
    IF(try_variant_get(_payload_frame, '$[1]', 'bigint') = xxhash64(_payload_text), try_variant_get(_payload_frame, '$[0]', 'variant'), NULL) AS _payload_object
  FROM lake.bronze.things
),
value AS (
  SELECT * EXCEPT (item),
    try_variant_get(item, '$.thingId', 'string') AS _thingId,
    try_variant_get(_payload_object, '$.size', 'string') AS _payload_size,
    try_variant_get(_live, '$.seenAt', 'string') AS _seenAt,
    try_variant_get(_payload_object, '$.seenAt', 'string') AS _payload_seenAt,
    coalesce(nullif(_seenAt, ''), nullif(_payload_seenAt, '')) AS _seen_at_text,
    CASE WHEN ISO THEN try_cast(WHOLE AS TIMESTAMP) END AS _seen_at_time
  FROM record
)
SELECT
  _thingId AS id,
  _sequence,
  is_deleted,
  _delete_kind,
  _event_id,
  _event_name,
  _changed_at,
  _source_file,
  updated_at,
  try_cast(try_cast(_payload_size AS DECIMAL(38,0)) AS INT) AS size,
  IF(is_deleted, NULL, coalesce(IF(unix_micros(_seen_at_time) BETWEEN -62135596800000000 AND 253402300799999999, _seen_at_time, NULL), _changed_at)) AS seen_at,
  IF(is_deleted, NULL, upper(id)) AS loud
FROM value"""  # noqa: E501 - as an analyst sees it


def test_the_select_of_a_table_is_this_text() -> None:
    found = select(THINGS, "lake.bronze.things")
    # What is long and has tests of its own is put short.
    found = re.sub(r"IF\(contains\(_payload_text.*?, NULL, try_parse", "IF(LONE, NULL, try_parse", found)
    found = re.sub(r"CASE WHEN _seen_at_text RLIKE '.*?' THEN", "CASE WHEN ISO THEN", found)
    found = re.sub(r"try_cast\(regexp_replace.*? AS TIMESTAMP\)", "try_cast(WHOLE AS TIMESTAMP)", found)
    assert found == WRITTEN


def test_what_stands_beside_comes_last() -> None:
    names = [line.strip().rstrip(",") for line in select(THINGS, "t", beside=True).splitlines()]
    assert names[-5:-2] == ["_key", "_stream", "_batch_id"]
    assert names[-2].endswith(" AS _misfits")
    assert names[-1] == "FROM value"


@pytest.mark.parametrize("table", CHANGES, ids=lambda table: table.name)
def test_the_columns_are_those_of_the_table_in_its_order(table: Table) -> None:
    lines = select(table, "t").rpartition("\nSELECT\n  ")[2].removesuffix("\nFROM value").split(",\n  ")
    names = [line.rpartition(" AS ")[2] for line in lines]
    assert names == [c.name for c in table.all_columns if c.name != "_applied_at"]


@pytest.mark.parametrize("table", CHANGES, ids=lambda table: table.name)
def test_nothing_in_a_select_can_raise_and_every_object_is_parsed_once(table: Table) -> None:
    text = select(table, "t", beside=True)
    assert not re.search(r"(?i)(?<!try_)\bcast\s*\(|::|(?<!try_)\bvariant_get|(?<!try_)\bparse_json", text)
    assert not re.search(r"(?i)\bto_(date|timestamp)\b|current_|\brand\(", text)
    assert text.count("try_parse_json(") == len(table.json_text)
    for layer in ("silver", "gold", "ops", "bronze"):
        assert f"{{{layer}}}" not in text


@pytest.mark.parametrize("table", CHANGES, ids=lambda table: table.name)
def test_history_and_a_persons_query_are_the_same_select(table: Table) -> None:
    body = select(table, "HERE").rpartition("\nSELECT\n")[2].replace("\n", "\n  ")
    assert body in history(table)


NAMES = {
    # As a declaration writes it: its names, as Spark reads it in the landed record.
    "payload.agentId": (("payload", "agentId"), "$.payload.agentId"),
    "_version": (("_version",), "$.___version"),
    "__typename": (("__typename",), "$.____typename"),
    "_id": (("_id",), "$.___id"),
    "is_deleted": (("is_deleted",), "$.__is_deleted"),
    "updated_at": (("updated_at",), "$.updated_at"),
    "payload._x": (("payload", "_x"), "$.payload._x"),
    "payload.is_deleted": (("payload", "is_deleted"), "$.payload.is_deleted"),
    "customer-id": (("customer-id",), "$['customer-id']"),
    "user-id": (("user-id",), "$['user-id']"),
    "2fa": (("2fa",), "$['2fa']"),
    "größe": (("größe",), "$['größe']"),
    "pk#sk": (("pk#sk",), "$['pk#sk']"),
    "aws:rep:updateregion": (("aws:rep:updateregion",), "$['aws:rep:updateregion']"),
    "['first name'].x": (("first name", "x"), "$['first name'].x"),
    "['a.b']['c']": (("a.b", "c"), "$['a.b'].c"),
    '["o\'clock"]': (("o'clock",), '$["o\'clock"]'),
    "['say \"so\"']": (('say "so"',), "$['say \"so\"']"),
    "$": (("$",), "$['$']"),
    "a$b": (("a$b",), "$['a$b']"),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_path_names_the_sources_attribute_and_is_read_where_that_lands(text: str) -> None:
    names, at = NAMES[text]
    assert parse_path(text) == names
    assert json_path(landed_path(text)) == at
    # Inside a literal a quote stands behind a backslash.
    table = Table(
        name="t",
        source="t",
        keys=("id",),
        comment="A table.",
        columns=(Column("id", "string", "Key.", text), Column("note", "string", "A note.", text)),
    )
    written = at.replace("'", "\\'")
    assert f"try_variant_get(item, '{written}', 'string')" in select(table, "t")
    assert any(f"try_variant_get(item, '{written}', 'string')" in line for line in line_columns(table))


@given(st.text(min_size=1).filter(lambda name: name.isprintable() and not set(name) & set("'\"\\")))
def test_any_printable_name_can_stand_in_brackets(name: str) -> None:
    assert parse_path(f"['{name}']") == parse_path(f'["{name}"]') == (name,)
    assert parse_path(f"a['{name}'].b") == ("a", name, "b")


@given(st.text(max_size=12))
def test_what_is_no_path_is_refused_and_nothing_else_happens(text: str) -> None:
    if is_path(text):
        assert all(parse_path(text))


def test_names_that_differ_by_case_or_by_a_sign_alone_are_read_apart() -> None:
    columns = [Column("id", "string", "Key.", "id")] + [
        Column(f"c{number}", "string", "A column.", path)
        for number, path in enumerate(["p.x", "p.X", "P.x", "p-x", "p_x", "p.x_text", "['p.x']"])
    ]
    table = Table(
        name="t", source="t", keys=("id",), comment="A table.", columns=tuple(columns), json_text=("p", "p.x")
    )
    steps = re.findall(r"AS (_\w+),?$", select(table, "t"), re.MULTILINE)
    assert len({step.lower() for step in steps}) == len(steps)
    assert not {step.lower() for step in steps} & {c.name for c in METADATA_COLUMNS}


def test_a_key_inside_a_text_is_the_one_that_was_read_when_the_record_came() -> None:
    columns = (
        Column("id", "string", "Key.", ("id", "payload.id"), default="_event_id"),
        Column("part", "string", "Key.", "part"),
    )
    table = Table(
        name="t",
        source="t",
        keys=("id", "part"),
        comment="A table.",
        columns=columns,
        json_text=("payload",),
    )
    text = select(table, "t")
    assert "get(from_json(_key, 'array<string>'), 0) AS id" in text
    assert "_part AS part" in text


def test_the_latest_change_takes_deletes_part_and_leaves_ignored_expiries_out() -> None:
    apply, ignore = (latest_of("t", "_batch_id > 3", ttl_deletes=kind) for kind in ("apply", "ignore"))
    for text in (apply, ignore):
        assert "PARTITION BY _key ORDER BY _sequence DESC" in text
        assert "_problem IS NULL AND _key IS NOT NULL AND (_batch_id > 3)" in text
    assert "ttl" not in apply
    assert "NOT (is_deleted AND _delete_kind <=> 'ttl')" in ignore


def test_a_timestamp_is_no_single_step() -> None:
    with pytest.raises(ValueError, match="two steps"):
        fitted("x", "timestamp")


@pytest.mark.parametrize("columns", [line_columns(THINGS), document_columns()], ids=["lines", "documents"])
def test_no_column_of_bronze_can_raise(columns: list[str]) -> None:
    text = "\n".join(columns)
    # Bytes become text whatever they are.
    casts = re.findall(r"(?i)(?<!try_)\bcast\s*\(.*", text)
    assert all("content" in found for found in casts)
    assert not re.search(r"(?<!try_)\b(variant_get|parse_json)\(", text)


def test_declarations_are_data_and_leave_the_text_alone_when_they_are_equal() -> None:
    assert select(THINGS, "t") == select(dataclasses.replace(THINGS, comment="Another."), "t")
