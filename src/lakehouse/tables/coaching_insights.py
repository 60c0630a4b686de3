"""coaching_insights: what in a call calls for coaching, from the parsed files of Post Call Analytics (PCA).

Each file tells of every rule: a row where the rule holds, a tombstone where it does not. So a file that is
written again replaces its insights.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.sql.values import utc_day
from lakehouse.table import Column, Table, View
from lakehouse.tables.document_members import (
    NON_TALK,
    UNKNOWN_SHAPE,
    folded,
    is_object,
    known,
    list_of,
    machine_speakers,
    member,
    speaker_labels,
)

_QUARTERS = "array<struct<Quarter: string, Score: string>>"
_TRENDS = f"map<string, struct<SentimentScore: string, SentimentPerQuarter: {_QUARTERS}>>"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a call calls for coaching. Sentiment is -5 to 5, shares are 0 to 1, times are seconds."""

    negative_sentiment: Decimal = Decimal("-1")
    """At or below it."""
    very_negative_sentiment: Decimal = Decimal("-2.5")
    """At or below it the priority is high."""
    agent_share_most: Decimal = Decimal("0.70")
    agent_share_least: Decimal = Decimal("0.30")
    share_call_seconds: Decimal = Decimal("60")
    """Shares of talk are judged in calls that are at least so long."""
    silence_share: Decimal = Decimal("0.25")
    silence_seconds: Decimal = Decimal("30")
    long_call_seconds: Decimal = Decimal("1800")
    sentiment_fall: Decimal = Decimal("2")
    """From the first quarter of the call to the last, at least."""


@dataclass(frozen=True)
class _Insight:
    """One rule. `shown`: the figures that it looked at; `message`: parts, texts and columns."""

    name: str
    holds: SparkColumn
    priority: SparkColumn
    shown: dict[str, SparkColumn | Decimal]
    message: tuple[str | SparkColumn, ...]


def _insights(limit: Thresholds) -> list[_Insight]:
    duration, silence = F.col("_duration"), F.col("_non_talk")
    agent, customer = F.col("_agent_talk"), F.col("_customer_talk")
    talk = agent + customer
    share = F.when(talk > 0, F.round(agent / talk, 4))
    judged = (duration >= F.lit(limit.share_call_seconds)) & (talk > 0)
    first, last = F.col("_first_quarter"), F.col("_last_quarter")
    medium, low = F.lit("medium"), F.lit("low")

    def negative(who: str) -> _Insight:
        score = F.col(f"_{who}_sentiment")
        return _Insight(
            f"{who}_negative_sentiment",
            score <= F.lit(limit.negative_sentiment),
            F.when(score <= F.lit(limit.very_negative_sentiment), "high").otherwise(medium),
            {"sentiment": score, "threshold": limit.negative_sentiment},
            (f"The {who}'s sentiment was ", score, "."),
        )

    shares = {"agent_talk_seconds": agent, "customer_talk_seconds": customer, "agent_share": share}
    return [
        negative("agent"),
        negative("customer"),
        _Insight(
            "agent_dominates",
            judged & (agent > F.lit(limit.agent_share_most) * talk),
            medium,
            shares | {"threshold": limit.agent_share_most},
            ("The agent had ", F.round(100 * share, 1), " % of the talk."),
        ),
        _Insight(
            "agent_silent",
            judged & (agent < F.lit(limit.agent_share_least) * talk),
            medium,
            shares | {"threshold": limit.agent_share_least},
            ("The agent had ", F.round(100 * share, 1), " % of the talk."),
        ),
        _Insight(
            "long_silence",
            (silence > F.lit(limit.silence_share) * duration) & (silence > F.lit(limit.silence_seconds)),
            low,
            {"non_talk_seconds": silence, "duration_seconds": duration, "threshold": limit.silence_share},
            ("Nobody talked for ", silence, " of ", duration, " seconds."),
        ),
        _Insight(
            "long_call",
            duration > F.lit(limit.long_call_seconds),
            low,
            {"duration_seconds": duration, "threshold": limit.long_call_seconds},
            ("The call took ", F.round(duration / 60, 1), " minutes."),
        ),
        _Insight(
            "customer_sentiment_fell",
            first - last >= F.lit(limit.sentiment_fall),
            medium,
            {"first_quarter": first, "last_quarter": last, "threshold": limit.sentiment_fall},
            ("The customer's sentiment fell from ", first, " to ", last, "."),
        ),
    ]


def _exact(text: SparkColumn) -> SparkColumn:
    """A number that is compared: as a decimal, so that 3.3 is not a little more than 1.3 + 2."""
    return text.try_cast("decimal(24,12)")


def _seconds(text: SparkColumn) -> SparkColumn:
    """A length of time, null if it cannot be one."""
    return F.when(_exact(text) >= 0, _exact(text))


def _plain(value: SparkColumn | Decimal) -> SparkColumn:
    return (F.lit(value) if isinstance(value, Decimal) else value).cast("double")


