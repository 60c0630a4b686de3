"""Personal data in views: for the members of a group, and null for everybody else.

A function of our own stands in for Unity Catalog's `is_account_group_member`, so that the very text of the
views is run. It lies in the schema that is current when a view is made: there the view looks for it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.support import LABEL

from lakehouse.catalog.declared import Made, all_views, other_tables, state_table
from lakehouse.catalog.governance import Governance, govern
from lakehouse.catalog.set_up import create_view
from lakehouse.gold.outbox import due
from lakehouse.settings import LAYERS, Settings, literal
from lakehouse.sql.paths import parse_path
from lakehouse.table import Column
from lakehouse.tables import TABLES

READERS = "it's a \\ group"
SECRET = "a secret"
MADE = (*other_tables(TABLES), *map(state_table, TABLES))
VIEWS = tuple(all_views(TABLES))
SOURCES = {source for table in TABLES for source in table.sources}

MASKED = {
    "calls": {"agent_id", "agent_name", "file_name", "session_id"},
    "calls_history": {"agent_id", "agent_name", "file_name", "session_id"},
    "scorecards": {
        *("agent", "notes", "summary", "scores"),
        *("evidence_ask_for_payment", "evidence_confirm_location", "evidence_features_advantages"),
        *("evidence_handle_objections", "evidence_size_recommendation", "evidence_urgency"),
    },
    "scorecards_history": {
        *("agent", "notes", "summary", "scores"),
        *("evidence_ask_for_payment", "evidence_confirm_location", "evidence_features_advantages"),
        *("evidence_handle_objections", "evidence_size_recommendation", "evidence_urgency"),
    },
    "dashboard_items": {"text_snippet", "metadata"},
    "transcripts": set(),
    "coaching_insights": {"agent", "evidence", "message"},
    "coaching_insights_recent": {"agent", "evidence", "message"},
    "coaching_summary": {"agent"},
    "metric_events": {"student_id", "tutor_id", "session_id"},
    "metrics": {"entity_id"},
    "alerts": {"entity_id", "message", "details"},
    "quarantine": {"raw"},
    "batches": set(),
    "followers": set(),
    "reconciliations": set(),
    "quarantine_counts": set(),
}
"""Of every view, what only the readers of personal data see."""


def _value(column: Column) -> str:
    """A value with which a row shows in every view, as SQL."""
    named = {"status": "'analyzed'", "_sequence": f"'{LABEL}/1'", "published_severity": "NULL"}
    plain = {
        "string": "'plain'",
        "boolean": "false",
        "array<string>": "array('plain')",
        "map<string,bigint>": "map('a', 1)",
        "map<string,string>": "map('a', 'plain')",
    }
    if re.match("timestamp|date", column.type):
        return "TIMESTAMP'2199-01-01 00:00:00'"
    return literal(SECRET) if column.pii else named.get(column.name, plain.get(column.type, "1"))


def _record(source: str) -> str:
    """A record of a source that has a value for every column of its table, as JSON."""
    record: dict[str, Any] = {}
    (*_, table) = (t for t in TABLES if source in t.sources)
    kinds = {"array<string>": ["plain"], "string": "plain", "timestamp": "2199-01-01T00:00:00Z"}
    for column in sorted(table.columns, key=lambda c: max(map(len, c.paths), default=0)):
        for path in map(parse_path, column.paths):
            inside = record
            for name in path[:-1]:
                if not isinstance(inside.get(name), dict):
                    inside[name] = {"more": inside[name]} if name in inside else {}
                inside = inside[name]
            inside[path[-1]] = SECRET if column.pii else kinds.get(column.type, 1)
    return json.dumps(record)


def _rows(made: Made) -> str:
    """The rows of a table, as SQL: one, and in bronze a good one and a bad one."""
    bad = {c.name: _value(c) for c in made.columns}
    if made.layer == "bronze":
        bad |= {"item": "NULL", "document": "NULL"}
        bad["_source_file"] = "'/landing/_quarantine/plain/dt=2026-01-05/HH=08/a.ndjson.gz'"
    good = bad | dict.fromkeys(("_problem", "_detail", "_raw"), "NULL")
    whole = f"parse_json({literal(_record(made.name))})" if made.name in SOURCES else "NULL"
    good |= {"_key": "'[\"plain\"]'", "item": whole, "document": whole}
    rows = [good, bad] if made.name in SOURCES and made.layer == "bronze" else [bad]
    return " UNION ALL ".join(
        f"SELECT {', '.join(f'CAST({row[c.name]} AS {c.type}) AS `{c.name}`' for c in made.columns)}"
        for row in rows
    )


def _member_of(spark: SparkSession, *groups: str) -> None:
    """Be a member of these groups from now on."""
    named = "".join(f" OR name = {literal(group)}" for group in groups)
    spark.sql(
        "CREATE OR REPLACE FUNCTION default.is_account_group_member(name STRING) RETURNS BOOLEAN "
        f"RETURN false{named}"
    )


@pytest.fixture(scope="module")
def settings(spark: SparkSession) -> Iterator[Settings]:
    """A lake of views alone, which are made in no time: each table is a view of one row or two."""
    own = uuid.uuid4().hex[:8]
    made = Settings(
        landing="/landing",
        checkpoints="/checkpoints",
        bronze=f"bronze_{own}",
        silver=f"silver_{own}",
        gold=f"gold_{own}",
        ops=f"ops_{own}",
        pii_readers=READERS,
    )
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA {made.schema(layer)}")
    for one in MADE:
        spark.sql(f"CREATE VIEW {made.table(one.layer, one.name)} AS {_rows(one)}")
    _member_of(spark)
    for layer, view in VIEWS:
        create_view(spark, made, layer, view)
    yield made
    spark.sql("DROP FUNCTION default.is_account_group_member")


def _seen(spark: SparkSession, settings: Settings, *groups: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of every view, as a member of these groups sees them."""
    _member_of(spark, *groups)
    whole = F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row")
    frames = [
        spark.table(settings.table(layer, view.name)).select(F.lit(view.name).alias("view"), whole)
        for layer, view in VIEWS
    ]
    found: dict[str, list[dict[str, Any]]] = {view.name: [] for _, view in VIEWS}
    for name, row in reduce(DataFrame.union, frames).collect():
        found[name].append(json.loads(row))
    return found


