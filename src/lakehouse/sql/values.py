r"""Pure: SQL expressions that read values out of text and VARIANT. None of them raises, whatever the value.

A value that does not fit gives null. Texts in this module are SQL; regular expressions are written for a SQL
literal, in which `\\` stands for one backslash.
"""

from __future__ import annotations

from lakehouse.settings import literal
from lakehouse.sql.paths import Path, json_path

END = r"(?![\s\S])"
"""End of the text in a regular expression. `$` also matches before a last line break."""

_DATE = r"\d{4}-\d\d-\d\d"
_ISO = rf"(?i)^{_DATE}([T ]\d\d:\d\d(:\d\d(\.\d{{1,9}})?)?( ?(Z|[+-]\d\d(:?\d\d)?))?)?{END}"
_NOT_YEAR_0 = "(?!0000)"
_FIRST_MICROS, _LAST_MICROS = -62135596800000000, 253402300799999999
"""The years 1 to 9999, which is what a calendar, Python and most readers have."""

_PAIR = r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"
_SURROGATE = r"(?i)\\ud[89a-f]"


def text_at(variant: str, path: Path) -> str:
    """What stands at a path as text, an object or array as its JSON; null where nothing stands."""
    return f"try_variant_get({variant}, {literal(json_path(path))}, 'string')"


def variant_at(variant: str, path: Path) -> str:
    """What stands at a path, as VARIANT."""
    return f"try_variant_get({variant}, {literal(json_path(path))}, 'variant')"


def framed(text: str) -> str:
    """Text → VARIANT array of what the text is and the text's hash; see `unframed`."""
    return f"try_parse_json(concat('[', {text}, ',', xxhash64({text}), ']'))"


def unframed(frame: str, text: str) -> str:
    """The value in a frame, null unless the whole of the text is one JSON value.

    Spark's parser stops behind the first value, so `{"a":1} {"a":2}` would lose its second half in silence.
    The hash closes the array: a parser that stops early does not get there.
    """
    return (
        f"IF(try_variant_get({frame}, '$[1]', 'bigint') = xxhash64({text}), "
        f"try_variant_get({frame}, '$[0]', 'variant'), NULL)"
    )


def has_lone_surrogate(text: str) -> str:
    """Whether JSON text has a `\\ud800` without its other half. Spark reads `?` in its place.

    Escaped backslashes are taken away first, as `\\\\ud800` is no escape; then the pairs; what is left is
    alone.
    """
    # Nested replaces and no single pattern: one that repeats a group overflows Java's stack on long texts.
    without = rf"regexp_replace(replace({text}, '\\\\', '_'), {literal(_PAIR)}, '_')"
    return rf"contains({text}, '\\u') AND {without} RLIKE {literal(_SURROGATE)}"


def fitted(text: str, as_type: str) -> str:
    """Text → a value of the type. Decimals and whole numbers are rounded half up, once, from the digits."""
    if as_type == "string":
        return text
    if as_type in ("bigint", "int"):
        return f"try_cast(try_cast({text} AS DECIMAL(38,0)) AS {as_type.upper()})"
    if as_type == "boolean":
        return f"CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END"
    if as_type == "timestamp":
        raise ValueError("a timestamp is read in two steps: instant, then in_years")
    if as_type in ("timestamp_ntz", "date"):
        pattern = literal(_ISO.replace("^", f"^{_NOT_YEAR_0}"))
        return f"CASE WHEN {text} RLIKE {pattern} THEN try_cast(upper({text}) AS {as_type.upper()}) END"
    return f"try_cast({text} AS {as_type.upper()})"


def instant(text: str) -> str:
    """ISO 8601 text → timestamp, UTC where it names no zone, either case of T and Z; `in_years` comes behind.

    The zone is in the text that is cast, so that the session's does not matter. Seconds may be missing, which
    Spark's cast does not take; it does take `12:30` and a bare year, which are no times here.
    """
    whole = f"upper({text})"
    for pattern, becomes in (
        (rf"^({_DATE})$", "$1T00:00"),
        (rf"^({_DATE}[T ]\d\d:\d\d)(?!:)", "$1:00"),
        (rf"^({_DATE}[T ]\d\d:\d\d:\d\d(\.\d+)?)$", "$1Z"),
    ):
        whole = f"regexp_replace({whole}, {literal(pattern)}, '{becomes}')"
    return f"CASE WHEN {text} RLIKE {literal(_ISO)} THEN try_cast({whole} AS TIMESTAMP) END"


def in_years(time: str) -> str:
    """A timestamp, null outside of the years 1 to 9999."""
    return f"IF(unix_micros({time}) BETWEEN {_FIRST_MICROS} AND {_LAST_MICROS}, {time}, NULL)"


def utc_day(time: str) -> str:
    """The UTC day of a timestamp, whatever the zone of the session."""
    return f"date_from_unix_date(try_cast(floor(unix_micros({time}) / 86400000000) AS INT))"
