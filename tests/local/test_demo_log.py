"""What the writer prints in the demo is in a file, and nothing of it on the terminal."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from change_writer import landing, settings
from lakehouse.demo.run import load_writer, writer_environment, writer_log
from lakehouse.demo.sample_day import sample_day
from lakehouse.demo.sample_metrics import sample_metrics
from lakehouse.demo.source import Chain
from lakehouse.local.aws import LocalAws


@pytest.fixture
def demo_aws() -> Iterator[LocalAws]:
    """A server of this test's own, and the writer's environment on it: a chain's tables have fixed names."""
    caches = (settings.get_settings, landing.s3_client)
    for cache in caches:
        cache.cache_clear()
    with LocalAws() as aws, writer_environment(aws):
        yield aws
    for cache in caches:
        cache.cache_clear()


def test_what_the_writer_prints_is_in_its_log_and_not_on_the_terminal(
    demo_aws: LocalAws, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    day = list(sample_day(dt.date(2025, 10, 8), seed=3, calls=20))
    events = list(sample_metrics(dt.datetime(2026, 1, 9, tzinfo=dt.UTC), students=20))
    with writer_log(load_writer(), tmp_path) as handler:
        chain = Chain(demo_aws, handler)
        chain.write([*day, *events], lambda _: None)
        chain.pump(lambda _: None)
    assert capfd.readouterr() == ("", "")

    lines = (tmp_path / "logs" / "writer.log").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    counted: Counter[str] = Counter()
    for line in found:
        if "_aws" in line:
            counted[line["Source"]] += line["Records"]
    assert counted.keys() == {"calls", "scorecards", "metric_events"}
    assert counted.total() == chain.counted["delivered"] > len(events)
    # One of the events is no JSON.
    assert {line["message"] for line in found if "_aws" not in line} == {
        "batch landed",
        "records quarantined",
    }
