"""Random runs: a stream, a mapping, a function and an S3 with faults, by one seed; and where everything is.

A run plays a stream to its end. Then each record of the stream is looked for, by its event id, in landing, in
the failure destination and in quarantine.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from tests.lambda_bench.event_source import EventSource, FunctionError, Held, Settings, ThrottledError
from tests.lambda_bench.faulty_s3 import Fault, FaultyS3
from tests.lambda_bench.function import Function
from tests.lambda_bench.traffic import START, Traffic, traffic
from tests.spark.histories import Record

from lakehouse.local.aws import ACCESS_KEY, REGION, SECRET_KEY, LocalAws

LANDING, FAILURES, PREFIX = "bench-landing", "bench-failures", "landing"

FAULTS: dict[Fault, int] = {
    "slow down": 20,
    "internal error": 10,
    "conflict": 15,
    "forbidden": 15,
    "closed before": 10,
    "slow": 10,
    "closed after": 15,
    "half an answer": 8,
    "internal error after": 10,
    "put twice": 10,
    # These take a client's patience each time: fewer of them.
    "no answer": 2,
    "answer too late": 2,
}
OUTAGE: dict[Fault, int] = {"slow down": 6, "internal error": 4, "forbidden": 6, "closed before": 4}
"""What befalls every put while S3 is away."""


def chance(rng: random.Random, often: float) -> Fault | None:
    """A fault, so often; they are not equally frequent."""
    return rng.choices(list(FAULTS), list(FAULTS.values()))[0] if rng.random() < often else None


@dataclass
class Bench:
    """A local AWS, a faulty S3 before it, and functions that differ in how they cut objects and events."""

    aws: LocalAws
    faulty: FaultyS3
    functions: list[Function]

    @contextmanager
    @staticmethod
    def open(aws: LocalAws, folder: Path) -> Iterator[Bench]:
        """A bench over a server that is up; its functions start when they are invoked."""
        s3 = aws.client("s3")
        for bucket in (LANDING, FAILURES):
            s3.create_bucket(Bucket=bucket)
        with FaultyS3(aws.endpoint_url) as faulty:
            environment = {
                **aws.environment,
                "AWS_ENDPOINT_URL_S3": faulty.url,
                "S3_BUCKET": LANDING,
                "S3_PREFIX": PREFIX,
                "LOG_LEVEL": "ERROR",
            }
            functions = []
            cut = ({"MAX_RECORDS": "4"}, {"MAX_PAYLOAD_BYTES": "3000"}, {"BENCH_ENOUGH_BYTES": "5000"})
            for number, cuts in enumerate(cut):
                (folder / str(number)).mkdir()
                functions.append(Function(environment | cuts, folder / str(number)))
            with ExitStack() as stack:
                for function in functions:
                    stack.enter_context(function)
                yield Bench(aws, faulty, functions)

    def faulty_client(self) -> Any:
        """A client of S3 that meets the faults; it gives up quickly."""
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            read_timeout=0.3,
            s3={"addressing_style": "path"},
        )
        return boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION).client(
            "s3", endpoint_url=self.faulty.url, config=config
        )


@dataclass
class Run:
    """One run: what was sent, and what became of it."""

    number: int
    rng: random.Random
    traffic: Traffic
    settings: Settings
    mapping: str = ""
    """The mapping's folder in the failure bucket."""
    deliveries: Counter[str] = field(default_factory=Counter)
    lost: list[Held] = field(default_factory=list)


