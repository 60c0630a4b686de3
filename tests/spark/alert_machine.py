"""What alerts must be: the state machine of one alert a subject, and random histories to play to it.

Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

HIGH_IB_CALLS = "high_ib_call_frequency"
LOW_HEALTH = "low_health_score"
IMBALANCE = "supply_demand_imbalance"

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_767_600_000_000_000
STEPS = (0, SECOND, 1, DAY, 1, 7 * DAY, 3 * SECOND, 1, 1, 2, DAY, 14 * DAY)

AS_OF_TIMES = tuple(START + sum(STEPS[: number + 1]) for number in range(len(STEPS)))
"""When each round of a history takes place: the same in all, so that many can be played in one batch."""


class Subject(NamedTuple):
    """What has at most one open alert."""

    alert_type: str
    entity_type: str
    entity_id: str
    region: str


@dataclass
class Alert:
    """A row of `gold.alerts`, without its id, which is made of the subject and `opened_at`."""

    subject: Subject
    severity: str
    message: str
    details: str
    opened_at: int
    closed_at: int | None = None
    published_at: int | None = None
    published_severity: str | None = None
    publish_attempts: int = 0

    @property
    def due(self) -> bool:
        """Whether it is to be published: not yet, or with another severity. Closing changes nothing."""
        return self.published_severity != self.severity


@dataclass
class Machine:
    """All alerts there ever were, in the order in which they were opened."""

    alerts: list[Alert] = field(default_factory=list)
    _evaluated: dict[Subject, int] = field(default_factory=dict)

    def evaluate(
        self,
        subject: Subject,
        severity: str | None,
        cause: int | None,
        as_of: int,
        message: str = "",
        details: str = "{}",
    ) -> None:
        """Tell what the rule says of a subject at a time: a severity, or None where it is false.

        `cause` is the time of the newest event that the rule has looked at, None where only time passed.

        Raises:
            ValueError: the cause lies after `as_of`, or the subject was evaluated then or later already.
        """
        if cause is not None and cause > as_of:
            raise ValueError(f"{subject}: caused at {cause}, after {as_of}")
        if as_of <= self._evaluated.get(subject, as_of - 1):
            raise ValueError(f"{subject}: evaluated already at {self._evaluated[subject]}, so not at {as_of}")
        self._evaluated[subject] = as_of

        mine = [alert for alert in self.alerts if alert.subject == subject]
        still_open = [alert for alert in mine if alert.closed_at is None]
        at = as_of if cause is None else cause
        if severity is not None and still_open:
            still_open[0].severity = severity
            still_open[0].message = message
            still_open[0].details = details
        elif severity is not None:
            opened_at = as_of if any(alert.opened_at == at for alert in mine) else at
            self.alerts.append(Alert(subject, severity, message, details, opened_at))
        elif still_open:
            still_open[0].closed_at = max(at, still_open[0].opened_at)


# --- metrics rows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The part of a metrics row that rules look at, and for each rule the cause (missing: time alone)."""

    entity_type: str
    entity_id: str
    region: str = ""
    ib_calls_14d: int = 0
    health_score: Decimal | None = None
    balance_status: str | None = None
    causes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """An evaluation of some entities, each once."""

    as_of: int
    rows: tuple[Measured, ...]


def severities(row: Measured) -> dict[str, str | None]:
    """Alert type → what its rule says of the row; the types that look at such rows alone."""
    if row.entity_type == "student":
        score = row.health_score
        health = None
        if score is not None and score < 70:
            health = "critical" if score < 50 else "warning"
        return {HIGH_IB_CALLS: "warning" if row.ib_calls_14d >= 3 else None, LOW_HEALTH: health}
    if row.entity_type == "subject":
        return {IMBALANCE: "info" if row.balance_status == "high_demand" else None}
    return {}


def told(alert_type: str, row: Measured) -> tuple[str, str]:
    """Message and details of an alert: here the one measure that its rule looks at."""
    name = {HIGH_IB_CALLS: "ib_calls_14d", LOW_HEALTH: "health_score", IMBALANCE: "balance_status"}[
        alert_type
    ]
    value: Any = getattr(row, name)
    details = {name: str(value) if isinstance(value, Decimal) else value}
    return f"{name} is {value}", json.dumps(details)


def play(rounds: Iterable[Round], words: Callable[[str, Measured], tuple[str, str]] = told) -> list[Alert]:
    """The alerts that a history leaves behind."""
    machine = Machine()
    for played in rounds:
        for row in played.rows:
            for alert_type, severity in severities(row).items():
                subject = Subject(alert_type, row.entity_type, row.entity_id, row.region)
                cause = row.causes.get(alert_type)
                machine.evaluate(subject, severity, cause, played.as_of, *words(alert_type, row))
    return machine.alerts


# --- histories ---------------------------------------------------------------------------------------

IB_CALLS = (0, 2, 2, 3, 3, 4)
HEALTH_SCORES = ("49.99", "50.00", "69.99", "70.00", "0.00", "-0.01", "100.00", None)
BALANCES = ("high_demand", "high_demand", "high_demand", "balanced", "high_supply", "HIGH_DEMAND", None)


def random_histories(seed: int, prefix: str) -> list[Round]:
    """A round at each of AS_OF_TIMES, about one or two students and subjects whose names bear the prefix.

    A round may leave some of them out, or all. Causes are new, late, repeated, or none; what the rule says
    changes with a cause or without one.
    """
    rng = random.Random(f"{seed}/{prefix}")
    entities = [("student", f"{prefix}-student {n}", "") for n in range(rng.choice((1, 2)))]
    regions = ("", f"{prefix}-north", f"{prefix}-south")
    entities += [("subject", f"{prefix}-maths", region) for region in rng.sample(regions, rng.choice((1, 2)))]
    seen: dict[tuple[str, tuple[str, str, str]], list[int]] = {}
    rounds = []
    for number, as_of in enumerate(AS_OF_TIMES):
        before = AS_OF_TIMES[max(0, number - 1)]
        rows = []
        for entity in entities:
            if rng.random() < 0.1:
                continue
            causes = {}
            student = entity[0] == "student"
            for alert_type in (HIGH_IB_CALLS, LOW_HEALTH) if student else (IMBALANCE,):
                earlier = seen.setdefault((alert_type, entity), [])
                cause = _cause(rng, before, as_of, earlier)
                if cause is not None:
                    earlier.append(cause)
                    causes[alert_type] = cause
            score = rng.choice(HEALTH_SCORES) if student else None
            row = Measured(
                *entity,
                ib_calls_14d=rng.choice(IB_CALLS) if student else 0,
                health_score=None if score is None else Decimal(score),
                balance_status=None if student else rng.choice(BALANCES),
                causes=causes,
            )
            rows.append(row)
        rng.shuffle(rows)
        rounds.append(Round(as_of, tuple(rows)))
    return rounds


def _cause(rng: random.Random, before: int, as_of: int, earlier: list[int]) -> int | None:
    way = rng.random()
    if way < 0.3:
        return None
    if way < 0.6 and earlier:
        return rng.choice(earlier)
    if way < 0.7:
        return as_of
    if way < 0.8:
        return before  # when the round before took place, which may have opened or closed one
    if way < 0.9:
        return as_of - rng.randrange(20 * DAY)
    return rng.randint(min(before + 1, as_of), as_of)
