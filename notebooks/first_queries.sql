-- Databricks notebook source
-- MAGIC %md
-- MAGIC # First queries
-- MAGIC
-- MAGIC The views in gold show what is live: no deleted and no expired rows, every row in its newest state. A value that
-- MAGIC is missing is null. Times are instants; days are those of the session's time zone, UTC unless it was changed.
-- MAGIC
-- MAGIC Attach a SQL warehouse, say at the top where the views are, and run all. What the columns mean is in
-- MAGIC `docs/analysts.md`.

-- COMMAND ----------

CREATE WIDGET TEXT catalog DEFAULT 'main'

-- COMMAND ----------

CREATE WIDGET TEXT gold DEFAULT 'gold'

-- COMMAND ----------

USE IDENTIFIER(:catalog || '.' || :gold)

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## What there is, and how fresh

-- COMMAND ----------

SHOW VIEWS

-- COMMAND ----------

SELECT table_name, max(last_changed_at) AS newest_change, max(finished_at) AS last_batch, sum(records) AS records
FROM batches
GROUP BY table_name
ORDER BY newest_change DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Calls
-- MAGIC
-- MAGIC The newest day that has calls, by direction and by who answered. Calls of unknown duration count in `calls` and do
-- MAGIC not pull the average down; a direction that the source did not name is null, and a group of its own.

-- COMMAND ----------

SELECT direction, answer_type,
  count(*) AS calls,
  round(avg(call_duration_seconds), 1) AS average_seconds,
  count_if(call_duration_seconds > 60) AS over_a_minute
FROM calls
WHERE to_date(call_timestamp_utc) = (
  SELECT to_date(max(call_timestamp_utc)) FROM calls WHERE call_timestamp_utc <= current_timestamp()
)
GROUP BY ALL
ORDER BY direction NULLS LAST, answer_type

-- COMMAND ----------

-- MAGIC %md
-- MAGIC Calls by week and by a site's own day. `direction IS DISTINCT FROM 'inbound'` keeps calls without a direction,
-- MAGIC `direction <> 'inbound'` loses them.

-- COMMAND ----------

SELECT date_trunc('WEEK', call_timestamp_utc) AS week, count(*) AS calls,
  count_if(direction IS DISTINCT FROM 'inbound') AS not_inbound
FROM calls
GROUP BY ALL
ORDER BY week DESC NULLS LAST
LIMIT 12

-- COMMAND ----------

SELECT site_name, to_date(from_utc_timestamp(call_timestamp_utc, 'America/New_York')) AS local_day, count(*) AS calls
FROM calls
GROUP BY ALL
ORDER BY local_day DESC NULLS LAST, calls DESC
LIMIT 50

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Scorecards
-- MAGIC
-- MAGIC The weakest criterion of each kind of call. A criterion that was not judged is null and does not count.

-- COMMAND ----------

SELECT call_type, min_by(criterion, mean_score) AS weakest, min(mean_score) AS mean_score
FROM (
  SELECT call_type, criterion, round(avg(score), 2) AS mean_score
  FROM scorecards UNPIVOT (score FOR criterion IN (
    score_ask_for_payment, score_confirm_location, score_features_advantages,
    score_handle_objections, score_size_recommendation, score_urgency))
  GROUP BY ALL
)
GROUP BY call_type
ORDER BY mean_score

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Sentiment and tags
-- MAGIC
-- MAGIC A text is there once without a tag, and once more for each tag that it matched.

-- COMMAND ----------

SELECT day_partition AS day, sentiment, count(*) AS texts, round(avg(score), 4) AS mean_score
FROM dashboard_items
WHERE tag IS NULL
GROUP BY ALL
ORDER BY day DESC, texts DESC

-- COMMAND ----------

SELECT tag, count(*) AS texts, count_if(sentiment = 'negative') AS negative
FROM dashboard_items
WHERE tag IS NOT NULL
GROUP BY tag
ORDER BY texts DESC
LIMIT 20

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Metrics, alerts, coaching

-- COMMAND ----------

SELECT entity_id AS subject, region, demand_score, supply_score, available_tutors, active_students, balance_status
FROM metrics
WHERE entity_type = 'subject'
ORDER BY demand_score DESC NULLS LAST
LIMIT 20

-- COMMAND ----------

SELECT alert_type, severity, count(*) AS open_alerts, min(opened_at) AS oldest
FROM alerts
WHERE closed_at IS NULL
GROUP BY ALL
ORDER BY open_alerts DESC

-- COMMAND ----------

SELECT insight_type, priority, count(*) AS insights
FROM coaching_insights_recent
GROUP BY ALL
ORDER BY insights DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Do I see personal data?
-- MAGIC
-- MAGIC Names, free text and the like are null for all but one group. The comment of a masked column names it.

-- COMMAND ----------

DESCRIBE TABLE calls
