"""Coaching insights: what each rule makes of a PCA file, and what becomes of it when the file changes."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from tests.spark.parsed import documents
from tests.spark.support import TRANSCRIPTS, Lake, assert_rows, show_times

from lakehouse.tables.coaching_insights import Thresholds, coaching_insights

REAL = Path(__file__).resolve().parents[3] / "shared" / "real-inputs" / "pca" / "pca-ui.testfile.json"
TABLE = coaching_insights()
MODIFIED = datetime(2026, 1, 8, 11, 0, 0, 123_000, tzinfo=UTC)
RULES = {
    "agent_negative_sentiment",
    "customer_negative_sentiment",
    "agent_dominates",
    "agent_silent",
    "long_silence",
    "long_call",
    "customer_sentiment_fell",
}


def pca(
    *,
    agent: Any = 0.0,
    customer: Any = 0.0,
    quarters: list[tuple[Any, Any]] | None = None,
    duration: Any = "300",
    talk: dict[str, Any] | None = None,
    silence: Any = 0.0,
    labels: dict[str, str] | None = {"spk_0": "Agent", "spk_1": "Customer"},  # noqa: B006 - read only
    **more: Any,
) -> dict[str, Any]:
    """A parsed file of PCA; None leaves a member out."""
    trends: dict[str, Any] = {}
    for speaker, score in (("spk_0", agent), ("spk_1", customer)):
        if score is not None:
            trends[speaker] = {"SentimentScore": score}
    if quarters is not None and "spk_1" in trends:
        trends["spk_1"]["SentimentPerQuarter"] = [
            {"Quarter": q, "Score": s, "BeginOffsetSecs": 0.0, "EndOffsetSecs": 1.0} for q, s in quarters
        ]
    times = {"spk_0": 150.0, "spk_1": 150.0} if talk is None else talk
    spoken: dict[str, Any] = {name: {"TotalTimeSecs": seconds} for name, seconds in times.items()}
    if silence is not None:
        spoken["NonTalkTime"] = {"Instances": [], "TotalTimeSecs": silence}
    about: dict[str, Any] = {
        "GUID": "guid-1",
        "Agent": "Zoë",
        "ConversationTime": "2025-10-08 13:35:14.215558",
        "LanguageCode": "en-US",
        "SentimentTrends": trends,
        "SpeakerTime": spoken,
        **({"Duration": duration} if duration is not None else {}),
        **more,
    }
    if labels is not None:
        about["SpeakerLabels"] = [{"Speaker": s, "DisplayText": text} for s, text in labels.items()]
    return {"ConversationAnalytics": about, "SpeechSegments": []}


NEGATIVE = {"agent_negative_sentiment": "medium"}
# name: the file, and the insights that it makes with their priorities
CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing to say": (pca(), {}),
    "agent just above": (pca(agent=-0.99), {}),
    "agent at the threshold": (pca(agent=-1), NEGATIVE),
    "agent nearly very negative": (pca(agent=-2.49), NEGATIVE),
    "agent very negative": (pca(agent="-2.5"), {"agent_negative_sentiment": "high"}),
    "customer at the threshold": (pca(customer=-1.0), {"customer_negative_sentiment": "medium"}),
    "customer very negative": (pca(customer=-5), {"customer_negative_sentiment": "high"}),
    "sentiment missing": (pca(agent=None, customer=None), {}),
    "sentiment unreadable": (pca(agent="bad", customer={"a": 1}), {}),
    "agent at 70 %": (pca(talk={"spk_0": 70, "spk_1": 30}), {}),
    "agent above 70 %": (pca(talk={"spk_0": 70.01, "spk_1": 29.99}), {"agent_dominates": "medium"}),
    "agent at 30 %": (pca(talk={"spk_0": 30, "spk_1": 70}), {}),
    "agent below 30 %": (pca(talk={"spk_0": 29.99, "spk_1": 70.01}), {"agent_silent": "medium"}),
    "tenths of a second": (pca(talk={"spk_0": 2.1, "spk_1": 0.9}), {}),
    "agent never talks": (pca(talk={"spk_1": 100}), {"agent_silent": "medium"}),
    "agent alone": (pca(talk={"spk_0": 100}), {"agent_dominates": "medium"}),
    "two customers": (pca(talk={"spk_0": 29, "spk_1": 35, "spk_2": 36}), {"agent_silent": "medium"}),
    "nobody talks": (pca(talk={}), {}),
    "no talk at all": (pca(talk={"spk_0": 0, "spk_1": 0}), {}),
    "talk unreadable": (pca(talk={"spk_0": "much", "spk_1": 1}), {}),
    "talk as text": (pca(talk={"spk_0": "90", "spk_1": "10"}), {"agent_dominates": "medium"}),
    "a call of 60 s": (pca(duration=60, talk={"spk_0": 59, "spk_1": 1}), {"agent_dominates": "medium"}),
    "a shorter call": (pca(duration="59.99", talk={"spk_0": 59, "spk_1": 1}), {}),
    "no duration": (pca(duration=None, talk={"spk_0": 59, "spk_1": 1}, silence=500), {}),
    "silence of a quarter": (pca(duration=400, silence=100), {}),
    "silence of more": (pca(duration=400, silence=100.01), {"long_silence": "low"}),
    "silence of 30 s": (pca(duration=50, silence=30), {}),
    "silence a little longer": (pca(duration=50, silence="30.01"), {"long_silence": "low"}),
    "silence unknown": (pca(silence=None), {}),
    "thirty minutes": (pca(duration=1800), {}),
    "a long call": (pca(duration="1800.01"), {"long_call": "low"}),
    "sentiment fell by 2": (
        pca(quarters=[(1, 3.3), (2, 5), (4, 1.3)]),
        {"customer_sentiment_fell": "medium"},
    ),
    "sentiment fell by less": (pca(quarters=[(1, 3.3), (4, 1.31)]), {}),
    "sentiment rose": (pca(quarters=[(1, -2), (4, 2)]), {}),
    "quarters in another order": (
        pca(quarters=[("4", "-1"), ("2", "0"), ("1", "1.5")]),
        {"customer_sentiment_fell": "medium"},
    ),
    "one quarter": (pca(quarters=[(1, 5)]), {}),
    "no quarters": (pca(quarters=[]), {}),
    "a quarter without a score": (pca(quarters=[(1, 5), (4, None)]), {}),
    "the agent's fall is not the customer's": (
        pca(
            SentimentTrends={
                "spk_0": {
                    "SentimentScore": 1,
                    "SentimentPerQuarter": [{"Quarter": 1, "Score": 5}, {"Quarter": 4, "Score": 0}],
                },
                "spk_1": {"SentimentScore": 1},
            }
        ),
        {},
    ),
    "the other speaker is the agent": (
        pca(agent=-3, talk={"spk_0": 90, "spk_1": 10}, labels={"spk_0": "Customer", "spk_1": " AGENT"}),
        {"customer_negative_sentiment": "high", "agent_silent": "medium"},
    ),
    "no labels": (pca(agent=-3, labels=None), {"agent_negative_sentiment": "high"}),
    "labels of others": (
        pca(agent=-3, customer=-3, labels={"spk_0": "Ann", "spk_1": "Ben"}, silence=100, duration=200),
        {"long_silence": "low"},
    ),
    "labels of no shape": (
        pca(agent=-3, labels=None, SpeakerLabels="spk_0"),
        {"agent_negative_sentiment": "high"},
    ),
    "negative times": (pca(duration=-100, silence=40, talk={"spk_0": -5, "spk_1": 5}), {}),
    "times beyond all measure": (pca(talk={"spk_0": 1, "spk_1": 6e11, "spk_2": 6e11}), {}),
    "a little above": (pca(agent=-0.9999996, duration="1800.0000004"), {"long_call": "low"}),
    "nobody is labelled agent": (
        pca(
            agent=-3,
            customer=-3,
            quarters=[(1, 5), (4, 0)],
            talk={"spk_0": 90, "spk_1": 10},
            labels={"spk_0": "Cliente", "spk_1": "Agente"},
        ),
        {},
    ),
    "the customer is a caller": (
        pca(agent=-3, talk={"spk_0": 90, "spk_1": 10}, labels={"spk_0": "Caller", "spk_1": "Agent"}),
        {"customer_negative_sentiment": "high", "agent_silent": "medium"},
    ),
    "two agents add up": (
        pca(
            talk={"spk_0": 29, "spk_1": 42, "spk_2": 29},
            labels={"spk_0": "Customer", "spk_1": "Agent 1", "spk_2": "Agent 2"},
        ),
        {"agent_dominates": "medium"},
    ),
    "the worse of two agents": (
        pca(agent=0, customer=-1.5, labels={"spk_0": "Agent 1", "spk_1": "Agent 2", "spk_2": "Customer"}),
        NEGATIVE | {"agent_dominates": "medium"},
    ),
    "an IVR is nobody": (
        pca(
            talk={"IVR": 900, "spk_0": 50, "spk_1": 40},
            SentimentTrends={"IVR": {"SentimentScore": -5}, "spk_1": {"SentimentScore": 0}},
            labels={"IVR": "Genesys IVR", "spk_0": "Agent 1", "spk_1": "Customer"},
        ),
        {},
    ),
    "the duration of streaming": (
        pca(duration="0.0", silence=100)
        | {"SpeechSegments": [{"SegmentEndTime": 2000}, {"SegmentEndTime": 5}]},
        {"long_call": "low"},
    ),
    "no labels, no members": (pca(agent=-3, labels={}), {"agent_negative_sentiment": "high"}),
    "a label of nobody": (
        pca(
            agent=0,
            customer=-3,
            SpeakerLabels=[{"DisplayText": "Agent"}, {"Speaker": "spk_1", "DisplayText": "Agent\t"}],
            labels=None,
        ),
        {"agent_negative_sentiment": "high"},
    ),
    "members of no shape": (pca(SentimentTrends=[1], SpeakerTime="none", duration={"a": 1}), {}),
    "everything at once": (
        pca(
            agent=-3,
            customer=-1,
            quarters=[(1, 2), (4, -2)],
            duration=2000,
            talk={"spk_0": 9, "spk_1": 1},
            silence=900,
        ),
        dict.fromkeys(RULES - {"agent_silent"}, "medium")
        | {"agent_negative_sentiment": "high", "long_silence": "low", "long_call": "low"},
    ),
}
BAD: dict[str, tuple[bytes, str]] = {
    "empty.json": (b"", "not_json"),
    "half.json": (b'{"ConversationAnalytics": {', "not_json"),
    "array.json": (b'[{"ConversationAnalytics": {}}]', "not_an_object"),
    "transcribe.json": (b'{"results": {"items": []}}', "unknown_document_shape"),
    "no-object.json": (b'{"ConversationAnalytics": [1]}', "unknown_document_shape"),
}


def _parse(spark: SparkSession, files: dict[str, bytes], table: Any = TABLE) -> dict[str, list[Row]]:
    rows = [
        (bytearray(content), f"parsedFiles/{key}", f"s3a://calls/pca/parsedFiles/{key}", MODIFIED)
        for key, content in files.items()
    ]
    schema = "content binary, document_key string, _source_file string, _modified_at timestamp"
    found: dict[str, list[Row]] = {key: [] for key in files}
    for row in show_times(documents(spark.createDataFrame(rows, schema), table)).collect():
        found[row._source_file.rpartition("/")[2]].append(row)
    return found


def _live(rows: list[Row]) -> dict[str, Row]:
    return {row.insight_type: row for row in rows if not row.is_deleted}


@pytest.fixture(scope="module")
def parsed(spark: SparkSession) -> dict[str, list[Row]]:
    made = {f"{name}.json": json.dumps(document).encode() for name, (document, _) in CASES.items()}
    return _parse(spark, made | {name: content for name, (content, _) in BAD.items()})


@pytest.mark.parametrize("case", CASES)
def test_the_rules_that_hold_are_the_insights(case: str, parsed: dict[str, list[Row]]) -> None:
    rows = parsed[f"{case}.json"]
    assert {name: row.priority for name, row in _live(rows).items()} == CASES[case][1]
    assert len({row.id for row in rows}) == len(rows) == len(RULES)
    assert [row._problem for row in rows] == [None] * len(rows)
    for row in rows:
        if row.is_deleted:
            rest = [c.name for c in TABLE.columns[1:]]
            assert [row[name] for name in rest] == [None] * len(rest)


@pytest.mark.parametrize("key", BAD)
def test_a_file_that_cannot_be_read_is_one_row_with_its_reason(
    key: str, parsed: dict[str, list[Row]]
) -> None:
    content, reason = BAD[key]
    (row,) = parsed[key]
    assert (row._problem, row.is_deleted) == (reason, False)
    assert row._detail
    if reason == "unknown_document_shape":  # bronze has the document itself
        assert "ConversationAnalytics" in row._detail
        assert (row._raw, row.id) == (None, None)
    else:
        assert row._raw == content.decode()


def test_an_insight_tells_the_call_and_its_figures(parsed: dict[str, list[Row]]) -> None:
    row = _live(parsed["everything at once.json"])["long_silence"]
    assert (row.agent, row.call_guid, row.roles_source) == ("Zoë", "guid-1", "told")
    assert (row.conversation_time_raw, row.created_at) == (
        "2025-10-08 13:35:14.215558",
        "2026-01-08 11:00:00.123",
    )
    assert (row.duration_seconds, row.non_talk_seconds) == (2000.0, 900.0)
    assert (row.agent_talk_seconds, row.customer_talk_seconds) == (9.0, 1.0)
    assert (row.agent_sentiment, row.customer_sentiment) == (-3.0, -1.0)
    assert json.loads(row.evidence) == {
        "non_talk_seconds": 900.0,
        "duration_seconds": 2000.0,
        "threshold": 0.25,
    }
    assert row.message == "Nobody talked for 900.0 of 2000.0 seconds."
    assert row.s3_key == "parsedFiles/everything at once.json"
    name = ["calls", "parsedFiles/everything at once.json", "long_silence"]
    assert row.id == hashlib.sha256(json.dumps(name, separators=(",", ":")).encode()).hexdigest()
    (assumed,) = _live(parsed["no labels.json"]).values()
    assert assumed.roles_source == "assumed"
    (silence,) = _live(parsed["labels of others.json"]).values()
    assert (silence.roles_source, silence.agent_talk_seconds, silence.customer_talk_seconds) == (
        *("unknown", None, None),
    )
    (other,) = (r for r in parsed["the other speaker is the agent.json"] if r.insight_type == "agent_silent")
    assert (other.agent_talk_seconds, other.customer_talk_seconds) == (10.0, 90.0)
    assert json.loads(other.evidence)["agent_share"] == 0.1


@pytest.mark.parametrize("nothing", ["None", "", None])
def test_none_as_a_text_is_nothing(spark: SparkSession, nothing: str | None) -> None:
    document = pca(agent=-3, GUID=nothing, Agent=nothing)
    (row,) = _live(_parse(spark, {"a.json": json.dumps(document).encode()})["a.json"]).values()
    assert (row.agent, row.call_guid) == (None, None)


def test_thresholds_can_be_set(spark: SparkSession) -> None:
    strict = coaching_insights(
        thresholds=Thresholds(negative_sentiment=Decimal("0.5"), long_call_seconds=Decimal(299))
    )
    found = _parse(spark, {"a.json": json.dumps(pca(agent=0.5, customer=0.51)).encode()}, strict)
    assert set(_live(found["a.json"])) == {"agent_negative_sentiment", "long_call"}


@pytest.mark.skipif(
    not REAL.is_file(), reason="the real inputs lie beside the repository, and here they do not"
)
def test_the_real_file_tells_what_a_reader_finds_in_it(spark: SparkSession) -> None:
    """By hand: 28.67 s; the agent is spk_0 with 9.879 s; the customer's quarters are 2.5, 2.5, 0.0, 0.0."""
    rows = _parse(spark, {"real.json": REAL.read_bytes()})["real.json"]
    live = _live(rows)
    assert len(rows) == len(RULES)
    assert set(live) == {"customer_sentiment_fell"}
    row = live["customer_sentiment_fell"]
    assert (row.agent, row.call_guid, row.roles_source) == (None, None, "told")
    assert (row.duration_seconds, row.agent_talk_seconds, row.customer_talk_seconds) == (28.67, 9.879, 19.56)
    assert (row.agent_sentiment, row.customer_sentiment, row.non_talk_seconds) == (1.7, 1.7, 0.0)