def test_personal_data_is_there_for_members_and_null_for_everybody_else(
    spark: SparkSession, settings: Settings
) -> None:
    for_members, for_others = (
        _seen(spark, settings, "other", READERS),
        _seen(spark, settings, "other", READERS.upper()),
    )
    assert SECRET not in json.dumps(for_others)
    assert for_members.keys() == MASKED.keys()
    for name, rows in for_members.items():
        assert rows, name
        masked = {column for row in rows for column, value in row.items() if SECRET in str(value)}
        assert masked == MASKED[name], name
        assert for_others[name] == [row | dict.fromkeys(masked) for row in rows], name


def test_a_masked_column_keeps_its_type_and_says_why_it_is_null(
    spark: SparkSession, settings: Settings
) -> None:
    for layer, view in VIEWS:
        declared = {c.name: c for c in view.columns}
        for field in spark.table(settings.table(layer, view.name)).schema.fields:
            if field.name in MASKED[view.name]:
                column = declared[field.name]
                assert field.dataType.simpleString() == column.type
                says = f"{column.comment} Null but for members of {READERS}."
                assert field.metadata["comment"] == says


def test_the_masked_columns_are_described() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "analysts.md").read_text(encoding="utf-8")
    described: dict[str, set[str]] = {}
    for views, columns in re.findall(r"^\| (`.*) \| (`.*) \|$", text.partition("## Personal data")[2], re.M):
        for view in re.findall(r"`(?:ops\.)?(\w+)`", views):
            described[view] = set(re.findall(r"`([\w*]+)`", columns))
    assert described == {
        name: {re.sub("^evidence_.*", "evidence_*", column) for column in columns}
        for name, columns in MASKED.items()
        if columns
    }


