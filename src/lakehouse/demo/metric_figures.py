"""What students, tutors, subjects and regions are measured at, computed from the events alone.

An independent second opinion on `gold.metrics`: plain Python over landed change records. It shares no code
with the Spark side, on purpose. Times are whole microseconds since 1970, UTC.
Rules: docs/analysts.md (windows, sessions, reported counts).
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Entity: TypeAlias = tuple[str, str, str]  # entity type, entity id, region ("" where it does not apply)

SECOND = 1_000_000
DAY = 86_400 * SECOND
PAIRED_WITHIN = DAY  # how long after its start a completion still belongs to a session without an id

STARTED, COMPLETED = "session_started", "session_completed"
IB_CALL = "ib_call_logged"
HEALTH = "customer_health_update"
SUPPLY_DEMAND = "supply_demand_update"

_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"([T ](?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d{1,9}))?)?"
    r"( ?(Z|(?P<sign>[+-])(?P<zone_hours>\d\d)(:?(?P<zone_minutes>\d\d))?))?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MS = range(-62_135_596_800_000, 253_402_300_800_000)  # the years 1 to 9999
_BIGINT = range(-(2**63), 2**63)
_EXACT = Context(prec=50)  # the usual one ends at 28 digits


@dataclass(frozen=True)
class MetricEvent:
    """An event as it was told; of several with one `event_id`, that of the highest `sequence` counts."""

    event_id: str
    event_type: str
    occurred_at: int
    sequence: str
    student_id: str | None = None
    tutor_id: str | None = None
    session_id: str | None = None
    subject: str | None = None
    region: str | None = None
    balance_status: str | None = None
    tutor_rating: Decimal | None = None
    health_score: Decimal | None = None
    demand_score: Decimal | None = None
    supply_score: Decimal | None = None
    sessions_last_7_days: int | None = None
    sessions_last_30_days: int | None = None
    ib_calls_last_14_days: int | None = None
    available_tutors: int | None = None
    active_students: int | None = None


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """What an entity is measured at. Counts are 0, and the rest is None, where they do not apply."""

    as_of: int
    sessions_7d: int = 0
    sessions_14d: int = 0
    sessions_30d: int = 0
    ib_calls_7d: int = 0
    ib_calls_14d: int = 0
    avg_rating: Decimal | None = None
    health_score: Decimal | None = None
    available_tutors: int | None = None
    active_students: int | None = None
    demand_score: Decimal | None = None
    supply_score: Decimal | None = None
    balance_status: str | None = None
    last_event_at: int


# --- events ------------------------------------------------------------------------------------------


def metric_event(record: Mapping[str, Any]) -> MetricEvent | None:
    """The event of a landed change record, read with `json.loads(line, parse_float=Decimal)`.

    Its figures are inside `payload`, an object or the text of one; beside it they are none.

    None where it has no id, no sequence, or no time: neither its own nor that of its arrival. A value that
    does not fit its column is None. Decimals are rounded half up to four places, counts to none.
    """
    inside = _payload(record.get("payload"))
    event_id = _own_id(record.get("event_id")) or _own_id(inside.get("event_id"))
    event_id = event_id or _string(record.get("_eventID"))
    sequence = _string(record.get("_sequence"))
    occurred_at = _time(record.get("timestamp"))
    if occurred_at is None:
        occurred_at = _arrival(record.get("_approxStreamTs"))
    if not event_id or not sequence or occurred_at is None:
        return None
    event_type = _string(record.get("event_type"))
    return MetricEvent(
        event_id=event_id,
        event_type="unknown" if event_type is None else event_type,
        occurred_at=occurred_at,
        sequence=sequence,
        student_id=_text(inside.get("student_id")),
        tutor_id=_text(inside.get("tutor_id")),
        session_id=_text(inside.get("session_id")),
        subject=_text(inside.get("subject")),
        region=_text(inside.get("region")),
        balance_status=_text(inside.get("balance_status")),
        tutor_rating=_decimal(inside.get("tutor_rating")),
        health_score=_decimal(inside.get("health_score")),
        demand_score=_decimal(inside.get("demand_score")),
        supply_score=_decimal(inside.get("supply_score")),
        sessions_last_7_days=_count(inside.get("sessions_last_7_days")),
        sessions_last_30_days=_count(inside.get("sessions_last_30_days")),
        ib_calls_last_14_days=_count(inside.get("ib_calls_last_14_days")),
        available_tutors=_count(inside.get("available_tutors")),
        active_students=_count(inside.get("active_students")),
    )


def _payload(value: object) -> Mapping[str, Any]:
    """An object, or the text of one; anything else has no members."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=Decimal)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _own_id(value: object) -> str | None:
    return None if isinstance(value, bool) else _text(value)


