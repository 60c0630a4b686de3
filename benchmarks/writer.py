"""How fast the writer turns an invocation into an object, beside the plain way and the floor, on one core.

    uv run --with orjson python benchmarks/writer.py [--records 10000] [--batch 500] [--rounds 9]

Every way goes from the invocation's bytes to the compressed object's, all of them in turn in each round:

writer       `json.loads`, then the function's own conversion, cutting, naming and gzip.
Parquet      the same, landing as Parquet.
plain        what a first version looks like: `json.loads`, boto3's TypeDeserializer, `json.dumps`, gzip 9.
floor        `orjson.loads`, one `orjson.dumps` of each untouched new image, gzip as the writer's.

In Lambda the runtime parses the event before the function is called, with `json.loads`: so do `writer` and
`plain`. The floor parses faster than any function can; `floor, parsed by the runtime` does not. `at rest`
is with Python's collector of cycles set as the writer sets it; the others have Python's default, as they
would have it in Lambda.

Records are of two tables, each with a new image of 2 KB and an old one: calls, of many short members, and
scorecards, of more text. First, the objects are compared with a slow reference, record by record. Seconds are
of the processor, not of the clock, as others may be using it. zlib-ng and isal are measured if they are there
(`--with zlib-ng --with isal`).
"""

from __future__ import annotations

import argparse
import base64
import gc
import gzip
import importlib.util
import json
import os
import statistics
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import orjson
from boto3.dynamodb.types import TypeDeserializer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lambda"))

from change_writer import handler
from change_writer.dynamodb import convert
from change_writer.encode import GZIP_LEVEL, gzip_lines
from change_writer.settings import Settings, parse_settings

SETTINGS = parse_settings({"S3_BUCKET": "landing", "MAX_RECORDS": "10000", "MAX_PAYLOAD_BYTES": "100000000"})
KIND = handler.STREAM_KINDS["aws:dynamodb"]
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/calls/stream/2026-01-05T08:00:00.123"
INGEST_TS = 1_767_900_000_000
BY_DEFAULT = gc.get_threshold()


