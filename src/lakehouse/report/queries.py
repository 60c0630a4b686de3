"""What the report asks: named queries, each of which can be run as it stands, and answers in a few rows.

All of them read views in gold, and so can be asked by anybody who may read those: by the report
on this machine, and by the dashboard on Databricks (dashboard.py).

In the text of a query, `{gold}.` stands for the schema, and `:days` for how many days are looked at, counted
back from the newest that has data. Hours and days are those of the session's time zone, which is UTC unless
it was changed. No name in a WITH is that of a view in gold: in the dashboard both stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lakehouse.settings import Settings
from lakehouse.table import Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, slots=True)
class Query:
    """A question with a name.

    Args:
        title: what is asked, in words.
        sql: one statement, with the placeholders above.
    """

    name: str
    title: str
    sql: str

    def text(self, settings: Settings, days: int) -> str:
        """The statement, to be run anywhere.

        The days are written in, not given as an argument: Spark 4.1 loses the arguments of a statement that
        reads a view in a WITH (UNBOUND_SQL_PARAMETER).
        """
        return self._about(days).replace("{gold}", _gold(settings))

    def bare(self, days: int) -> str:
        """The statement with the views' names alone, for where gold is the schema that is looked in."""
        return self._about(days).replace("{gold}.", "")

    def _about(self, days: int) -> str:
        return self.sql.strip().replace(":days", str(int(days)))


def ask(spark: SparkSession, statement: str) -> list[dict[str, Any]]:
    """The rows of a statement. Times and dates are text: Python's have no year 0, and a zone of their own."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

    frame = spark.sql(statement)
    times = (DateType, TimestampNTZType, TimestampType)
    columns = [
        F.col(f.name).cast("string").alias(f.name) if isinstance(f.dataType, times) else F.col(f.name)
        for f in frame.schema
    ]
    return [row.asDict() for row in frame.select(*columns).collect()]


def _gold(settings: Settings) -> str:
    """The schema's name, as short as it can be: people read it."""
    short = settings.catalog == "spark_catalog" and re.fullmatch(r"[A-Za-z_]\w*", settings.gold)
    return settings.gold if short else settings.schema("gold")


def _both(common: str, statement: str) -> str:
    """A statement behind the WITH that it shares with others."""
    return f"{common.strip()}\n{statement.strip()}"


# --- calls -------------------------------------------------------------------------------------------

_CALLS = """
WITH period AS (
  SELECT max(call_timestamp_utc) AS until FROM {gold}.calls WHERE call_timestamp_utc <= current_timestamp()
),
recent AS (
  SELECT c.* FROM {gold}.calls AS c CROSS JOIN period
  WHERE c.call_timestamp_utc > until - make_dt_interval(:days) AND c.call_timestamp_utc <= until
)"""

# A direction is what the source wrote, so there may be any number of them; with others and null, six show.
_NAMED_CALLS = _both(
    _CALLS + ",",
    """
named AS (
  SELECT direction AS name FROM recent WHERE direction IS NOT NULL
  GROUP BY direction ORDER BY count(*) DESC, direction LIMIT 4
),
directed AS (
  SELECT recent.* EXCEPT (direction),
    CASE WHEN direction IS NOT NULL AND name IS NULL THEN '(other)' ELSE direction END AS direction
  FROM recent LEFT JOIN named ON direction = name
)""",
)

CALLS_PERIOD: Final = Query(
    "calls_period",
    "The period that the calls are from",
    _both(
        _CALLS,
        """
SELECT count(*) AS calls, min(call_timestamp_utc) AS first_call, max(call_timestamp_utc) AS last_call,
  (SELECT count(*) FROM {gold}.calls) AS all_calls,
  (SELECT count(*) FROM {gold}.calls WHERE call_timestamp_utc IS NULL) AS calls_without_time
FROM recent
""",
    ),
)

CALLS_BY_HOUR: Final = Query(
    "calls_by_hour",
    "Calls by hour of the day and direction",
    _both(
        _NAMED_CALLS,
        """
SELECT hour(call_timestamp_utc) AS hour, direction, count(*) AS calls
FROM directed
GROUP BY ALL
ORDER BY hour, direction
""",
    ),
)