def test_a_file_that_is_written_again_replaces_its_insights(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (TRANSCRIPTS, TABLE))

    def write(key: str, document: object, mtime: float) -> None:
        lake.write_document(f"parsedFiles/{key}", document, mtime=mtime, below=lake.pca)

    write("a.json", pca(agent=-3, duration=2000, GUID="g-a"), 1_767_000_000)
    write("b.json", pca(customer=-1, GUID="g-b", Agent="None"), 1_767_000_001)
    write("quiet.json", pca(GUID="g-q"), 1_767_000_001)
    write("foreign.json", {"hello": 1}, 1_767_000_001)
    first = lake.ingest_well()
    assert set(first) == {"transcripts", "pca_calls", "writer_quarantine", "insight_alerts"}
    assert set(first["pca_calls"].tables) == {"transcripts", "coaching_insights"}
    counts = first["pca_calls"].tables["coaching_insights"]
    assert (counts.files, counts.records, counts.upserts, counts.deletes, counts.quarantined) == (
        4,
        22,
        3,
        18,
        1,
    )
    counts = first["pca_calls"].tables["transcripts"]
    assert (counts.files, counts.records, counts.upserts, counts.quarantined) == (4, 4, 3, 1)
    # One read of the files for both tables; what neither can take is shown once.
    assert_rows(
        lake.quarantine().select("source", "reason", "raw", "refused_by"),
        [("pca_calls", "unknown_document_shape", '{"hello":1}', ["coaching_insights", "transcripts"])],
        "source string, reason string, raw string, refused_by array<string>",
    )
    assert lake.bronze("pca_calls").count() == 4
    assert_rows(
        lake.gold("coaching_insights").select("call_guid", "insight_type", "priority", "agent"),
        [
            ("g-a", "agent_negative_sentiment", "high", "Zoë"),
            ("g-a", "long_call", "low", "Zoë"),
            ("g-b", "customer_negative_sentiment", "medium", None),
        ],
        "call_guid string, insight_type string, priority string, agent string",
    )
    columns = "cast(day AS string) AS day", "agent", "calls", "insights", "high_priority_insights"
    assert_rows(
        lake.gold("coaching_summary").selectExpr(*columns),
        [("2025-10-08", "Zoë", 1, 2, 1), ("2025-10-08", None, 1, 1, 0)],
        "day string, agent string, calls bigint, insights bigint, high_priority_insights bigint",
    )

    # Refreshed: no longer long, not so negative; the twin of b is newer; an older copy of a changes nothing.
    write("a.json", pca(agent=-2, duration=200, GUID="g-a"), 1_767_000_010)
    write("redacted-b.json", pca(GUID="g-b"), 1_767_000_010)
    write("redacted-a.json", pca(duration=5000, GUID="g-a"), 1_766_000_000)
    second = lake.ingest_well()["pca_calls"].tables["coaching_insights"]
    assert (second.files, second.records, second.stale) == (3, 21, 7)
    assert_rows(
        lake.gold("coaching_insights").select("call_guid", "insight_type", "priority"),
        [("g-a", "agent_negative_sentiment", "medium")],
        "call_guid string, insight_type string, priority string",
    )
    assert_rows(
        lake.gold("coaching_summary").selectExpr(
            "agent", "calls", "insights", "unix_seconds(last_update) AS at"
        ),
        [("Zoë", 1, 1, 1_767_000_010)],
        "agent string, calls bigint, insights bigint, at bigint",
    )
    lake.books()
    before = lake.content(TABLE).collect()
    lake.ingest_well()
    assert lake.content(TABLE).collect() == before


def test_the_newest_fifty_are_shown_newest_first(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, (TABLE,))
    for number in range(30):
        document = pca(agent=-3, customer=-3, GUID=f"g-{number}")
        lake.write_document(f"{number}.json", document, mtime=1_767_000_000 + number, below=lake.pca)
    lake.ingest_well()
    assert lake.gold("coaching_insights").count() == 60
    guids = [row.call_guid for row in lake.gold("coaching_insights_recent").collect()]
    assert guids == [f"g-{number}" for number in range(29, 4, -1) for _ in range(2)]
