"""What transcripts tell, read by plain Python: the second opinion on `silver.transcripts`.

It shares no code with the Spark side, on purpose. Three shapes, told by their members and never by their
path: the standard output of Amazon Transcribe (an object `results`), that of Call Analytics (an array
`Transcript`), and the parsed files of Post Call Analytics, PCA (an object `ConversationAnalytics`).
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

ListedDocument: TypeAlias = tuple[str, str | bytes, dt.datetime]  # key, body, modification time

DOCUMENT_NAME = re.compile(
    r"(?:.*/)?(?P<place>transcripts|parsedFiles)/(?P<key>(?:redacted-)?(?P<base>[^/]+)\.json)"
)
NON_TALK = "NonTalkTime"  # stands beside the speakers
NO_GUIDS = ("", "None")


@dataclass(frozen=True)
class Heard:
    """What a transcript tells: its length in seconds, and how many speak, if that is known."""

    seconds: float | None
    speakers: int | None


@dataclass(frozen=True)
class Transcript:
    """A document that can be read: `shape` is `standard`, `call_analytics` or `pca`.

    `key` is its key below its location, `modified` its modification time in whole milliseconds.
    """

    id: str
    shape: str
    heard: Heard
    modified: dt.datetime
    key: str


def newest_transcripts(documents: Iterable[ListedDocument]) -> dict[str, Transcript]:
    """Transcript id → the newest of its documents; a redacted twin is a document of the same id.

    Newest by modification time in milliseconds, then by key. A document that cannot be read is set apart
    on its way into the tables, so it is no document of any id here either.
    """
    newest: dict[str, Transcript] = {}
    for name, body, modified in documents:
        match = DOCUMENT_NAME.fullmatch(name)
        told = read_transcript(body, match["base"]) if match else None
        if match is None or told is None:
            continue
        found = Transcript(*told, whole_milliseconds(modified), match["key"])
        current = newest.get(found.id)
        if current is None or (found.modified, found.key) > (current.modified, current.key):
            newest[found.id] = found
    return newest


def read_transcript(body: str | bytes, base: str) -> tuple[str, str, Heard] | None:
    """Id, shape and what is heard; None where the body is no JSON object, or one of no shape.

    `base` is the document's name without `redacted-` and `.json`: its id, but for PCA files with a GUID.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("results"), dict):
        return base, "standard", _standard(document["results"])
    if isinstance(document.get("Transcript"), list):
        # Contact Lens writes the same of chats, which are no calls.
        calls = document.get("Channel") in (None, "VOICE", "TELEPHONY")
        return (base, "call_analytics", _call_analytics(document)) if calls else None
    if isinstance(document.get("ConversationAnalytics"), dict):
        guid = document["ConversationAnalytics"].get("GUID")
        known = isinstance(guid, str) and guid not in NO_GUIDS
        return guid if known else base, "pca", _pca(document)
    return None


def _standard(results: dict[str, Any]) -> Heard:
    """`audio_duration`, else the latest `end_time` of three lists; the distinct labels in them."""
    entries = [
        *as_objects(results.get("audio_segments")),
        *as_objects(results.get("items")),
        *as_objects(as_object(results.get("speaker_labels")).get("segments")),
    ]
    # Outputs that are split by channel have channel labels instead, old ones on the channels alone.
    channels = as_objects(as_object(results.get("channel_labels")).get("channels"))
    speakers = (
        _distinct(entries, "speaker_label")
        or _distinct(entries, "channel_label")
        or _distinct([channel for channel in channels if channel.get("items")], "channel_label")
    )
    seconds = as_number(results.get("audio_duration"))
    return Heard(_latest(entries, "end_time") if seconds is None else seconds, len(speakers) or None)


def _call_analytics(document: dict[str, Any]) -> Heard:
    """The stated length, else the latest end of a turn, both in milliseconds; those that speak."""
    turns = as_objects(document["Transcript"])
    stated = as_object(document.get("ConversationCharacteristics")).get("TotalConversationDurationMillis")
    millis = as_number(stated)
    if millis is None:
        millis = _latest(turns, "EndOffsetMillis")
    speakers = _distinct(turns, "ParticipantId") or _distinct(turns, "ParticipantRole")
    if turns and not speakers:
        speakers = _distinct(as_objects(document.get("Participants")), "ParticipantRole")
    return Heard(None if millis is None else millis / 1000, len(speakers) or (None if turns else 0))


def _pca(document: dict[str, Any]) -> Heard:
    """`Duration`, else the latest end of a segment; who speaks in segments, else whose talk was timed.

    An IVR is nobody; a duration of 0 is none where a segment ends.
    """
    analytics, segments = document["ConversationAnalytics"], as_objects(document.get("SpeechSegments"))
    seconds, end = as_number(analytics.get("Duration")), _latest(segments, "SegmentEndTime")
    nobody = machines(analytics) | {NON_TALK}
    timed = as_object(analytics.get("SpeakerTime")).keys() - nobody
    speakers = _distinct(segments, "SegmentSpeaker") - nobody or timed
    return Heard(seconds or (end if end is not None else seconds), len(speakers) or None)


def machines(analytics: dict[str, Any]) -> set[str]:
    """The speakers that are an IVR, by their label or by their name."""
    labels = as_objects(analytics.get("SpeakerLabels"))
    return {"IVR"} | {
        str(one["Speaker"])
        for one in labels
        if one.get("Speaker") and "ivr" in str(one.get("DisplayText")).lower().split()
    }


def _latest(entries: list[dict[str, Any]], name: str) -> float | None:
    ends = (as_number(entry.get(name)) for entry in entries)
    return max((end for end in ends if end is not None), default=None)


def _distinct(entries: list[dict[str, Any]], name: str) -> set[str]:
    return {entry[name] for entry in entries if entry.get(name)}


def whole_milliseconds(at: dt.datetime) -> dt.datetime:
    """The time without its microseconds: so exactly documents are compared."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def as_number(value: object) -> float | None:
    """A number that arrives as text or as a number; None for anything else."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_object(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects in a JSON array; empty for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
