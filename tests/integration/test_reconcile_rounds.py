"""Reconcile beside a source that is written all the while: it finds every drift, and nothing else."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.integration.test_backfill_rounds import BUCKET, PREFIX, Round
from tests.integration.test_backfill_rounds import aws as aws
from tests.spark.histories import note_figures
from tests.spark.support import ITEMS, Lake, change

from change_writer.settings import get_settings
from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import S3Objects
from lakehouse.aws.source import DynamoSource
from lakehouse.local.aws import LocalAws
from lakehouse.operations.reconcile import reconcile


class Landing:
    """The bucket that the writer and the repairs land in, and the folder that the lake reads."""

    def __init__(self, aws: LocalAws, lake: Lake) -> None:
        self.s3, self.lake = aws.client("s3"), lake

    def ingest(self) -> None:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/items/")
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            path = Path(self.lake.settings.landing) / key.removeprefix(f"{PREFIX}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        self.lake.ingest_well()


def repeating(stop: threading.Event, works: list[Callable[[], Any]]) -> Iterator[list[BaseException]]:
    """Each of the works again and again on a thread of its own, until asked to stop."""
    errors: list[BaseException] = []

    def repeat(work: Callable[[], Any]) -> None:
        try:
            while not stop.is_set():
                work()
                time.sleep(0.02)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    yield errors
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.timeout(3600)
@pytest.mark.prove
@pytest.mark.parametrize("rounds", [20])
def test_every_drift_is_found_and_no_false_alarm_raised_while_the_stream_runs(
    aws: LocalAws, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    seed = int(os.environ.get("LAKEHOUSE_SEED", random.randrange(10**6)))
    print(f"LAKEHOUSE_SEED={seed}")
    started = time.monotonic()
    source = Round(aws, 1000 + rounds, seed)
    monkeypatch.setenv("SOURCE_MAP", f"{source.name}=items")
    get_settings.cache_clear()
    source.stream(True)
    poller = source.poller()
    label = source.client.describe_table(TableName=source.name)["Table"]["LatestStreamLabel"]
    lake = Lake(spark, tmp_path, (ITEMS,))
    landing = Landing(aws, lake)
    for _ in range(60):
        source.write()
    time.sleep(1.1)  # the stream's second has to pass before a snapshot
    poller.pump()
    landing.ingest()
    reader = Reader(source.client, ITEMS, source.name, "trim-horizon")
    compared = DynamoSource(reader, S3Objects(aws.client("s3"), BUCKET, PREFIX))
    lock = threading.Lock()

    def pump() -> None:
        with lock:
            poller.pump()

    def wait() -> None:
        """Whatever had changed before is in the table: the stream's lag has passed."""
        pump()
        landing.ingest()

    def run(**more: Any) -> Any:
        return reconcile(spark, lake.settings, ITEMS, compared, wait, **more)

    def pump_now_and_then() -> None:
        """A writer that is called for every change would land thousands of objects."""
        pump()
        time.sleep(1)

    stop = threading.Event()
    at_work = repeating(stop, [source.write, pump_now_and_then])
    errors = next(at_work)
    try:
        for n in range(rounds):
            assert run().verdict == "agree"
            injected = inject(lake, source, label, n)
            landing.ingest()
            found = run(repair=True)
            assert {"missing": found.missing, "stale": found.stale, "phantom": found.phantom} == injected
            landing.ingest()
    finally:
        next(at_work, None)
    assert not errors
    wait()
    found = run()
    assert (found.verdict, found.unsettled) == ("agree", 0)
    note_figures(
        proof="reconcile",
        rounds=rounds,
        seed=seed,
        drifts_found=3 * rounds,
        false_alarms=0,
        items=found.source_items,
        seconds=round(time.monotonic() - started, 1),
    )


def inject(lake: Lake, source: Round, label: str, n: int) -> dict[str, int]:
    """Drift on keys that nobody else writes: what the table has is not what the source has."""
    site, high = f"drift {n}", 10**30

    def put(number: str) -> None:
        item = {"site": {"S": site}, "number": {"S": number}, "note": {"S": "source"}}
        source.client.put_item(TableName=source.name, Item=item)

    for number in ("stale", "buried"):
        put(number)
    at = f"{label}/{high:040d}"
    drifts = [
        change(at, site=site, number="stale", note="drifted"),
        change(at, site=site, number="buried", deleted=True),
        change(at, site=site, number="phantom", note="no such item"),
    ]
    path = Path(lake.settings.landing) / f"items/dt=2026-01-08/HH=11/drift{n}.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(d) + "\n" for d in drifts).encode()))
    return {"missing": 1, "stale": 1, "phantom": 1}
