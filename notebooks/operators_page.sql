-- Databricks notebook source
-- MAGIC %md
-- MAGIC # The operator's page
-- MAGIC
-- MAGIC What came in, what did not, and what waits for a decision. Run all: it only reads. What to do about each is in
-- MAGIC `docs/operations.md`.

-- COMMAND ----------

CREATE WIDGET TEXT catalog DEFAULT 'main'

-- COMMAND ----------

CREATE WIDGET TEXT silver DEFAULT 'silver'

-- COMMAND ----------

CREATE WIDGET TEXT ops DEFAULT 'ops'

-- COMMAND ----------

USE IDENTIFIER(:catalog || '.' || :ops)

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Streams
-- MAGIC
-- MAGIC A stream has a row for each table that it feeds. `lag_seconds` is the time from the newest change of a batch to its
-- MAGIC end: what a reader of gold waits. After a backfill, and for documents that are older than the stream, it is the age
-- MAGIC of what came in.

-- COMMAND ----------

SELECT split_part(stream, '/', 1) AS stream, table_name, count(*) AS batches, sum(records) AS records,
  sum(upserts) AS upserts, sum(deletes) AS deletes, sum(stale) AS stale, sum(quarantined) AS quarantined,
  max(finished_at) AS last_batch,
  timestampdiff(MINUTE, max(finished_at), current_timestamp()) AS silent_minutes,
  max_by(timestampdiff(SECOND, last_changed_at, finished_at), finished_at) AS lag_seconds,
  round(avg(timestampdiff(MILLISECOND, started_at, finished_at)) / 1000, 1) AS seconds_a_batch
FROM batches
WHERE finished_at > current_timestamp() - INTERVAL 7 DAYS
GROUP BY ALL
ORDER BY last_batch DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Failures
-- MAGIC
-- MAGIC A stream of the job `ingest` that fails is started again by itself, beside the others. `recovered` says that a batch
-- MAGIC has ended since.

-- COMMAND ----------

SELECT f.stream, f.error, count(*) AS failures, min(f.failed_at) AS first, max(f.failed_at) AS last,
  coalesce(any_value(b.last_batch) > max(f.failed_at), false) AS recovered,
  max_by(f.message, f.failed_at) AS message
FROM failures AS f
LEFT JOIN (
  SELECT split_part(stream, '/', 1) AS stream, max(finished_at) AS last_batch FROM batches GROUP BY ALL
) AS b ON b.stream = f.stream
WHERE f.failed_at > current_timestamp() - INTERVAL 7 DAYS
GROUP BY f.stream, f.error
ORDER BY last DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Quarantine
-- MAGIC
-- MAGIC Nothing that lies here is lost, and nothing of it is in a table. `lakehouse quarantine` requeues or discards.

-- COMMAND ----------

SELECT source, reason, status, count(*) AS records, min(quarantined_at) AS oldest, max(quarantined_at) AS newest
FROM quarantine
GROUP BY ALL
ORDER BY status, records DESC

-- COMMAND ----------

SELECT quarantine_id, source, reason, detail, object, quarantined_at
FROM quarantine
WHERE status = 'open'
ORDER BY quarantined_at DESC
LIMIT 100

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Rules that rows break, and values that do not fit their column
-- MAGIC
-- MAGIC Such a value is null in its column, and whole in bronze.

-- COMMAND ----------

SELECT table_name, rule, sum(broken) AS upserts, max(finished_at) AS newest
FROM batches LATERAL VIEW explode(violations) AS rule, broken
GROUP BY ALL
ORDER BY upserts DESC

-- COMMAND ----------

SELECT table_name, sum(misfits) AS misfits, max(finished_at) AS newest
FROM batches
WHERE misfits > 0
GROUP BY ALL
ORDER BY misfits DESC

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Comparisons with DynamoDB, and tombstone floors

-- COMMAND ----------

SELECT * EXCEPT (examples)
FROM reconciliations
ORDER BY started_at DESC
LIMIT 20

-- COMMAND ----------

SELECT table_name, max(floor) AS floor, max(raised_at) AS raised_at
FROM floors
GROUP BY table_name
ORDER BY table_name

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Since when bronze is complete, and who holds which checkpoint
-- MAGIC
-- MAGIC A rebuild asks for the first. A lease that has been silent for a quarter of an hour is nobody's.

-- COMMAND ----------

SELECT source, max_by(since, noted_at) AS complete_since, max_by(basis, noted_at) AS basis, max(noted_at) AS noted_at
FROM completeness
GROUP BY source
ORDER BY source

-- COMMAND ----------

SELECT name, holder, renewed_at
FROM leases
WHERE token IS NOT NULL
ORDER BY name

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## Alerts that are not on the bus yet

-- COMMAND ----------

USE IDENTIFIER(:catalog || '.' || :silver)

-- COMMAND ----------

SELECT alert_type, severity, count(*) AS alerts, max(publish_attempts) AS attempts, min(opened_at) AS oldest
FROM alerts
WHERE closed_at IS NULL AND (published_at IS NULL OR published_severity IS DISTINCT FROM severity)
GROUP BY ALL
ORDER BY oldest

-- COMMAND ----------

-- MAGIC %md
-- MAGIC ## What wrote to a table

-- COMMAND ----------

DESCRIBE HISTORY calls LIMIT 20

-- COMMAND ----------

DESCRIBE DETAIL calls
