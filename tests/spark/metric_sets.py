"""Random sets of metric events that lie on the edges of the rules, and the lines that they land as.

Every name in a set begins with the set's prefix, so that many sets fit into one table and their rows can be
told apart. A seed and a prefix make one set again.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lakehouse.demo.metric_figures import (
    COMPLETED,
    DAY,
    HEALTH,
    IB_CALL,
    SECOND,
    STARTED,
    SUPPLY_DEMAND,
    MetricEvent,
)

HOUR = 3_600 * SECOND
MOST_EVENTS = 25

TYPES = {
    STARTED: 30,
    COMPLETED: 30,
    IB_CALL: 12,
    HEALTH: 16,
    SUPPLY_DEMAND: 24,
    "unknown": 2,
    "Session_Started": 2,
}
"""Each with how often it is told."""

USUAL = {
    STARTED: ("student_id", "tutor_id", "session_id"),
    COMPLETED: ("student_id", "tutor_id", "session_id", "tutor_rating"),
    IB_CALL: ("student_id",),
    HEALTH: (
        "student_id",
        "health_score",
        "sessions_last_7_days",
        "sessions_last_30_days",
        "ib_calls_last_14_days",
    ),
    SUPPLY_DEMAND: (
        "subject",
        "region",
        "balance_status",
        "demand_score",
        "supply_score",
        "available_tutors",
        "active_students",
    ),
}
"""The attributes that an event of the type is about; it may have any other too."""

WHAT = tuple(
    field.name
    for field in fields(MetricEvent)
    if field.name not in ("event_id", "event_type", "occurred_at", "sequence")
)
"""Every attribute but those that each event has."""

ID_ENDS = ("1", "10", "9", "Z", "a", "ä", "｡", "𝄞", "a b", "'")
"""Text whose order by bytes is not that of numbers, of a language, or of UTF-16."""

RATINGS = ("0", "1", "4.5", "4.9999", "5", "5", "3.3333", "3.3334", "0.0001", "-0.0001", "-2.5")
WIDE = ("99999.9999", "-99999.9999", "9999.99", "9999.9949", "9999.995", "99.9999", "100")
HEALTH_SCORES = (
    "49.99",
    "49.9949",
    "49.995",
    "50",
    "69.9949",
    "69.995",
    "70",
    "70.005",
    "-0.005",
    "0",
    "88.125",
)


def AS_OF_TIMES(now_micros: int) -> list[int]:  # noqa: N802
    """When the sets are to be looked at, in order; the last is after most of what lies in the future."""
    later = (0, 1, 6 * HOUR, DAY, 7 * DAY, 14 * DAY, 31 * DAY)
    return [now_micros + after for after in later]


def random_events(seed: int, prefix: str, now_micros: int) -> list[MetricEvent]:
    """None to 25 events, in the order in which they were told; some are told again and changed."""
    return _Telling(random.Random(f"{seed}/{prefix}"), prefix, now_micros).tell()


class _Telling:
    def __init__(self, rng: random.Random, prefix: str, now: int) -> None:
        self.rng = rng
        self.prefix = prefix
        self.now = now
        self.events: list[MetricEvent] = []
        self.sequences: set[str] = set()
        self.without_ids = rng.choice((0.1, 0.5, 0.9))
        self.few = rng.random() < 0.5  # in some sets all is about one student and one tutor

    def tell(self) -> list[MetricEvent]:
        for _ in range(self.rng.randrange(MOST_EVENTS + 1)):
            if self.events and self.rng.random() < 0.15:
                self.events.append(self.told_again(self.rng.choice(self.events)))
            else:
                self.events.append(self.event())
        return self.events

    def event(self) -> MetricEvent:
        if self.events and self.rng.random() < 0.25:
            starts = [event for event in self.events if event.event_type == STARTED]
            return self.completion(self.rng.choice(starts or self.events))
        if self.events and self.rng.random() < 0.2:
            return self.twin(self.rng.choice(self.events))
        kind = self.rng.choices(list(TYPES), list(TYPES.values()))[0]
        usual = USUAL.get(kind, ())
        chosen = {
            name: self.value(name) for name in WHAT if self.rng.random() < (0.8 if name in usual else 0.06)
        }
        return MetricEvent(self.event_id(), kind, self.time(), self.sequence(), **chosen)

    def completion(self, start: MetricEvent) -> MetricEvent:
        """A completion of a start, most often of its student and tutor: a day after it, or so."""
        after = self.rng.choice((0, 0, 1, -1, HOUR, DAY - 1, DAY, DAY, DAY + 1))
        ids = {name: getattr(start, name) for name in ("student_id", "tutor_id", "session_id")}
        for name, often in zip(ids, (0.1, 0.1, 0.4), strict=True):
            if self.rng.random() < often:
                ids[name] = self.value(name)
        kind = self.rng.choice((STARTED, COMPLETED, COMPLETED, COMPLETED))
        rating = self.value("tutor_rating") if self.rng.random() < 0.5 else None
        at = start.occurred_at + after
        return MetricEvent(self.event_id(), kind, at, self.sequence(), tutor_rating=rating, **ids)

    def twin(self, event: MetricEvent) -> MetricEvent:
        """Another event of the same time about the same: only its id tells which of them is the later."""
        measures = set(USUAL.get(event.event_type, ())) - {"student_id", "tutor_id", "subject", "region"}
        changed = {name: self.value(name) for name in sorted(measures) if self.rng.random() < 0.6}
        return replace(event, event_id=self.event_id(), sequence=self.sequence(), **changed)

    def told_again(self, event: MetricEvent) -> MetricEvent:
        """The same event, told differently: perhaps of another time, type or student."""
        changed: dict[str, Any] = {"sequence": self.sequence()}
        if self.rng.random() < 0.4:
            changed["occurred_at"] = self.time()
        if self.rng.random() < 0.2:
            changed["event_type"] = self.rng.choice(list(TYPES))
        for name in self.rng.sample(WHAT, self.rng.randrange(4)):
            changed[name] = self.value(name) if self.rng.random() < 0.7 else None
        if self.rng.random() < 0.4:
            changed["student_id"] = self.value("student_id")
        return replace(event, **changed)

    def time(self) -> int:
        """Most often on the edge of a window of some as-of time, or where another event is."""
        way = self.rng.random()
        if way < 0.6:
            back = self.rng.choice((0, 7, 14, 30)) * DAY
            at = self.rng.choice(AS_OF_TIMES(self.now)) - back
            return at + self.rng.choice((-1, 0, 0, 1))
        if way < 0.85 and self.events:
            return self.rng.choice(self.events).occurred_at + self.rng.choice((-DAY, -1, 0, 0, 0, 1))
        return self.now + self.rng.randrange(-35 * DAY, 35 * DAY)

    def event_id(self) -> str:
        taken = {event.event_id for event in self.events}
        while True:
            made = f"{self.prefix}-{self.rng.choice(ID_ENDS)}{self.rng.choice(('', *ID_ENDS))}"
            if made not in taken:
                return made

    def sequence(self) -> str:
        """One that no other event has, in no set; some differ from another in the index alone."""
        while True:
            number = self.rng.randrange(10 ** self.rng.choice((1, 2, 20, 45)))
            number = number * 10**10 + zlib.crc32(self.prefix.encode())
            if self.events and self.rng.random() < 0.3:
                number = int(self.rng.choice(self.events).sequence.split("/")[0])
            made = f"{number:056d}/shardId-000000000000/{self.rng.choice((0, 1, 2, 9, 10, 100)):06d}"
            if made not in self.sequences:
                self.sequences.add(made)
                return made

    def value(self, name: str) -> Any:
        rng = self.rng
        if name in ("student_id", "tutor_id", "subject", "region", "session_id"):
            if rng.random() < 0.06 or (name == "session_id" and rng.random() < self.without_ids):
                return rng.choice(("", None))
            if name == "session_id":
                return f"{self.prefix}-session {rng.randrange(4)}"
            few = self.few and name in ("student_id", "tutor_id")
            return f"{self.prefix}-{name.removesuffix('_id')} {0 if few else rng.randrange(2)}"
        if name == "balance_status":
            return rng.choice(("high_demand", "high_supply", "balanced", "", None))
        if name == "tutor_rating":
            return self.decimal(RATINGS)
        if name == "health_score":
            return self.decimal(HEALTH_SCORES)
        if name in ("demand_score", "supply_score"):
            return self.decimal(("0", "0.5", "0.0001", "-1.25", "12.3456"))
        return rng.choice((None, -1, 0, 0, 1, 2, 3, 3, 7, 40))

    def decimal(self, texts: tuple[str, ...]) -> Decimal | None:
        way = self.rng.random()
        if way < 0.1:
            return None
        if way < 0.5:
            return Decimal(self.rng.randrange(50_000)).scaleb(-4)
        return Decimal(self.rng.choice(texts if way < 0.96 else WIDE)).quantize(Decimal("0.0001"))


# --- landing -----------------------------------------------------------------------------------------


def landed_line(event: MetricEvent) -> dict[str, Any]:
    """The event as a change record that `json.dumps` takes and `metric_event` reads the same from.

    What can be told in several ways is told in each, by chance of what it is: the id beside `payload`,
    inside it or by the stream alone, `payload` as an object or as its text, a time with a zone or without
    one, a number as one or as text, an attribute without a value as null or not at all, the type `unknown`
    by no type.
    """
    number, shard, index = event.sequence.split("/")
    stream_id = f"{shard}:{int(number)}#{int(index)}"
    place = ("the stream", "beside", "inside")[_chance(event, "event_id", 3)]
    zone = ("Z", "+00:00", "")[_chance(event, "timestamp", 3)]
    arrived = event.occurred_at // 1_000 + 250
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.occurred_at)
    record = {
        "_eventID": event.event_id if place == "the stream" else stream_id,
        "_eventName": "EVENT",
        "_sequence": event.sequence,
        "_approxStreamTs": arrived,
        "_ingestTs": arrived + 60_000,
        "is_deleted": False,
        "updated_at": arrived,
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}{zone}",
        "ingested_at": f"{at:%Y-%m-%dT%H:%M:%S}",
    }
    payload: dict[str, Any] = {}
    if place == "beside":
        record["event_id"] = event.event_id
    elif place == "inside":
        payload["event_id"] = event.event_id
    if event.event_type != "unknown":
        record["event_type"] = event.event_type
    for name in WHAT:
        value = getattr(event, name)
        if value is None:
            if _chance(event, name, 2):
                payload[name] = None
        elif isinstance(value, str):
            payload[name] = value
        elif _chance(event, name, 4) == 0:
            payload[name] = str(value)
        else:
            # Of 9 digits, so that the float is written as the very number.
            payload[name] = float(value) if isinstance(value, Decimal) else value
    as_text = _chance(event, "payload", 4) == 0
    return record | {"payload": json.dumps(payload, ensure_ascii=False) if as_text else payload}


def _chance(event: MetricEvent, name: str, ways: int) -> int:
    return zlib.crc32(f"{event.sequence}{name}".encode()) % ways