def main() -> None:
    """Parse the arguments, compare, time each way in turn, print the medians and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"Python {sys.version.split()[0]}, zlib {zlib.ZLIB_RUNTIME_VERSION}, gzip level {GZIP_LEVEL}")
    for table, item in {"calls": _call, "scorecards": _scorecard}.items():
        invocations = [*made(item, args.records, args.batch)]
        for invocation in invocations:
            compare(invocation)
        gc.collect()
        seconds = timed(invocations, args.rounds)
        per_record = {way: [s / args.records * 1e6 for s in each] for way, each in seconds.items()}
        print(
            f"\n### {table}: {args.records:,} records, {args.batch} an invocation, median of {args.rounds}\n"
        )
        report(args, invocations, per_record)


# --- input ------------------------------------------------------------------------------------------


def made(item: Callable[[Random, int], dict[str, Any]], records: int, batch: int) -> Iterator[bytes]:
    """Invocations as Lambda sends them."""
    random = Random(7)
    for start in range(0, records, batch):
        numbers = range(start, min(start + batch, records))
        event = {"Records": [_record(random, number, item(random, number)) for number in numbers]}
        yield json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _record(random: Random, number: int, new: dict[str, Any]) -> dict[str, Any]:
    key = next(iter(new))
    old = {**new, "version": {"N": "1"}}
    del old["disposition"]
    return {
        "eventID": f"{random.getrandbits(128):032x}",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_767_870_000 + number // 50,
            "Keys": {key: new[key]},
            "NewImage": new,
            "OldImage": old,
            "SequenceNumber": str(100_000_000_000_000_000_001 + 7 * number),
            "SizeBytes": 3_100,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": STREAM,
    }


FIRST_NAMES = ("Ada", "Grace", "Zoë", "José", "Lin")
CRITERIA = ("askForPayment", "confirmLocation", "featuresAdvantagesBenefits", "handleObjections", "empathy")
CRITERIA += ("sizeRecommendation", "urgency", "greeting", "closing", "compliance", "nextStep")


def _scorecard(random: Random, number: int) -> dict[str, Any]:
    scores = {name: {"score": _decimal(random, 0, 10, 1), "evidence": _sentence(random)} for name in CRITERIA}
    item: dict[str, Any] = _typed(
        {
            "guid": _uuid(random),
            "datetime": f"2026-01-08T10-{number % 60:02}-{7 * number % 60:02}",
            "agent": f"{random.choice(FIRST_NAMES)} Example {random.randrange(300)}",
            "outcome": random.choice(("reserved", "quoted", "callback", "not interested")),
            "callType": random.choice(("sales", "service", "billing")),
            "notes": _sentence(random),
            "primaryIntent": random.choice(("new rental", "price question", "move out")),
            "secondaryIntent": None,
            "resolutionReason": "quote sent",
            "summary": f"{_sentence(random)} {_sentence(random)}",
            "ingestedAt": f"2026-01-08T10:{number % 60:02}:{7 * number % 60:02}.{random.randrange(1000):03}Z",
            "overallScore": _decimal(random, 0, 100, 2),
            "version": random.randrange(2, 9),
            "disposition": random.choice(('asked for "no fees"', "none\nnoted", "call back")),
            "scores": scores,
        }
    )["M"]
    return item


def _call(random: Random, number: int) -> dict[str, Any]:
    agent = random.randrange(300)
    at = f"2026-01-08T{10 + number % 8:02}:{number % 60:02}:{7 * number % 60:02}.{random.randrange(1000):03}Z"
    payload = {
        "agentId": f"A-{1000 + agent}",
        "agentName": f"{random.choice(FIRST_NAMES)} Example {agent}",
        "allocation": random.choice(("sales", "service", "retention")),
        "direction": random.choice(("inbound", "outbound")),
        "file_name": f"call-{number:07}_GUID_{_uuid(random)}_AGENT_{agent}.wav",
        "medium": "phone",
        "program": random.choice(("spring", "summer")),
        "queueId": random.randrange(40),
        "queueName": f"Sales {random.randrange(40)}",
        "sessionId": f"s-{random.randrange(10**8)}",
        "siteId": random.randrange(12),
        "siteName": random.choice(("Zürich", "Leeds", "Austin", "São Paulo")),
        "tenantId": random.randrange(40),
        "s3_bucket": "recordings-example",
        "recorded": True,
        "sentiment": {
            "overall": _decimal(random, -1, 1, 4),
            "agent": _decimal(random, -1, 1, 4),
            "customer": _decimal(random, -1, 1, 4),
            "label": random.choice(("POSITIVE", "NEGATIVE", "NEUTRAL")),
        },
        "segments": [
            {
                "speaker": random.choice(("agent", "customer")),
                "start": _decimal(random, 0, 600, 2),
                "end": _decimal(random, 0, 600, 2),
                "text": _sentence(random),
            }
            for _ in range(6)
        ],
    }
    item: dict[str, Any] = _typed(
        {
            "callId": _uuid(random),
            "callTimestampUTC": at,
            "status": random.choice(("completed", "in_progress", "transcribed")),
            "durationSeconds": random.randrange(10, 3600),
            "version": random.randrange(2, 9),
            "updated_at": 1_767_870_000_000 + 3000 * number,
            "isTest": False,
            "parentCallId": None if random.random() < 0.7 else _uuid(random),
            "disposition": random.choice(('asked for "no fees"', "none\nnoted", "call back")),
            "payload": payload,
        }
    )["M"]
    return item | {"tags": {"SS": sorted({_word(random) for _ in range(3)})}}


def _typed(value: Any) -> dict[str, Any]:
    match value:
        case dict():
            return {"M": {name: _typed(each) for name, each in value.items()}}
        case list():
            return {"L": [_typed(each) for each in value]}
        case bool():
            return {"BOOL": value}
        case None:
            return {"NULL": True}
        case str():
            return {"S": value}
        case _:
            return {"N": str(value)}


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _decimal(random: Random, low: int, high: int, places: int) -> Decimal:
    return Decimal(f"{random.uniform(low, high):.{places}f}")


_SYLLABLES = [
    a + b for a in (*"bcdfghlmnprstvw", "st", "tr", "pl", "sh") for b in (*"aeiou", "ea", "er", "in", "on")
]
_MADE_UP = Random(1)
# As in a language, a few words are common and many are rare.
_WORDS = ["the", "to", "and", "a", "of", "I", "you", "it", "in", "is", "that", "for"] + [
    "".join(_MADE_UP.choices(_SYLLABLES, k=_MADE_UP.choice((1, 2, 2, 3)))) for _ in range(1500)
]
_WEIGHTS = [1 / (rank + 2) for rank in range(len(_WORDS))]


def _word(random: Random) -> str:
    return random.choices(_WORDS, _WEIGHTS)[0]


def _sentence(random: Random) -> str:
    return " ".join(random.choices(_WORDS, _WEIGHTS, k=random.randrange(8, 16))).capitalize() + "."


# --- the ways ---------------------------------------------------------------------------------------


def writer(event: Any, settings: Settings = SETTINGS) -> list[bytes]:
    """The function, but for the put."""
    plan = handler.make_plan(KIND, handler.stream_records(event), settings, INGEST_TS)
    return [landing_object.body for landing_object in plan.objects]


def parquet(event: Any) -> list[bytes]:
    """The function where LANDING_FORMAT is parquet."""
    return writer(event, replace(SETTINGS, landing_format="parquet"))


_deserializer = TypeDeserializer()


def _plainly(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return list(value)  # type: ignore[call-overload]


def plain(event: Any) -> list[bytes]:
    """Numbers go through float."""
    lines = []
    for record in event["Records"]:
        image = record["dynamodb"]["NewImage"]
        item = {name: _deserializer.deserialize(value) for name, value in image.items()}
        lines.append(json.dumps(item, default=_plainly) + "\n")
    return [gzip.compress("".join(lines).encode(), compresslevel=9, mtime=0)]


def floor(event: Any) -> list[bytes]:
    """Nothing is converted."""
    options = orjson.OPT_APPEND_NEWLINE
    images = [orjson.dumps(record["dynamodb"]["NewImage"], option=options) for record in event["Records"]]
    return [gzip_lines(images)]


Parser = Callable[[bytes], Any]
Way = tuple[Parser | None, Callable[[Any], list[bytes]], bool]
"""How the bytes are parsed, within the time unless None; what follows; whether the collector rests."""
WAYS: dict[str, Way] = {
    "writer": (json.loads, writer, True),
    "writer, Parquet": (json.loads, parquet, True),
    "plain": (json.loads, plain, False),
    "floor": (orjson.loads, floor, False),
    "writer, collector by default": (json.loads, writer, False),
    "plain, at rest": (json.loads, plain, True),
    "floor, at rest": (orjson.loads, floor, True),
    "floor, parsed by the runtime": (json.loads, floor, False),
    "floor, parsed by the runtime, at rest": (json.loads, floor, True),
}


def _nothing(event: Any) -> list[bytes]:  # noqa: ARG001
    return []


def _converted(event: Any) -> list[bytes]:
    return [convert(record, INGEST_TS).line for record in event["Records"]]


PARTS: dict[str, Way] = {
    "parsing the event, and letting go of it": (json.loads, _nothing, True),
    "parsing and conversion": (json.loads, _converted, True),
}


def timed(invocations: list[bytes], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; the first round warms up."""
    seconds: dict[str, list[float]] = {}
    lines = [gzip.decompress(writer(json.loads(invocation))[0]) for invocation in invocations]

    for number in range(rounds + 1):
        for name, (parse, work, at_rest) in {**WAYS, **PARTS}.items():
            gc.set_threshold(*BY_DEFAULT)
            if at_rest:
                handler.set_up_process()
            taken = _seconds(lambda: [work(parse(i)) and None for i in invocations])  # noqa: B023
            if number:
                seconds.setdefault(name, []).append(taken)
        for name, compress in compressors().items():
            taken = _seconds(lambda: [compress(each) and None for each in lines])  # noqa: B023
            if number:
                seconds.setdefault(name, []).append(taken)
    gc.set_threshold(*BY_DEFAULT)
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """gzip at several levels, and what else is installed."""
    found: dict[str, Callable[[bytes], bytes]] = {}
    for level in (1, 2, 3, 4, 5, 6, 9):
        found[f"zlib {level}"] = lambda data, level=level: zlib.compress(data, level)  # type: ignore[misc]
    for package, module, levels in (
        ("zlib_ng", "zlib_ng.zlib_ng", (2, 3, 4, 6)),
        ("isal", "isal.isal_zlib", (1, 2, 3)),
    ):
        if importlib.util.find_spec(package):
            imported = importlib.import_module(module)
            for level in levels:
                found[f"{package} {level}"] = lambda data, level=level, m=imported: m.compress(data, level)  # type: ignore[misc]
    return found