def _text(value: object) -> str | None:
    """The text of a string, a number or a boolean; an object or an array has none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | Decimal) else None


def _time(value: object) -> int | None:
    """Microseconds of an ISO 8601 time; finer digits are cut off. No zone means UTC, no time midnight."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    zone_hours, zone_minutes = int(found["zone_hours"] or 0), int(found["zone_minutes"] or 0)
    if hour > 23 or minute > 59 or second > 59 or zone_minutes > 59 or zone_hours * 60 + zone_minutes > 1080:
        return None
    try:
        days = dt.date.fromisoformat(found["date"]).toordinal() - dt.date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    local = (hour * 60 + minute) * 60 + second
    east = (zone_hours * 60 + zone_minutes) * 60 * (-1 if found["sign"] == "-" else 1)
    return days * DAY + (local - east) * SECOND + int((found["fraction"] or "").ljust(6, "0")[:6])


def _arrival(value: object) -> int | None:
    ms = _count(value)
    return ms * 1000 if ms is not None and ms in _MS else None


def _number(value: object) -> Decimal | None:
    """A finite number that comes as one or as text, spaces around it allowed."""
    if isinstance(value, str):
        text = value.strip("".join(map(chr, range(33))))
        try:
            return Decimal(text) if _NUMBER.fullmatch(text) else None
        except InvalidOperation:  # an exponent of 19 digits or more
            return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


def _decimal(value: object) -> Decimal | None:
    number = _number(value)
    return None if number is None else _fitted(number, digits=9, places=4)


def _count(value: object) -> int | None:
    number = _number(value)
    whole = None if number is None else _fitted(number, digits=38, places=0)
    return int(whole) if whole is not None and int(whole) in _BIGINT else None


def _fitted(number: Decimal, *, digits: int, places: int) -> Decimal | None:
    """Rounded half up (5 goes away from 0); None if it then has more digits than that, places included."""
    limit = 10 ** (digits - places)
    if number.copy_abs() >= limit:
        return None
    rounded = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT)
    if rounded.copy_abs() >= limit:
        return None
    return rounded if rounded else rounded.copy_abs()  # there is no -0


# --- metrics -----------------------------------------------------------------------------------------


def metrics(events: Iterable[MetricEvent], as_of: int) -> dict[Entity, MetricRow]:
    """The row of every student, tutor, subject and region that has an event at `as_of` or before it.

    A supply and demand update makes a row for its subject in its region (which may be none) and, where it
    has both, for its region. Every event makes one for its student and its tutor.
    """
    told: defaultdict[Entity, list[MetricEvent]] = defaultdict(list)
    for event in _counting(events, as_of):
        if event.student_id is not None:
            told["student", event.student_id, ""].append(event)
        if event.tutor_id is not None:
            told["tutor", event.tutor_id, ""].append(event)
        if event.event_type == SUPPLY_DEMAND and event.subject is not None:
            told["subject", event.subject, event.region or ""].append(event)
            if event.region is not None:
                told["region", event.region, event.region].append(event)
    makers = {"student": _student, "tutor": _tutor, "subject": _subject, "region": _region}
    return {entity: makers[entity[0]](known, as_of) for entity, known in told.items()}


def alerts_of(rows: Mapping[Entity, MetricRow]) -> Iterator[tuple[str, str]]:
    """Type and severity of each alert that is open by these rows."""
    for (kind, _, _), row in rows.items():
        if kind == "student" and row.ib_calls_14d >= 3:
            yield "high_ib_call_frequency", "warning"
        if kind == "student" and row.health_score is not None and row.health_score < 70:
            yield "low_health_score", "critical" if row.health_score < 50 else "warning"
        if kind == "subject" and row.balance_status == "high_demand":
            yield "supply_demand_imbalance", "info"


def _counting(events: Iterable[MetricEvent], as_of: int) -> list[MetricEvent]:
    """Each event once, as it was told last, without those after `as_of`; by time, then by event id.

    Which telling counts is settled first: one that moves an event into the future takes it away.
    """
    last: dict[str, MetricEvent] = {}
    for event in events:
        if event.event_id not in last or event.sequence > last[event.event_id].sequence:
            last[event.event_id] = event
    past = [_without_empty_texts(event) for event in last.values() if event.occurred_at <= as_of]
    return sorted(past, key=lambda event: (event.occurred_at, event.event_id))


def _without_empty_texts(event: MetricEvent) -> MetricEvent:
    return replace(
        event,
        student_id=event.student_id or None,
        tutor_id=event.tutor_id or None,
        session_id=event.session_id or None,
        subject=event.subject or None,
        region=event.region or None,
        balance_status=event.balance_status or None,
    )


# What follows takes the events of one entity, as `_counting` gives them: none after `as_of`, in order.


