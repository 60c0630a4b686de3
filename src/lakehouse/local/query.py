"""Read-only SQL on a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lakehouse.errors import QueryError
from lakehouse.settings import LAYERS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_QUERY = {
    "Aggregate",
    "Distinct",
    "Except",
    "Filter",
    "Generate",
    "GlobalLimit",
    "Intersect",
    "Join",
    "LateralJoin",
    "LocalLimit",
    "LocalRelation",
    "Offset",
    "OneRowRelation",
    "Pivot",
    "Project",
    "RelationTimeTravel",
    "ResolvedInlineTable",
    "Sample",
    "Sort",
    "SubqueryAlias",
    "UnaryNode",
    "Union",
    "UnresolvedHaving",
    "UnresolvedHint",
    "UnresolvedInlineTable",
    "UnresolvedRelation",
    "UnresolvedSubqueryColumnAliases",
    "UnresolvedTVFAliases",
    "UnresolvedTableValuedFunction",
    "UnresolvedWith",
    "Unpivot",
    "Window",
    "WithWindowDefinition",
}
"""What a query is made of, by the names of Spark's parser. A list of what is allowed, because a list of
what is not would always miss something (EXECUTE IMMEDIATE, TRANSFORM … USING, the next release)."""

_SHOWS = {
    "DescribeColumn",
    "DescribeDeltaDetailCommand",
    "DescribeDeltaHistory",
    "DescribeFunction",
    "DescribeNamespace",
    "DescribeQueryCommand",
    "DescribeRelation",
    "ExplainCommand",
    "ShowCatalogsCommand",
    "ShowColumns",
    "ShowCreateTable",
    "ShowCurrentNamespaceCommand",
    "ShowFunctions",
    "ShowNamespaces",
    "ShowNamespacesCommand",
    "ShowPartitions",
    "ShowTableProperties",
    "ShowTables",
    "ShowViews",
    "UnresolvedFunctionName",
    "UnresolvedNamespace",
    "UnresolvedTable",
    "UnresolvedTableOrView",
    "CurrentNamespace",
}
"""Statements that are no queries, yet only tell, and what they name."""

_OF_A_TABLE = {"DescribeDeltaDetailCommand", "DescribeDeltaHistory"}
"""Statements that take a path in place of a table's name."""

_BY_PATH = {"table_changes_by_path"}
"""Table functions that take a path: what lies there may be no table of the warehouse."""

_REACHING_OUT = ("reflect", "java_method", "try_reflect")
"""Functions that call any method of any Java class."""


def read_only(spark: SparkSession, statement: str) -> DataFrame:
    """Run one statement that reads.

    What a statement does is taken from Spark's own parser, not from its text.

    Raises:
        QueryError: the statement would write, set or call something, or Spark refuses it.
    """
    from pyspark.errors import PySparkException

    try:
        plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(statement)
        _check(list(_nodes(plan)))
        _forbid_reaching_out(spark)
        return spark.sql(statement)
    except PySparkException as error:
        if error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
            missing = (error.getMessageParameters() or {}).get("relationName", "").replace("`", "")
            raise QueryError(_no_table(spark, missing)) from error
        raise QueryError(_first_lines(str(error))) from error


def _check(nodes: list[Any]) -> None:
    """Raise QueryError if a statement does anything but read tables of the warehouse."""
    names = [node.getClass().getSimpleName().rstrip("$") for node in nodes]
    for node, name in zip(nodes, names, strict=True):
        if name not in _QUERY and name not in _SHOWS:
            raise QueryError(
                f"lakehouse sql only reads, and {name} is not among what it knows to do no more than that. "
                "Tables change through `lakehouse ingest`."
            )
        called = _items(node.name()) if name == "UnresolvedTableValuedFunction" else []
        if (name in _OF_A_TABLE and len(nodes) == 1) or (called and called[-1].lower() in _BY_PATH):
            raise QueryError("lakehouse sql reads tables by their names, and no paths. Name a table.")


def _no_table(spark: SparkSession, missing: str) -> str:
    """What to say of a table that is not there, with names that are near."""
    known = [
        f"{row.namespace}.{row.tableName}"
        for layer in LAYERS
        if spark.catalog.databaseExists(layer)
        for row in spark.sql(f"SHOW TABLES IN `{layer}`").collect()
    ]
    same = [name for name in known if name.partition(".")[2] == missing.lower()]
    near = same or get_close_matches(missing.lower(), known, n=3)
    meant = f"Is it {' or '.join(near)}?" if near else "SHOW TABLES IN gold lists what analysts query."
    return f"There is no table {missing}. {meant}"


def _nodes(plan: Any) -> Iterator[Any]:
    """The plan's nodes, those inside WITH and subqueries included."""
    yield plan
    for inner in (*_items(plan.children()), *_items(plan.innerChildren())):
        if hasattr(inner, "children") and _is_plan(inner):
            yield from _nodes(inner)
    for expression in _items(plan.expressions()):
        yield from _plans_in(expression)


def _plans_in(expression: Any) -> Iterator[Any]:
    if expression.getClass().getSimpleName() in {"ScalarSubquery", "Exists", "ListQuery", "LateralSubquery"}:
        yield from _nodes(expression.plan())
    for child in _items(expression.children()):
        yield from _plans_in(child)


def _forbid_reaching_out(spark: SparkSession) -> None:
    """Take away what a query could do beyond reading tables: names are no help, IDENTIFIER() hides them."""
    registry = spark._jsparkSession.sessionState().functionRegistry()
    for name in _REACHING_OUT:
        registry.dropFunction(spark._jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(name))  # type: ignore[union-attr]
    spark.conf.set("spark.sql.runSQLOnFiles", "false")


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(i) for i in range(sequence.size())]


def _is_plan(node: Any) -> bool:
    return ".plans." in node.getClass().getName() or ".analysis." in node.getClass().getName()


def _first_lines(text: str) -> str:
    """Spark's message without the plan and the stack behind it."""
    kept: list[str] = []
    for line in text.splitlines():
        if line.startswith(("'", "+-", "JVM stacktrace")) or line.lstrip().startswith(("+-", ":-")):
            break
        kept.append(line)
    return "\n".join(kept).strip()
