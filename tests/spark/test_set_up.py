"""Tables and views from their declarations, and what they become when a declaration gains a column."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, Lake, assert_rows, change

from lakehouse import ops
from lakehouse.catalog import PROPERTIES, create_view, set_up
from lakehouse.settings import Layer
from lakehouse.table import Column, View
from lakehouse.tables import TABLES


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(spark, tmp_path_factory.mktemp("it's set up"), TABLES)


def _declared(lake: Lake) -> list[tuple[Layer, str, tuple[Column, ...], str, tuple[str, ...]]]:
    state = [("silver", t.name, t.all_columns, t.comment, t.cluster_by) for t in TABLES]
    return [*state, *(("ops", name, *parts) for name, parts in ops.TABLES.items())]  # type: ignore[list-item]


def test_every_table_has_the_columns_types_and_comments_of_its_declaration(lake: Lake) -> None:
    for layer, name, columns, comment, clustering in _declared(lake):
        full = lake.settings.table(layer, name)
        fields = lake.spark.table(full).schema.fields
        found = [(f.name, f.dataType.simpleString(), f.nullable, f.metadata.get("comment")) for f in fields]
        assert found == [(c.name, c.type, not c.not_null, c.comment) for c in columns]
        detail = lake.spark.sql(f"DESCRIBE DETAIL {full}").collect()[0]
        assert detail.description == comment
        assert list(detail.clusteringColumns) == list(clustering)
        assert detail.partitionColumns == []
        assert detail.location == f"file:{lake.settings.location(layer, name)}"
        assert PROPERTIES.items() <= detail.properties.items()


def test_every_view_has_its_comment_and_shows_nothing_yet(lake: Lake) -> None:
    for table in TABLES:
        view = table.view_or_default
        assert lake.gold(view.name).count() == 0
        described = lake.spark.sql(
            f"DESCRIBE TABLE EXTENDED {lake.settings.table('gold', view.name)}"
        ).collect()
        assert {row.col_name: row.data_type for row in described}["Comment"] == view.comment


def test_setting_up_again_commits_nothing(lake: Lake) -> None:
    before = lake.versions()
    assert set(before.values()) == {0}
    set_up(lake.spark, lake.settings, TABLES)
    assert lake.versions() == before
    for table in TABLES:
        history = lake.spark.sql(f"DESCRIBE HISTORY {lake.settings.table('silver', table.name)}").collect()
        assert [row.operation for row in history] == ["CREATE TABLE"]


def test_a_column_that_a_declaration_gains_is_added_and_filled_from_then_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="before", number="1", note="kept", extra="it's rescued"))
    lake.ingest_well()

    gained = Column("extra", "string", "It's new: \\ and 'quoted'.", "extra")
    more = dataclasses.replace(ITEMS, columns=(*ITEMS.columns, gained))
    set_up(spark, lake.settings, (more,))
    set_up(spark, lake.settings, (more,))
    assert lake.versions()["items"] == 2
    field = lake.state(more).schema["extra"]
    assert (field.dataType.simpleString(), field.metadata["comment"]) == ("string", gained.comment)
    lake.land("items", change(1, site="after", number="1", extra="held"))
    lake.ingest_well(more)
    assert_rows(
        lake.gold("items").select("site", "note", "extra"),
        [("before", "kept", None), ("after", None, "held")],
        "site string, note string, extra string",
    )
    assert_rows(
        lake.state(more).select("site", "_rescued_data"),
        [("before", '{"extra":"it\'s rescued"}'), ("after", None)],
        "site string, _rescued_data string",
    )


def test_a_view_is_replaced_by_its_new_declaration(spark: SparkSession, lake: Lake) -> None:
    create_view(spark, lake.settings, "gold", View("mine", "First.", "SELECT 1 AS a"))
    create_view(
        spark, lake.settings, "gold", View("mine", "It's second.", "SELECT 2 AS b FROM {silver}.calls")
    )
    assert lake.gold("mine").columns == ["b"]


def test_every_declared_table_takes_a_tombstone(lake: Lake) -> None:
    """No column but the key and the metadata may be not null: a tombstone has nothing else."""
    for table in TABLES:
        required = {c.name for c in table.all_columns if c.not_null}
        assert required == {*table.keys, "_sequence", "is_deleted"}
