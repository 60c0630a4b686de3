"""What lands for every stream of every table: enough of each kind of record that each step has work to do.

Times of what gold shows by its age are told from now, and lie far from every window's edge.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.spark.metric_sets import landed_line
from tests.spark.support import CHANGED_MS, EARLIER_LABEL, Lake, change, sequence

from lakehouse.demo.metric_figures import MetricEvent
from lakehouse.demo.sample_documents import call_analytics, silent, standard
from lakehouse.settings import Settings

DAY_MS = 86_400_000
FLOOR = datetime.fromtimestamp(CHANGED_MS / 1000 - 86_400, UTC)
"""Of the table of scorecards: a change that is older, of a key that is not there, is turned away."""

BAD_LINES = ("not json", "[1, 2]", b'{"callId": "\xff"}', {"_sequence": "x"}, change(90))
"""None can be applied: no JSON, no object, no UTF-8, no key, neither key nor payload."""


def land(lake: Lake) -> None:
    """Land everything: two batches of calls, if a batch takes six objects, and one of every other stream."""
    _calls(lake)
    _scorecards(lake)
    _items(lake)
    _events(lake)
    _documents(lake)
    told = {"source": "calls", "reason": "too_large", "detail": "900 kB", "record": {"callId": "c9"}}
    lake.land("_quarantine/calls", told)
    lake.land("_quarantine/scorecards", "neither JSON nor anything else")


def land_torn(settings: Settings) -> Path:
    """Land a torn object for the stream of scorecards."""
    path = Path(settings.landing) / "scorecards" / "dt=2026-01-05" / "HH=09" / "torn.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = next(Path(settings.landing).glob("scorecards/*/*/*.ndjson.gz")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _calls(lake: Lake) -> None:
    def call(at: str | int, number: int, *, deleted: bool = False, **payload: Any) -> dict[str, Any]:
        name = f"2026-01-08_GUID_g{number}_x.wav"
        told = {"agentName": "Zoë", "direction": "inbound", "file_name": name, "siteId": number} | payload
        attributes = {} if deleted else {"callTimestampUTC": "2026-01-08T11:00:00Z", "payload": told}
        return change(at, deleted=deleted, callId=f"c{number}", **attributes)

    many = [call(n, n, queueId=n, unknown={"n": n}) for n in range(1, 9)]
    for one in many[:4]:
        lake.land("calls", one)
    lake.land("calls", *many[4:], change(9, callId="c9", payload="no object", callTimestampUTC="yesterday"))
    gone, back = call(21, 1, deleted=True), call(22, 1, agentName="Ana")
    lake.land("calls", call(20, 2, direction="outbound"), gone, *BAD_LINES)
    lake.land("calls", back, call(23, 3, deleted=True), call(sequence(99, EARLIER_LABEL), 4, siteId=-1))
    lake.land("calls", *many[:3], back, call(24, 10, deleted=True))


def _scorecards(lake: Lake) -> None:
    def card(at: int, number: int, score: float, *, changed_ms: int = CHANGED_MS) -> dict[str, Any]:
        scores = {"urgency": {"score": score, "evidence": "now"}, "askForPayment": {"score": "5"}}
        told = {"datetime": f"2026-01-0{number % 9 + 1}T10-11-12", "agent": "Zoë", "overallScore": score}
        return change(at, guid=f"s{number}", **told, scores=scores) | {"_approxStreamTs": changed_ms}

    lake.land("scorecards", *(card(n, n, n + 0.12345) for n in range(1, 6)))
    lake.land("scorecards", card(11, 1, 99), card(10, 1, 98), change(12, deleted=True, guid="s2"))
    old = CHANGED_MS - 30 * DAY_MS
    lake.land("scorecards", card(13, 7, 1, changed_ms=old), card(14, 3, 2, changed_ms=old), card(15, 8, 3))


def _items(lake: Lake) -> None:
    recent = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="milliseconds")

    def item(at: int, number: int, **more: Any) -> dict[str, Any]:
        told = {"status": "analyzed", "sentiment": "neutral", "score": 0.725, "matched_tags": ["price", "b"]}
        return change(at, source_id=f"i{number}", ingested_at=recent, **(told | more))

    lake.land("sentiment_items", *(item(n, n, source_type="review") for n in range(1, 6)))
    expired = change(7, deleted=True, source_id="i2", ingested_at=recent) | {"_deleteKind": "ttl"}
    deleted = change(8, deleted=True, source_id="i3", ingested_at=recent)
    lake.land("sentiment_items", item(6, 1, sentiment="positive", score=2), expired, deleted)


def _events(lake: Lake) -> None:
    now = datetime.now(UTC)

    def event(number: int, kind: str, days_ago: float, told: int = 0, **more: Any) -> dict[str, Any]:
        at = round((now - timedelta(days=days_ago)).timestamp()) * 1_000_000
        order = f"{number + 100 * told:056d}/shardId-000000000000/000000"
        return landed_line(MetricEvent(f"e{number}", kind, at, order, **more))

    session = {"student_id": "ana", "tutor_id": "tom", "subject": "Maths", "region": "eu"}
    lake.land(
        "metric_events",
        *(event(n, "session_completed", n, **session, tutor_rating=Decimal("4.5")) for n in range(1, 5)),
        *(event(n, "ib_call_logged", 2.5, student_id="ben") for n in range(5, 9)),
        event(9, "customer_health_update", 3.5, student_id="ana", health_score=Decimal("41.25")),
        event(10, "supply_demand_update", 1.5, subject="Maths", region="eu", balance_status="high_demand"),
        event(11, "whiteboard_shared", 1.5, student_id="ana"),
        *BAD_LINES[:3],
    )
    # An event that is told again as another one, of another student; and a health that has come right.
    lake.land(
        "metric_events",
        event(1, "session_completed", 1, told=1, student_id="ben", tutor_id="tom"),
        event(12, "customer_health_update", 0.5, student_id="ana", health_score=Decimal("88")),
        event(13, "customer_health_update", 0.5, student_id="ben", health_score=Decimal("60")),
    )


def _documents(lake: Lake) -> None:
    rng = Random(7)
    bodies = {
        "c1.json": standard(rng, "c1", 2, 61.5),
        "2026/c2.json": call_analytics(rng, "c2", 2, 20.0),
        "c3.json": silent(rng, "c3", 9.0),
        "c4.json": '{"torn',
        "c5.json": "[]",
        "c6.json": '{"foreign": true}',
    }
    for n, (key, body) in enumerate(bodies.items()):
        lake.write_document(key, body.encode(), mtime=1_767_880_000 + n)
    calm, bad = _parsed(0, "300"), _parsed(-4, "2000.5")
    for n, (key, document) in enumerate({"a.json": bad, "b/c2.json": calm, "no.json": {"x": 1}}.items()):
        lake.write_document(key, document, mtime=1_767_880_000 + n, below=lake.pca)
    lake.write_document("torn.json", b"{", mtime=1_767_880_009, below=lake.pca)


def _parsed(sentiment: float, seconds: str) -> dict[str, Any]:
    """A parsed file of PCA."""
    people = {"spk_0": "Agent", "spk_1": "Customer"}
    about = {
        "GUID": "g1",
        "Agent": "Zoë",
        "ConversationTime": "2026-01-08 13:35:14",
        "LanguageCode": "en-US",
        "Duration": seconds,
        "SentimentTrends": {name: {"SentimentScore": sentiment} for name in people},
        "SpeakerTime": {"spk_0": {"TotalTimeSecs": 60}, "spk_1": {"TotalTimeSecs": 70}},
        "SpeakerLabels": [{"Speaker": name, "DisplayText": text} for name, text in people.items()],
    }
    return json.loads(json.dumps({"ConversationAnalytics": about, "SpeechSegments": []}))
