"""`lakehouse sql` reads and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakehouse.errors import QueryError
from lakehouse.local.query import read_only

READS = [
    "SELECT 1",
    "VALUES (1)",
    "WITH t(a) AS (SELECT 1) SELECT * FROM t WHERE a IN (SELECT 1) AND EXISTS (SELECT 1)",
    "SELECT a, count(*) FROM VALUES (1), (2) t(a) GROUP BY ROLLUP(a) HAVING count(*) > 0 ORDER BY 1 LIMIT 5",
    "SELECT sum(a) OVER w FROM VALUES (1) t(a) WINDOW w AS (ORDER BY a)",
    "SELECT * FROM (SELECT 1 a UNION ALL SELECT 2) PIVOT (count(*) FOR a IN (1, 2))",
    "SELECT DISTINCT a FROM VALUES (1) t(a) EXCEPT SELECT 2 INTERSECT SELECT 3",
    "SELECT * FROM VALUES (1) t(a) JOIN LATERAL (SELECT a) LEFT JOIN (SELECT 2)",
    "SELECT * FROM VALUES (1) t(a) LATERAL VIEW explode(array(1)) e AS x",
    "SELECT * FROM range(3) |> WHERE id > 1",
    "SHOW SCHEMAS",
    "SHOW TABLES IN default",
    "EXPLAIN SELECT 1",
    "SELECT /*+ BROADCAST(t), COALESCE(1) */ * FROM VALUES (1) t(a)",
    "DESCRIBE FUNCTION EXTENDED upper",
    "SHOW FUNCTIONS LIKE 'upper'",
    "SHOW CATALOGS",
    "SHOW CURRENT SCHEMA",
    "DESCRIBE SCHEMA default",
    "DESCRIBE QUERY SELECT 1",
]

WRITES = [
    "DROP TABLE silver.calls",
    "DROP SCHEMA silver CASCADE",
    "CREATE TABLE x (a INT)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE TEMPORARY VIEW x AS SELECT 1",
    "INSERT INTO silver.calls SELECT 1",
    "WITH x AS (SELECT 1) INSERT INTO silver.calls SELECT * FROM x",
    "FROM silver.calls INSERT INTO silver.calls SELECT *",
    "INSERT OVERWRITE DIRECTORY '/tmp/x' USING csv SELECT 1",
    "UPDATE silver.calls SET call_id = 'x'",
    "DELETE FROM silver.calls",
    "MERGE INTO silver.calls t USING silver.calls s ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE TABLE silver.calls",
    "OPTIMIZE silver.calls",
    "VACUUM silver.calls",
    "RESTORE TABLE silver.calls TO VERSION AS OF 0",
    "ALTER TABLE silver.calls SET TBLPROPERTIES ('a' = 'b')",
    "CACHE TABLE silver.calls",
    "REFRESH TABLE silver.calls",
    "SET a = b",
    "RESET",
    "USE gold",
    "ADD JAR 'x'",
    "CALL x()",
    "DECLARE x INT",
    "EXECUTE IMMEDIATE 'DROP TABLE silver.calls'",
    "BEGIN DROP TABLE silver.calls; END",
    "SELECT transform(a) USING 'touch /tmp/x' FROM (SELECT 1 a)",
]


@pytest.mark.parametrize("statement", READS)
def test_a_statement_that_reads_is_run(spark: SparkSession, statement: str) -> None:
    read_only(spark, statement).collect()


@pytest.mark.parametrize("statement", WRITES)
def test_a_statement_that_does_more_is_refused_before_it_runs(spark: SparkSession, statement: str) -> None:
    with pytest.raises(QueryError, match="only reads"):
        read_only(spark, statement)


def test_what_spark_refuses_is_said_without_its_plan(spark: SparkSession) -> None:
    with pytest.raises(QueryError) as missing:
        read_only(spark, "SELECT nope FROM VALUES (1) t(a)")
    assert "nope" in str(missing.value)
    assert "+-" not in str(missing.value)
    with pytest.raises(QueryError, match="PARSE_SYNTAX_ERROR"):
        read_only(spark, "SELECT 1; DROP TABLE silver.calls")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT reflect('java.lang.System', 'exit', 0)",
        "SELECT 1 FROM VALUES (1) t(a) WHERE (SELECT java_method('java.lang.System', 'exit', 0)) = a",
        "SELECT 1 ORDER BY try_reflect('java.lang.System', 'exit', 0)",
        "SELECT IDENTIFIER('refl' || 'ect')('java.lang.System', 'exit', 0)",
    ],
)
def test_a_query_reaches_no_java_method(spark: SparkSession, statement: str) -> None:
    with pytest.raises(QueryError, match=r"UNRESOLVED_ROUTINE|ROUTINE_NOT_FOUND"):
        read_only(spark, statement).collect()


def test_a_query_reads_tables_and_no_files(spark: SparkSession) -> None:
    with pytest.raises(QueryError, match=r"There is no table text\./etc/hostname"):
        read_only(spark, "SELECT * FROM text.`/etc/hostname`")


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> Iterator[str]:
    """The path of a table of the warehouse."""
    path = str(tmp_path / "calls")
    spark.sql("CREATE SCHEMA IF NOT EXISTS silver")
    spark.sql(
        f"CREATE TABLE silver.query_calls (a INT) USING DELTA LOCATION '{path}' "
        "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
    )
    yield path
    spark.sql("DROP TABLE silver.query_calls")


def test_what_tells_of_a_table_is_run_by_its_name_and_not_by_a_path(spark: SparkSession, table: str) -> None:
    for shows in ("SHOW TBLPROPERTIES", "DESCRIBE DETAIL", "DESCRIBE HISTORY", "SHOW COLUMNS IN"):
        assert read_only(spark, f"{shows} silver.query_calls").collect()
        with pytest.raises(QueryError, match=r"There is no table delta|reads tables by their names"):
            read_only(spark, f"{shows} delta.`{table}`")
    read_only(spark, "SELECT * FROM table_changes('silver.query_calls', 0)").collect()
    for by_path in (
        f"DESCRIBE DETAIL '{table}'",
        f"DESCRIBE HISTORY '{table}'",
        f"SELECT * FROM table_changes_by_path('{table}', 0)",
        f"SELECT 1 WHERE EXISTS (SELECT * FROM TABLE_CHANGES_BY_PATH('{table}', 0))",
    ):
        with pytest.raises(QueryError, match="by their names, and no paths"):
            read_only(spark, by_path)


@pytest.mark.parametrize(
    "missing", ["silver.query_call", "silvr.query_calls", "query_calls", "Silver.Query_Cals"]
)
def test_a_misspelt_table_is_answered_with_those_near_it(
    spark: SparkSession, table: str, missing: str
) -> None:
    with pytest.raises(
        QueryError, match=rf"There is no table {missing}\. Is it .*silver\.query_calls"
    ) as said:
        read_only(spark, f"SELECT * FROM {missing}")
    assert "DROP VIEW" not in str(said.value)
    with pytest.raises(QueryError, match=r"There is no table nothing\.like_it\. SHOW TABLES IN gold"):
        read_only(spark, "SELECT * FROM nothing.like_it")