def play(bench: Bench, seed: int, number: int) -> Run:
    """Play the run of that number to its end."""
    rng = random.Random(f"{seed}/{number}")
    kind = "kinesis" if number % 3 == 2 else "dynamodb"
    made = traffic(rng, kind, f"run-{number:04}", records=rng.randrange(15, 60))
    settings = Settings(
        batch_size=rng.choice((1, 3, 10, 10, 40)),
        batching_window=rng.choice((0, 1, 5)),
        parallelization=rng.choice((1, 1, 2, 4)),
        maximum_retry_attempts=rng.choice((-1, -1, 0, 1, 4)),
        maximum_record_age=rng.choice((60, 120, 600)),
        bisect=rng.random() < 0.7,
    )
    run = Run(number, rng, made, settings)
    function = bench.functions[number // 3 % len(bench.functions)]  # each of them takes both kinds of stream

    def put(key: str, body: bytes) -> None:
        bench.aws.client("s3").put_object(Bucket=FAILURES, Key=key, Body=body)
        run.mapping = "/".join(key.split("/")[:3])

    # Of its own: how often a client tries again may depend on the machine, what is sent may not.
    chance = random.Random(f"{seed}/{number}/faults")
    invoke = _Unreliable(chance, bench, function, lambda: source.now)
    source = EventSource(
        made.arn,
        made.shards,
        settings,
        invoke,
        put=put,
        payload_as_text=rng.random() < 0.5,
        starts_anew=rng.choice((0, 0, 0.1, 0.3)),
        rng=rng,
    )
    bench.faulty.on_kill = function.kill
    bench.faulty.plan = invoke.fault
    try:
        source.run(most_turns=20_000)
    finally:
        bench.faulty.plan = lambda key: None
    run.deliveries = Counter(one.outcome.split()[0] for one in source.deliveries) + invoke.counts
    run.lost = source.lost
    return run


class _Unreliable:
    """The function as the mapping meets it: S3 fails and goes away, answers are lost, Lambda throttles."""

    def __init__(
        self, rng: random.Random, bench: Bench, function: Function, now: Callable[[], float]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._function = function
        self._now = now
        self._faults = rng.choice((0, 0.05, 0.25, 0.6))
        self._throttled = rng.choice((0, 0, 0.1))
        self._lost = rng.choice((0, 0.1, 0.3))
        begin = START + rng.uniform(0, 100)
        self._away = (begin, begin + rng.choice((0, 60, 300)))

    def __call__(self, event: dict[str, Any]) -> Any:
        if self._rng.random() < self._throttled:
            raise ThrottledError
        answer = self._function(event)
        if self._rng.random() < self._lost:
            self.counts["answers lost"] += 1
            raise FunctionError("its answer was lost")
        return answer

    def fault(self, key: str) -> Fault | None:
        """What befalls the next put."""
        begin, end = self._away
        if begin <= self._now() < end:
            return self._rng.choices(list(OUTAGE), list(OUTAGE.values()))[0]
        if self._rng.random() < 0.01:  # wherever it is: a process that dies
            return "killed"
        return chance(self._rng, self._faults)


# --- where everything is -----------------------------------------------------------------------------


@dataclass
class Places:
    """What lies where, of one run.

    Args:
        landed: change records by the event id of the record that they come from, as often as they landed.
        failed, quarantined: event ids, as often as they are there.
        bodies: landed objects by key, those of quarantine too.
    """

    landed: dict[str, list[Record]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, bytes] = field(default_factory=dict)


def look(bench: Bench, run: Run) -> Places:
    """Read everything that a run has left."""
    found = Places()
    s3 = bench.aws.client("s3")
    name = run.traffic.source
    for folder in (f"{PREFIX}/{name}/", f"{PREFIX}/_quarantine/{name}/"):
        for key, body in _objects(s3, LANDING, folder):
            lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
            found.bodies[key] = body
            for line in lines:
                if "_quarantine" in folder:
                    found.quarantined[line["record"]["eventID"]] += 1
                else:
                    found.landed.setdefault(line["_eventID"].partition("#")[0], []).append(line)
    if run.mapping:
        for _, body in _objects(s3, FAILURES, f"{run.mapping}/"):
            payload = json.loads(body)["payload"]
            event = json.loads(payload) if isinstance(payload, str) else payload
            found.failed.update(record["eventID"] for record in event["Records"])
    return found


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield entry["Key"], s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()


def problems(run: Run, found: Places, *, redriven: bool) -> list[str]:
    """What is not as it has to be: each record is somewhere, whole and as expected, and in no wrong place.

    Args:
        redriven: whether the failed batches have been given to the writer again: then nothing may be in the
            failure destination alone.
    """
    wrong = []
    expected = run.traffic.expected
    for event_id, changes in expected.items():
        landed = [
            {k: v for k, v in line.items() if k != "_ingestTs"} for line in found.landed.get(event_id, [])
        ]
        alien = [line for line in landed if line not in changes]
        if alien:
            wrong.append(f"{event_id} landed as {alien[0]}, expected {changes}")
        missing = [change for change in changes if change not in landed]
        waits = not redriven and found.failed[event_id]
        if changes and missing and not waits:
            wrong.append(f"{event_id}: {len(missing)} of {len(changes)} changes are nowhere")
        if changes and found.quarantined[event_id]:
            wrong.append(f"{event_id} is in quarantine, and nothing is wrong with it")
        if not changes and not found.quarantined[event_id] and not waits:
            wrong.append(f"{event_id}, which cannot be converted, is nowhere")
    strange = {*found.landed, *found.failed, *found.quarantined} - {*expected}
    if strange:
        wrong.append(f"{sorted(strange)[:3]} were never sent")
    return wrong