def _row(insight: _Insight) -> SparkColumn:
    message = F.concat(
        *(F.lit(part) if isinstance(part, str) else _plain(part).cast("string") for part in insight.message)
    )
    evidence = F.to_json(F.struct(*(_plain(value).alias(name) for name, value in insight.shown.items())))
    return F.struct(
        F.lit(insight.name).alias("insight_type"),
        (~F.coalesce(insight.holds, F.lit(False))).alias("is_deleted"),
        insight.priority.alias("priority"),
        evidence.alias("evidence"),
        message.alias("message"),
    )


def _transform(df: DataFrame, *, thresholds: Thresholds) -> DataFrame:
    df = _read(_roles(df))
    unknown = ~is_object("ConversationAnalytics")
    df = df.withColumns(
        {
            "_problem": F.coalesce("_problem", F.when(unknown, UNKNOWN_SHAPE)),
            "_detail": F.coalesce(
                "_detail", F.when(unknown, "no object `ConversationAnalytics` (a parsed file of PCA)")
            ),
        }
    )
    rows = F.array(*map(_row, _insights(thresholds)))
    df = df.drop("is_deleted").select("*", F.explode(rows).alias("_insight"))
    # A document with a problem stays one row, whole.
    first = F.col("_insight.insight_type") == _insights(thresholds)[0].name
    df = df.where(F.col("_problem").isNull() | first).select("*", "_insight.*")
    bucket = F.regexp_extract("_source_file", r"^s3a?://([^/]+)/", 1)
    return df.withColumns(
        {
            "id": F.sha2(F.to_json(F.array(bucket, folded("_document_key"), F.col("insight_type"))), 256),
            "is_deleted": F.col("is_deleted") & F.col("_problem").isNull(),
        }
    )


def _roles(df: DataFrame) -> DataFrame:
    """`_agents` and `_others`: speakers of either side; null where some are labelled, but no agent.

    Agents are labelled Agent, Agent 1, Agent 2… Without any label spk_0 is the agent, by PCA's convention; of
    labels in other words nothing is guessed. What an IVR said is nobody's.
    """
    trends = member("ConversationAnalytics.SentimentTrends", _TRENDS)
    times = member("ConversationAnalytics.SpeakerTime", "map<string, struct<TotalTimeSecs: string>>")
    labels = F.filter(
        F.transform(
            speaker_labels(),
            lambda one: F.struct(
                one["Speaker"].alias("speaker"),
                F.regexp_replace(F.lower(one["DisplayText"]), r"\s", "").alias("role"),
            ),
        ),
        lambda one: one["speaker"].isNotNull() & (one["role"] != ""),
    )
    df = df.select("*", labels.alias("_labels"), trends.alias("_trends"), times.alias("_times"))

    def labelled(role: str) -> SparkColumn:
        found = F.filter("_labels", lambda one: one["role"].rlike(role))
        return F.transform(found, lambda one: one["speaker"])

    names = F.concat(
        *(F.coalesce(F.map_keys(m), F.array().cast("array<string>")) for m in ("_trends", "_times"))
    )
    df = df.select(
        "*",
        F.array_distinct(labelled(r"^agent\d*$")).alias("_told"),
        labelled("^customer$").alias("_customers"),
        F.array_sort(
            F.array_distinct(F.array_except(F.array_remove(names, NON_TALK), machine_speakers()))
        ).alias("_names"),
    )
    is_told, is_labelled = F.size("_told") > 0, F.size("_labels") > 0
    df = df.select(
        "*",
        F.when(is_told, F.col("_told")).when(~is_labelled, F.array(F.lit("spk_0"))).alias("_agents"),
        F.when(is_told, "told").when(is_labelled, "unknown").otherwise("assumed").alias("roles_source"),
    )
    others = F.array_except("_names", "_agents")
    # The customer's own words count before those of others who are no agent.
    first = F.filter(others, lambda name: F.array_contains("_customers", name))
    return df.select(
        "*", others.alias("_others"), F.get(F.concat(first, others), F.lit(0)).alias("_customer")
    )


