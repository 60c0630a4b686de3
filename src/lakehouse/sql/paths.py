"""Pure: where a column's value stands in a record, as its declaration writes it and as Spark reads it.

A path is names divided by dots (`payload.agentId`). A name with a dot, a bracket, a quote or a blank in it
stands in brackets and quotes: `['first name'].x`, `["o'clock"]`.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from lakehouse.change_record import landed_name

Path: TypeAlias = tuple[str, ...]
"""The names on the way, the outermost first."""

_STEP = re.compile(r"""(?P<plain>[^.\[\]'"\s`\\]+)|\['(?P<single>[^'\\]+)'\]|\["(?P<double>[^"\\]+)"\]""")
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def parse_path(text: str) -> Path:
    """The names of a path.

    Raises:
        ValueError: the text is no path.
    """
    names: list[str] = []
    at = 0
    while at < len(text) or not names:
        if names and text[at] == ".":
            at += 1
        elif names and text[at] != "[":
            raise ValueError(f"{text!r} is no path")
        step = _STEP.match(text, at)
        name = step and (step["plain"] or step["single"] or step["double"])
        if step is None or not name or not name.isprintable():
            raise ValueError(f"{text!r} is no path")
        names.append(name)
        at = step.end()
    return tuple(names)


def landed_path(text: str) -> Path:
    """The names of a path as they stand in a landed record; a declaration has those of the source."""
    first, *rest = parse_path(text)
    return (landed_name(first), *rest)


def json_path(path: Path) -> str:
    """The path as Spark's VARIANT functions take it; `$` for the record itself.

    Source: the path syntax of `variant_get` (Spark SQL reference).
    """
    steps = (
        f".{name}" if _SIMPLE.fullmatch(name) else f"['{name}']" if "'" not in name else f'["{name}"]'
        for name in path
    )
    return "$" + "".join(steps)


def is_path(text: str) -> bool:
    """Whether a text is a path."""
    try:
        return bool(parse_path(text))
    except ValueError:
        return False
