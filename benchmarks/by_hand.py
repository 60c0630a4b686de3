"""A stream as somebody writes it by hand: latest row of each key, one MERGE a batch, and nothing else.

    uv run python benchmarks/by_hand.py LANDING WAREHOUSE

What `benchmarks/ingest.py` compares the project with, as a whole process. It has no bronze, no quarantine, no
floors, no books and no history; a record that it cannot read is a row of nulls.
"""

from __future__ import annotations

import sys
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lakehouse.local.jars import class_path

PAYLOAD = (
    "agentId string, agentName string, allocation string, direction string, file_name string, "
    "firstOrFollowUp string, medium string, program string, queueName string, sessionId string, "
    "siteName string, s3_bucket string, queueId string, siteId bigint, tenantId bigint"
)
RECORD = (
    f"callId string, callTimestampUTC string, payload struct<{PAYLOAD}>, _sequence string, "
    "is_deleted boolean, _eventName string, _approxStreamTs bigint, updated_at string"
)


def session() -> SparkSession:
    """Spark's own defaults, with Delta."""
    settings = {
        "spark.driver.extraClassPath": ":".join(map(str, class_path(s3a=False))),
        "spark.driver.memory": "2g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = SparkSession.builder.master("local[*]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def rows(lines: DataFrame) -> DataFrame:
    """Lines → typed rows."""
    record = lines.select(F.from_json("value", RECORD).alias("r")).select("r.*")
    kept = ("callId", "_sequence", "is_deleted", "_eventName", "_approxStreamTs", "updated_at")
    return record.select(*kept, F.to_timestamp("callTimestampUTC").alias("at"), "payload.*")


def merge(batch: DataFrame, target: str) -> None:
    """Merge the latest row of each key."""
    newest = Window.partitionBy("callId").orderBy(F.desc("_sequence"))
    latest = rows(batch).withColumn("n", F.row_number().over(newest)).where("n = 1").drop("n")
    spark = batch.sparkSession
    if not DeltaTable.isDeltaTable(spark, target):
        latest.limit(0).write.format("delta").save(target)
    (
        DeltaTable.forPath(spark, target)
        .alias("t")
        .merge(latest.alias("s"), "t.callId = s.callId")
        .whenMatchedUpdateAll(condition="s._sequence > t._sequence")
        .whenNotMatchedInsertAll()
        .execute()
    )


def main(landing: str, warehouse: str) -> None:
    """Everything that has landed, into one table."""
    Path(warehouse).mkdir(parents=True, exist_ok=True)
    spark = session()
    source = spark.readStream.format("text").option("recursiveFileLookup", "true").load(f"{landing}/calls")
    query = (
        source.writeStream.foreachBatch(lambda batch, _: merge(batch, f"{warehouse}/calls"))
        .option("checkpointLocation", f"{warehouse}/_checkpoint")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


if __name__ == "__main__":
    main(*sys.argv[1:])
