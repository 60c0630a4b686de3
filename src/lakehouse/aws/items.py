"""DynamoDB's typed values as the JSON text that lands.

The Lambda's writer has rules of its own for the same thing; a contract test holds the two to the same
text for every value that DynamoDB can hold. Nothing becomes a float: a number keeps its 38 digits.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Item = Mapping[str, Mapping[str, Any]]
"""An item, or its keys, typed as DynamoDB has them: `{"id": {"S": "…"}}`."""

json_text = json.JSONEncoder(ensure_ascii=False).encode

_DIGITS = 38
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,37})(?:\.[0-9]{1,38})?", re.ASCII)


def value_json(value: Mapping[str, Any]) -> str:
    """JSON text of one typed value; sets are sorted arrays, bytes base64 text.

    Raises:
        ValueError: it is none that DynamoDB can hold.
    """
    ((kind, content),) = value.items()
    if kind == "S":
        return json_text(content)
    if kind == "N":
        return number_json(content)
    if kind == "M":
        return "{" + ",".join(f"{json_text(n)}:{value_json(v)}" for n, v in content.items()) + "}"
    if kind == "L":
        return "[" + ",".join(map(value_json, content)) + "]"
    if kind == "BOOL":
        return "true" if content else "false"
    if kind == "NULL":
        return "null"
    if kind == "B":
        return _binary_json(content)
    if kind == "SS":
        return "[" + ",".join(map(json_text, sorted(content))) + "]"
    if kind == "NS":
        return "[" + ",".join(sorted(map(number_json, content), key=lambda n: (Decimal(n), n))) + "]"
    if kind == "BS":
        return "[" + ",".join(sorted(map(_binary_json, content))) + "]"
    raise ValueError(f"type {kind!r} is none of DynamoDB's")


def number_json(text: str) -> str:
    """A number of DynamoDB as a JSON number of the same value, in plain notation up to 38 digits."""
    if _PLAIN_NUMBER.fullmatch(text) and not text.startswith("-0"):
        return text
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{text!r} is no number")
    if number.is_zero():
        return "0" if abs(exponent) > _DIGITS else f"{abs(number):f}"
    if number.adjusted() < _DIGITS and -exponent <= _DIGITS:
        return f"{number:f}"
    return f"{number:E}"


def _binary_json(content: str | bytes) -> str:
    """Bytes as boto3 has them, or base64 text as exports have them."""
    return json_text(base64.b64encode(content).decode() if isinstance(content, bytes) else content)
