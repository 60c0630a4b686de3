"""Bodies of made-up transcripts as Amazon Transcribe writes them: standard output and Call Analytics.

Everything is drawn from the generator that is passed in, so the same draws give the same bytes.
"""

from __future__ import annotations

import json
import uuid
from random import Random
from typing import Any

# fmt: off
NAMES_SPOKEN = ("Jordan", "Maplewood")  # what redaction hides
VOCABULARY = (
    *NAMES_SPOKEN, "hello", "thanks", "for", "calling", "how", "can", "I", "help", "you", "I'd", "like", "a",
    "unit", "the", "ten", "by", "fifteen", "is", "free", "from", "Monday", "okay", "that's", "café", "street")
# fmt: on


def silent(rng: Random, call: str, seconds: float) -> str:
    """Standard Transcribe output in which nothing is said."""
    return _standard(rng, call, 0, 1, seconds)


def standard(rng: Random, call: str, speakers: int, seconds: float) -> str:
    """Standard Transcribe output of up to 40 words, the last of which ends at `seconds`."""
    words = rng.randint(10, 40) if seconds >= 10 else rng.randint(1, 6)
    return _standard(rng, call, words, speakers, seconds)


def _standard(rng: Random, call: str, count: int, speakers: int, seconds: float) -> str:
    by_channel = rng.random() < 0.25
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


def call_analytics(rng: Random, call: str, speakers: int, seconds: float) -> str:
    """Call Analytics output of a few turns, the last of which ends within `seconds`.

    One in twelve does not state the whole length. Both participants are listed, whoever speaks.
    """
    length = round(1000 * seconds)  # milliseconds
    roles = ("AGENT", "CUSTOMER")[:speakers]
    count = rng.randint(2, 8)
    pause = rng.choice((0, 0, 40, 250))
    turns = [
        _turn(rng, roles[n % len(roles)], n * length // count, (n + 1) * length // count - pause)
        for n in range(count)
    ]
    participants = [{"ParticipantRole": role} for role in ("AGENT", "CUSTOMER")]
    job: dict[str, Any] = {
        "JobName": call, "AccountId": "111122223333", "JobStatus": "COMPLETED", "LanguageCode": "en-US",
        "Channel": "VOICE", "Participants": participants, "Transcript": turns,
        "Categories": {"MatchedCategories": [], "MatchedDetails": {}},
    }  # fmt: skip
    if rng.random() > 1 / 12:
        job["ConversationCharacteristics"] = {
            "NonTalkTime": {"Instances": [], "TotalTimeMillis": pause * count},
            "TotalConversationDurationMillis": length,
        }
    return json.dumps(job, ensure_ascii=False)


def _turn(rng: Random, role: str, begin: int, end: int) -> dict[str, Any]:
    """What one participant says from `begin` to `end`, in milliseconds."""
    words = rng.choices(VOCABULARY, k=rng.randint(2, 6))
    span = {"BeginOffsetMillis": begin, "EndOffsetMillis": max(end, begin + 1)}
    spoken = [
        {"Type": "pronunciation", "Confidence": _text(rng.uniform(0.8, 1)), "Content": word, **span}
        for word in words
    ]
    stop = {"Type": "punctuation", "Confidence": "0.0", "Content": "."}
    return {
        "Id": str(uuid.UUID(int=rng.getrandbits(128), version=4)), "ParticipantRole": role,
        "Content": " ".join(words) + ".", "Items": [*spoken, stop], **span,
        "Sentiment": rng.choice(("NEUTRAL", "NEUTRAL", "POSITIVE", "NEGATIVE", "MIXED")),
        "LoudnessScores": [round(rng.uniform(60, 85), 2) for _ in range(3)],
    }  # fmt: skip


def redacted(body: str) -> str:
    """The same document with the names that are spoken in it taken out."""
    for spoken in NAMES_SPOKEN:
        body = body.replace(spoken, "[PII]")
    return body


def _text(seconds: float) -> str:
    return str(round(seconds, 2))
