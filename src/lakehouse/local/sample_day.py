"""A believable day in a contact centre that rents out storage units, made up from a seed and a date.

`sample_day` yields what the centre's systems write, in the order of time: changes of the DynamoDB
tables `calls` and `scorecards`, and the transcripts that Amazon Transcribe leaves in S3. The same
arguments give the same operations, to the byte. Attribute values are typed for boto3's low-level
client; shapes are those that the tables read. People, places and words are invented.

On purpose, because real days are like this: payloads that are JSON text, or come late, or never; call
times with the site's offset, whose date is not the UTC date; keys that change thrice within a second,
or are deleted and come back; transcripts that are missing, silent, torn, rewritten or redacted.
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
    """A transcript is written, or rewritten in place, under `name` (`transcripts/<call id>.json`)."""

    name: str
    body: str


Operation: TypeAlias = Put | Update | Delete | Expire | Document
_Timed: TypeAlias = tuple[dt.datetime, Operation]

# fmt: off
DAY_CURVE = (  # calls in each hour UTC, relative; the last two are the evening shift, after midnight UTC
    10, 5, 3, 2, 2, 2, 3, 5, 10, 20, 30, 50, 70, 90, 100, 95, 80, 85, 90, 80, 70, 50, 35, 25, 10, 5)
SITES = ((11, "Tampa", -5), (12, "Austin", -6), (21, "Kraków", 1), (30, "Cebu", 8))  # hours ahead of UTC
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
NAMES_SPOKEN = ("Jordan", "Maplewood")  # what redaction hides
VOCABULARY = (
    *NAMES_SPOKEN, "hello", "thanks", "for", "calling", "how", "can", "I", "help", "you", "I'd", "like", "a",
    "unit", "the", "ten", "by", "fifteen", "is", "free", "from", "Monday", "okay", "that's", "café", "street")
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
        "agent_id": agent_id, "agent_name": agent_name, "allocation": rng.choice(("shared", "dedicated")),
        "direction": direction, "file_name": f"{local:%Y%m%dT%H%M%S}_{agent_id}_GUID_{guid}_{site_id}.wav",
        "first_or_follow_up": rng.choice(("first", "follow-up")), "medium": "phone",
        "queue_name": queue_name, "queue_id": queue_id if rng.random() < 0.6 else str(queue_id),
        "session_id": f"S-{rng.randrange(10**9):09}", "site_name": site_name, "site_id": site_id,
        "s3_bucket": "example-recordings", "tenant_id": 42, "program": rng.choice(PROGRAMS),
    }  # fmt: skip
    called = _iso(start if rng.random() < 0.85 else local)
    yield from _call_changes(rng, {"callId": {"S": call_id}, "callTimestampUTC": {"S": called}}, facts, end)
    yield from _documents(rng, call_id, 2 if kind == "conversation" else 1, seconds, end)
    if kind == "conversation" and seconds > 45 and rng.random() < 0.7:
        yield from _scorecard(rng, guid, facts["agent_name"], local, end)


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
            facts["agent_id"], facts["agent_name"] = rng.choice(AGENTS)
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
        "call_type": rng.choices(("sales", "service", "billing"), (5, 3, 2))[0],
        "notes": rng.choice(ODD_NOTES if rng.random() < 0.05 else NOTES),
        "primary_intent": rng.choice(INTENTS), "secondary_intent": rng.choice((*INTENTS, None)),
        "resolution_reason": rng.choice(REASONS), "summary": rng.choice(SUMMARIES),
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
        attributes["overall_score"] = _typed(percent.quantize(places, ROUND_HALF_UP))
    return attributes


def _documents(rng: Random, call: str, speakers: int, seconds: float, end: dt.datetime) -> Iterator[_Timed]:
    """Write the call's transcript: not at all, plain, redacted, both, silent, torn, or again and better."""
    stories = {"plain": 798, "none": 80, "both": 40, "redacted": 20, "silent": 10, "torn": 2, "rewritten": 50}
    story = rng.choices(list(stories), list(stories.values()))[0]
    name = f"transcripts/{call}.json"
    at = end + dt.timedelta(seconds=rng.uniform(20, 240))
    body = _transcript(rng, call, speakers, seconds, silent=story == "silent")
    if story == "torn":
        yield at, Document(name, body[: len(body) // 2])
    elif story == "rewritten":  # the first version missed the end, and perhaps a speaker
        yield at, Document(name, _transcript(rng, call, rng.randint(1, speakers), 0.9 * seconds))
    elif story not in ("none", "redacted"):
        yield at, Document(name, body)
    if story == "rewritten" or (story == "torn" and rng.random() < 0.5):
        yield at + dt.timedelta(minutes=rng.uniform(30, 240)), Document(name, body)
    if story in ("both", "redacted"):
        for spoken in NAMES_SPOKEN:
            body = body.replace(spoken, "[PII]")
        yield at + dt.timedelta(seconds=2), Document(f"transcripts/redacted-{call}.json", body)


def _transcript(rng: Random, call: str, speakers: int, seconds: float, *, silent: bool = False) -> str:
    """Standard Transcribe output of up to 40 words, the last of which ends at `seconds`."""
    by_channel = rng.random() < 0.25
    count = 0 if silent else rng.randint(10, 40) if seconds >= 10 else rng.randint(1, 6)
    step, turn_length = seconds / max(count, 1), rng.randint(3, 8)
    overhang = 0.5 if rng.random() < 0.1 else 0.0  # the last segment outlasts its last word
    items: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []  # of results.speaker_labels
    turns: list[dict[str, Any]] = []  # results.audio_segments
    for first in range(0, count, turn_length):
        speaker, last = len(turns) % speakers, min(first + turn_length, count)
        label = {"channel_label": f"ch_{speaker}"} if by_channel else {"speaker_label": f"spk_{speaker}"}
        ends = [step * (number + 1) for number in range(first, last)]
        spans = [{"start_time": _text(t - min(0.9, 0.8 * step)), "end_time": _text(t), **label} for t in ends]
        words = rng.choices(VOCABULARY, k=len(spans))
        ids = range(len(items), len(items) + len(words) + 1)
        for span, word in zip(spans, words, strict=True):
            said = {"confidence": _text(rng.uniform(0.8, 1)), "content": word}
            items.append({"id": len(items), "type": "pronunciation", **span, "alternatives": [said]})
        said = {"confidence": "0.0", "content": "."}
        items.append({"id": len(items), "type": "punctuation", **label, "alternatives": [said]})
        until = _text(ends[-1] + (overhang if last == count else 0))
        whole = {"start_time": spans[0]["start_time"], "end_time": until, **label}
        segments.append({**whole, "items": spans})
        turns.append({"id": len(turns), "transcript": " ".join(words) + ".", **whole, "items": [*ids]})
    text = " ".join(turn["transcript"] for turn in turns)
    results: dict[str, Any] = {"transcripts": [{"transcript": text}], "items": items}
    if by_channel:  # both channels are listed, even where only one of them speaks
        heard = [(ch, [item for item in items if item["channel_label"] == ch]) for ch in ("ch_0", "ch_1")]
        channels = [{"channel_label": ch, "items": spoken} for ch, spoken in heard]
        results["channel_labels"] = {"channels": channels, "number_of_channels": 2}
    else:
        results["speaker_labels"] = {"speakers": min(speakers, len(turns)), "segments": segments}
    if rng.random() < 0.35:
        results["audio_segments"] = turns
    if rng.random() < 0.02:
        results["audio_duration"] = _text(seconds + rng.uniform(0.5, 4))
    job = {"jobName": call, "accountId": "111122223333", "results": results, "status": "COMPLETED"}
    return json.dumps(job, ensure_ascii=False)


def _typed(value: Any) -> Item:
    """A plain value as DynamoDB's typed one."""
    if isinstance(value, dict):
        return {"M": {name: _typed(each) for name, each in value.items()}}
    if value is None:
        return {"NULL": True}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _text(seconds: float) -> str:
    return str(round(seconds, 2))


def _iso(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
