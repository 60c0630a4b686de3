"""What calls for coaching, computed from the PCA files themselves.

An independent second opinion on `gold.coaching_insights`: plain Python over the parsed files of Post Call
Analytics as S3 lists them. It shares no code with the Spark side, on purpose. Numbers are compared as
decimals. What is not known makes no rule hold.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from lakehouse.demo.transcript_figures import (
    DOCUMENT_NAME,
    NON_TALK,
    ListedDocument,
    as_object,
    as_objects,
    machines,
    whole_milliseconds,
)

Insight: TypeAlias = tuple[str, str]  # type, priority


@dataclass(frozen=True)
class Figures:
    """The figures of one call, in seconds and from -5 to 5; None where the file does not tell.

    `fall` is by how much the customer's sentiment fell from the first quarter to the last.
    """

    duration: Decimal | None
    agent_sentiment: Decimal | None
    customer_sentiment: Decimal | None
    agent_talk: Decimal | None
    customer_talk: Decimal | None
    silence: Decimal | None
    fall: Decimal | None


def coaching_figures(documents: Iterable[ListedDocument]) -> dict[Insight, int]:
    """Count the insights of the PCA files that S3 lists now, by type and priority."""
    return Counter(insight for call in _calls(documents) for insight in insights(call))


def calls_with_high_priority(documents: Iterable[ListedDocument]) -> int:
    """How many of the PCA files that S3 lists now have an insight of high priority."""
    return sum(any(priority == "high" for _, priority in insights(call)) for call in _calls(documents))


def _calls(documents: Iterable[ListedDocument]) -> Iterator[Figures]:
    """A redacted twin is the same file: the newest counts, by modification time in milliseconds, then by key.

    Other documents are passed over, and so is what cannot be read.
    """
    newest: dict[str, tuple[Any, str, dict[str, Any]]] = {}
    for name, body, modified in documents:
        match = DOCUMENT_NAME.fullmatch(name)
        document = _document(body) if match and match["place"] == "parsedFiles" else None
        if match is None or document is None:
            continue
        candidate = (whole_milliseconds(modified), match["key"], document)
        if match["base"] not in newest or candidate[:2] > newest[match["base"]][:2]:
            newest[match["base"]] = candidate
    return (read(document) for *_, document in newest.values())


def insights(call: Figures) -> Iterator[Insight]:
    """The insights of one call, each type once."""
    for who, sentiment in (("agent", call.agent_sentiment), ("customer", call.customer_sentiment)):
        if sentiment is not None and sentiment <= -1:
            yield f"{who}_negative_sentiment", "high" if sentiment <= Decimal("-2.5") else "medium"
    if call.agent_talk is not None and call.customer_talk is not None:
        talk = call.agent_talk + call.customer_talk
        if call.duration is not None and call.duration >= 60 and talk > 0:
            if 10 * call.agent_talk > 7 * talk:
                yield "agent_dominates", "medium"
            if 10 * call.agent_talk < 3 * talk:
                yield "agent_silent", "medium"
    if call.duration is not None:
        if call.silence is not None and 4 * call.silence > call.duration and call.silence > 30:
            yield "long_silence", "low"
        if call.duration > 30 * 60:
            yield "long_call", "low"
    if call.fall is not None and call.fall >= 2:
        yield "customer_sentiment_fell", "medium"


def read(document: Mapping[str, Any]) -> Figures:
    """The figures of a call from its file."""
    analytics = as_object(document.get("ConversationAnalytics"))
    trends, times = as_object(analytics.get("SentimentTrends")), as_object(analytics.get("SpeakerTime"))
    speakers = sorted(({*trends} | {*times}) - {NON_TALK} - machines(analytics))
    agents, customers = _roles(as_objects(analytics.get("SpeakerLabels")), speakers)
    scores = [_number(as_object(trends.get(agent)).get("SentimentScore")) for agent in agents]
    customer = as_object(trends.get(customers[0])) if customers else {}
    ends = [_number(s.get("SegmentEndTime")) for s in as_objects(document.get("SpeechSegments"))]
    stated, end = _number(analytics.get("Duration")), max((e for e in ends if e is not None), default=None)
    anybody = bool(agents) and bool({*times} - {NON_TALK})
    return Figures(
        duration=stated or (end if end is not None else stated),
        agent_sentiment=min((score for score in scores if score is not None), default=None),
        customer_sentiment=_number(customer.get("SentimentScore")),
        agent_talk=_talk(times, agents) if anybody else None,
        customer_talk=_talk(times, customers) if anybody else None,
        silence=_seconds(times.get(NON_TALK)),
        fall=_fall(as_objects(customer.get("SentimentPerQuarter"))),
    )


def _roles(labels: list[dict[str, Any]], speakers: list[str]) -> tuple[list[str], list[str]]:
    """The agents, and all others, the labelled customer first; both empty where labels name no agent.

    Without any label `spk_0` is the agent.
    """
    told = [
        (label["Speaker"], "".join(str(label["DisplayText"]).lower().split()))
        for label in labels
        if isinstance(label.get("Speaker"), str) and str(label.get("DisplayText") or "").strip()
    ]
    agents = [speaker for speaker, role in told if role.rstrip("0123456789") == "agent"]
    if not agents and told:
        return [], []
    agents = list(dict.fromkeys(agents)) or ["spk_0"]
    customers = {speaker for speaker, role in told if role == "customer"}
    others = [speaker for speaker in speakers if speaker not in agents]
    return agents, sorted(others, key=lambda speaker: speaker not in customers)


def _talk(times: Mapping[str, Any], speakers: list[str]) -> Decimal | None:
    """Seconds of talk together; who is not in `times` did not talk. None where one of them is not known."""
    each = [_seconds(times[speaker]) if speaker in times else Decimal() for speaker in speakers]
    known = [seconds for seconds in each if seconds is not None]
    return sum(known, Decimal()) if len(known) == len(each) else None


def _fall(quarters: list[dict[str, Any]]) -> Decimal | None:
    """Score of the first quarter minus that of the last; None unless there are two that differ."""
    scores = {_number(quarter.get("Quarter")): _number(quarter.get("Score")) for quarter in quarters}
    numbers = sorted(number for number in scores if number is not None)
    if len(numbers) < 2:
        return None
    first, last = scores[numbers[0]], scores[numbers[-1]]
    return first - last if first is not None and last is not None else None


def _document(body: str | bytes) -> dict[str, Any] | None:
    """The file, with exact numbers; None where the body is no PCA file."""
    try:
        document = json.loads(body, parse_float=Decimal)
    except ValueError:
        return None
    found = isinstance(document, dict) and isinstance(document.get("ConversationAnalytics"), dict)
    return document if found else None


def _seconds(time: object) -> Decimal | None:
    return _number(as_object(time).get("TotalTimeSecs"))


def _number(value: object) -> Decimal | None:
    """A number that arrives as text or as a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