# --- the reference, and the report ------------------------------------------------------------------


def compare(invocation: bytes) -> None:
    """Raise AssertionError unless the writer's lines say, number for number, what the event says."""
    lines = [line for body in writer(json.loads(invocation)) for line in gzip.decompress(body).splitlines()]
    records = json.loads(invocation)["Records"]
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        found = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        change = record["dynamodb"]
        expected = {name: slowly(value) for name, value in change["NewImage"].items()}
        created = Decimal(change["ApproximateCreationDateTime"] * 1000)
        expected = {"updated_at": created} | expected
        expected |= {
            "_eventID": record["eventID"],
            "_eventName": "MODIFY",
            "_sequence": STREAM.rpartition("/")[2] + "/" + change["SequenceNumber"].zfill(40),
            "_approxStreamTs": created,
            "_ingestTs": Decimal(INGEST_TS),
            "is_deleted": False,
        }
        assert found == expected, f"{found} instead of {expected}"


def slowly(value: dict[str, Any]) -> Any:
    """What a typed value is as JSON, every number a Decimal."""
    ((tag, content),) = value.items()
    match tag:
        case "N":
            return Decimal(content)
        case "NULL":
            return None
        case "B":
            return content if isinstance(content, str) else base64.b64encode(content).decode()
        case "L":
            return [slowly(each) for each in content]
        case "M":
            return {name: slowly(each) for name, each in content.items()}
        case "SS" | "BS":
            return sorted(content)
        case "NS":
            return sorted(Decimal(each) for each in content)
        case _:
            return content


