"""Values as the report writes them: numbers, times, names. Plain text; escaping is the template's."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

MISSING: Final = "\N{EN DASH}"
NOT_TOLD: Final = "(not told)"

_LONGEST: Final = 60
_LONGEST_ID: Final = 200

# Control characters and what is no character (XML allows neither), and what turns the direction of the text
# around it: a name could else rewrite the line it stands in.
_UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def name(value: object, longest: int = _LONGEST) -> str:
    """Text from data on one line, at most so many characters of it."""
    if value is None:
        return NOT_TOLD
    text = _UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(value)).strip() or "(empty)"
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def key(value: object) -> str:
    """An id from data: longer than a name may be, for it is of use whole."""
    return name(value, _LONGEST_ID)


def names(values: Iterable[Hashable], said: Callable[[Any], str] = name) -> dict[Any, str]:
    """A name for each value, in their order, and no name twice: two that look alike are numbered."""
    found: dict[Any, str] = {}
    used: set[str] = set()
    for value in values:
        if value in found:
            continue
        plain = text = said(value)
        number = 1
        while text in used:
            number += 1
            text = f"{plain} ({number})"
        found[value] = text
        used.add(text)
    return found


def number(value: Any, places: int | None = None) -> str:
    """A number with separators; rounded half up to `places`, else as it is."""
    if value is None:
        return MISSING
    exact = Decimal(str(value))
    if places is not None:
        exact = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{exact:,f}"


def time(value: str | None) -> str:
    """A timestamp as Spark writes it, to the minute."""
    return MISSING if value is None else re.sub(r"(:\d\d):\d\d(\.\d+)?$", r"\1", value)


def age(minutes: int | None) -> str:
    """How long ago: `12 minutes`, `5 hours`, `3 days`."""
    if minutes is None:
        return MISSING
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= 2 * size or (unit == "minute" and minutes >= 1):
            count = minutes // size
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "none" if minutes >= 0 else "in the future"


def counted(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
