"""What passes between the outbox (outbox.py) and whoever puts alerts on a bus: plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["published", "refused", "failed", "unavailable"]
"""`published`: the bus has it. `refused`: not this alert, for good. `failed`: not this alert, after several
attempts. `unavailable`: the bus takes nothing now, so whatever comes after it need not be tried."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of alerts, column by column; times are microseconds since 1970 in UTC."""

    alert_id: str
    alert_type: str
    severity: str
    entity_type: str
    entity_id: str
    region: str
    message: str | None
    details: str | None
    opened_at: int
    closed_at: int | None = None
    published_at: int | None = None
    published_severity: str | None = None
    publish_attempts: int = 0


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of one alert.

    attempts: how often putting it was tried, 0 if it was not its turn. A request that boto3 repeats by
        itself counts once.
    problem: why it is not on the bus, without any of its data; None if it is.
    """

    outcome: Outcome
    attempts: int
    problem: str | None = None


Put = Callable[[Sequence[Alert]], Mapping[str, PutResult]]
"""Puts alerts on a bus and says by alert_id what became of each."""