CALLS_BY_HOUR_AND_ANSWER: Final = Query(
    "calls_by_hour_and_answer",
    "Calls by hour of the day and answer type",
    _both(
        _CALLS,
        """
SELECT hour(call_timestamp_utc) AS hour, answer_type, count(*) AS calls
FROM recent
GROUP BY ALL
ORDER BY hour, answer_type
""",
    ),
)

CALLS_BY_ANSWER: Final = Query(
    "calls_by_answer",
    "Calls by direction and answer type",
    _both(
        _NAMED_CALLS,
        """
SELECT direction, answer_type,
  count(*) AS calls,
  round(avg(call_duration_seconds), 1) AS average_seconds,
  count_if(call_duration_seconds > 60) AS over_a_minute
FROM directed
GROUP BY ALL
ORDER BY direction NULLS LAST, answer_type
""",
    ),
)

# --- scorecards --------------------------------------------------------------------------------------

_SCORED = """
WITH scored AS (
  SELECT *, coalesce(scored_at_local, CAST(ingested_at AS TIMESTAMP_NTZ)) AS at FROM {gold}.scorecards
),
period AS (
  -- Sites ahead of UTC score in what is the future here.
  SELECT max(at) AS until FROM scored
  WHERE at <= CAST(current_timestamp() + INTERVAL 1 DAY AS TIMESTAMP_NTZ)
),
cards AS (
  SELECT scored.* FROM scored CROSS JOIN period
  WHERE at > until - make_dt_interval(:days) AND at <= until
)"""

SCORECARDS_BY_AGENT: Final = Query(
    "scorecards_by_agent",
    "Mean scores by agent",
    _both(
        _SCORED,
        """
SELECT agent,
  count(*) AS scorecards,
  round(avg(overall_score), 1) AS overall,
  round(avg(score_ask_for_payment), 1) AS ask_for_payment,
  round(avg(score_confirm_location), 1) AS confirm_location,
  round(avg(score_features_advantages), 1) AS features_advantages,
  round(avg(score_handle_objections), 1) AS handle_objections,
  round(avg(score_size_recommendation), 1) AS size_recommendation,
  round(avg(score_urgency), 1) AS urgency,
  count(*) OVER () AS agents
FROM cards
GROUP BY agent
ORDER BY scorecards DESC, agent
LIMIT 15
""",
    ),
)

SCORECARDS_BY_OUTCOME: Final = Query(
    "scorecards_by_outcome",
    "Scorecards by outcome",
    _both(
        _SCORED,
        """
SELECT outcome, count(*) AS scorecards, round(avg(overall_score), 1) AS overall, count(*) OVER () AS outcomes
FROM cards
GROUP BY outcome
ORDER BY scorecards DESC, outcome
LIMIT 12
""",
    ),
)

# --- sentiment ---------------------------------------------------------------------------------------

_ITEMS = """
WITH period AS (
  SELECT max(day_partition) AS until FROM {gold}.dashboard_items WHERE day_partition <= current_date()
),
items AS (
  SELECT i.* FROM {gold}.dashboard_items AS i CROSS JOIN period
  WHERE i.day_partition > date_sub(until, :days) AND i.day_partition <= until
)"""

SENTIMENT_BY_DAY: Final = Query(
    "sentiment_by_day",
    "Texts by day and sentiment",
    _both(
        _ITEMS,
        """
SELECT day_partition AS day,
  CASE WHEN sentiment IN ('positive', 'neutral', 'mixed', 'negative') THEN sentiment ELSE '(other)' END
    AS sentiment,
  count(*) AS items
FROM items
WHERE tag IS NULL
GROUP BY ALL
ORDER BY day, sentiment
""",
    ),
)

TAGS_BY_DAY: Final = Query(
    "tags_by_day",
    "Texts by day and tag",
    _both(
        _ITEMS + ",",
        """
named AS (
  SELECT tag AS name, count(*) AS of_tag, count(*) OVER () AS tags FROM items WHERE tag IS NOT NULL
  GROUP BY tag ORDER BY of_tag DESC, tag LIMIT 12
)
SELECT day_partition AS day, tag, count(*) AS items, any_value(tags) AS tags
FROM items JOIN named ON tag = name
GROUP BY day_partition, tag
ORDER BY max(of_tag) DESC, tag, day
""",
    ),
)

# --- metrics and alerts ------------------------------------------------------------------------------

