"""A believable day in a contact centre that rents out storage units, made up from a seed and a date.

`sample_day` yields what the centre's systems write, in the order of time: changes of the DynamoDB
tables `calls` and `scorecards`, the transcripts that Amazon Transcribe leaves in S3, and the parsed files
that Post Call Analytics (PCA) leaves there of some calls. The same arguments give the same operations, to
the byte. Attribute values are typed for boto3's low-level client; shapes are those that the tables read.
People, places and words are invented.

On purpose, because real days are like this: payloads that are JSON text, or come late, or never; call
times with the site's offset, whose date is not the UTC date; keys that change thrice within a second,
or are deleted and come back; transcripts and parsed files that are missing, silent, torn, foreign,
rewritten or redacted.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any, TypeAlias

from lakehouse.demo import sample_documents
from lakehouse.demo.sample_pca import Recorded, parsed_file

Item: TypeAlias = dict[str, Any]  # attribute name → typed value; Any, so that boto3's stubs take it


@dataclass(frozen=True)
class Put:
    """A whole item is written, under a new key or one that was deleted before."""

    table: str
    item: Item


@dataclass(frozen=True)
class Update:
    """Top-level attributes of a live item are set; `changes` never holds the key."""

    table: str
    key: Item
    changes: Item


@dataclass(frozen=True)
class Delete:
    """Somebody deletes a live item."""

    table: str
    key: Item


@dataclass(frozen=True)
class Expire:
    """DynamoDB's time-to-live deletes a live item: no emulator does this, the caller simulates it."""

    table: str
    key: Item


@dataclass(frozen=True)
class Document:
    """A document is written, or rewritten in place, under `name`.

    `transcripts/<call id>.json`, or `pca/parsedFiles/<name of the recording>.json`.
    """

    name: str
    body: str


Operation: TypeAlias = Put | Update | Delete | Expire | Document
_Timed: TypeAlias = tuple[dt.datetime, Operation]

# fmt: off
DAY_CURVE = (  # calls in each hour UTC, relative; the last two are the evening shift, after midnight UTC
    10, 5, 3, 2, 2, 2, 3, 5, 10, 20, 30, 50, 70, 90, 100, 95, 80, 85, 90, 80, 70, 50, 35, 25, 10, 5)
SITES = ((11, "Tampa", -5), (12, "Austin", -6), (21, "Kraków", 1), (30, "Cebu", 8))  # hours ahead of UTC
ZONES = {"Tampa": "America/New_York", "Austin": "America/Chicago", "Kraków": "Europe/Warsaw",
         "Cebu": "Asia/Manila"}
KINDS = {  # of calls: median, spread (of the logarithm), least and most seconds
    "conversation": (240, 0.8, 12, 3600), "voicemail": (28, 0.35, 10.5, 90), "no answer": (5, 0.5, 1.5, 9.5)}
QUEUES = ((501, "Reservations"), (502, "Sales (new)"), (503, "Customer care"), (507, "Payments & billing"))
PROGRAMS = ("Storage Direct", "Move & Store", "Business Storage")
AGENTS = tuple((f"A{1000 + number}", name) for number, name in enumerate((
    "Siobhán O'Dálaigh", "Zoë Nakamura", 'Jean "JL" Okafor', "María Ñáñez", "Tom Petrakis", "Ruth Abara",
    "Ivo Lindqvist", "Dana D'Souza", "Omar Castellan", "Lena Brandt", "Keoni Mahoe", "Şule Aydemir")))
CRITERIA = {  # what a scorecard judges, and what it quotes
    "askForPayment": "“Shall I take the first month on your card?”",
    "confirmLocation": "Repeated the address & the gate code",
    "featuresAdvantagesBenefits": "Named climate control, cameras, 24/7 access",
    "handleObjections": "Caller: \"that's a lot\" → offered the 5'x10'",
    "sizeRecommendation": "Two-bedroom flat → 10'x15'",
    "urgency": "Only <b>two</b> units left 😬"}
