"""What Unity Catalog is told of tables and views beside their columns: tags, keys, grants, upkeep.

The statements are for Databricks alone. Each function gives them as text; `govern` runs what is missing. What
is there already and was not declared, a tag or a grant that somebody gave, stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog.declared import Made
from lakehouse.settings import LAYERS, Layer, Settings, literal, principal
from lakehouse.table import View

PII_TAG = "pii"
"""Tag of a column that holds personal data; its value is `true`."""


@dataclass(frozen=True, slots=True)
class Governance:
    """What is to be governed beside tags and keys.

    analysts: who is granted SELECT on every view in gold; nobody if None.
    operators: who is granted SELECT on every table and view; nobody if None.
    predictive_optimization: whether Databricks is to OPTIMIZE, VACUUM and ANALYZE the tables by itself.
    """

    analysts: str | None = None
    operators: str | None = None
    predictive_optimization: bool = True


def govern(
    spark: SparkSession,
    settings: Settings,
    tables: Sequence[Made],
    views: Sequence[tuple[Layer, View]],
    governance: Governance,
) -> None:
    """Tell Unity Catalog what it does not know yet; after the tables and views were created.

    Grants on views are given each time: a view that is replaced has lost them.
    """

    def known(name: str, which: Column, *columns: str) -> list[Row]:
        found = spark.table(f"`{settings.catalog}`.`information_schema`.`{name}`").where(which)
        ours = F.lower(columns[0]).isin([_schema(settings, layer) for layer in LAYERS])
        return found.where(ours).select(*(F.lower(c) for c in columns)).collect()

    is_pii, is_key = F.col("tag_name") == PII_TAG, F.col("constraint_type") == "PRIMARY KEY"
    tagged = known("column_tags", is_pii, "schema_name", "table_name", "column_name")
    keyed = known("table_constraints", is_key, "table_schema", "table_name")
    statements = (
        *tag_statements(settings, tables, {(r[0], r[1], r[2]) for r in tagged}),
        *key_statements(settings, tables, {(r[0], r[1]) for r in keyed}),
        *grant_statements(settings, tables, views, governance),
        *upkeep_statements(settings, governance),
    )
    for statement in statements:
        spark.sql(statement)


def tag_statements(
    settings: Settings, tables: Iterable[Made], tagged: set[tuple[str, str, str]]
) -> list[str]:
    """Tag every column with personal data, but those of `tagged`: schema, table, column in lower case."""
    return [
        f"ALTER TABLE {settings.table(made.layer, made.name)} ALTER COLUMN `{column.name}` "
        f"SET TAGS ({literal(PII_TAG)} = 'true')"
        for made in tables
        for column in made.columns
        if column.pii and (_schema(settings, made.layer), made.name, column.name) not in tagged
    ]


def key_statements(settings: Settings, tables: Iterable[Made], keyed: set[tuple[str, str]]) -> list[str]:
    """Declare the primary key of each table whose rows are unique, but those of `keyed`: schema, table.

    For people and tools to read. Without RELY: through an optimizer that takes our word for it, a table that
    is wrong after all would give wrong answers to queries that have nothing to do with it.
    """
    return [
        f"ALTER TABLE {settings.table(made.layer, made.name)} ADD CONSTRAINT `{made.name}_pk` "
        f"PRIMARY KEY ({', '.join(f'`{name}`' for name in made.unique)})"
        for made in tables
        if made.unique and (_schema(settings, made.layer), made.name) not in keyed
    ]


def grant_statements(
    settings: Settings,
    tables: Iterable[Made],
    views: Iterable[tuple[Layer, View]],
    governance: Governance,
) -> list[str]:
    """Grant SELECT on what setup makes, one by one."""
    made = [("TABLE", table.layer, table.name) for table in tables]
    made += [("VIEW", layer, view.name) for layer, view in views]
    granted = []
    for kind, layer, name in made:
        may = [governance.operators]
        if kind == "VIEW" and layer == "gold":
            may.append(governance.analysts)
        granted += [
            f"GRANT SELECT ON {kind} {settings.table(layer, name)} TO {principal(who)}"
            for who in may
            if who is not None
        ]
    return granted


def upkeep_statements(settings: Settings, governance: Governance) -> list[str]:
    """Leave the upkeep of files to Databricks."""
    if not governance.predictive_optimization:
        return []
    return [f"ALTER SCHEMA {settings.schema(layer)} ENABLE PREDICTIVE OPTIMIZATION" for layer in LAYERS]


def _schema(settings: Settings, layer: Layer) -> str:
    return str(getattr(settings, layer)).lower()
