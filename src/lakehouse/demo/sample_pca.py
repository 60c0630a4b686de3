"""Bodies of made-up parsed files of Post Call Analytics (PCA), with something to coach in many of them.

The shape is that of PCA's own files: speakers `spk_0`, `spk_1` and sometimes `spk_2`, sentiment from -5 to
5, a duration that is text or a number, and an agent or GUID that may be the text "None". About one file in
seven lies exactly on the limits of the coaching rules, where it is easy to be wrong: shares of talk of 30
and 70 %, a quarter of silence, a minute or half an hour, a sentiment that falls from 3.3 to 1.3.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from lakehouse.demo.sample_documents import VOCABULARY

QUARTERS = (1, 2, 3, 4)
ON_THE_LIMIT = 0.15


@dataclass(frozen=True)
class Recorded:
    """What PCA knows of a call before it listens; `guid` and `agent` as the file shall say them.

    A `guid` of None is left out of the file. `started` is local time at `location`.
    """

    guid: str | None
    agent: str
    audio: str
    started: dt.datetime
    location: str
    seconds: float


def parsed_file(rng: Random, call: Recorded) -> str:
    """A parsed file of the call; drawn again, it tells something else."""
    limit = rng.random() < ON_THE_LIMIT
    seconds = Decimal(str(round(call.seconds, 2)))
    if limit:  # of whole seconds quarters and thirds of tenths are exact
        seconds = Decimal(rng.choice((60, 1800, max(round(seconds), 12))))
    speakers = [f"spk_{number}" for number in range(rng.choices((2, 3), (92, 8))[0])]
    labels = _labels(rng, speakers)
    agent = labels[0]["Speaker"] if labels else "spk_0"
    started = call.started.replace(tzinfo=None)
    analytics: dict[str, Any] = {
        "GUID": call.guid, "Agent": call.agent, "ConversationTime": str(started),
        "ConversationLocation": call.location, "ProcessTime": str(started + dt.timedelta(hours=5)),
        "LanguageCode": "en-US", "Duration": str(seconds) if rng.random() < 0.7 else float(seconds),
        "SpeakerLabels": labels, "SentimentTrends": _trends(rng, speakers, agent, seconds, limit=limit),
        "SpeakerTime": _times(rng, speakers, agent, seconds, limit=limit),
        "CategoriesDetected": [], "IssuesDetected": [], "CustomEntities": [],
        "SourceInformation": [{"TranscribeJobInfo": {"TranscriptionJobName": call.audio}}],
    }  # fmt: skip
    told = {name: value for name, value in analytics.items() if value is not None}
    segments = _segments(rng, speakers, float(seconds)) if rng.random() > 0.04 else []
    return json.dumps({"ConversationAnalytics": told, "SpeechSegments": segments}, ensure_ascii=False)


def _labels(rng: Random, speakers: list[str]) -> list[dict[str, str]] | None:
    """Who is who, the agent first; None where the file does not say."""
    if rng.random() < 0.15:
        return None
    agent, customer = speakers[:2] if rng.random() < 0.7 else speakers[1::-1]
    labels = [{"Speaker": agent, "DisplayText": rng.choice(("Agent", "Agent", "Agent", "AGENT", "agent"))}]
    if rng.random() < 0.9:
        labels.append({"Speaker": customer, "DisplayText": "Customer"})
    return labels + [{"Speaker": other, "DisplayText": "Supervisor"} for other in speakers[2:]]


def _times(
    rng: Random, speakers: list[str], agent: str, seconds: Decimal, *, limit: bool
) -> dict[str, Any] | None:
    """Seconds of talk by speaker, and of silence; nobody, or all but the agent, or nothing at all is rare."""
    silent, share = _talk(rng, limit=limit)
    silence = _thousandths(seconds * silent)
    talk = seconds - silence
    agent_talk = _thousandths(talk * share)
    others = [name for name in speakers if name != agent]
    rest = _thousandths((talk - agent_talk) / len(others))
    times = dict.fromkeys(others[1:], rest)
    times |= {agent: agent_talk, others[0]: talk - agent_talk - rest * (len(others) - 1)}
    story = rng.choices(("plain", "no agent", "nobody", "absent"), (90, 4, 3, 3))[0]
    if story == "absent":
        return None
    if story == "no agent":
        del times[agent]
    heard = {name: {"TotalTimeSecs": float(times[name])} for name in sorted(times) if story != "nobody"}
    return heard | {"NonTalkTime": {"Instances": [], "TotalTimeSecs": float(silence)}}


def _talk(rng: Random, *, limit: bool) -> tuple[Decimal, Decimal]:
    """How much of the call is silent, and how much of the talk is the agent's; 0 to 1."""
    if limit:
        return Decimal("0.25"), Decimal(rng.choice(("0.3", "0.7")))
    silent = rng.uniform(0, 0.2) if rng.random() < 0.8 else rng.uniform(0.25, 0.5)
    low, high = rng.choices(((0.35, 0.65), (0.05, 0.3), (0.7, 0.95)), (70, 15, 15))[0]
    return Decimal(str(round(silent, 3))), Decimal(str(round(rng.uniform(low, high), 3)))


