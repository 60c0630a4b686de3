"""Backfills of a table that is written all the while: the state table ends as the source does.

Each round has a DynamoDB table and keys of its own. One thread writes, deletes and re-creates items, one
pumps the stream through the writer, and meanwhile the table is scanned, sometimes by a process that is
killed, sometimes twice. What has landed is dealt out over several ingests in any order.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.local.support import ITEM_KEYS, create_table
from tests.spark.histories import note_figures
from tests.spark.support import ITEMS, Lake

from change_writer import handler as writer
from change_writer.landing import s3_client
from change_writer.settings import get_settings
from lakehouse.aws.objects import S3Objects
from lakehouse.aws.scan import ReadLimit, backfill_scan
from lakehouse.local.aws import LocalAws
from lakehouse.local.poller import StreamPoller

BUCKET, PREFIX = "landing", "landing"
KEYS = 60
INGESTS = 2
SCAN = f"""
import sys, time
from lakehouse.aws.client import aws_client
from lakehouse.aws.objects import S3Objects
from lakehouse.aws.scan import ReadLimit, backfill_scan
from tests.spark.support import ITEMS
ReadLimit.page = lambda *_: {{"Limit": 3}}
backfill_scan(aws_client("dynamodb"), S3Objects(aws_client("s3"), "{BUCKET}", "{PREFIX}"), ITEMS, sys.argv[1],
              segments=2, object_bytes=1, consumer_from="trim-horizon",
              on_progress=lambda *_: time.sleep(0.05))
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**server.environment, "S3_BUCKET": BUCKET, "S3_PREFIX": PREFIX}.items():
            patch.setenv(name, value)
        patch.setenv("LOG_LEVEL", "ERROR")
        server.client("s3").create_bucket(Bucket=BUCKET)
        get_settings.cache_clear()
        s3_client.cache_clear()
        yield server
    get_settings.cache_clear()
    s3_client.cache_clear()


@dataclass
class Round:
    """One DynamoDB table, its stream, and whoever writes to it."""

    aws: LocalAws
    number: int
    seed: int

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.name = f"round-{self.number}"
        self.version = 0
        self.client = self.aws.client("dynamodb")
        create_table(self.client, self.name, ITEM_KEYS, stream=False)

    def key(self) -> dict[str, Any]:
        n = self.random.randrange(KEYS)
        # Segments are cut by the hash of the first part of the key.
        return {"site": {"S": f"round {self.number} site {n % 7}"}, "number": {"S": f"{n}"}}

    def put(self) -> None:
        self.version += 1
        item = {**self.key(), "amount": {"N": str(self.version)}, "note": {"S": f"v{self.version}"}}
        self.client.put_item(TableName=self.name, Item=item)

    def write(self) -> None:
        if self.random.random() < 0.35:
            self.client.delete_item(TableName=self.name, Key=self.key())
        else:
            self.put()

    def stream(self, enabled: bool) -> None:
        more = {"StreamViewType": "NEW_AND_OLD_IMAGES"} if enabled else {}
        wanted: Any = {"StreamEnabled": enabled, **more}
        self.client.update_table(TableName=self.name, StreamSpecification=wanted)

    def poller(self) -> StreamPoller:
        arn = self.client.describe_table(TableName=self.name)["Table"]["LatestStreamArn"]
        client = self.aws.client("dynamodbstreams")
        return StreamPoller(client, arn, writer.lambda_handler, batch_size=self.random.choice([7, 100, 500]))

    def scan(self) -> None:
        backfill_scan(
            self.client,
            S3Objects(self.aws.client("s3"), BUCKET, PREFIX),
            ITEMS,
            self.name,
            segments=self.random.choice([1, 2, 4]),
            object_bytes=self.random.choice([1, 1 << 20]),
            consumer_from="trim-horizon",
        )

    def scan_killed(self) -> None:
        """A process that is killed once something of it has landed, and perhaps another one."""
        for _ in range(self.random.choice([1, 2])):
            before = self.positions()
            process = subprocess.Popen(
                [sys.executable, "-c", SCAN, self.name],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            while process.poll() is None and self.positions() <= before:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.scan()

    def positions(self) -> set[str]:
        """What tells of the segments of scans: it grows whenever one has landed something."""
        found = self.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/_backfills/")
        return {o["ETag"] for o in found.get("Contents", []) if "/segments/" in o["Key"]}

    def run(self) -> dict[tuple[str, str], int]:
        """Write, pump and scan side by side; the source's rows at the end, by key: their amount."""
        for _ in range(KEYS):
            self.put()  # what is there before anything listens
        if self.number % 3 == 1:
            # An earlier stream, landed; then a time without one. A scan tells what it missed of what is
            # there, not what has gone: nothing is deleted meanwhile.
            self.stream(True)
            earlier = self.poller()
            for _ in range(40):
                self.write()
            earlier.pump()
            self.stream(False)
            for _ in range(20):
                self.put()
        self.stream(True)
        stop, errors = threading.Event(), []

        def repeat(work: Callable[[], Any]) -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                errors.append(error)
                raise

        poller = self.poller()

        def pump() -> None:
            poller.pump()
            time.sleep(0.1)

        threads = [threading.Thread(target=repeat, args=(work,)) for work in (self.write, pump)]
        for thread in threads:
            thread.start()
        try:
            if self.number % 3 == 2:
                self.scan_killed()
            else:
                self.scan()
            if self.number % 4 == 0:
                self.scan()  # a second snapshot in mid-stream
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not errors
        poller.pump()
        pages = self.client.get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        items = [item for page in pages for item in page["Items"]]
        return {(i["site"]["S"], i["number"]["S"]): int(i["amount"]["N"]) for i in items}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "rounds", [pytest.param(3, marks=pytest.mark.extra), pytest.param(24, marks=pytest.mark.prove)]
)
def test_the_state_table_is_the_source_whatever_is_written_during_its_backfill(
    aws: LocalAws,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> None:
    seed = int(os.environ.get("LAKEHOUSE_SEED", random.randrange(10**6)))
    print(f"LAKEHOUSE_SEED={seed}")
    monkeypatch.setattr(ReadLimit, "page", lambda *_: {"Limit": 4})
    monkeypatch.setenv("SOURCE_MAP", ",".join(f"round-{rounds * 100 + n}=items" for n in range(rounds)))
    get_settings.cache_clear()
    started = time.monotonic()
    source: dict[tuple[str, str], int] = {}
    for n in range(rounds):
        source |= Round(aws, rounds * 100 + n, seed + n).run()

    lake = Lake(spark, tmp_path, (ITEMS,))
    s3, shuffled = aws.client("s3"), random.Random(seed)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/items/")
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    assert keys
    shuffled.shuffle(keys)
    for part in range(INGESTS):
        for key in keys[part::INGESTS]:
            path = Path(lake.settings.landing) / key.removeprefix(f"{PREFIX}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            s3.delete_object(Bucket=BUCKET, Key=key)
        lake.ingest_well()
    assert lake.quarantine().count() == 0
    rows = lake.state(ITEMS).where("NOT is_deleted").select("site", "number", "amount").collect()
    assert len(rows) == len({(r.site, r.number) for r in rows})
    assert {(r.site, r.number): r.amount for r in rows} == source
    note_figures(
        proof="backfill",
        rounds=rounds,
        seed=seed,
        objects=len(keys),
        rows=len(rows),
        seconds=round(time.monotonic() - started, 1),
    )
