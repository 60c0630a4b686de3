"""Believable events of a tutoring service over the last 45 days, as its systems put them into Kinesis.

`sample_metrics` yields the records of the stream `metric-events` in the order in which they are sent:
sessions, inbound calls, the health of customers, supply and demand. Each is an envelope with its figures
inside `payload`. The same arguments give the same records, to the byte.

Most students are well, so that only a handful of alerts arises; `STORIES` says which are not. On purpose,
because real streams are like this: events that come late, or twice; sessions of which one end, the rating or
the id is missing; an event whose id stands inside `payload`, or that has none, or is of a type that nobody
knows; a `payload` that is JSON text; times without a zone; scores with more decimals than the column;
several events in one record, gzip, and one record that is torn.

No event is within `CLEAR` of 7, 14 or 30 days before `now`, so that what the windows of these lengths hold
does not change while somebody looks.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Any, TypeAlias

STREAM = "metric-events"
SPREAD = dt.timedelta(days=45)
WINDOWS = (7, 14, 30)
CLEAR = dt.timedelta(hours=2)

Envelope: TypeAlias = dict[str, Any]  # event_type, timestamp, ingested_at, payload; some with an event_id


@dataclass(frozen=True)
class Event:
    """A record is put into a Kinesis stream; `data` holds one event, several, or what is none."""

    stream: str
    partition_key: str
    data: bytes


# fmt: off
SUBJECTS = ("algebra", "biology", "chemistry", "English", "physics", "SAT prep")
REGIONS = ("us-east", "us-west", "emea")
STORIES = {  # of every 40th student, counted from this one; the others are well
    3: "calls now", 7: "called before", 11: "unwell", 15: "critical", 18: "recovered", 19: "on the edge"}
SCORES = {  # health, lowest and highest: before the last update, and at it
    "well": ((74, 99), (74, 99)), "unwell": ((60, 90), (52, 69)), "critical": ((40, 75), (18, 49)),
    "recovered": ((42, 66), (78, 92)), "on the edge": ((71, 80), (70, 70))}
DEMAND = {("physics", "emea"): "high_demand", ("SAT prep", "us-east"): "high_demand",
          ("English", "us-west"): "high_supply"}  # how it is at last; else balanced
TUTORS = 24
# fmt: on


def sample_metrics(now: dt.datetime, *, seed: int = 7, students: int = 80) -> Iterator[Event]:
    """Yield what is sent about `students` students, and about supply and demand, until `now`.

    The same seed makes the same events at any time, but for their times and what follows from these. Nothing
    occurs after `now`; whoever puts the records then makes all of them arrive at once.
    """
    rng = Random(f"metrics/{seed}")  # noqa: S311 - believable data, not secrets
    happened = [each for number in range(students) for each in _student(rng, now, number)]
    happened += [
        each for subject in SUBJECTS for region in REGIONS for each in _market(rng, now, subject, region)
    ]
    # Stable: what is made first comes first.
    sent = sorted(_sent(rng, now, happened), key=lambda timed: timed[0])
    records = list(_records(rng, [told for _, told in sent]))
    torn = Event(STREAM, "student-0000", b'{"event_id":"3f2a","event_type":"session_comp')
    yield from (*records[: len(records) // 2], torn, *records[len(records) // 2 :])


def events_in(data: bytes) -> list[Envelope]:
    """The events in a record's data, numbers as int or Decimal; none if it is not JSON to its end."""
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    decoder = json.JSONDecoder(parse_float=Decimal)
    found: list[Envelope] = []
    try:
        while text := text.strip():
            value, end = decoder.raw_decode(text)
            found += value if isinstance(value, list) else [value]
            text = text[end:]
    except json.JSONDecodeError:
        return []
    return found


def figures(event: Envelope) -> dict[str, Any]:
    """What is inside an event's `payload`, an object or the text of one; numbers in a text as Decimal."""
    payload = event["payload"]
    inside: dict[str, Any] = json.loads(payload, parse_float=Decimal) if isinstance(payload, str) else payload
    return inside


