"""alerts: opened when a rule becomes true for an entity, closed when it becomes false.

The rules are data: conditions on a row of metrics, or on the coaching insights of a file. `apply_conditions`
brings silver.alerts up to them; publishing is another step (outbox.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from delta.tables import DeltaTable
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.gold.tables import ALERTS, ENTITY
from lakehouse.ingest.commits import KEY_LITERALS
from lakehouse.ingest.sources import stored
from lakehouse.settings import Settings
from lakehouse.tables import table
from lakehouse.tables.document_members import folded

COACHING: Final = table("coaching_insights")

SUBJECT: Final = ("alert_type", *ENTITY)
"""What has at most one open alert."""

SHOWN_OF_CALL: Final = ("s3_key", "call_guid", "agent")
"""What an alert says of its call."""


@dataclass(frozen=True)
class _Rule:
    """A rule on rows of metrics. `cause`: of which events it takes the time for the alert's."""

    name: str
    entity_type: str
    severity: SparkColumn
    cause: str
    message: SparkColumn
    shown: tuple[str, ...]


def _rules() -> tuple[_Rule, ...]:
    calls, health, balance = F.col("ib_calls_14d"), F.col("health_score"), F.col("balance_status")
    return (
        _Rule(
            "high_ib_call_frequency",
            "student",
            F.when(calls >= 3, "warning"),
            "_ib_call",
            F.format_string("%d inbound calls in 14 days.", calls),
            ("ib_calls_7d", "ib_calls_14d"),
        ),
        _Rule(
            "low_health_score",
            "student",
            F.when(health < 50, "critical").when(health < 70, "warning"),
            "_health",
            F.concat(F.lit("The health score is "), health.cast("string"), F.lit(".")),
            ("health_score",),
        ),
        _Rule(
            "supply_demand_imbalance",
            "subject",
            F.when(balance == "high_demand", "info"),
            "_balance",
            F.concat(
                F.lit("High demand for "),
                F.col("entity_id"),
                F.when(F.col("region") != "", F.concat(F.lit(" in "), F.col("region"))).otherwise(""),
                F.lit("."),
            ),
            ("available_tutors", "active_students", "demand_score", "supply_score"),
        ),
    )


def causes() -> Mapping[str, SparkColumn]:
    """By name of the cause: which events can make its rule true or false."""
    kind = F.col("event_type")
    health = kind == "customer_health_update"
    return {
        "_ib_call": (kind == "ib_call_logged") | (health & F.col("ib_calls_last_14_days").isNotNull()),
        "_health": health & F.col("health_score").isNotNull(),
        "_balance": (kind == "supply_demand_update") & F.col("balance_status").isNotNull(),
    }


def metric_conditions(rows: DataFrame) -> DataFrame:
    """Rows of metrics → what each rule says of each.

    Args:
        rows: every column of METRICS, null but for ENTITY where an entity has no metrics (any more); and the
            causes, each the time of the newest event that has come in for it, or null.

    Returns:
        SUBJECT, `severity` (null: the rule does not hold), `message`, `details`, `cause` timestamp.
    """
    found = [
        F.when(
            F.col("entity_type") == rule.entity_type,
            F.struct(
                F.lit(rule.name).alias("alert_type"),
                rule.severity.alias("severity"),
                rule.message.alias("message"),
                F.to_json(F.struct(*rule.shown)).alias("details"),
                F.col(rule.cause).alias("cause"),
            ),
        )
        for rule in _rules()
    ]
    each = rows.select(*ENTITY, F.explode(F.array_compact(F.array(*found))).alias("_found"))
    return each.select(*ENTITY, "_found.*")


def follow_insights(
    spark: SparkSession, settings: Settings, images: DataFrame, scratch: str, as_of: int
) -> int:
    """Open and close the alerts of the calls whose insights of high priority have changed.

    Args:
        images: of the change feed of coaching_insights.
        scratch: folder for what is read more than once.
        as_of: now, in microseconds since 1970.

    Returns:
        How many calls were looked at.
    """
    calls = stored(changed_calls(images), f"{scratch}/calls")
    few = [row[0] for row in calls.limit(KEY_LITERALS + 1).collect()]
    if not few:
        return 0
    rows = spark.table(settings.table("silver", COACHING.name)).withColumn("entity_id", _call())
    if len(few) <= KEY_LITERALS:
        rows = rows.where(F.col("entity_id").isin(few))
    apply_conditions(
        spark, settings, insight_conditions(rows, calls), as_of, few if len(few) <= KEY_LITERALS else None
    )
    return calls.count() if len(few) > KEY_LITERALS else len(few)


def refresh_insights(spark: SparkSession, settings: Settings, scratch: str, as_of: int) -> int:
    """Open and close the alerts of all calls, those of open alerts among them; how many calls that are."""
    rows = spark.table(settings.table("silver", COACHING.name)).withColumn("entity_id", _call())
    alerts = spark.table(settings.table("silver", "alerts"))
    still_open = alerts.where("closed_at IS NULL AND entity_type = 'call'").select("entity_id")
    calls = stored(rows.select("entity_id").union(still_open).distinct(), f"{scratch}/calls")
    found = calls.count()
    if found:
        apply_conditions(spark, settings, insight_conditions(rows, calls), as_of, None)
    return found


