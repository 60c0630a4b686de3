"""The analysts' first figures, computed from the source itself: what the lakehouse must agree with.

An independent second opinion on `gold.calls` and `silver.scorecards`: plain Python over the items as
DynamoDB holds them and the transcripts as S3 lists them. It shares no code with the Spark side, on
purpose. Rules: docs/analysts.md (Transcribe, `answer_type`, scorecards, which
transcript is a call's) and 9 (the query). Transcripts are read in the standard shape only.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

from lakehouse.errors import DataError

Item: TypeAlias = Mapping[str, Any]  # attribute name → typed value, as a scan returns it
ListedDocument: TypeAlias = tuple[str, str | bytes, dt.datetime]  # key, body, modification time

TRANSCRIPT_NAME = re.compile(r"(?:.*/)?transcripts/(?:redacted-)?(?P<id>[^/]+)\.json")
CALL_GUID = re.compile(r"_GUID_([^_]+)_")


@dataclass(frozen=True)
class FigureRow:
    """The calls of one direction and answer type on one UTC day.

    `direction` is None where the source has none. `average_seconds` is the mean over the calls whose
    duration is known, and only over them (None if there are none); `calls` counts all.
    `over_a_minute` counts the calls of more than 60 seconds.
    """

    direction: str | None
    answer_type: str
    calls: int
    average_seconds: float | None
    over_a_minute: int


@dataclass(frozen=True)
class ScorecardRow:
    """The live scorecards of one group; the mean over those that have a score, to four decimals."""

    group: str | None
    scorecards: int
    mean_score: Decimal | None


@dataclass(frozen=True)
class Heard:
    """What a transcript tells: its length in seconds, if that is known, and how many speak."""

    seconds: float | None
    speakers: int


NOTHING_HEARD = Heard(None, 0)  # no transcript, or one that cannot be read


def analyst_figures(
    call_items: Iterable[Item], documents: Iterable[ListedDocument], day: dt.date
) -> list[FigureRow]:
    """Count the calls of the UTC day `day` by direction and answer type, sorted by both (None first).

    `call_items` are the live items of `calls`; `documents` are the objects that S3 lists now, each
    key once (others than transcripts are passed over). Raises DataError for a transcript in another
    shape than the standard one.
    """
    transcripts = _newest_transcripts(documents)
    groups: dict[tuple[str | None, str], list[float | None]] = defaultdict(list)
    for item in call_items:
        if _day_of(item) != day:
            continue
        payload = _payload(item)
        heard = transcripts.get(item["callId"]["S"]) or transcripts.get(_guid(payload)) or NOTHING_HEARD
        groups[_text(payload.get("direction")), answer_type(heard)].append(heard.seconds)

    rows = []
    for (direction, answer), durations in groups.items():
        known = [seconds for seconds in durations if seconds is not None]
        average = math.fsum(known) / len(known) if known else None
        over_a_minute = sum(seconds > 60 for seconds in known)
        rows.append(FigureRow(direction, answer, len(durations), average, over_a_minute))
    return sorted(rows, key=lambda row: (row.direction is not None, row.direction or "", row.answer_type))


def scorecard_figures(scorecard_items: Iterable[Item], *, by: str = "call_type") -> list[ScorecardRow]:
    """Count live scorecards and average `overall_score` by a text attribute; sorted (None first).

    A score is first rounded half up to four decimals, as its column is, decimal(10,4); one of seven
    digits or more before the point does not fit that column and counts as none.
    """
    groups: dict[str | None, list[Decimal | None]] = defaultdict(list)
    for item in scorecard_items:
        number = item.get("overall_score", {}).get("N")
        fits = number is not None and abs(Decimal(number)) < 1_000_000
        groups[item.get(by, {}).get("S")].append(_four_decimals(Decimal(number)) if fits else None)

    rows = []
    for group, scores in groups.items():
        known = [score for score in scores if score is not None]
        mean = _four_decimals(sum(known, Decimal()) / len(known)) if known else None
        rows.append(ScorecardRow(group, len(scores), mean))
    return sorted(rows, key=lambda row: (row.group is not None, row.group or ""))


def answer_type(heard: Heard) -> str:
    """How a call was answered, judged by its transcript."""
    if not heard.seconds:  # unknown or 0
        return "Unknown"
    if heard.seconds < 10:
        return "NoAnswer"
    if heard.speakers >= 2:
        return "Human"
    return "Voicemail" if heard.speakers == 1 else "Unknown"


def read_transcript(name: str, body: str | bytes) -> Heard:
    """Length and number of speakers of a transcript in Transcribe's standard shape.

    The length is `audio_duration`, else the latest `end_time` of the three lists below; the speakers
    are the distinct labels in them. A body that is no JSON object tells nothing.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return NOTHING_HEARD
    if not isinstance(document, dict):
        return NOTHING_HEARD
    if "ConversationCharacteristics" in document or "ConversationAnalytics" in document:
        raise DataError(f"{name} is no standard transcript: these figures cannot be computed without it.")

    results = _object(document.get("results"))
    entries = [
        *_objects(results.get("audio_segments")),
        *_objects(results.get("items")),
        *_objects(_object(results.get("speaker_labels")).get("segments")),
    ]
    seconds = _number(results.get("audio_duration"))
    if seconds is None:
        ends = [_number(entry.get("end_time")) for entry in entries]
        seconds = max((end for end in ends if end is not None), default=None)
    # Outputs that are split by channel have channel labels instead of speaker labels.
    speakers = {entry["speaker_label"] for entry in entries if entry.get("speaker_label")}
    channels = {entry["channel_label"] for entry in entries if entry.get("channel_label")}
    return Heard(seconds, len(speakers or channels))


def _newest_transcripts(documents: Iterable[ListedDocument]) -> dict[str | None, Heard]:
    """Transcript id → the newest of its documents; a redacted twin is a document of the same id.

    Newest by modification time in milliseconds, then by key.
    """
    newest: dict[str, tuple[dt.datetime, str, str | bytes]] = {}
    for name, body, modified in documents:
        match = TRANSCRIPT_NAME.fullmatch(name)
        if match is None:
            continue
        candidate = (modified.replace(microsecond=modified.microsecond // 1000 * 1000), name, body)
        current = newest.get(match["id"])
        if current is None or candidate[:2] > current[:2]:
            newest[match["id"]] = candidate
    return {id_: read_transcript(name, body) for id_, (_, name, body) in newest.items()}


def _day_of(item: Item) -> dt.date | None:
    """The UTC date of the call; None where its time is missing or cannot be read. No zone means UTC."""
    try:
        called = dt.datetime.fromisoformat(item.get("callTimestampUTC", {}).get("S", ""))
    except ValueError:
        return None
    return (called if called.tzinfo else called.replace(tzinfo=dt.UTC)).astimezone(dt.UTC).date()


def _payload(item: Item) -> Mapping[str, Any]:
    """`payload` as typed attributes or, where it is JSON text, as plain values; empty if there is none."""
    value = item.get("payload", {})
    if "M" in value:
        return _object(value["M"])
    try:
        return _object(json.loads(value.get("S", "")))
    except ValueError:
        return {}


def _text(value: object) -> str | None:
    """The text of a payload member, typed (`{"S": "…"}`) or plain; None for anything else."""
    text = value.get("S") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _guid(payload: Mapping[str, Any]) -> str | None:
    match = CALL_GUID.search(_text(payload.get("file_name")) or "")
    return match[1] if match else None


def _number(value: object) -> float | None:
    """A number that arrives as text or as a number; None for anything else."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _four_decimals(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.0001"), ROUND_HALF_UP)
