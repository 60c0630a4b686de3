"""How fast a table is scanned into landing and ingested, beside a plain scan; every ratio from one run.

    uv run python benchmarks/backfill.py [--items 100000] [--rounds 3]

read         the pages alone, in four segments, nothing kept: what the embedded DynamoDB gives.
scan         the backfill: read, convert, compress, land, save the positions; four segments.
plain        what a first version looks like: one segment, boto3's deserializer, json.dumps, one object;
             nothing to go on from, and numbers through float.
ingest       what the scan has landed, into a new table.

DynamoDB is the embedded one, which takes a part of the same cores: trust the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from lakehouse.aws.objects import FolderObjects
from lakehouse.aws.scan import backfill_scan
from lakehouse.catalog.set_up import set_up
from lakehouse.gold.run import ingest
from lakehouse.local.aws import LocalAws
from lakehouse.local.session import local_session
from lakehouse.local.warehouse import local_settings
from lakehouse.tables.calls import CALLS

NAME = "calls-benchmark"
SEGMENTS = 4
MEMBERS = [c.path.split(".")[1] for c in CALLS.columns if c.path and c.path.startswith("payload.")]


def main() -> None:
    """Parse the arguments, fill the table, time each way in turn, print the medians and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, LocalAws() as aws:
        folder = Path(name)
        client = aws.client("dynamodb")
        fill(client, args.items)
        spark = local_session(folder / "warehouse", memory="6g", quick=False)
        ways: dict[str, Callable[[Path], Any]] = {
            "read": lambda _: read(client),
            "scan": lambda at: scan(client, at, args.items),
            "plain": lambda at: plain(client, at),
        }
        for number in range(args.rounds + 1):  # the first round warms Java up
            for way, work in ways.items():
                at = folder / f"{way}-{number}"
                at.mkdir()
                started = time.perf_counter()
                work(at)
                seconds.setdefault(way, []).append(time.perf_counter() - started)
            started = time.perf_counter()
            run_ingest(spark, folder, folder / f"scan-{number}", number, args.items)
            seconds.setdefault("ingest", []).append(time.perf_counter() - started)
        landed = list((folder / "scan-1").rglob("*.ndjson.gz"))
        size = sum(p.stat().st_size for p in landed) / 1e6
    print(f"\n{args.items:,} items, {len(landed)} objects of {size:.1f} MB in all, median of {args.rounds}")
    print("| way | seconds | items/s | to reading | to the plain scan |\n|---|---|---|---|---|")
    medians = {way: statistics.median(times[1:]) for way, times in seconds.items()}
    for way, median in medians.items():
        ratios = (median / medians[base] for base in ("read", "plain"))
        cells = (f"{median:.2f}", f"{args.items / median:,.0f}", *(f"{ratio:.2f}" for ratio in ratios))
        print(f"| {way} | {' | '.join(cells)} |")


def fill(client: Any, items: int) -> None:
    """Calls of about 0.9 KB, in a table with a stream."""
    random = Random(7)
    client.create_table(
        TableName=NAME,
        KeySchema=[{"AttributeName": "callId", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "callId", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for start in range(0, items, 25):
        requests = []
        for number in range(start, min(start + 25, items)):
            payload = {m: {"S": f"{random.getrandbits(64):016x}"} for m in MEMBERS}
            payload |= {"siteId": {"N": "7"}, "tenantId": {"N": "12"}, "queueId": {"N": "5"}}
            item = {"callId": {"S": f"call-{number:08d}"}, "callTimestampUTC": {"S": "2025-10-08T14:34:19Z"}}
            requests.append({"PutRequest": {"Item": {**item, "payload": {"M": payload}}}})
        client.batch_write_item(RequestItems={NAME: requests})


def read(client: Any) -> None:
    """Every page, and nothing else."""

    def segment(number: int) -> None:
        pages = client.get_paginator("scan").paginate(
            TableName=NAME, ConsistentRead=True, Segment=number, TotalSegments=SEGMENTS
        )
        for _ in pages:
            pass

    with ThreadPoolExecutor(SEGMENTS) as pool:
        list(pool.map(segment, range(SEGMENTS)))


def scan(client: Any, at: Path, items: int) -> None:
    """The product's scan."""

    def tell(done: int, total: int) -> None:
        sys.stderr.write(f"\rscan {done:,} of {total:,}    ")

    done = backfill_scan(
        client,
        FolderObjects(at),
        CALLS,
        NAME,
        segments=SEGMENTS,
        consumer_from="trim-horizon",
        on_progress=tell,
    )
    assert done.items == items, done


def plain(client: Any, at: Path) -> None:
    """One segment into one object, numbers through float."""
    types = TypeDeserializer()
    with gzip.open(at / "all.ndjson.gz", "wt", compresslevel=6) as out:
        for page in client.get_paginator("scan").paginate(TableName=NAME, ConsistentRead=True):
            for item in page["Items"]:
                record = {name: types.deserialize(value) for name, value in item.items()}
                out.write(json.dumps(record, default=float) + "\n")


def run_ingest(spark: Any, folder: Path, landing: Path, number: int, items: int) -> None:
    """The product's stream into a table of its own."""
    table = replace(CALLS, name=f"calls_{number}", view=None)
    settings = local_settings(folder / "warehouse", landing=str(landing))
    set_up(spark, settings, (table,))
    (result, *_) = ingest(
        spark, settings, (table,), on_progress=lambda _, rows: sys.stderr.write(f"\ringest {rows:,}    ")
    )
    assert result.error is None, result.error
    assert result.batches.upserts == items, result


if __name__ == "__main__":
    main()