def _read(df: DataFrame) -> DataFrame:
    """The figures of a call, as decimals, and the columns that show them."""
    quarters = F.array_sort(
        F.filter(
            F.transform(
                F.element_at("_trends", F.col("_customer"))["SentimentPerQuarter"],
                lambda q: F.struct(_exact(q["Quarter"]).alias("quarter"), _exact(q["Score"]).alias("score")),
            ),
            lambda q: q["quarter"].isNotNull(),
        )
    )
    stated = _seconds(member("ConversationAnalytics.Duration", "string"))
    ends = F.array_max(
        F.transform(
            list_of("SpeechSegments", "struct<SegmentEndTime: string>"),
            lambda segment: _seconds(segment["SegmentEndTime"]),
        )
    )
    df = df.select("*", quarters.alias("_quarters"))
    anybody = F.size(F.map_filter("_times", lambda name, _: name != NON_TALK)) > 0
    several = F.size("_quarters") > 1
    scores = F.transform("_agents", lambda name: _exact(F.element_at("_trends", name)["SentimentScore"]))
    df = df.withColumns(
        {
            # 0.0 where turns lack words, as those of a streaming transcript do.
            "_duration": F.coalesce(F.when(stated > 0, stated), ends, stated),
            # Of several agents the one who was the most negative.
            "_agent_sentiment": F.array_min(scores),
            "_customer_sentiment": _exact(F.element_at("_trends", F.col("_customer"))["SentimentScore"]),
            "_agent_talk": F.when(anybody, _talk("_agents")),
            "_customer_talk": F.when(anybody, _talk("_others")),
            "_non_talk": _seconds(F.element_at("_times", F.lit(NON_TALK))["TotalTimeSecs"]),
            "_first_quarter": F.when(several, F.get("_quarters", F.lit(0))["score"]),
            "_last_quarter": F.when(several, F.element_at("_quarters", F.lit(-1))["score"]),
        }
    )
    shown = {
        "duration_seconds": "_duration",
        "agent_sentiment": "_agent_sentiment",
        "customer_sentiment": "_customer_sentiment",
        "agent_talk_seconds": "_agent_talk",
        "customer_talk_seconds": "_customer_talk",
        "non_talk_seconds": "_non_talk",
    }
    return df.withColumns(
        {name: F.col(exact).cast("double") for name, exact in shown.items()}
        | {
            "agent": known(member("ConversationAnalytics.Agent", "string")),
            "call_guid": known(member("ConversationAnalytics.GUID", "string")),
            "conversation_time_raw": member("ConversationAnalytics.ConversationTime", "string"),
            "created_at": F.col("_modified_at"),
            "s3_key": F.col("_document_key"),
        }
    )


def _talk(speakers: str) -> SparkColumn:
    """Seconds of talk of some speakers together; who is not in the file's times has not talked."""
    zero = F.lit(0).cast("decimal(24,12)")
    each = F.transform(
        speakers,
        lambda name: F.when(
            F.map_contains_key("_times", name), _seconds(F.element_at("_times", name)["TotalTimeSecs"])
        ).otherwise(zero),
    )
    return F.aggregate(each, zero, lambda total, time: (total + time).try_cast("decimal(24,12)"))


def coaching_insights(*, thresholds: Thresholds = Thresholds()) -> Table:
    """The table.

    Args:
        thresholds: when a call calls for coaching. After a change, `lakehouse rebuild` brings it to the
            rows that are there.
    """
    return Table(
        name="coaching_insights",
        source="pca_calls",
        keys=("id",),
        comment="One row per call and reason for coaching, from the parsed files of Post Call Analytics.",
        format="documents",
        columns=(
            Column("id", "string", "Hash of the file's bucket and key and of the kind of insight."),
            Column("insight_type", "string", "The rule that holds."),
            Column("priority", "string", "high, medium or low."),
            Column("agent", "string", "The agent, as the file says.", pii=True),
            Column("call_guid", "string", "GUID of the call, as the file says."),
            Column("conversation_time_raw", "string", "Start of the call as the file says it; no zone."),
            Column("created_at", "timestamp", "When the file was written."),
            Column("duration_seconds", "double", "Length of the call in seconds."),
            Column(
                "agent_sentiment", "double", "Sentiment of the agent, -5 to 5; of several, the most negative."
            ),
            Column("customer_sentiment", "double", "Sentiment of the customer, -5 to 5."),
            Column("agent_talk_seconds", "double", "How long the agents talked."),
            Column("customer_talk_seconds", "double", "How long everybody else talked, but for an IVR."),
            Column("non_talk_seconds", "double", "How long nobody talked."),
            Column(
                "roles_source",
                "string",
                "Who the agent is: told by labels, assumed to be spk_0 where there are none, or unknown "
                "where no label says agent.",
            ),
            Column("evidence", "string", "The figures that the rule looked at, as JSON.", pii=True),
            Column("message", "string", "The insight in words.", pii=True),
            Column("s3_key", "string", "Key of the file."),
        ),
        transform=partial(_transform, thresholds=thresholds),
        more_views=(
            View(
                "coaching_insights_recent",
                "The newest 50 coaching insights.",
                "SELECT * FROM {gold}.coaching_insights ORDER BY created_at DESC, id LIMIT 50",
            ),
            View(
                "coaching_summary",
                "Coaching insights by day and agent. The day is the call's, as its file says; where it says "
                "none, the day on which the file was written. Calls: those with an insight.",
                f"""
SELECT
  coalesce(
    TRY_CAST(regexp_replace(substr(trim(conversation_time_raw), 1, 10), '^0000.*', '') AS DATE),
    {utc_day("created_at")}
  ) AS day,
  agent,
  count(DISTINCT s3_key) AS calls,
  count(*) AS insights,
  count_if(priority = 'high') AS high_priority_insights,
  max(created_at) AS last_update
FROM {{gold}}.coaching_insights
GROUP BY ALL
""",  # noqa: S608 - names of ours
            ),
        ),
    )
