"""The analysts' first figures, computed from the source itself: what the lakehouse must agree with.

An independent second opinion on `gold.calls` and `silver.scorecards`: plain Python over the items as
DynamoDB holds them and the transcripts as S3 lists them. It shares no code with the Spark side, on
purpose. Rules: docs/analysts.md (`answer_type`, scorecards, which transcript is a call's).
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

from lakehouse.demo.transcript_figures import (
    Heard,
    ListedDocument,
    Transcript,
    as_object,
    newest_transcripts,
)

Item: TypeAlias = Mapping[str, Any]  # attribute name → typed value, as a scan returns it

NOTHING_HEARD = Heard(None, 0)  # no transcript, or none that can be read
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


def analyst_figures(
    call_items: Iterable[Item], documents: Iterable[ListedDocument], day: dt.date
) -> list[FigureRow]:
    """Count the calls of the UTC day `day` by direction and answer type, sorted by both (None first).

    `call_items` are the live items of `calls`; `documents` are the objects that S3 lists now, each
    key once (others than transcripts are passed over).
    """
    transcripts = newest_transcripts(documents)
    groups: dict[tuple[str | None, str], list[float | None]] = defaultdict(list)
    for item in call_items:
        if _day_of(item) != day:
            continue
        payload = _payload(item)
        heard = _heard(transcripts, item["callId"]["S"], _guid(payload))
        groups[_text(payload.get("direction")), answer_type(heard)].append(heard.seconds)

    rows = []
    for (direction, answer), durations in groups.items():
        known = [seconds for seconds in durations if seconds is not None]
        average = math.fsum(known) / len(known) if known else None
        over_a_minute = sum(seconds > 60 for seconds in known)
        rows.append(FigureRow(direction, answer, len(durations), average, over_a_minute))
    return sorted(rows, key=lambda row: (row.direction is not None, row.direction or "", row.answer_type))


def scorecard_figures(scorecard_items: Iterable[Item], *, by: str = "callType") -> list[ScorecardRow]:
    """Count live scorecards and average `overallScore` by a text attribute; sorted (None first).

    A score is first rounded half up to four decimals, as its column is, decimal(10,4); one of seven
    digits or more before the point does not fit that column and counts as none.
    """
    groups: dict[str | None, list[Decimal | None]] = defaultdict(list)
    for item in scorecard_items:
        number = item.get("overallScore", {}).get("N")
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
    if heard.speakers is not None and heard.speakers >= 2:
        return "Human"
    return "Voicemail" if heard.speakers == 1 else "Unknown"


def _heard(transcripts: Mapping[str, Transcript], call_id: str, guid: str | None) -> Heard:
    """What the call's transcript tells, by id or GUID: Transcribe's own before PCA's, then the newest."""
    found = [transcripts[key] for key in (call_id, guid) if key is not None and key in transcripts]
    best = max(found, key=lambda each: (each.shape != "pca", each.modified, each.key), default=None)
    return best.heard if best else NOTHING_HEARD


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
        return as_object(value["M"])
    try:
        return as_object(json.loads(value.get("S", "")))
    except ValueError:
        return {}


def _text(value: object) -> str | None:
    """The text of a payload member, typed (`{"S": "…"}`) or plain; None for anything else."""
    text = value.get("S") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _guid(payload: Mapping[str, Any]) -> str | None:
    match = CALL_GUID.search(_text(payload.get("file_name")) or "")
    return match[1] if match else None


def _four_decimals(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.0001"), ROUND_HALF_UP)
