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
        analytics = _analytics(body) if match and match["place"] == "parsedFiles" else None
        if match is None or analytics is None:
            continue
        candidate = (whole_milliseconds(modified), match["key"], analytics)
        if match["base"] not in newest or candidate[:2] > newest[match["base"]][:2]:
            newest[match["base"]] = candidate
    return (read(analytics) for *_, analytics in newest.values())


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


def read(analytics: Mapping[str, Any]) -> Figures:
    """The figures of a call from the object `ConversationAnalytics` of its file."""
    trends, times = as_object(analytics.get("SentimentTrends")), as_object(analytics.get("SpeakerTime"))
    speakers = sorted(({*trends} | {*times}) - {NON_TALK})
    agent, customer = _roles(as_objects(analytics.get("SpeakerLabels")), speakers)
    agent_talk, customer_talk = _talk(times, agent)
    return Figures(
        duration=_number(analytics.get("Duration")),
        agent_sentiment=_number(as_object(trends.get(agent)).get("SentimentScore")),
        customer_sentiment=_number(as_object(trends.get(customer)).get("SentimentScore")),
        agent_talk=agent_talk,
        customer_talk=customer_talk,
        silence=_seconds(times.get(NON_TALK)),
        fall=_fall(as_objects(as_object(trends.get(customer)).get("SentimentPerQuarter"))),
    )


def _roles(labels: list[dict[str, Any]], speakers: list[str]) -> tuple[str, str]:
    """Who the agent is, and who the customer: as labelled, else `spk_0` and the first other speaker."""

    def labelled(role: str) -> str | None:
        texts = ((label.get("Speaker"), str(label.get("DisplayText")).strip().lower()) for label in labels)
        return next((speaker for speaker, text in texts if text == role and isinstance(speaker, str)), None)

    agent = labelled("agent") or "spk_0"
    others = (speaker for speaker in speakers if speaker != agent)
    return agent, labelled("customer") or next(others, "")


def _talk(times: Mapping[str, Any], agent: str) -> tuple[Decimal | None, Decimal | None]:
    """Seconds of talk of the agent and of all others; who is not in `times` did not talk.

    Both are None where nobody's talk was timed; the others' is None where one of them is not known.
    """
    talk = {speaker: _seconds(time) for speaker, time in times.items() if speaker != NON_TALK}
    if not talk:
        return None, None
    agent_talk = talk.pop(agent, Decimal())
    known = [seconds for seconds in talk.values() if seconds is not None]
    return agent_talk, sum(known, Decimal()) if len(known) == len(talk) else None


def _fall(quarters: list[dict[str, Any]]) -> Decimal | None:
    """Score of the first quarter minus that of the last; None unless there are two that differ."""
    scores = {_number(quarter.get("Quarter")): _number(quarter.get("Score")) for quarter in quarters}
    numbers = sorted(number for number in scores if number is not None)
    if len(numbers) < 2:
        return None
    first, last = scores[numbers[0]], scores[numbers[-1]]
    return first - last if first is not None and last is not None else None


def _analytics(body: str | bytes) -> dict[str, Any] | None:
    """The object `ConversationAnalytics`, with exact numbers; None where the body is no PCA file."""
    try:
        document = json.loads(body, parse_float=Decimal)
    except ValueError:
        return None
    analytics = document.get("ConversationAnalytics") if isinstance(document, dict) else None
    return analytics if isinstance(analytics, dict) else None


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
