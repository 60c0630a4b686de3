"""Bodies of standard transcripts for the tests of figures."""

from __future__ import annotations

import json
from typing import Any


def word(end: str, **label: str) -> dict[str, Any]:
    said = [{"confidence": "0.99", "content": "hello"}]
    return {"type": "pronunciation", "start_time": "0.0", "end_time": end, "alternatives": said, **label}


def transcript(*words: dict[str, Any], **results: Any) -> str:
    return json.dumps({"jobName": "job", "results": {"items": list(words), **results}, "status": "COMPLETED"})


def talk(seconds: str, *speakers: str) -> str:
    """A transcript of the given length in which each of the speakers says a word."""
    return transcript(*(word(seconds, speaker_label=speaker) for speaker in speakers))
