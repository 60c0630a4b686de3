"""Streams made up at random: records in shards that split, roll over and merge, and what they have to become.

Everything follows from the generator that is handed in. The change records that are expected are written down
as the changes are made, from plain values: no code of the writer's is in them.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.lambda_bench.event_source import Held, Shard
from tests.spark.histories import START_MS, Record, iso

Kind = Literal["dynamodb", "kinesis"]

START = START_MS // 1000
"""When the first record arrives, seconds since 1970."""
BAD = 0.04
"""How often a record is one that cannot be converted."""


@dataclass
class Traffic:
    """A stream and what it carries.

    Args:
        source: name of the table or stream, and so the source that it lands as.
        expected: change records by the `eventID` of the stream's record that they come from, in its order,
            without `_ingestTs`; none for a record that cannot be converted.
        moves: how often shards split, rolled over or merged.
    """

    kind: Kind
    source: str
    arn: str
    shards: list[Shard] = field(default_factory=list)
    expected: dict[str, list[Record]] = field(default_factory=dict)
    moves: int = 0

    @property
    def bad(self) -> set[str]:
        """Event ids of the records that cannot be converted."""
        return {event_id for event_id, made in self.expected.items() if not made}


def traffic(rng: random.Random, kind: Kind, source: str, records: int) -> Traffic:
    """A stream of so many records, of a few keys."""
    label = iso(START_MS)
    arn = (
        f"arn:aws:dynamodb:eu-west-1:123456789012:table/{source}/stream/{label}"
        if kind == "dynamodb"
        else f"arn:aws:kinesis:eu-west-1:123456789012:stream/{source}"
    )
    made = Traffic(kind, source, arn)
    maker = _Table(rng, made, label) if kind == "dynamodb" else _Events(rng, made)
    shards = _Shards(rng, made, roots=rng.choice((1, 1, 2, 3)))
    now = float(START)
    for _ in range(records):
        now += rng.choice((0, 0, 0.01, 0.3, 2, 15))
        if rng.random() < 0.08:
            shards.move()
        key = maker.key()
        shard = shards.of(key)
        shard.records.append(maker.record(key, shard.id, now))
    return made


class _Shards:
    """Which shard takes a key: each open one has a range of the keys' hashes, as in Kinesis."""

    def __init__(self, rng: random.Random, made: Traffic, roots: int) -> None:
        self._rng = rng
        self._made = made
        self._open: list[tuple[float, Shard]] = []  # where its range ends
        for number in range(roots):
            self._open.append(((number + 1) / roots, self._new()))

    def of(self, key: str) -> Shard:
        place = zlib.crc32(key.encode()) / 2**32
        return next(shard for end, shard in self._open if place < end)

    def move(self) -> None:
        """A shard splits in two, or rolls over into one; of Kinesis, two neighbours may merge."""
        self._made.moves += 1
        number = self._rng.randrange(len(self._open))
        end, shard = self._open[number]
        begin = self._open[number - 1][0] if number else 0.0
        if self._made.kind == "kinesis" and number and self._rng.random() < 0.6:
            _, neighbour = self._open[number - 1]
            self._open[number - 1 : number + 1] = [(end, self._new(neighbour, shard))]
        elif self._rng.random() < 0.7:
            middle = begin + (end - begin) * self._rng.uniform(0.2, 0.8)
            self._open[number : number + 1] = [(middle, self._new(shard)), (end, self._new(shard))]
        else:
            self._open[number] = (end, self._new(shard))

    def _new(self, *parents: Shard) -> Shard:
        if self._made.kind == "kinesis":
            name = f"shardId-{len(self._made.shards):012}"
        else:
            name = f"shardId-{len(self._made.shards):020}-{self._rng.getrandbits(32):08x}"
        shard = Shard(name, tuple(parent.id for parent in parents))
        self._made.shards.append(shard)
        return shard


# --- a table's stream --------------------------------------------------------------------------------


