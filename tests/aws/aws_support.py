"""What the tests of the change writer share: events, and a look into the bucket."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAMBDA = ROOT / "lambda"
EVENTS = ROOT / "tests" / "fixtures" / "events"
REAL_EVENTS = ROOT.parent / "shared" / "real-inputs" / "dynamodb-streams"


def load_event(name: str) -> dict[str, Any]:
    """One of the project's own events, by its name without .json."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return event


@dataclass
class Landing:
    """The bucket of one test, and what lies in it."""

    bucket: str
    client: Any
    monkeypatch: pytest.MonkeyPatch

    def configure(self, **variables: str) -> None:
        """Set the function's variables, to be parsed at its next invocation."""
        from change_writer.settings import get_settings

        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    def object_keys(self) -> list[str]:
        """The keys in the bucket, sorted."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def lines(self, key: str) -> list[dict[str, Any]]:
        """The lines of one object, parsed."""
        text = gzip.decompress(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()).decode()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def all_lines(self, part: str) -> list[dict[str, Any]]:
        """The lines of every object whose key begins with `part`."""
        return [line for key in self.object_keys() if key.startswith(part) for line in self.lines(key)]
