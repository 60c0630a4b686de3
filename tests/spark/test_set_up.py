"""Tables and views from their declarations, and what they become when a declaration gains a column."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
import uuid
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.spark.support import ITEMS, TRANSCRIPTS, Lake, assert_rows, assert_same, change

from lakehouse.catalog import ops
from lakehouse.catalog.declared import bronze_tables
from lakehouse.catalog.set_up import PROPERTIES, create_view, set_up
from lakehouse.errors import ColumnTypeError, ConfigurationError
from lakehouse.ingest import fill
from lakehouse.local.warehouse import attach
from lakehouse.settings import Layer
from lakehouse.table import Column, Table, View
from lakehouse.tables import TABLES


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(spark, tmp_path_factory.mktemp("it's set up"), TABLES)


def _declared(lake: Lake) -> list[tuple[Layer, str, tuple[Column, ...], str, tuple[str, ...]]]:
    state = [("silver", t.name, t.all_columns, t.comment, t.cluster_by) for t in TABLES]
    logs = [
        ("bronze", made.name, made.columns, made.comment, made.cluster_by) for made in bronze_tables(TABLES)
    ]
    return [*state, *logs, *(("ops", name, *parts) for name, parts in ops.TABLES.items())]  # type: ignore[list-item]


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


def more_of(*columns: Column) -> Table:
    """ITEMS with more columns."""
    return dataclasses.replace(ITEMS, columns=(*ITEMS.columns, *columns))


def set_up_and_fill(lake: Lake, table: Table) -> None:
    """As `jobs/setup.py` does."""
    fill.fill(lake.spark, lake.settings, (table,), set_up(lake.spark, lake.settings, (table,)))


def test_a_column_that_a_declaration_gains_is_added_and_filled(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="before", number="1", note="kept", extra="it's kept"))
    lake.ingest_well()
    before = lake.versions()["silver.items"]
    gained = Column("extra", "string", "It's new: \\ and 'quoted'.", "extra")
    more = more_of(gained)
    set_up_and_fill(lake, more)
    set_up_and_fill(lake, more)
    # The column, and what fills it; the second time, nothing.
    assert lake.versions()["silver.items"] == before + 2
    field = lake.state(more).schema["extra"]
    assert (field.dataType.simpleString(), field.metadata["comment"]) == ("string", gained.comment)
    lake.land("items", change(1, site="after", number="1", extra="held"))
    lake.ingest_well(more)
    assert_rows(
        lake.gold("items").select("site", "note", "extra"),
        [("before", "kept", "it's kept"), ("after", None, "held")],
        "site string, note string, extra string",
    )


ITEM = {
    "note": {"not": "text"},
    "amount": "many",
    "rating": "4.56789",
    "when": "2026-01-08T10:00:00Z",
    "odd": "no date",
    "nothing": None,
    "digits": 12345678901234567890123456789012345678,
    "tags": ["b", "a"],
    "whole": {"z": 1, "a": [1, {"b": None}]},
    "part": {"of": {"it": 7, "rest": True}, "more": "x"},
    "text": '{"inner": "json as text", "other": 1}',
    "unknown": "stays",
    "sorted": ["b", None, "a", "b"],
    "both": "outside",
    "empty": "",
    "holder": {"alone": "inside", "both": "also inside", "empty": "not empty", "misfit": 3},
    "misfit": "x",
}
GAINED = (
    Column("rating", "decimal(9,4)", "It rounds.", "rating"),
    Column("at", "timestamp", "It is a time.", "when"),
    Column("odd", "date", "It does not fit.", "odd"),
    Column("nothing", "string", "It is null.", "nothing"),
    Column("digits", "string", "It keeps its digits.", "digits"),
    Column("tags", "array<string>", "It is a list.", "tags"),
    Column("whole", "string", "It is an object.", "whole"),
    Column("part_of_it", "bigint", "It is a member.", "part.of.it"),
    Column("inner", "string", "It is a member of JSON as text.", "text.inner"),
    Column("missing", "string", "Nobody has it.", "nobody.has.it"),
    Column("shout", "string", "It is made.", sql="upper(site)"),
    Column("sorted", "array<string>", "It is shaped.", "sorted", sql="array_sort(array_distinct({value}))"),
    Column("alone", "string", "It is in its second place alone.", ("alone", "holder.alone")),
    Column("both", "string", "It is in both places.", ("both", "holder.both")),
    Column("empty", "string", "It is empty in its first place.", ("empty", "holder.empty")),
    Column("misfit", "int", "It does not fit in its first place.", ("misfit", "holder.misfit")),
    Column("again", "string", "Also the amount.", "amount"),
)


@pytest.mark.extra
def test_rows_with_gained_columns_are_those_of_a_table_that_had_them_all_along(
    spark: SparkSession, tmp_path: Path
) -> None:
    old = dataclasses.replace(ITEMS, history=True)
    more = dataclasses.replace(old, columns=(*ITEMS.columns, *GAINED), json_text=("text",))
    lake = Lake(spark, tmp_path / "one", (old,))
    other = Lake(spark, tmp_path / "other", (more,))
    for each in (lake, other):
        each.land(
            "items",
            change(1, site="first", number="1", rating="1"),
            change(2, site="first", number="1", **ITEM),
            change(1, site="plain", number="1", note="it"),
            change(1, site="gone", number="1", **ITEM),
            change(2, deleted=True, site="gone", number="1"),
            change(1, site="only null", number="1", nothing=None),
            change(1, site="bad metadata", number="1", rating="2") | {"_approxStreamTs": "late"},
        )
        each.ingest_well()
    set_up_and_fill(lake, more)
    # Columns of the one table stand in another order: where they came in.
    columns = [c.name for c in more.all_columns if c.name not in ("_source_file", "_applied_at")]
    assert_same(lake.state(more).select(columns), other.state(more).select(columns))
    views = [each.gold("items_history").drop("valid_to") for each in (lake, other)]
    assert_same(*views)
    row = lake.rows(more)["first"]
    assert (str(row.rating), row.at, row.odd, row.tags) == ("4.5679", "2026-01-08 10:00:00", None, ["b", "a"])
    assert (row.whole, row.part_of_it, row.inner) == ('{"a":[1,{"b":null}],"z":1}', 7, "json as text")
    assert (row.digits, row.shout) == ("12345678901234567890123456789012345678", "FIRST")
    assert (row.alone, row.both, row.empty, row.misfit) == ("inside", "outside", "not empty", None)
    assert (row.sorted, row.again) == (["a", "b"], "many")


def test_a_column_over_one_that_is_made_of_something_else_is_filled_too(
    spark: SparkSession, tmp_path: Path
) -> None:
    twice = more_of(Column("twice", "bigint", "Twice the amount.", sql="amount * 2"))
    lake = Lake(spark, tmp_path, (twice,))
    lake.land("items", change(1, site="a", number="1", amount=1, other=5))
    lake.ingest_well()
    columns = tuple(dataclasses.replace(c, path="other") if c.name == "amount" else c for c in twice.columns)
    lake.tables = (dataclasses.replace(twice, columns=columns),)
    lake.set_up()
    row = lake.rows(lake.tables[0])["a"]
    assert (row.amount, row.twice) == (5, 10)


def test_a_column_that_is_made_of_something_else_is_filled_anew(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="a", number="1", note="old", remark="new"))
    lake.land("items", change(1, site="b", number="1", note="only this"))
    lake.ingest_well()
    columns = [dataclasses.replace(c, path="remark") if c.name == "note" else c for c in ITEMS.columns]
    set_up_and_fill(lake, dataclasses.replace(ITEMS, columns=tuple(columns)))
    assert {site: row.note for site, row in lake.rows(ITEMS).items()} == {"a": "new", "b": None}


def test_a_column_of_another_type_is_refused_with_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="a", number="1", amount=7))
    lake.ingest_well()
    columns = [dataclasses.replace(c, type="string") if c.name == "amount" else c for c in ITEMS.columns]
    other = dataclasses.replace(ITEMS, columns=tuple(columns))
    before = lake.versions()
    with pytest.raises(ColumnTypeError, match=r"'amount' is bigint and is declared string.*drop the table"):
        set_up(spark, lake.settings, (other,))
    assert lake.versions() == before
    # What it says to do: the table is made anew and fills itself from bronze.
    spark.sql(f"DROP TABLE {lake.settings.table('silver', 'items')}")
    shutil.rmtree(str(lake.settings.location("silver", "items")))
    set_up(spark, lake.settings, (other,))
    lake.ingest_well(other)
    assert lake.rows(other)["a"].amount == "7"


def test_a_filling_that_was_killed_is_finished_by_the_next_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, tmp_path, (ITEMS,))
    lake.land("items", change(1, site="a", number="1", extra="it"))
    lake.ingest_well()
    more = more_of(Column("extra", "string", "More.", "extra"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(fill, "_fill", killed)
            with pytest.raises(KeyboardInterrupt):
                set_up_and_fill(lake, more)
    assert lake.rows(more)["a"].extra is None
    set_up_and_fill(lake, more)
    assert lake.rows(more)["a"].extra == "it"
    before = lake.versions()
    set_up_and_fill(lake, more)
    assert lake.versions() == before


def test_a_gained_column_of_documents_is_filled_too(spark: SparkSession, tmp_path: Path) -> None:
    short = dataclasses.replace(TRANSCRIPTS, columns=TRANSCRIPTS.columns[:-1])
    lake = Lake(spark, tmp_path, (short,))
    lake.write_document("redacted-a.json", {"results": {"audio_duration": 5}}, mtime=1_767_000_000)
    lake.ingest_well()
    set_up_and_fill(lake, TRANSCRIPTS)
    assert lake.rows(TRANSCRIPTS)["a"].redacted is True


OLD = Path(__file__).parents[1] / "fixtures" / "warehouse-without-bronze.tar.gz"
"""Tables that the last version without bronze has set up."""


def test_a_warehouse_of_the_layout_before_bronze_is_refused_with_what_to_do(
    spark: SparkSession, tmp_path: Path
) -> None:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    settings = dataclasses.replace(Lake(spark, tmp_path / "new", ()).settings, warehouse=str(tmp_path))
    names = {layer: f"{layer}_{uuid.uuid4().hex[:8]}" for layer in ("bronze", "silver", "gold", "ops")}
    for layer in ("silver", "ops"):
        (tmp_path / "tables" / layer).rename(tmp_path / "tables" / names[layer])
    settings = dataclasses.replace(settings, **names)
    attach(spark, settings)
    with pytest.raises(ConfigurationError, match=r"earlier version .* Start over: name a new --warehouse"):
        set_up(spark, settings, TABLES)


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
