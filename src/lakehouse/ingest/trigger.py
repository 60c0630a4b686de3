"""When a stream looks for new objects."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakehouse.errors import ConfigurationError

_UNITS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a stream looks for new objects: once for all there is (`every` None), or every so often."""

    every: str | None = None

    @classmethod
    def parse(cls, text: str) -> Trigger:
        """`available-now`, or an interval such as `30 seconds`.

        Raises:
            ConfigurationError: neither of the two.
        """
        if text == "available-now":
            return cls()
        if re.fullmatch(rf"[1-9]\d* ({'|'.join(_UNITS)})s?", text):
            return cls(text)
        raise ConfigurationError(
            f"{text!r} is no trigger: use available-now, or an interval such as '30 seconds'."
        )

    @property
    def seconds(self) -> int:
        """The interval in seconds; 0 for once."""
        if self.every is None:
            return 0
        number, unit = self.every.split()
        return int(number) * _UNITS[unit.rstrip("s")]


ONCE = Trigger()
