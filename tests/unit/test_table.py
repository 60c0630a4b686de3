"""A table file that cannot work fails when it is read, with the table's name and what is wrong."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from lakehouse.errors import ConfigurationError, TableDefinitionError, UnknownTableError
from lakehouse.table import METADATA_COLUMNS, Column, Rule, Table, View


def column(name: str, kind: str = "string", **more: Any) -> Column:
    more.setdefault("path", name)
    return Column(name, kind, "A column.", **more)


def table(**changes: Any) -> Table:
    parts: dict[str, Any] = {
        "name": "things",
        "source": "things",
        "keys": ("id",),
        "columns": (column("id"), column("note")),
        "comment": "A table.",
    }
    return Table(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "Things"}, "its name must be lower-case"),
        ({"name": "things; DROP TABLE x"}, "its name must be lower-case"),
        ({"name": "1things"}, "its name must be lower-case"),
        ({"source": "../things"}, "source '../things' must be lower-case"),
        ({"source": "_quarantine"}, "source '_quarantine' must be lower-case"),
        ({"keys": ()}, "it needs at least one key column"),
        ({"keys": ("note",)}, "its first columns must be its keys"),
        ({"keys": ("id", "missing")}, "its first columns must be its keys"),
        ({"columns": (column("note"), column("id"))}, "its first columns must be its keys"),
        ({"columns": (column("id"), column("Note"))}, "column 'Note' must be lower-case"),
        ({"columns": (column("id"), column("a`b"))}, "column 'a`b' must be lower-case"),
        (
            {"columns": (column("id"), column("note", "varchar(3)"))},
            "type 'varchar(3)', which is not supported",
        ),
        ({"columns": (column("id"), column("note", "string NOT NULL"))}, "which is not supported"),
        ({"columns": (column("id"), column("note"), column("note"))}, "column 'note' is declared twice"),
        ({"columns": (column("id"), column("is_deleted"))}, "is a metadata column"),
        ({"columns": (column("id"), column("updated_at"))}, "is a metadata column"),
        ({"columns": (column("id"), column("_mine", path="mine"))}, "is a metadata column"),
        ({"columns": (column("id"), column("note", path="a..b"))}, "path 'a..b', which names no attribute"),
        ({"columns": (column("id"), column("note", path="a b"))}, "path 'a b', which names no attribute"),
        ({"columns": (column("id"), column("note", path=""))}, "path '', which names no attribute"),
        ({"columns": (column("id"), column("note", path=".a"))}, "path '.a', which names no attribute"),
        ({"columns": (column("id"), column("note", path="a."))}, "path 'a.', which names no attribute"),
        ({"columns": (column("id"), column("note", path="a['b"))}, "which names no attribute"),
        ({"columns": (column("id"), column("note", path="a['b']c"))}, "which names no attribute"),
        ({"columns": (column("id"), column("note", path="['']"))}, "which names no attribute"),
        ({"columns": (column("id"), column("note", path="a\nb"))}, "which names no attribute"),
        ({"columns": (column("id"), column("note", path="['a\\b']"))}, "which names no attribute"),
        (
            {"columns": (column("id"), column("note", path=None))},
            "column 'note' has neither a path nor sql to make it",
        ),
        ({"columns": (column("id"), column("note", path=("a", "a..b")))}, "'a..b', which names no attribute"),
        (
            {"columns": (column("id", path=("id", "a..b")), column("note"))},
            "'a..b', which names no attribute",
        ),
        ({"columns": (column("id", path=None), column("note"))}, "has neither a path nor sql to make it"),
        (
            {"columns": (column("id", path=None, sql="1"), column("note"))},
            "must be read from a path, as it is",
        ),
        ({"columns": (column("id", sql="upper({value})"), column("note"))}, "read from a path, as it is"),
        (
            {"columns": (column("id"), column("note", path=None, sql="1", default="2"))},
            "has a default, and no path that could be missing",
        ),
        ({"columns": (column("id"), column("note", sql="1; DROP TABLE x"))}, "sql that is one expression"),
        ({"columns": (column("id"), column("note", default="1; DROP TABLE x"))}, "that is one expression"),
        ({"columns": (column("id"), column("note", sql="CAST({value} AS INT)"))}, "casts, which stops"),
        ({"columns": (column("id"), column("note", sql="{value}::int"))}, "casts, which stops the stream"),
        ({"columns": (column("id"), column("note", default="cast (1 AS string)"))}, "casts, which stops"),
        ({"json_text": ("a..b",)}, "json_text 'a..b' names no attribute"),
        ({"json_text": ("payload", "")}, "json_text '' names no attribute"),
        ({"transform": lambda df: df}, "a table of documents needs a transform, and one of changes has none"),
        ({"format": "documents", "columns": (column("id", path=None),)}, "needs a transform"),
        ({"more_sources": ("others",)}, "which only a table of documents may have"),
        ({"columns": (column("id", "bigint"), column("note"))}, "key 'id' must be a string"),
        ({"format": "documents", "transform": lambda df: df}, "a document's columns come from transform"),
        ({"cluster_by": ("missing",)}, "must name one to four of its columns"),
        ({"cluster_by": ("id", "note", "_sequence", "is_deleted", "updated_at")}, "must name one to four"),
        ({"ttl_deletes": "drop"}, "ttl_deletes is 'drop': use apply or ignore"),
        ({"tombstone_retention_days": 1}, "tombstone_retention_days is 1; the least is 2"),
        ({"history": True, "columns": (column("id"), column("valid_to"))}, "may be named valid_from"),
        ({"rules": (Rule("a b", "true", "A rule."),)}, "rule 'a b' needs a name"),
        ({"rules": (Rule("a", "true", "A."), Rule("a", "false", "B."))}, "rule 'a' needs a name of its own"),
        ({"rules": (Rule("a", " ", "A rule."),)}, "needs a check that is one SQL condition"),
        ({"rules": (Rule("a", "true; DROP TABLE x", "A rule."),)}, "one SQL condition"),
        ({"rules": (Rule("a", "CAST (note AS int) > 0", "A rule."),)}, "use try_cast"),
        ({"rules": (Rule("a", "note::int > 0", "A rule."),)}, "use try_cast"),
        ({"rules": (Rule("a", "{silver}", "A rule."),)}, "without braces"),
        ({"rules": (Rule("a", "true", "A rule.", "drop"),)}, "effect 'drop': use warn"),  # type: ignore[arg-type]
    ],
)
def test_a_table_that_cannot_work_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(TableDefinitionError) as caught:
        table(**changes)
    assert problem in str(caught.value)
    assert caught.value.table == changes.get("name", "things")
    assert caught.value.problem in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    "path",
    [
        *("_version", "__typename", "customer-id", "2fa", "größe", "pk#sk", "aws:rep:updateregion"),
        *("['first name'].x", '["o\'clock"]', "['a.b']", "payload.agentId", "a$b", "@type", "日本語.語"),
    ],
)
def test_a_column_or_a_key_can_be_read_from_any_attribute(path: str) -> None:
    made = table(columns=(column("id", path=path), column("note", path=("other", path))))
    assert made.columns[0].paths == (path,)
    assert made.columns[1].paths == ("other", path)


def test_try_cast_is_no_cast() -> None:
    made = table(columns=(column("id"), column("note", sql="TRY_CAST({value} AS INT)")))
    assert made.columns[1].sql == "TRY_CAST({value} AS INT)"


@pytest.mark.parametrize(
    "kind",
    [
        "string",
        "bigint",
        "int",
        "double",
        "boolean",
        "date",
        "timestamp",
        "timestamp_ntz",
        "array<string>",
        "decimal(10,4)",
        "decimal(38,0)",
    ],
)
def test_the_types_of_the_contract_are_taken(kind: str) -> None:
    assert table(columns=(column("id"), column("note", kind))).columns[1].type == kind


@pytest.mark.parametrize("kind", ["decimal(39,0)", "decimal(4,10)", "decimal(0,0)", "decimal(99,1)"])
def test_a_decimal_that_spark_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(TableDefinitionError):
        table(columns=(column("id"), column("note", kind)))


def test_metadata_comes_after_the_key_and_before_the_rest() -> None:
    made = table(keys=("id", "part"), columns=(column("id"), column("part"), column("note")))
    names = [c.name for c in made.all_columns]
    assert names == ["id", "part", *(c.name for c in METADATA_COLUMNS), "note"]
    assert [c.name for c in made.all_columns if c.not_null] == ["id", "part", "_sequence", "is_deleted"]


def test_the_metadata_columns_are_those_of_the_contract() -> None:
    assert [(c.name, c.type) for c in METADATA_COLUMNS] == [
        ("_sequence", "string"),
        ("is_deleted", "boolean"),
        ("_delete_kind", "string"),
        ("_event_id", "string"),
        ("_event_name", "string"),
        ("_changed_at", "timestamp"),
        ("_source_file", "string"),
        ("_applied_at", "timestamp"),
        ("updated_at", "string"),
    ]


def test_a_table_is_clustered_by_its_key_unless_it_says_otherwise() -> None:
    columns = (column("id"), column("part"), column("note"))
    assert table().cluster_by == ("id",)
    assert table(keys=("id", "part"), columns=columns).cluster_by == ("id", "part")
    assert table(cluster_by=("note", "_changed_at")).cluster_by == ("note", "_changed_at")


def test_the_default_view_shows_live_rows_without_metadata() -> None:
    view = table().view_or_default
    assert view.name == "things"
    shown = r"SELECT `id`, `note`, `updated_at` FROM \(.*FROM \{silver\}\.`things` WHERE NOT is_deleted\b.*\)"
    assert re.fullmatch(shown, view.query)
    own = View("others", "Other things.", "SELECT 1")
    assert dataclasses.replace(table(view=own).view_or_default, columns=()) == own


def test_a_views_live_rows_are_those_that_no_hiding_rule_keeps_back() -> None:
    loud = Rule("noted", "note IS NOT NULL", "Every thing has a note.")
    hiding = Rule("short", "length(note) < 9", "Notes are short.", "quarantine-from-gold")
    own = View("others", "Other things.", "SELECT count(*) FROM {live}")
    query = table(view=own, rules=(loud, hiding)).view_or_default.query
    assert "length(note) < 9" in query
    assert "IS NOT NULL" not in query


def test_a_table_cannot_be_changed_but_be_declared_anew() -> None:
    made = table()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"  # type: ignore[misc]
    assert dataclasses.replace(made, name="other").keys == made.keys


def test_a_name_that_no_file_declares_is_told_with_the_ones_that_there_are() -> None:
    from lakehouse.tables import TABLES
    from lakehouse.tables import table as find

    assert [find(t.name) for t in TABLES] == list(TABLES)
    with pytest.raises(UnknownTableError, match=r"There is no table 'call'.*calls, scorecards") as caught:
        find("call")
    assert caught.value.name == "call"


@pytest.mark.parametrize(
    ("name", "source", "keys"),
    [
        ("calls", "calls", ("call_id",)),
        ("scorecards", "scorecards", ("guid",)),
        ("transcripts", "transcripts", ("transcript_id",)),
    ],
)
def test_the_declared_tables_have_the_keys_of_the_contract(
    name: str, source: str, keys: tuple[str, ...]
) -> None:
    from lakehouse.tables import table as find

    assert (find(name).source, find(name).keys) == (source, keys)
    assert all(c.comment.endswith(".") for c in find(name).columns)


def test_personal_data_is_named() -> None:
    from lakehouse.tables import TABLES

    marked = {c.name for t in TABLES for c in t.all_columns if c.pii}
    declared = {c.name for t in TABLES for c in t.all_columns}
    contract = {
        "agent",
        "agent_id",
        "agent_name",
        "file_name",
        "notes",
        "summary",
        "scores",
        "text_snippet",
        "metadata",
        "student_id",
        "tutor_id",
        "session_id",
        "entity_id",
        "payload",
        "message",
        "details",
        "evidence",
    }
    assert marked == {name for name in declared if name in contract or name.startswith("evidence_")}
