"""Fresh reads: what single items are now, landed among the changes of their keys.

A fresh read lands with a sequence above the row or the change that it is made for and below the key's next
change, and above whatever streams before the one that is enabled have told of the item.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lakehouse.aws.items import Item
from lakehouse.aws.objects import Objects
from lakehouse.aws.snapshot import Begun, LandingObject, Mappings, begin, claim, iso_ms, landed_record
from lakehouse.errors import SourceError
from lakehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEYS_A_READ = 100  # BatchGetItem's most
_KEY_BYTES = (2048, 1024)  # the most that a partition key and a sort key have
_DIGITS = 38  # of a number
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)

Key = Mapping[str, str]
"""A key as it lands: text by the attribute's name; binary is base64."""


@dataclass(frozen=True, slots=True)
class Landed:
    """The object's key, None if nothing had to land; `left`: places of what was asked for and not landed."""

    object: str | None
    left: frozenset[int]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads items of one DynamoDB table and lands them as changes of one source.

    Args:
        consumer_from, mappings: as for `snapshot.begin`.
    """

    dynamodb: DynamoDBClient
    table: Table
    table_name: str
    consumer_from: str | None = None
    mappings: Mappings | None = None

    def land(self, landing: Objects, wanted: Sequence[tuple[Key, str | None]]) -> Landed:
        """Read items and land what they are now, a tombstone for one that is gone.

        Nothing lands for an item that is gone if the table ignores expiries: it may have expired. A key that
        DynamoDB could not have is one of an item that is gone.

        Args:
            wanted: keys, each with the sequence that the record has to stand above, None for any.

        Raises:
            SnapshotRefusedError: what changes behind the read would not come in by the stream.
            SourceError: DynamoDB or the landing location refuse.
        """
        begun, _ = claim(landing, self.table.source, self._begin, {"kind": "fresh_read"})
        taken = begun.snapshot
        typed = [_typed_if_possible(key, begun.keys) for key, _ in wanted]
        items = _items(self.dynamodb, self.table_name, [keys for keys, possible in typed if possible])
        held, left = LandingObject(self.table.source, taken.time_ms), set()
        now_ms = time.time_ns() // 1_000_000
        for place, ((keys, possible), (_, above)) in enumerate(zip(typed, wanted, strict=True)):
            item = items.get(_name(keys)) if possible else None
            if item is None and self.table.ttl_deletes == "ignore":
                left.add(place)
                continue
            repair = f"{above}+{iso_ms(taken.time_ms)}" if above else ""
            # Above a change of the stream that is enabled, but below that stream's next one.
            held.add(
                *landed_record("REPAIR", repair, taken.time_ms, keys, item, now_ms)
                if repair > taken.sequence
                else taken.record(keys, item, now_ms)
            )
        return Landed(held.put(landing)[0] if held.records else None, frozenset(left))

    def key_types(self) -> tuple[Mapping[str, str], str]:
        """Type of each key attribute by its name, and the stream's label; raises as `snapshot.begin` does."""
        begun = self._begin()
        return begun.keys, begun.snapshot.label

    def _begin(self) -> Begun:
        return begin(
            self.dynamodb,
            self.table,
            self.table_name,
            consumer_from=self.consumer_from,
            mappings=self.mappings,
        )


def typed_key(key: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """A key as DynamoDB takes it.

    Raises ValueError or ArithmeticError where it has no text of the type for each attribute.
    """
    keys: dict[str, dict[str, Any]] = {}
    for (name, kind), most in zip(types.items(), _KEY_BYTES, strict=False):
        text = key.get(name)
        if not isinstance(text, str) or not text:
            raise ValueError(f"{name} has no value that a key may have")
        number = Decimal(text) if kind == "N" else Decimal(0)
        if not number.is_finite() or len(number.as_tuple().digits) > _DIGITS:
            raise ValueError(f"{name} is no number that DynamoDB has")
        value = base64.b64decode(text, validate=True) if kind == "B" else str(text)
        if len(value if isinstance(value, bytes) else value.encode()) > most:
            raise ValueError(f"{name} is longer than a key may be")
        keys[name] = {kind: value}
    return keys


def _typed_if_possible(key: Key, types: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], bool]:
    """The key, and whether DynamoDB could have it; if not, its texts stand for it."""
    try:
        return typed_key(key, types), True
    except (ValueError, ArithmeticError):
        return {name: {"S": str(text)} for name, text in key.items()}, False


def _name(key: Item) -> frozenset[tuple[str, Any]]:
    """A key by its values; a number may be written in several ways."""
    return frozenset((n, Decimal(v) if kind == "N" else v) for n, t in key.items() for kind, v in t.items())


def _items(
    dynamodb: DynamoDBClient, table_name: str, keys: Iterable[Any]
) -> dict[frozenset[tuple[str, Any]], Item]:
    """The items that there are, by their keys; read consistently."""
    from botocore.exceptions import BotoCoreError, ClientError

    found: dict[frozenset[tuple[str, Any]], Item] = {}
    wanted = list({_name(key): key for key in keys}.values())  # DynamoDB refuses one that is there twice
    for start in range(0, len(wanted), _KEYS_A_READ):
        request: Any = {table_name: {"Keys": wanted[start : start + _KEYS_A_READ], "ConsistentRead": True}}
        for pause in (*_PAUSES_SECONDS, None):
            try:
                answer = dynamodb.batch_get_item(RequestItems=request)
            except (BotoCoreError, ClientError) as error:
                raise SourceError(f"DynamoDB table {table_name}", str(error)) from error
            for item in answer["Responses"].get(table_name, []):
                found[_name({name: item[name] for name in wanted[0]})] = item
            request = answer.get("UnprocessedKeys")
            if not request:
                break
            if pause is None:
                raise SourceError(
                    f"DynamoDB table {table_name}", "it is throttled: give the command again later"
                )
            time.sleep(pause)
    return found
