"""What is personal data, by name; what Unity Catalog is told of it, and of keys and grants."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lakehouse.catalog import ops
from lakehouse.catalog.declared import all_views, other_tables, state_table
from lakehouse.catalog.governance import (
    Governance,
    grant_statements,
    key_statements,
    tag_statements,
    upkeep_statements,
)
from lakehouse.catalog.set_up import mask
from lakehouse.errors import ConfigurationError
from lakehouse.settings import PII_READERS, Settings
from lakehouse.table import Column
from lakehouse.tables import TABLES

SETTINGS = Settings(landing="/landing", checkpoints="/checkpoints", catalog="main", silver="Dev_silver")
MADE = (*other_tables(TABLES), *(state_table(table) for table in TABLES))
VIEWS = tuple(all_views(TABLES))

CALLS = {"agent_id", "agent_name", "file_name", "session_id"}
SCORECARDS = {
    *("agent", "notes", "summary", "scores"),
    *("evidence_ask_for_payment", "evidence_confirm_location", "evidence_features_advantages"),
    *("evidence_handle_objections", "evidence_size_recommendation", "evidence_urgency"),
}
PERSONAL = {
    **{
        f"bronze.{source}": {"item", "_raw"}
        for source in ("calls", "scorecards", "sentiment_items", "metric_events", "writer_quarantine")
    },
    "bronze.transcripts": {"document", "_raw"},
    "bronze.pca_calls": {"document", "_raw"},
    "silver.calls": CALLS,
    "silver.scorecards": SCORECARDS,
    "silver.dashboard_items": {"text_snippet", "metadata"},
    "silver.coaching_insights": {"agent", "evidence", "message"},
    "silver.metric_events": {"student_id", "tutor_id", "session_id"},
    "silver.metric_entity_events": {"entity_id", "student_id", "tutor_id", "session_id"},
    "silver.metrics": {"entity_id"},
    "silver.alerts": {"entity_id", "message", "details"},
    "ops.failures": {"message"},
    "ops.reconciliations": {"examples"},
}
"""Section 10 of the data contract, by hand; the examples of reconcile have keys of any table."""

CONTRACT = {
    *("agent", "agent_id", "agent_name", "file_name", "notes", "summary", "scores", "text_snippet"),
    *("metadata", "student_id", "tutor_id", "session_id", "entity_id", "payload", "message", "details"),
    *("evidence", "item", "document", "_raw", "raw"),
}


SCHEMAS = {"bronze": "bronze", "silver": "Dev_silver", "ops": "ops"}


def test_the_personal_data_of_the_contract_is_marked_and_nothing_else() -> None:
    marked = {f"{made.layer}.{made.name}": {c.name for c in made.columns if c.pii} for made in MADE}
    assert {name: columns for name, columns in marked.items() if columns} == PERSONAL
    for made in MADE:
        for column in made.columns:
            named = column.name in CONTRACT or column.name.startswith("evidence_")
            assert column.pii or not named, f"{made.name}.{column.name}"


def test_a_record_as_it_came_is_personal_data_wherever_it_is_kept() -> None:
    for made in MADE:
        for column in made.columns:
            assert column.pii or column.type != "variant", f"{made.name}.{column.name}"


def test_every_column_with_personal_data_is_tagged_but_those_that_are() -> None:
    found = tag_statements(SETTINGS, MADE, set())
    assert len(found) == sum(map(len, PERSONAL.values()))
    places = {name: (SCHEMAS[name.partition(".")[0]], name.partition(".")[2]) for name in PERSONAL}
    assert set(found) == {
        f"ALTER TABLE `main`.`{places[name][0]}`.`{places[name][1]}` ALTER COLUMN `{column}` "
        "SET TAGS ('pii' = 'true')"
        for name, columns in PERSONAL.items()
        for column in columns
    }
    tagged = {(places[n][0].lower(), places[n][1], c) for n, columns in PERSONAL.items() for c in columns}
    assert tag_statements(SETTINGS, MADE, tagged - {("bronze", "calls", "item")}) == [
        "ALTER TABLE `main`.`bronze`.`calls` ALTER COLUMN `item` SET TAGS ('pii' = 'true')"
    ]


def test_keys_are_declared_where_every_writer_keeps_them_unique() -> None:
    keys = {
        "metric_entity_events": "`entity_type`, `entity_id`, `region`, `event_id`",
        "metrics": "`entity_type`, `entity_id`, `region`",
        "calls": "`call_id`",
        "scorecards": "`guid`",
        "dashboard_items": "`source_id`, `ingested_at`",
        "transcripts": "`transcript_id`",
        "coaching_insights": "`id`",
        "metric_events": "`event_id`",
    }
    assert key_statements(SETTINGS, MADE, set()) == [
        f"ALTER TABLE `main`.`Dev_silver`.`{name}` ADD CONSTRAINT `{name}_pk` PRIMARY KEY ({columns})"
        for name, columns in keys.items()
    ]
    assert key_statements(SETTINGS, MADE, {("dev_silver", name) for name in keys}) == []


def test_a_key_has_no_column_that_may_be_null() -> None:
    for made in MADE:
        assert set(made.unique) <= {c.name for c in made.columns if c.not_null}, made.name


def test_analysts_may_read_the_views_in_gold_and_operators_everything() -> None:
    given = grant_statements(SETTINGS, MADE, VIEWS, Governance(analysts="data analysts", operators="o`ps"))
    gold = {
        *("calls", "calls_history", "scorecards", "scorecards_history", "dashboard_items", "transcripts"),
        *("coaching_insights", "coaching_insights_recent", "coaching_summary"),
        *("metric_events", "metrics", "alerts"),
        *("batches", "followers", "reconciliations", "quarantine_counts"),
    }
    to_analysts = {s for s in given if s.endswith("TO `data analysts`")}
    assert to_analysts == {f"GRANT SELECT ON VIEW `main`.`gold`.`{v}` TO `data analysts`" for v in gold}
    to_operators = {s for s in given if s.endswith("TO `o``ps`")}
    assert to_operators == {
        *(f"GRANT SELECT ON VIEW `main`.`gold`.`{name}` TO `o``ps`" for name in gold),
        *(f"GRANT SELECT ON TABLE `main`.`ops`.`{name}` TO `o``ps`" for name in ops.TABLES),
        *(
            f"GRANT SELECT ON TABLE `main`.`{SCHEMAS[made.layer]}`.`{made.name}` TO `o``ps`"
            for made in MADE
            if made.layer in ("bronze", "silver")
        ),
        "GRANT SELECT ON VIEW `main`.`ops`.`quarantine` TO `o``ps`",
    }
    assert len(given) == len(to_analysts) + len(to_operators)
    assert grant_statements(SETTINGS, MADE, VIEWS, Governance()) == []


def test_no_table_lies_in_gold() -> None:
    """Whoever may read the schema would see it unmasked."""
    assert {made.layer for made in MADE} == {"bronze", "silver", "ops"}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00"])
def test_what_is_no_name_is_granted_nothing(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a user, group"):
        grant_statements(SETTINGS, MADE, VIEWS, Governance(analysts=name))
    with pytest.raises(ConfigurationError, match="no name of a user, group"):
        Settings(landing="/l", checkpoints="/c", pii_readers=name)


def test_the_upkeep_of_files_is_left_to_databricks_unless_told_otherwise() -> None:
    assert upkeep_statements(SETTINGS, Governance()) == [
        "ALTER SCHEMA `main`.`bronze` ENABLE PREDICTIVE OPTIMIZATION",
        "ALTER SCHEMA `main`.`Dev_silver` ENABLE PREDICTIVE OPTIMIZATION",
        "ALTER SCHEMA `main`.`gold` ENABLE PREDICTIVE OPTIMIZATION",
        "ALTER SCHEMA `main`.`ops` ENABLE PREDICTIVE OPTIMIZATION",
    ]
    assert upkeep_statements(SETTINGS, Governance(predictive_optimization=False)) == []


def test_managed_tables_are_masked_unless_a_warehouse_folder_says_that_there_are_no_groups() -> None:
    assert SETTINGS.pii_readers == PII_READERS
    folder = Settings(landing="/l", checkpoints="/c", warehouse="/w", platform="local")
    assert folder.pii_readers is None


def test_a_mask_is_around_the_query_and_keeps_the_order_and_the_names() -> None:
    columns, query = mask(
        "SELECT 1 -- the end",
        ["id", "Agent", "odd`name"],
        (Column("agent", "string", "It's who.", pii=True), Column("id", "string", "Which.")),
        "it's a \\ group",
    )
    assert columns == (
        " (`id`, `Agent` COMMENT 'It\\'s who. Null but for members of it\\'s a \\\\ group.', `odd``name`)"
    )
    assert query == (
        "SELECT `id`, CASE WHEN is_account_group_member('it\\'s a \\\\ group') THEN `Agent` END AS `Agent`, "
        "`odd``name` FROM (\nSELECT 1 -- the end\n)"
    )


def test_a_view_without_personal_data_stays_as_it_is() -> None:
    assert mask("SELECT 1 AS id", ["id"], (Column("agent", "string", "Who.", pii=True),), "g") == (
        "",
        "SELECT 1 AS id",
    )


def test_every_view_knows_the_personal_data_of_its_tables() -> None:
    seen = set()
    for _, view in VIEWS:
        read = {".".join(found) for found in re.findall(r"\{(silver|ops)\}\.`?([a-z_]+)", view.query)}
        personal = {c.name for c in view.columns if c.pii}
        for table in read & PERSONAL.keys():
            seen.add(table)
            assert PERSONAL[table] <= personal, f"{view.name} of {table}"
    assert {"silver.calls", "silver.alerts"} <= seen


def test_views_over_bronze_show_no_record_but_masked() -> None:
    """A history has the table's columns, quarantine the record as `raw`: nothing else of bronze is shown."""
    over = {view.name: view for _, view in VIEWS if "{bronze}" in view.query}
    assert {*over} == {"calls_history", "scorecards_history", "quarantine"}
    for name, view in over.items():
        personal = {c.name for c in view.columns if c.pii}
        table = name.removesuffix("_history")
        assert personal == (PERSONAL[f"silver.{table}"] if table != name else {"raw"})
        shown = view.query.rpartition("\nSELECT ")[2].partition("\nFROM ")[0]
        assert not re.search(r"\b(item|document|_raw)\b", shown)


def test_the_statements_for_databricks_are_run_by_nobody_else() -> None:
    """Where set_up is called without its last argument, nothing is told to Unity Catalog."""
    root = Path(__file__).resolve().parents[2]
    told = set()
    for folder in ("src", "jobs"):
        for path in (root / folder).rglob("*.py"):
            names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
            if "Governance" in names:
                told.add(path.name)
    assert told == {"governance.py", "set_up.py", "setup.py"}
