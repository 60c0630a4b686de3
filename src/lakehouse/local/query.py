"""Read-only SQL on a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lakehouse.errors import QueryError

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
    "DescribeDeltaHistory",
    "DescribeRelation",
    "ExplainCommand",
    "ShowColumns",
    "ShowCreateTable",
    "DescribeDeltaDetailCommand",
    "ShowNamespaces",
    "ShowNamespacesCommand",
    "ShowTables",
    "ShowViews",
    "UnresolvedNamespace",
    "UnresolvedTable",
    "UnresolvedTableOrView",
    "CurrentNamespace",
}
"""Statements that are no queries, yet only tell, and what they name."""

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
        for node in _nodes(plan):
            name = node.getClass().getSimpleName().rstrip("$")
            if name not in _QUERY and name not in _SHOWS:
                raise QueryError(
                    f"lakehouse sql only reads, and this statement does not ({name}). "
                    "Tables change through `lakehouse ingest`."
                )
        _forbid_reaching_out(spark)
        return spark.sql(statement)
    except PySparkException as error:
        raise QueryError(_first_lines(str(error))) from error


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