def changed_calls(images: DataFrame) -> DataFrame:
    """Pure: images of coaching_insights → `entity_id` of the calls whose insights of high priority changed.

    A commit that left an insight as it was, as to all that the alert shows, says nothing of its call.
    """
    after = F.col("_change_type").isin("insert", "update_postimage")
    told = images.where(_is_high()).groupBy(
        _call().alias("entity_id"), "id", "_commit_version", *SHOWN_OF_CALL, "insight_type"
    )
    balance = told.agg(F.sum(F.when(after, 1).otherwise(-1)).alias("_balance"))
    return balance.where("_balance <> 0").select("entity_id").distinct()


def insight_conditions(rows: DataFrame, calls: DataFrame) -> DataFrame:
    """Pure: coaching insights → what the rule says of each call, as `metric_conditions` does.

    Args:
        rows: of the state table, tombstones too, all of the calls; with `entity_id`.
        calls: `entity_id` of the calls to look at; one without rows has no insight any more.
    """
    shown = {c: F.max(F.when(_is_high(), F.col(c))) for c in SHOWN_OF_CALL}
    kinds = F.array_sort(F.collect_set(F.when(_is_high(), F.col("insight_type"))))
    found = rows.groupBy("entity_id").agg(
        kinds.alias("insights"), F.max("_changed_at").alias("cause"), *(c.alias(n) for n, c in shown.items())
    )
    return calls.join(found, "entity_id", "left").select(
        F.lit("high_priority_insight").alias("alert_type"),
        F.lit("call").alias("entity_type"),
        "entity_id",
        F.lit("").alias("region"),
        F.when(F.size("insights") > 0, "warning").alias("severity"),
        F.concat(F.lit("The call calls for coaching: "), F.concat_ws(", ", "insights"), F.lit(".")).alias(
            "message"
        ),
        F.to_json(F.struct("insights", *SHOWN_OF_CALL)).alias("details"),
        "cause",
    )


def _call() -> SparkColumn:
    """The file: a redacted twin has taken over the rows of its original, and is the same call."""
    return folded(F.regexp_replace("_source_file", r"^[a-z0-9]+:/*", ""))


def _is_high() -> SparkColumn:
    return ~F.col("is_deleted") & (F.col("priority") == "high")


def apply_conditions(
    spark: SparkSession, settings: Settings, conditions: DataFrame, as_of: int, ids: list[str] | None
) -> None:
    """Open, update and close alerts, in one commit.

    One MERGE on the open row of a subject: two writers who both find none conflict, and one tries again.

    Args:
        conditions: as of `metric_conditions`; one row a subject.
        as_of: when the rules were looked at, in microseconds since 1970: the time of what no event caused.
        ids: the values of `entity_id` in `conditions`, if they are few.
    """
    name = settings.table("silver", "alerts")
    alerts = spark.table(name)
    if ids is not None:
        alerts = alerts.where(F.col("entity_id").isin(ids))
    taken = alerts.groupBy(*SUBJECT).agg(F.collect_set(F.col("opened_at")).alias("_taken"))
    still_open = alerts.where("closed_at IS NULL").select(*SUBJECT, F.lit(True).alias("_open"))
    conditions = conditions.join(still_open, list(SUBJECT), "left")
    # Most of what the rules look at is neither true nor open: nothing to write then.
    conditions = conditions.where(F.col("severity").isNotNull() | F.col("_open")).drop("_open")
    if conditions.isEmpty():
        return
    now = F.timestamp_micros(F.lit(as_of))
    # An event opens one alert. One that was closed, and has been late, is opened again by what is known now.
    later = F.timestamp_micros(F.unix_micros(F.array_max("_taken")) + 1)
    free = F.filter(F.array("cause", now, later), lambda at: at.isNotNull() & ~F.array_contains("_taken", at))
    rows = conditions.join(taken, list(SUBJECT), "left").select(
        *conditions.columns,
        F.when(F.col("_taken").isNull(), F.coalesce("cause", now))
        .otherwise(F.get(free, F.lit(0)))
        .alias("opened_at"),
        F.coalesce("cause", now).alias("ended_at"),
    )
    identity = F.to_json(F.array(*SUBJECT, F.unix_micros("opened_at").cast("string")))
    rows = rows.withColumn("alert_id", F.sha2(identity, 256))
    same = F.col("t.closed_at").isNull()
    for key in SUBJECT:
        same = same & (F.col(f"t.{key}") == F.col(f"s.{key}"))
    if ids is not None:
        same = same & F.col("t.entity_id").isin(ids)
    holds = F.col("s.severity").isNotNull()
    told = ("severity", "message", "details")
    changed = F.lit(False)
    for column in told:
        changed = changed | ~F.col(f"s.{column}").eqNullSafe(F.col(f"t.{column}"))
    new: dict[str, str | SparkColumn] = {
        c.name: F.col(f"s.{c.name}") for c in ALERTS if c.name in {"alert_id", "opened_at", *SUBJECT, *told}
    }
    (
        DeltaTable.forName(spark, name)
        .alias("t")
        .merge(rows.alias("s"), same)
        .whenMatchedUpdate(condition=holds & changed, set={c: F.col(f"s.{c}") for c in told})
        .whenMatchedUpdate(
            condition=~holds, set={"closed_at": F.greatest(F.col("s.ended_at"), F.col("t.opened_at"))}
        )
        .whenNotMatchedInsert(condition=holds, values=new | {"publish_attempts": F.lit(0).cast("bigint")})
        .execute()
    )