def report(args: argparse.Namespace, invocations: list[bytes], taken: dict[str, list[float]]) -> None:
    """Tables in Markdown. A ratio is the median of the rounds' ratios."""
    records = [record for each in invocations for record in json.loads(each)["Records"]]
    image = sum(len(orjson.dumps(record["dynamodb"]["NewImage"])) for record in records)
    lines = [gzip.decompress(writer(json.loads(invocation))[0]) for invocation in invocations]
    sizes = [sum(map(len, invocations)), image, sum(map(len, lines))]
    event, new, line = (f"{size / len(records):,.0f}" for size in sizes)
    print(f"A record has {event} bytes in the event, of them {new} the new image, and {line} as a line.\n")
    landed = [
        sum(len(body) for each in invocations for body in way(json.loads(each))) for way in (writer, parquet)
    ]
    gz, columns = (f"{size / len(records):,.0f}" for size in landed)
    print(f"It lands in {gz} bytes, as Parquet in {columns}: {landed[1] / landed[0]:.2f} times as many.\n")
    print("| way | µs a record | records/s | the writer is so many times as fast |\n|---|---|---|---|")
    for name in WAYS:
        median = statistics.median(taken[name])
        ratio = statistics.median(a / b for a, b in zip(taken[name], taken["writer"], strict=True))
        print(f"| {name} | {median:.1f} | {1e6 / median:,.0f} | {ratio:.2f} |")
    whole = taken["writer"]
    parsing, converted = (taken[name] for name in PARTS)
    compressing = taken[f"zlib {GZIP_LEVEL}"]
    parts = {
        "parsing the event, and letting go of it": parsing,
        "conversion": [b - a for a, b in zip(parsing, converted, strict=True)],
        "compression": compressing,
        "the rest: checks, names, cutting": [
            w - c - z for w, c, z in zip(whole, converted, compressing, strict=True)
        ],
    }
    print("\n| of the writer's time | µs a record | share |\n|---|---|---|")
    for name, each in parts.items():
        share = statistics.median(a / b for a, b in zip(each, whole, strict=True))
        print(f"| {name} | {statistics.median(each):.1f} | {share:.0%} |")
    print("\n| compressor, level | µs a record | bytes a record |\n|---|---|---|")
    for name, compress in compressors().items():
        size = sum(len(compress(each)) for each in lines) / args.records
        print(f"| {name} | {statistics.median(taken[name]):.1f} | {size:.0f} |")


if __name__ == "__main__":
    main()