NOTES = ("Clear opening.", "Talked over the caller twice.", "Warm tone.", "No next step agreed.", "")
ODD_NOTES = ("Great rapport 👍🏽", 'Said "no fees" & <b>meant it</b>', "Next:\n- quote\n- call\u2028Tuesday",
             "C:\\quotes\\5x10; '); DROP TABLE calls;--", "Überraschend freundlich — 5 ★")
SUMMARIES = ("Caller wants a 5'x10' unit.", "Asked what a 10'x10' costs; will call back.", "Moved out early.")
OUTCOMES = ("reserved", "quoted", "callback", "not interested", "resolved")
INTENTS = ("new rental", "price question", "move out", "payment", "access problem")
REASONS = ("reservation made", "quote sent", "escalated", "payment taken", None)
# fmt: on


def sample_day(date: dt.date, *, seed: int = 7, calls: int = 2000) -> Iterator[Operation]:
    """Yield the operations of the UTC day `date` in the order of time.

    `calls` is the scale: the number of calls made; all else follows in proportion. About one call in
    a hundred is made in the two hours after the day's end, and changes trail on a few hours more. Only
    live keys are updated, deleted or expired.
    """
    rng = Random(f"{seed}/{date.isoformat()}")
    midnight = dt.datetime.combine(date, dt.time(), dt.UTC)
    hours = rng.choices(range(len(DAY_CURVE)), DAY_CURVE, k=calls)
    starts = (midnight + dt.timedelta(hours=hour + rng.random()) for hour in hours)
    lives = (timed for start in starts for timed in _life_of_a_call(rng, start))
    timeline = sorted(lives, key=lambda timed: timed[0])  # stable: what is made first comes first
    yield from (operation for _, operation in timeline)


def _life_of_a_call(rng: Random, start: dt.datetime) -> Iterator[_Timed]:
    """Everything that ever happens about one call; for each key in the order of time."""
    call_id, guid = (str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(2))
    site_id, site_name, offset = rng.choice(SITES)
    local = start.astimezone(dt.timezone(dt.timedelta(hours=offset)))
    direction = rng.choices(("inbound", "outbound"), (68, 32))[0]
    odds = {"inbound": (88, 5, 7), "outbound": (48, 27, 25)}[direction]
    kind = rng.choices(list(KINDS), odds)[0]
    median, spread, least, most = KINDS[kind]
    seconds = round(min(max(median * rng.lognormvariate(0, spread), least), most), 2)
    end = start + dt.timedelta(seconds=seconds)
    agent_id, agent_name = rng.choice(AGENTS)
    queue_id, queue_name = rng.choice(QUEUES)
    facts: dict[str, Any] = {
        "agentId": agent_id, "agentName": agent_name, "allocation": rng.choice(("shared", "dedicated")),
        "direction": direction, "file_name": f"{local:%Y%m%dT%H%M%S}_{agent_id}_GUID_{guid}_{site_id}.wav",
        "firstOrFollowUp": rng.choice(("first", "follow-up")), "medium": "phone",
        "queueName": queue_name, "queueId": queue_id if rng.random() < 0.6 else str(queue_id),
        "sessionId": f"S-{rng.randrange(10**9):09}", "siteName": site_name, "siteId": site_id,
        "s3_bucket": "example-recordings", "tenantId": 42, "program": rng.choice(PROGRAMS),
    }  # fmt: skip
    called = _iso(start if rng.random() < 0.85 else local)
    yield from _call_changes(rng, {"callId": {"S": call_id}, "callTimestampUTC": {"S": called}}, facts, end)
    analysed = kind == "conversation" and (seconds > 1500 or rng.random() < 0.1)
    if not analysed or rng.random() < 0.6:  # of some calls there is PCA's file only
        yield from _documents(rng, call_id, 2 if kind == "conversation" else 1, seconds, end)
    if analysed:
        said = guid if rng.random() < 0.9 else rng.choice(("None", "None", "", None))
        agent = agent_name if rng.random() < 0.9 else "None"
        recorded = Recorded(said, agent, facts["file_name"], local, ZONES[site_name], seconds)
        yield from _parsed_files(rng, recorded, guid, end)
    if kind == "conversation" and seconds > 45 and rng.random() < 0.7:
        yield from _scorecard(rng, guid, facts["agentName"], local, end)


