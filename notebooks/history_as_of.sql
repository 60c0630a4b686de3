-- Databricks notebook source
-- MAGIC %md
-- MAGIC # How it was at a time
-- MAGIC
-- MAGIC `calls_history` and `scorecards_history` have every version of every row, one behind the other without gap or
-- MAGIC overlap. Say a time at the top, with its zone. It may be years ago: this does not use Delta's time travel, which
-- MAGIC ends after a week.
-- MAGIC
-- MAGIC A change that arrives late takes its place among the others; what is shown for its time changes with it.

-- COMMAND ----------

CREATE WIDGET TEXT catalog DEFAULT 'main'

-- COMMAND ----------

CREATE WIDGET TEXT gold DEFAULT 'gold'

-- COMMAND ----------

CREATE WIDGET TEXT at DEFAULT '2026-01-31T12:00:00Z'

-- COMMAND ----------

USE IDENTIFIER(:catalog || '.' || :gold)

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Calls and scorecards that there were

-- COMMAND ----------

SELECT direction, count(*) AS calls
FROM calls_history
WHERE valid_from <= to_timestamp(:at) AND (valid_to > to_timestamp(:at) OR valid_to IS NULL) AND NOT is_deleted
GROUP BY direction
ORDER BY calls DESC

-- COMMAND ----------

SELECT outcome, count(*) AS scorecards, round(avg(overall_score), 2) AS overall
FROM scorecards_history
WHERE valid_from <= to_timestamp(:at) AND (valid_to > to_timestamp(:at) OR valid_to IS NULL) AND NOT is_deleted
GROUP BY outcome
ORDER BY scorecards DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## What has changed since

-- COMMAND ----------

SELECT
  CASE
    WHEN earlier.call_id IS NULL THEN 'new since'
    WHEN present.call_id IS NULL THEN 'gone since'
    WHEN earlier.valid_from = present.valid_from THEN 'as it was'
    ELSE 'changed since'
  END AS became,
  count(*) AS calls
FROM (
  SELECT call_id, valid_from FROM calls_history
  WHERE valid_from <= to_timestamp(:at) AND (valid_to > to_timestamp(:at) OR valid_to IS NULL) AND NOT is_deleted
) AS earlier
FULL JOIN (SELECT call_id, valid_from FROM calls_history WHERE is_current AND NOT is_deleted) AS present
  ON earlier.call_id = present.call_id
GROUP BY ALL
ORDER BY became

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## The calls that changed most often, and what happened to the first of them

-- COMMAND ----------

SELECT call_id, count(*) AS versions, min(valid_from) AS first, max(valid_from) AS last
FROM calls_history
GROUP BY call_id
ORDER BY versions DESC, call_id
LIMIT 10

-- COMMAND ----------

SELECT call_id, valid_from, valid_to, is_deleted, is_current, direction, file_name
FROM calls_history
WHERE call_id = (SELECT min_by(call_id, (-versions, call_id)) FROM (
  SELECT call_id, count(*) AS versions FROM calls_history GROUP BY call_id
))
ORDER BY valid_from