METRICS_BY_KIND: Final = Query(
    "metrics_by_kind",
    "Metrics by what they are about",
    """
SELECT entity_type, count(*) AS entities,
  sum(sessions_7d) AS sessions_7d, sum(sessions_14d) AS sessions_14d, sum(sessions_30d) AS sessions_30d,
  sum(ib_calls_7d) AS ib_calls_7d, sum(ib_calls_14d) AS ib_calls_14d,
  round(avg(avg_rating), 2) AS mean_rating,
  round(avg(health_score), 1) AS mean_health,
  max(as_of) AS as_of
FROM {gold}.metrics
GROUP BY entity_type
ORDER BY array_position(array('student', 'tutor', 'subject', 'region'), entity_type), entity_type
LIMIT 20
""",
)

STUDENTS_BY_HEALTH: Final = Query(
    "students_by_health",
    "Students by health score",
    """
SELECT
  CASE
    WHEN health_score < 50 THEN 'below 50'
    WHEN health_score < 70 THEN '50 to 70'
    WHEN health_score < 85 THEN '70 to 85'
    WHEN health_score >= 85 THEN '85 and above'
    ELSE 'not reported'
  END AS health,
  count(*) AS students,
  sum(sessions_7d) AS sessions_7d,
  sum(ib_calls_14d) AS ib_calls_14d
FROM {gold}.metrics
WHERE entity_type = 'student'
GROUP BY ALL
ORDER BY min(coalesce(health_score, 1000))
""",
)

SUPPLY_AND_DEMAND: Final = Query(
    "supply_and_demand",
    "Supply and demand by subject",
    """
SELECT entity_id AS subject, region, demand_score, supply_score, available_tutors, active_students,
  balance_status, count(*) OVER () AS subjects
FROM {gold}.metrics
WHERE entity_type = 'subject' AND (demand_score IS NOT NULL OR supply_score IS NOT NULL)
ORDER BY coalesce(demand_score, 0) - coalesce(supply_score, 0) DESC, subject, region
LIMIT 15
""",
)

OPEN_ALERTS: Final = Query(
    "open_alerts",
    "Open alerts by rule and severity",
    """
SELECT alert_type, severity, count(*) AS alerts, min(opened_at) AS oldest, max(opened_at) AS newest
FROM {gold}.alerts
WHERE closed_at IS NULL
GROUP BY alert_type, severity
ORDER BY alert_type, severity
LIMIT 50
""",
)

NEWEST_ALERTS: Final = Query(
    "newest_alerts",
    "The open alerts, the gravest first",
    """
SELECT alert_type, severity, entity_type, entity_id, region, opened_at, published_at,
  count(*) OVER () AS alerts
FROM {gold}.alerts
WHERE closed_at IS NULL
ORDER BY array_position(array('info', 'warning', 'critical'), severity) DESC, opened_at DESC, alert_id
LIMIT 20
""",
)

# --- coaching ----------------------------------------------------------------------------------------

_INSIGHTS = """
WITH period AS (
  SELECT max(created_at) AS until FROM {gold}.coaching_insights WHERE created_at <= current_timestamp()
),
insights AS (
  SELECT i.* FROM {gold}.coaching_insights AS i CROSS JOIN period
  WHERE i.created_at > until - make_dt_interval(:days) AND i.created_at <= until
)"""

INSIGHTS_BY_TYPE: Final = Query(
    "insights_by_type",
    "Coaching insights by kind and priority",
    _both(
        _INSIGHTS,
        """
SELECT insight_type, priority, count(*) AS insights
FROM insights
GROUP BY insight_type, priority
ORDER BY insight_type, priority
LIMIT 100
""",
    ),
)

COACHING_BY_AGENT: Final = Query(
    "coaching_by_agent",
    "Coaching insights by agent",
    _both(
        _INSIGHTS,
        """
SELECT agent,
  count(DISTINCT s3_key) AS calls,
  count(*) AS insights,
  count_if(priority = 'high') AS high,
  count_if(priority = 'medium') AS medium,
  count_if(priority = 'low') AS low,
  max(created_at) AS last_update,
  count(*) OVER () AS agents
FROM insights
GROUP BY agent
ORDER BY high DESC, insights DESC, agent
LIMIT 15
""",
    ),
)

# --- freshness and quarantine ------------------------------------------------------------------------


def tables_query(tables: Sequence[Table]) -> Query:
    """The state tables: what they show, how new it is, and the last comparison with their source."""
    each = "\n  UNION ALL\n".join(_TABLE.replace("{table}", table.name) for table in tables)
    return Query("tables", "The tables, and how fresh they are", _TABLES.replace("{each}", each))