def _call_changes(rng: Random, item: Item, facts: dict[str, Any], end: dt.datetime) -> Iterator[_Timed]:
    """Put the call when it ends; correct it, sometimes thrice within a second; sometimes remove it."""
    key, payload_is_text = {"callId": item["callId"]}, rng.random() < 0.2
    at = end + dt.timedelta(seconds=rng.uniform(0.2, 3))
    story = rng.choices(("plain", "agent", "direction", "burst", "late", "never"), (845, 80, 40, 25, 8, 2))[0]

    def current(*, with_payload: bool = True) -> Item:
        payload = {"S": json.dumps(facts, ensure_ascii=False)} if payload_is_text else _typed(facts)
        return {"updated_at": {"S": _iso(at)}} | ({"payload": payload} if with_payload else {})

    yield at, Put("calls", item | current(with_payload=story not in ("late", "never")))
    if story in ("agent", "direction"):
        at += dt.timedelta(minutes=rng.uniform(1, 180))
    elif story == "burst":
        at = at.replace(microsecond=0) + dt.timedelta(seconds=rng.randint(2, 90))
    for what in {"agent": "a", "direction": "d", "burst": "ada", "late": "p"}.get(story, ""):
        at += dt.timedelta(milliseconds=rng.randint(1, 300))
        if what == "a":
            facts["agentId"], facts["agentName"] = rng.choice(AGENTS)
        elif what == "d":
            facts["direction"] = "outbound" if facts["direction"] == "inbound" else "inbound"
        yield at, Update("calls", key, current())
    fate = rng.choices(("kept", "deleted", "recreated", "expired"), (925, 37, 18, 20))[0]
    at += dt.timedelta(minutes=rng.uniform(5, 240))
    if fate != "kept":
        yield at, (Expire if fate == "expired" else Delete)("calls", key)
    if fate == "recreated":
        at += dt.timedelta(seconds=rng.choice((0.02, 0.4, 45, 1200)))
        yield at, Put("calls", item | current())


def _scorecard(rng: Random, guid: str, agent: str, local: dt.datetime, end: dt.datetime) -> Iterator[_Timed]:
    """Put a scorecard some minutes after the call; refresh its summary, re-score it, remove it."""
    key = {"guid": {"S": guid}}
    at = end + dt.timedelta(minutes=rng.uniform(4, 40))
    about = {
        "datetime": f"{local:%Y-%m-%dT%H-%M-%S}", "agent": agent, "outcome": rng.choice(OUTCOMES),
        "callType": rng.choices(("sales", "service", "billing"), (5, 3, 2))[0],
        "notes": rng.choice(ODD_NOTES if rng.random() < 0.05 else NOTES),
        "primaryIntent": rng.choice(INTENTS), "secondaryIntent": rng.choice((*INTENTS, None)),
        "resolutionReason": rng.choice(REASONS), "summary": rng.choice(SUMMARIES),
    }  # fmt: skip

    def judged() -> Item:
        return {"ingestedAt": {"S": _iso(at)}, **_scores(rng)}

    item: Item = key | _typed(about)["M"] | judged()
    yield at, Put("scorecards", item)
    for chance, what in ((0.18, "summary"), (0.12, "scores")):
        if rng.random() < chance:
            at += dt.timedelta(seconds=rng.choice((0.15, 600, 5400)))
            changes = judged() if what == "scores" else {"summary": {"S": rng.choice(SUMMARIES)}}
            item = item | changes  # never in place: the item that was put must stay as it was
            yield at, Update("scorecards", key, changes)
    fate = rng.choices(("kept", "deleted", "recreated"), (955, 32, 13))[0]
    if fate != "kept":
        at += dt.timedelta(minutes=rng.uniform(5, 120))
        yield at, Delete("scorecards", key)
    if fate == "recreated":
        at += dt.timedelta(seconds=rng.choice((0.05, 90)))
        yield at, Put("scorecards", item | judged())