def _student(events: list[MetricEvent], as_of: int) -> MetricRow:
    health = [event for event in events if event.event_type == HEALTH]
    sessions_7d = [(event.occurred_at, event.sessions_last_7_days) for event in health]
    sessions_30d = [(event.occurred_at, event.sessions_last_30_days) for event in health]
    ib_calls_14d = [(event.occurred_at, event.ib_calls_last_14_days) for event in health]
    score = _last(event.health_score for event in health)
    return MetricRow(
        as_of=as_of,
        sessions_7d=_counted(_sessions, events, as_of - 7 * DAY, sessions_7d),
        sessions_14d=_sessions(_after(events, as_of - 14 * DAY)),
        sessions_30d=_counted(_sessions, events, as_of - 30 * DAY, sessions_30d),
        ib_calls_7d=_ib_calls(_after(events, as_of - 7 * DAY)),
        ib_calls_14d=_counted(_ib_calls, events, as_of - 14 * DAY, ib_calls_14d),
        avg_rating=_average_rating(_after(events, as_of - 30 * DAY)),
        health_score=None if score is None else _fitted(score, digits=6, places=2),
        last_event_at=events[-1].occurred_at,
    )


def _tutor(events: list[MetricEvent], as_of: int) -> MetricRow:
    return MetricRow(
        as_of=as_of,
        sessions_7d=_sessions(_after(events, as_of - 7 * DAY)),
        sessions_14d=_sessions(_after(events, as_of - 14 * DAY)),
        sessions_30d=_sessions(_after(events, as_of - 30 * DAY)),
        avg_rating=_average_rating(_after(events, as_of - 30 * DAY)),
        last_event_at=events[-1].occurred_at,
    )


def _subject(events: list[MetricEvent], as_of: int) -> MetricRow:
    return MetricRow(
        as_of=as_of,
        available_tutors=_last(event.available_tutors for event in events),
        active_students=_last(event.active_students for event in events),
        demand_score=_last(event.demand_score for event in events),
        supply_score=_last(event.supply_score for event in events),
        balance_status=_last(event.balance_status for event in events),
        last_event_at=events[-1].occurred_at,
    )


def _region(events: list[MetricEvent], as_of: int) -> MetricRow:
    by_subject: defaultdict[str | None, list[MetricEvent]] = defaultdict(list)
    for event in events:
        by_subject[event.subject].append(event)
    subjects = [_subject(known, as_of) for known in by_subject.values()]
    return MetricRow(
        as_of=as_of,
        available_tutors=_sum(subject.available_tutors for subject in subjects),
        active_students=_sum(subject.active_students for subject in subjects),
        last_event_at=events[-1].occurred_at,
    )


def _after(events: list[MetricEvent], since: int) -> list[MetricEvent]:
    return [event for event in events if event.occurred_at > since]


def _counted(
    count: Callable[[list[MetricEvent]], int],
    events: list[MetricEvent],
    window_start: int,
    reports: list[tuple[int, int | None]],
) -> int:
    """The last reported count and what came after it; events alone if that report is as old as the window.

    `reports` are times and counts, in order. A negative count is none.
    """
    known = [(at, reported) for at, reported in reports if reported is not None and reported >= 0]
    if known and known[-1][0] > window_start:
        at, reported = known[-1]
        return reported + count(_after(events, at))
    return count(_after(events, window_start))


def _ib_calls(events: list[MetricEvent]) -> int:
    return sum(event.event_type == IB_CALL for event in events)


def _sessions(events: list[MetricEvent]) -> int:
    """How many sessions these events tell of.

    Those with an id by their ids. Without one, every completion is a session, and so is every start that no
    completion, with or without an id, of the same student and tutor follows within a day.
    """
    completions = [event for event in events if event.event_type == COMPLETED]
    starts = [event for event in events if event.event_type == STARTED]
    ids = {event.session_id for event in completions + starts if event.session_id is not None}
    completed = [event for event in completions if event.session_id is None]
    unfinished = [
        start
        for start in starts
        if start.session_id is None and not any(_completes(event, start) for event in completions)
    ]
    return len(ids) + len(completed) + len(unfinished)


def _completes(completion: MetricEvent, start: MetricEvent) -> bool:
    same = (completion.student_id, completion.tutor_id) == (start.student_id, start.tutor_id)
    return same and 0 <= completion.occurred_at - start.occurred_at <= PAIRED_WITHIN


def _average_rating(events: list[MetricEvent]) -> Decimal | None:
    """Mean of the completions' ratings, of those of one session the last; to four places, decimal(6,4)."""
    ratings: dict[str | tuple[str], Decimal] = {}
    for event in events:
        if event.event_type == COMPLETED and event.tutor_rating is not None:
            # A tuple is no session's id: without one, an event stands for itself.
            ratings[event.session_id or (event.event_id,)] = event.tutor_rating
    if not ratings:
        return None
    # In ten-thousandths, which are whole: so the mean is rounded once, from its exact value.
    total = sum(int(rating * 10_000) for rating in ratings.values())
    size, rest = divmod(abs(total), len(ratings))
    size += 2 * rest >= len(ratings)
    return _fitted(Decimal(size if total >= 0 else -size).scaleb(-4), digits=6, places=4)


def _last(values: Iterable[T | None]) -> T | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and sum(known) in _BIGINT else None