def _trends(rng: Random, speakers: list[str], agent: str, seconds: Decimal, *, limit: bool) -> dict[str, Any]:
    trends: dict[str, Any] = {}
    for name in speakers:
        if rng.random() < 0.05:
            continue  # PCA leaves out a speaker of whose sentiment it knows nothing
        scores = [_sentiment(rng.gauss(0.6, 1.5)) for _ in QUARTERS]
        if limit:
            scores[0], scores[-1] = 3.3, 1.3
            score = rng.choice((-1.0, -2.5))
        elif name == agent:
            score = _sentiment(rng.gauss(1.4, 1) if rng.random() < 0.85 else rng.uniform(-4.5, -1))
        else:
            score = _sentiment(rng.gauss(0.3, 1.6))
        trends[name] = {"SentimentScore": score, **_quarters(rng, scores, float(seconds))}
        if rng.random() < 0.1:
            del trends[name]["SentimentPerQuarter"]
    return trends


def _quarters(rng: Random, scores: list[float], seconds: float) -> dict[str, Any]:
    """Sentiment by quarter of the call; rarely there is only one, or the last comes first."""
    length = seconds / len(QUARTERS)
    quarters = [
        {
            "Quarter": quarter,
            "Score": score,
            "BeginOffsetSecs": round((quarter - 1) * length, 3),
            "EndOffsetSecs": round(quarter * length, 3),
        }
        for quarter, score in zip(QUARTERS, scores, strict=True)
    ]
    story = rng.choices(("plain", "one", "backwards"), (90, 5, 5))[0]
    if story == "one":
        del quarters[1:]
    elif story == "backwards":
        quarters.reverse()
    return {"SentimentPerQuarter": quarters, "SentimentChange": round(scores[-1] - scores[0], 1)}


def _segments(rng: Random, speakers: list[str], seconds: float) -> list[dict[str, Any]]:
    """What is said, by one speaker after the other."""
    count = rng.randint(len(speakers), 6)
    segments = []
    for number in range(count):
        words = rng.choices(VOCABULARY, k=rng.randint(2, 5))
        start, end = (round(edge * seconds / count, 2) for edge in (number, number + 0.95))
        text = " ".join(words) + "."
        said: dict[str, Any] = {"SegmentStartTime": start, "SegmentEndTime": end}
        said |= {"SegmentSpeaker": speakers[number % len(speakers)], "SegmentInterruption": False}
        said |= {"OriginalText": text, "DisplayText": text, "SentimentScore": 0.0}
        spans = [{"Text": word, "Confidence": 0.97, "StartTime": start, "EndTime": end} for word in words]
        segments.append(said | {"WordConfidence": spans})
    return segments


def _sentiment(value: float) -> float:
    return round(min(max(value, -5.0), 5.0), 1)


def _thousandths(seconds: Decimal) -> Decimal:
    return seconds.quantize(Decimal("0.001"))
