"""What an invocation did, as CloudWatch's embedded metric format (EMF): a line of JSON in the log. Pure.

CloudWatch makes metrics of such lines by itself, no call and no permission needed, as long as they stand in
the log unwrapped (user guide, "Embedding metrics within logs").
"""

from __future__ import annotations

import json
from dataclasses import dataclass

NAMESPACE = "Lakehouse/ChangeWriter"
# By function too, so that two stacks of an account are told apart.
DIMENSIONS = ("FunctionName", "Source")
UNITS = {
    "Records": "Count",
    "Tombstones": "Count",
    "Quarantined": "Count",
    "Objects": "Count",
    "Bytes": "Bytes",
    "OldestRecordAgeSeconds": "Seconds",
}
"""The metrics and their units, by CloudWatch's names for them."""


@dataclass
class Tally:
    """What an invocation did for one source.

    `records` are those of the stream, and `quarantined` of them; they count again when they come again.
    `objects` and `bytes` (compressed) are what S3 has taken, or had. `oldest_ms`: earliest creation time.
    """

    records: int = 0
    tombstones: int = 0
    quarantined: int = 0
    objects: int = 0
    bytes: int = 0
    oldest_ms: int | None = None

    def saw(self, created_ms: int | None, *, tombstones: int = 0, quarantined: bool = False) -> None:
        """Count a record of the stream, created then."""
        self.records += 1
        self.tombstones += tombstones
        self.quarantined += quarantined
        if created_ms is not None and (self.oldest_ms is None or created_ms < self.oldest_ms):
            self.oldest_ms = created_ms


def metrics_line(function_name: str, source: str, tally: Tally, now_ms: int) -> str:
    """The line; without OldestRecordAgeSeconds if no record had a time. A clock that is behind makes it 0."""
    values: dict[str, float] = {
        "Records": tally.records,
        "Tombstones": tally.tombstones,
        "Quarantined": tally.quarantined,
        "Objects": tally.objects,
        "Bytes": tally.bytes,
    }
    if tally.oldest_ms is not None:
        values["OldestRecordAgeSeconds"] = max(0, now_ms - tally.oldest_ms) / 1000
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [DIMENSIONS],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    line = {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]},
        **dict(zip(DIMENSIONS, (function_name, source), strict=True)),
        **values,
    }
    return json.dumps(line, separators=(",", ":"))