def test_masked_values_find_no_equals_and_no_value_can_be_tried_out(
    spark: SparkSession, settings: Settings
) -> None:
    """A text in their place would pair every row with every other."""
    _member_of(spark)
    insights, scorecards = (
        spark.table(settings.table("gold", "coaching_insights")).alias("i"),
        spark.table(settings.table("gold", "scorecards")).alias("s"),
    )
    assert insights.join(scorecards, F.col("i.agent") == F.col("s.agent")).count() == 0
    assert scorecards.where((F.col("agent") == SECRET) | F.col("agent").startswith("a")).count() == 0
    # Whatever is parsed is parsed: a text that is no JSON would be an error.
    assert scorecards.selectExpr("parse_json(scores) AS scores").collect() == [Row(scores=None)]


def test_what_writes_and_publishes_is_not_masked(spark: SparkSession, settings: Settings) -> None:
    _member_of(spark)
    (alert,) = due(spark, settings)
    assert (alert.entity_id, alert.message, alert.details) == (SECRET, SECRET, SECRET)


def test_unity_catalog_is_told_what_it_does_not_know(spark: SparkSession, settings: Settings) -> None:
    calls = [made for made in MADE if made.name == "calls"]

    class Catalog:
        """A session with an information schema, which runs nothing."""

        told: ClassVar[list[str]] = []
        tags = f"'{settings.silver}' AS schema_name, 'calls' AS table_name, 'agent_id' AS column_name"
        keys = f"'{settings.silver}' AS table_schema, 'calls' AS table_name, 'CHECK' AS constraint_type"

        def table(self, name: str) -> DataFrame:
            assert name.startswith("`spark_catalog`.`information_schema`.`")
            tags = f"SELECT {self.tags}, 'pii' AS tag_name, 'true' AS tag_value"
            return spark.sql(tags if name.endswith("`column_tags`") else f"SELECT {self.keys}")

        def sql(self, statement: str) -> None:
            self.told.append(statement)

    catalog = Catalog()
    governance = Governance(analysts="analysts")
    govern(catalog, settings, calls, VIEWS[:1], governance)  # type: ignore[arg-type]
    bronze, table = settings.table("bronze", "calls"), settings.table("silver", "calls")
    assert catalog.told == [
        *(
            f"ALTER TABLE {one} ALTER COLUMN `{column}` SET TAGS ('pii' = 'true')"
            for one, columns in (
                (bronze, ("item", "_raw")),
                (table, ("agent_name", "file_name", "session_id")),
            )
            for column in columns
        ),
        f"ALTER TABLE {table} ADD CONSTRAINT `calls_pk` PRIMARY KEY (`call_id`)",
        f"GRANT SELECT ON VIEW {settings.table('gold', VIEWS[0][1].name)} TO `analysts`",
        *(
            f"ALTER SCHEMA {settings.schema(layer)} ENABLE PREDICTIVE OPTIMIZATION"
            for layer in ("bronze", "silver", "gold", "ops")
        ),
    ]
    catalog.told.clear()
    tagged = ", ".join(
        f"struct('{getattr(settings, made.layer).upper()}' AS schema_name, '{c.name.upper()}' AS column_name)"
        for made in calls
        for c in made.columns
    )
    catalog.tags = f"inline(array({tagged})), 'CALLS' AS table_name"
    catalog.keys = catalog.keys.replace("CHECK", "PRIMARY KEY")
    govern(catalog, settings, calls, VIEWS[:1], Governance(predictive_optimization=False))  # type: ignore[arg-type]
    assert catalog.told == []