# --- what happens ------------------------------------------------------------------------------------


def _student(rng: Random, now: dt.datetime, number: int) -> Iterator[Envelope]:
    """Everything that is told of one student."""
    story, student = STORIES.get(number % 40, "well"), f"student-{number:04}"
    sessions = [_moment(rng, now) for _ in range(rng.randint(2, 16))]
    calls = [_moment(rng, now) for _ in range(rng.choices((0, 1, 2), (60, 30, 10))[0])]
    if story == "calls now":
        calls += [_moment(rng, now, newest=0.1, oldest=12) for _ in range(rng.randint(3, 5))]
    elif story == "called before":
        calls = [_moment(rng, now, newest=15, oldest=27) for _ in range(rng.randint(3, 5))]
    for at in sessions:
        yield from _session(rng, now, student, at)
    for at in calls:
        yield _told(rng, "ib_call_logged", at, student_id=student, subject=rng.choice(SUBJECTS))
    before, last = SCORES.get(story, SCORES["well"])
    reports = sorted(_moment(rng, now) for _ in range(rng.randint(0 if story == "well" else 2, 5)))
    for at in reports:
        least, most = last if at == reports[-1] else before
        yield _health(rng, at, student, rng.randint(least * 100, most * 100), sessions, calls)


def _session(rng: Random, now: dt.datetime, student: str, start: dt.datetime) -> Iterator[Envelope]:
    """A session's start and end; one of them, its id or its rating may be missing."""
    about: dict[str, Any] = {
        "student_id": student,
        "tutor_id": f"tutor-{rng.randrange(TUTORS):03}",
        "session_id": None if rng.random() < 0.04 else f"session-{rng.randrange(10**9):09}",
        "subject": rng.choice(SUBJECTS),
        "region": rng.choice(REGIONS),
    }
    known = {name: value for name, value in about.items() if value is not None}
    end = start + dt.timedelta(minutes=rng.choice((30, 45, 60, 90)), seconds=rng.randint(-120, 400))
    missing = rng.choices((None, "start", "end"), (92, 4, 4))[0]
    if missing != "start":
        yield _told(rng, "session_started", start, **known)
    if missing != "end" and end <= now:
        rated = {"tutor_rating": rng.choice((3, 3.5, 4, 4.5, 4.5, 5, 5))} if rng.random() < 0.85 else {}
        yield _told(rng, "session_completed", end, **known, **rated)
    if rng.random() < 0.01 and end <= now:  # a type that the contract does not know
        yield _told(
            rng, "whiteboard_shared", start, **known, strokes=rng.randint(1, 4000), tool={"name": "pen"}
        )


def _health(
    rng: Random,
    at: dt.datetime,
    student: str,
    hundredths: int,
    sessions: list[dt.datetime],
    calls: list[dt.datetime],
) -> Envelope:
    """A health update; some report counts, of sessions now and then one that no event told of."""

    def within(times: list[dt.datetime], days: int) -> int:
        return sum(at - dt.timedelta(days=days) < time <= at for time in times)

    told: dict[str, Any] = {"student_id": student, "health_score": hundredths / 100}
    if rng.random() < 0.7:
        week, month = within(sessions, 7), within(sessions, 30)
        more = rng.random() < 0.15
        told |= {"sessions_last_7_days": week + more, "sessions_last_30_days": month + more}
        told["ib_calls_last_14_days"] = within(calls, 14)
    return _told(rng, "customer_health_update", at, **told)