class _Table:
    """Items that are written, written again, deleted, and expire."""

    def __init__(self, rng: random.Random, made: Traffic, label: str) -> None:
        self._rng = rng
        self._made = made
        self._label = label
        self._items: dict[str, dict[str, Any] | None] = {
            f"{made.source} {number}": None for number in range(rng.randrange(2, 9))
        }
        self._at = rng.randrange(10 ** rng.choice((1, 21)))

    def key(self) -> str:
        return self._rng.choice(list(self._items))

    def record(self, key: str, shard: str, now: float) -> Held:
        rng = self._rng
        old = self._items[key]
        gone = old is not None and rng.random() < 0.35
        item = None if gone else self._item(now)
        self._at += rng.randrange(1, 10 ** rng.choice((1, 3, 12)))
        seconds = int(now)  # DynamoDB rounds it to the second
        expired = gone and rng.random() < 0.4
        keys = {"site": {"S": key}, "number": {"S": "1"}}
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": float(seconds) if rng.random() < 0.5 else seconds,
            "Keys": keys,
            "SequenceNumber": str(self._at),
            "SizeBytes": 100,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if item is not None:
            change["NewImage"] = keys | {name: _typed(value) for name, value in item.items()}
        if old is not None:
            change["OldImage"] = keys | {name: _typed(value) for name, value in old.items()}
        body: dict[str, Any] = {
            "eventID": f"{rng.getrandbits(128):032x}",
            "eventName": "REMOVE" if gone else "INSERT" if old is None else "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "dynamodb": change,
            "eventSourceARN": self._made.arn,
        }
        if expired:
            body["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        held = Held(change["SequenceNumber"], key, now, body)
        if not gone and rng.random() < BAD:
            self._spoil(body)
            self._made.expected[body["eventID"]] = []
            return held  # and the item stays what it was: nobody will hear of this change
        self._items[key] = item
        self._made.expected[body["eventID"]] = [self._change(body, key, item, seconds, expired)]
        return held

    def _item(self, now: float) -> dict[str, Any]:
        rng = self._rng
        item: dict[str, Any] = {"note": f"{now} {rng.choice(('ä€𝄞', '', 'x' * 300))}"}
        if rng.random() < 0.7:
            item["amount"] = rng.randrange(-(2**63), 2**63)
        if rng.random() < 0.1:
            item["more"] = rng.choice((5, "no column holds it", [1, 2]))
        if rng.random() < 0.3:
            item["updated_at"] = f"{iso(int(now * 1000))}Z"
        return item

    def _change(
        self, body: dict[str, Any], key: str, item: dict[str, Any] | None, seconds: int, expired: bool
    ) -> Record:
        made: Record = {
            "_eventID": body["eventID"],
            "_eventName": body["eventName"],
            "_sequence": f"{self._label}/{self._at:040d}",
            "is_deleted": item is None,
            "_approxStreamTs": seconds * 1000,
            "updated_at": seconds * 1000,
            "site": key,
            "number": "1",
        }
        if item is None:
            made["_deleteKind"] = "ttl" if expired else "user"
        return made | (item or {})

    def _spoil(self, body: dict[str, Any]) -> None:
        change = body["dynamodb"]
        match self._rng.randrange(4):
            case 0:
                change["NewImage"]["amount"] = {"N": "no number"}
            case 1:
                del change["NewImage"]
            case 2:
                change["Keys"] = {}
            case _:
                body["eventName"] = "RENAME"


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"N": str(value)}
    return {"L": [_typed(one) for one in value]} if isinstance(value, list) else {"S": value}


# --- a stream of events ------------------------------------------------------------------------------


class _Events:
    """Events of some students; a record holds one or several, plain or gzipped."""

    def __init__(self, rng: random.Random, made: Traffic) -> None:
        self._rng = rng
        self._made = made
        self._at = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898

    def key(self) -> str:
        return f"{self._made.source} student {self._rng.randrange(6)}"

    def record(self, key: str, shard: str, now: float) -> Held:
        rng = self._rng
        self._at += rng.randrange(1, 10**18)
        now = round(now, 3)
        number = str(self._at)
        event_id = f"{shard}:{number}"
        events = [self._event(key) for _ in range(rng.choice((1, 1, 2, 3)))]
        data = self._data(events)
        bad = rng.random() < BAD
        if bad:
            data = rng.choice((b'{"torn":', b"\xf3\x89\x9a\xc2aggregated", b"\xff\xfe", b"[]"))
        body = {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": key,
                "sequenceNumber": number,
                "data": base64.b64encode(data).decode(),
                "approximateArrivalTimestamp": now,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": event_id,
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/writer",
            "awsRegion": "eu-west-1",
            "eventSourceARN": self._made.arn,
        }
        self._made.expected[event_id] = [] if bad else self._changes(events, event_id, number, shard, now)
        return Held(number, key, now, body)

    def _event(self, key: str) -> dict[str, Any]:
        """An envelope; its id is beside `payload` or inside it, where it has one of its own."""
        event: dict[str, Any] = {"event_type": "session_completed"}
        inside: dict[str, Any] = {"student_id": key, "tutor_rating": 4}
        if self._rng.random() < 0.4:  # an id of the producer's own, which may send it twice
            own = inside if self._rng.random() < 0.3 else event
            own["event_id"] = f"{self._made.source} event {self._rng.randrange(40)}"
        return event | {"payload": inside | {"session_id": uuid.UUID(int=self._rng.getrandbits(128)).hex}}

    def _data(self, events: Sequence[dict[str, Any]]) -> bytes:
        texts = [json.dumps(event, ensure_ascii=False) for event in events]
        text = f"[{','.join(texts)}]" if self._rng.random() < 0.3 else "\n".join(texts)
        return gzip.compress(text.encode(), mtime=0) if self._rng.random() < 0.3 else text.encode()

    def _changes(
        self, events: Sequence[dict[str, Any]], event_id: str, number: str, shard: str, now: float
    ) -> list[Record]:
        arrived = round(now * 1000)
        return [
            {
                "_eventID": f"{event_id}#{index}",
                "_eventName": "EVENT",
                "_sequence": f"{number.zfill(56)}/{shard}/{index:06d}",
                "is_deleted": False,
                "_approxStreamTs": arrived,
                "updated_at": arrived,
                **event,
            }
            for index, event in enumerate(events)
        ]
