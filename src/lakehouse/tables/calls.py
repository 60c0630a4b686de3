"""calls: one row per call, from the DynamoDB table of calls."""

from __future__ import annotations

from lakehouse.table import Column, Rule, Table, View
from lakehouse.tables.transcripts import transcripts

CALLS = Table(
    name="calls",
    source="calls",
    keys=("call_id",),
    comment="One row per call: who, where, which way, and the recording it belongs to.",
    columns=(
        Column("call_id", "string", "Id of the call.", "callId"),
        Column(
            "call_timestamp_raw", "string", "Start of the call as the source wrote it.", "callTimestampUTC"
        ),
        Column("call_timestamp_utc", "timestamp", "Start of the call, UTC.", "callTimestampUTC"),
        Column("agent_id", "string", "Agent who took or made the call.", "payload.agentId", pii=True),
        Column("agent_name", "string", "The agent's name.", "payload.agentName", pii=True),
        Column("allocation", "string", "How the call was allocated.", "payload.allocation"),
        Column("direction", "string", "inbound or outbound.", "payload.direction"),
        Column("file_name", "string", "Name of the recording.", "payload.file_name", pii=True),
        Column("first_or_follow_up", "string", "First contact or a follow-up.", "payload.firstOrFollowUp"),
        Column("medium", "string", "Voice, chat or other.", "payload.medium"),
        Column("program", "string", "Programme that the call belongs to.", "payload.program"),
        Column("queue_name", "string", "Queue that the call waited in.", "payload.queueName"),
        Column("session_id", "string", "Session of the telephony system.", "payload.sessionId", pii=True),
        Column("site_name", "string", "Site of the agent.", "payload.siteName"),
        Column("s3_bucket", "string", "Bucket that holds the recording.", "payload.s3_bucket"),
        Column("queue_id", "string", "Id of the queue; arrives as number or text.", "payload.queueId"),
        Column("site_id", "bigint", "Id of the site.", "payload.siteId"),
        Column("tenant_id", "bigint", "Id of the tenant.", "payload.tenantId"),
        Column(
            "call_guid",
            "string",
            "The part of file_name between _GUID_ and the next underscore.",
            sql="nullif(regexp_extract(file_name, '_GUID_(.+?)_', 1), '')",
        ),
    ),
    json_text=("payload",),
    view=View(
        name="calls",
        comment="Live calls with what their transcript tells: duration, who answered, where it lies.",
        # The join is in the view, so it does not matter whether the call or its transcript came first.
        query="""
WITH transcripts AS (
  SELECT transcript_id,
    struct(
      shape = 'pca' AS pca, _changed_at AS written,
      duration_seconds, duration_source, speaker_count, s3_key
    ) AS t
  FROM {transcripts}
),
matched AS (
  SELECT c.*,
    -- Where both fit: Transcribe's own before PCA's, then the newest.
    CASE
      WHEN own.t IS NULL THEN guid.t
      WHEN guid.t IS NULL THEN own.t
      WHEN own.t.pca <> guid.t.pca THEN IF(own.t.pca, guid.t, own.t)
      ELSE IF(guid.t.written > own.t.written, guid.t, own.t)
    END AS t
  FROM {live} AS c
  LEFT JOIN transcripts AS own ON own.transcript_id = c.call_id
  LEFT JOIN transcripts AS guid ON guid.transcript_id = c.call_guid
)
SELECT call_id, call_timestamp_raw, call_timestamp_utc, agent_id, agent_name, allocation, direction,
  file_name, first_or_follow_up, medium, program, queue_name, session_id, site_name, s3_bucket,
  queue_id, site_id, tenant_id, call_guid, updated_at,
  t.duration_seconds AS call_duration_seconds,
  t.duration_source AS duration_source,
  CASE
    WHEN t.duration_seconds IS NULL OR t.duration_seconds = 0 THEN 'Unknown'
    WHEN t.duration_seconds < 10 THEN 'NoAnswer'
    WHEN t.speaker_count >= 2 THEN 'Human'
    WHEN t.speaker_count = 1 THEN 'Voicemail'
    ELSE 'Unknown'
  END AS answer_type,
  t.s3_key AS transcript_s3_key,
  t.speaker_count AS speaker_count
FROM matched
""".replace("{transcripts}", transcripts().live),
    ),
    history=True,
    rules=(
        Rule(
            "call_timestamp_readable",
            "call_timestamp_raw IS NULL OR call_timestamp_utc IS NOT NULL",
            "A call whose start cannot be read is on no day.",
        ),
    ),
)