def _market(rng: Random, now: dt.datetime, subject: str, region: str) -> Iterator[Envelope]:
    """Supply and demand of one subject in one region, every few days; how it is at last says `DEMAND`."""
    times = sorted(_moment(rng, now) for _ in range(rng.randint(4, 12)))
    for at in times:
        odds = rng.choices(("balanced", "high_supply", "high_demand"), (80, 15, 5))[0]
        status = DEMAND.get((subject, region), "balanced") if at == times[-1] else odds
        students = rng.randint(20, 90)
        busy = {"balanced": (0.8, 1.2), "high_supply": (0.3, 0.6), "high_demand": (1.7, 3.0)}[status]
        tutors = max(1, round(students / 8 / rng.uniform(*busy)))
        demand = students / 8 / tutors  # mostly with more decimals than the column has
        yield _told(
            rng,
            "supply_demand_update",
            at,
            subject=subject,
            region=region,
            available_tutors=tutors,
            active_students=students,
            demand_score=demand if rng.random() < 0.3 else round(demand, 2),
            supply_score=round(1 / demand, 3),
            balance_status=status,
        )


def _told(rng: Random, kind: str, at: dt.datetime, **facts: Any) -> Envelope:
    """The envelope: its id outside or inside `payload`, or nowhere; its times with a zone or without one."""
    zone = rng.choices(("Z", "+00:00", ""), (60, 10, 30))[0]

    def written(time: dt.datetime) -> str:
        return time.isoformat(timespec="milliseconds").replace("+00:00", zone)

    event_id = {"event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4))}
    place = rng.choices(("outside", "inside", "nowhere"), (695, 300, 5))[0]
    inside = facts | (event_id if place == "inside" else {})
    return (event_id if place == "outside" else {}) | {
        "event_type": kind,
        "timestamp": written(at),
        "ingested_at": written(at + dt.timedelta(milliseconds=rng.randint(50, 3000))),
        "payload": json.dumps(inside, ensure_ascii=False) if rng.random() < 0.1 else inside,
    }


def _moment(rng: Random, now: dt.datetime, newest: float = 0, oldest: float = SPREAD.days) -> dt.datetime:
    """A time so many days before now, in whole milliseconds; a session that begins then keeps clear too."""
    age = dt.timedelta(days=rng.uniform(newest, oldest))
    for days in WINDOWS:
        if abs(age - dt.timedelta(days=days)) < 2 * CLEAR:
            age += 4 * CLEAR
    at = now.astimezone(dt.UTC) - age
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


# --- how it is sent ----------------------------------------------------------------------------------


def _sent(rng: Random, now: dt.datetime, happened: list[Envelope]) -> Iterator[tuple[dt.datetime, Envelope]]:
    """When each is sent: mostly at once, sometimes days later; and some are sent once more."""
    for told in happened:
        at = dt.datetime.fromisoformat(told["timestamp"]).replace(tzinfo=dt.UTC)
        late = rng.random() < 0.06
        at = min(at + dt.timedelta(hours=rng.uniform(2, 90) if late else rng.random() / 3600), now)
        yield at, told
        # Sent once more, an event without an id of its own would be another event.
        if rng.random() < 0.03 and "event_id" in told | figures(told):
            yield min(at + dt.timedelta(minutes=rng.uniform(0.1, 600)), now), told


def _records(rng: Random, sent: Iterable[Envelope]) -> Iterator[Event]:
    """One event a record, or a few: a line each, end to end, or in an array; plain or gzipped."""
    waiting = iter(sent)
    while taken := list(islice(waiting, rng.choices((1, 2, 3, 5), (85, 7, 5, 3))[0])):
        about = figures(taken[0])
        key = about.get("student_id") or f"{about['subject']}/{about['region']}"
        texts = [json.dumps(told, ensure_ascii=False, separators=(",", ":")) for told in taken]
        form = rng.choices(("lines", "end to end", "array"), (6, 3, 1))[0] if len(texts) > 1 else "end to end"
        text = {
            "lines": "\n".join(texts) + "\n",
            "end to end": "".join(texts),
            "array": f"[{','.join(texts)}]",
        }
        data = text[form].encode()
        yield Event(STREAM, key, gzip.compress(data, mtime=0) if rng.random() < 0.15 else data)
