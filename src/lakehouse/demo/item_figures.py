"""What the dashboard shows of the sentiment items, computed from the source itself.

An independent second opinion on `gold.dashboard_items`: plain Python over the items as DynamoDB holds them.
It shares no code with the Spark side, on purpose. Rules: docs/analysts.md (what is shown, tag rows, expiry).
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

SHOWN_FOR = dt.timedelta(days=7)
"""Counted from the item's own time."""


@dataclass(frozen=True)
class ItemRow:
    """The items that are shown of one UTC day of `ingested_at`.

    `tag_rows` counts each item once for each of its tags; `mean_score` is the items' mean to four decimals.
    """

    day: dt.date
    items: int
    tag_rows: int
    mean_score: Decimal


def item_figures(items: Iterable[Mapping[str, Any]], as_of: dt.datetime) -> list[ItemRow]:
    """Count what is shown at `as_of` of the live items, by day.

    Shown is what is analysed, has a sentiment and a score, and has not expired. A score is first rounded
    half up to six decimals, as its column is, decimal(9,6); one of four digits or more before the point
    does not fit that column and counts as none.
    """
    days: dict[dt.date, list[tuple[Decimal, int]]] = defaultdict(list)
    for item in items:
        at, score = _time(item), _score(item)
        if at is None or at + SHOWN_FOR <= as_of:
            continue
        if _text(item, "status") != "analyzed" or _text(item, "sentiment") is None or score is None:
            continue
        days[at.date()].append((score, len(_tags(item))))

    rows = []
    for day, shown in sorted(days.items()):
        total = sum((score for score, _ in shown), Decimal())
        mean = _rounded(total / len(shown), 4)
        rows.append(ItemRow(day, len(shown), sum(tags for _, tags in shown), mean))
    return rows


def _time(item: Mapping[str, Any]) -> dt.datetime | None:
    """`ingested_at` in UTC; None where it is no time. No zone means UTC."""
    try:
        at = dt.datetime.fromisoformat(item["ingested_at"]["S"])
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def _score(item: Mapping[str, Any]) -> Decimal | None:
    number = item.get("score", {}).get("N")
    if number is None or abs(Decimal(number)) >= 1000:
        return None
    score = _rounded(Decimal(number), 6)
    return score if abs(score) < 1000 else None


def _tags(item: Mapping[str, Any]) -> set[str]:
    """The distinct texts of `matched_tags`, a set or a list."""
    tags = item.get("matched_tags", {})
    return {*tags.get("SS", ()), *(tag["S"] for tag in tags.get("L", ()) if "S" in tag)}


def _text(item: Mapping[str, Any], name: str) -> str | None:
    text = item.get(name, {}).get("S")
    return text if isinstance(text, str) else None


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