_TABLE = "  SELECT '{table}' AS table_name, count(*) AS live_rows FROM {gold}.{table}"

_TABLES = """
WITH state AS (
{each}
),
applied AS (
  SELECT table_name, max(last_changed_at) AS newest_change, max(finished_at) AS last_batch
  FROM {gold}.batches GROUP BY table_name
),
compared AS (
  SELECT table_name, max_by(verdict, started_at) AS verdict, max(started_at) AS compared_at
  FROM {gold}.reconciliations GROUP BY table_name
)
SELECT state.table_name, live_rows, newest_change,
  timestampdiff(MINUTE, newest_change, current_timestamp()) AS minutes_old, last_batch,
  verdict, compared_at
FROM state
LEFT JOIN applied ON applied.table_name = state.table_name
LEFT JOIN compared ON compared.table_name = state.table_name
ORDER BY state.table_name
"""

STREAMS: Final = Query(
    "streams",
    "What came in, by stream and table",
    """
WITH period AS (SELECT max(finished_at) AS until FROM {gold}.batches)
SELECT stream, table_name, count(*) AS batches,
  sum(records) AS records, sum(upserts) AS upserts, sum(deletes) AS deletes, sum(stale) AS stale,
  sum(quarantined) AS quarantined, sum(misfits) AS misfits,
  max(finished_at) AS last_batch, max(last_changed_at) AS newest_change
FROM {gold}.batches CROSS JOIN period
WHERE finished_at > until - make_dt_interval(:days)
GROUP BY stream, table_name
ORDER BY last_batch DESC, stream, table_name
LIMIT 30
""",
)

FOLLOWERS: Final = Query(
    "followers",
    "How far gold is behind silver",
    """
SELECT follower, table_name, seen_until, written_at, minutes_behind
FROM {gold}.followers
ORDER BY follower
""",
)

QUARANTINE: Final = Query(
    "quarantine",
    "Quarantine by source and reason",
    """
SELECT source, reason,
  sum(CASE WHEN status = 'open' THEN records ELSE 0 END) AS open,
  sum(CASE WHEN status = 'requeued' THEN records ELSE 0 END) AS requeued,
  sum(CASE WHEN status = 'discarded' THEN records ELSE 0 END) AS discarded,
  max(newest) AS newest
FROM {gold}.quarantine_counts
GROUP BY source, reason
ORDER BY open DESC, source, reason
LIMIT 50
""",
)

# --- overview ----------------------------------------------------------------------------------------

OVERVIEW: Final = Query(
    "overview",
    "How much there is",
    """
SELECT
  (SELECT count(*) FROM {gold}.calls) AS calls,
  (SELECT count(*) FROM {gold}.scorecards) AS scorecards,
  (SELECT count(*) FROM {gold}.dashboard_items WHERE tag IS NULL) AS items,
  (SELECT count(*) FROM {gold}.coaching_insights) AS insights,
  (SELECT count(*) FROM {gold}.alerts WHERE closed_at IS NULL) AS open_alerts,
  (SELECT count(*) FROM {gold}.alerts WHERE closed_at IS NULL AND severity = 'critical') AS critical_alerts,
  (SELECT coalesce(sum(records), 0) FROM {gold}.quarantine_counts WHERE status = 'open') AS quarantined
""",
)

FIXED: Final = (
    OVERVIEW,
    CALLS_PERIOD,
    CALLS_BY_HOUR,
    CALLS_BY_HOUR_AND_ANSWER,
    CALLS_BY_ANSWER,
    SCORECARDS_BY_AGENT,
    SCORECARDS_BY_OUTCOME,
    SENTIMENT_BY_DAY,
    TAGS_BY_DAY,
    METRICS_BY_KIND,
    STUDENTS_BY_HEALTH,
    SUPPLY_AND_DEMAND,
    OPEN_ALERTS,
    NEWEST_ALERTS,
    INSIGHTS_BY_TYPE,
    COACHING_BY_AGENT,
    STREAMS,
    FOLLOWERS,
    QUARANTINE,
)
"""The queries that do not depend on which tables there are."""


def queries(tables: Sequence[Table]) -> tuple[Query, ...]:
    """Everything that the report asks."""
    return (*FIXED, tables_query(tables))