def _scores(rng: Random) -> Item:
    """`scores` (0 to 10) and their mean in percent, which sometimes has more decimals than the column."""
    names = [name for name in CRITERIA if rng.random() > 0.02] + ["empathy"] * (rng.random() < 0.03)
    scores = {name: Decimal(rng.randint(4, 20)) / 2 for name in names}
    judged = {name: {"score": scores[name], "evidence": CRITERIA.get(name, "“I'm sorry”")} for name in names}
    attributes = {"scores": _typed(judged)}
    if scores and rng.random() > 0.01:
        percent = Decimal(10) * sum(scores.values(), Decimal()) / len(scores)
        places = Decimal("0.00001" if rng.random() < 0.05 else "0.01")
        attributes["overallScore"] = _typed(percent.quantize(places, ROUND_HALF_UP))
    return attributes


def _documents(rng: Random, call: str, speakers: int, seconds: float, end: dt.datetime) -> Iterator[_Timed]:
    """Write the call's transcript: not at all, plain, redacted, both, silent, torn, or again and better."""
    stories = {"plain": 798, "none": 80, "both": 40, "redacted": 20, "silent": 10, "torn": 2, "rewritten": 50}
    story = rng.choices(list(stories), list(stories.values()))[0]
    name = f"transcripts/{call}.json"
    at = end + dt.timedelta(seconds=rng.uniform(20, 240))
    write = sample_documents.call_analytics if rng.random() < 0.12 else sample_documents.standard
    body = write(rng, call, speakers, seconds)
    if story == "silent":
        body = sample_documents.silent(rng, call, seconds)
    if story == "torn":
        yield at, Document(name, body[: len(body) // 2])
    elif story == "rewritten":  # the first version missed the end, and perhaps a speaker
        yield at, Document(name, write(rng, call, rng.randint(1, speakers), 0.9 * seconds))
    elif story not in ("none", "redacted"):
        yield at, Document(name, body)
    if story == "rewritten" or (story == "torn" and rng.random() < 0.5):
        yield at + dt.timedelta(minutes=rng.uniform(30, 240)), Document(name, body)
    if story in ("both", "redacted"):
        twin = Document(f"transcripts/redacted-{call}.json", sample_documents.redacted(body))
        yield at + dt.timedelta(seconds=2), twin


def _parsed_files(rng: Random, call: Recorded, guid: str, end: dt.datetime) -> Iterator[_Timed]:
    """Write PCA's file of the call: plain, again with other figures, redacted too, torn, or no such file."""
    stories = {"plain": 80, "rewritten": 9, "both": 7, "torn": 2, "foreign": 2}
    story = rng.choices(list(stories), list(stories.values()))[0]
    folder, base = "pca/parsedFiles/", call.audio
    if call.guid != guid and rng.random() < 0.5:  # a file that does not say which call it is of
        base = guid
    at = end + dt.timedelta(minutes=rng.uniform(5, 30))
    body = parsed_file(rng, call)
    if story == "torn":
        yield at, Document(f"{folder}{base}.json", body[: len(body) // 2])
    elif story == "foreign":
        notice = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "example-recordings"}
        yield at, Document(f"{folder}{base}.json", json.dumps(notice))
    else:
        yield at, Document(f"{folder}{base}.json", body)
    if story == "rewritten" or (story == "torn" and rng.random() < 0.5):
        again = Document(f"{folder}{base}.json", parsed_file(rng, call))
        yield at + dt.timedelta(minutes=rng.uniform(30, 240)), again
    if story == "both":
        twin = Document(f"{folder}redacted-{base}.json", sample_documents.redacted(body))
        yield at + dt.timedelta(seconds=2), twin


def _typed(value: Any) -> Item:
    """A plain value as DynamoDB's typed one."""
    if isinstance(value, dict):
        return {"M": {name: _typed(each) for name, each in value.items()}}
    if value is None:
        return {"NULL": True}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _iso(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
