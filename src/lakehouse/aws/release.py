"""The way out of quarantine for a change that must not be applied as it is: its item, read afresh.

What is read now lands with a sequence above the lost change and below the next one, and above whatever
streams before the one that is enabled have told of the item.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.aws.items import Item
from lakehouse.aws.objects import Objects
from lakehouse.aws.snapshot import (
    Begun,
    LandingObject,
    Mappings,
    begin,
    claim,
    iso_ms,
    landed_name,
    landed_record,
)
from lakehouse.errors import SourceError
from lakehouse.quarantine import Decided, FreshRead, Lost, Outcome, Refused
from lakehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEYS_A_READ = 100  # BatchGetItem's most
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def fresh_read(
    dynamodb: DynamoDBClient,
    landing: Objects,
    tables: Sequence[Table],
    table_name: str,
    *,
    consumer_from: str | None = None,
    mappings: Mappings | None = None,
) -> FreshRead:
    """What `quarantine.requeue` calls to have items read from a DynamoDB table and landed.

    It refuses changes of other DynamoDB tables and those whose key cannot be read, and raises as
    `snapshot.begin` does: what changes behind the read has to come in by the stream.

    Args:
        tables: every table there is; the one of the changes' source tells the key.
        consumer_from, mappings: as for `snapshot.begin`.
    """

    def read(source: str, changes: Sequence[Lost]) -> Outcome:
        table = next(t for t in tables if t.source == source)
        begun, _ = claim(
            landing,
            source,
            lambda: begin(dynamodb, table, table_name, consumer_from=consumer_from, mappings=mappings),
            {"kind": "fresh_read", "table_name": table_name},
        )
        outcome, wanted = Outcome(), []
        for change in changes:
            if change.table_name not in (None, table_name):
                because = f"it is of DynamoDB table {change.table_name}: give that as --table-name"
                outcome.refused.append(Refused(change.quarantine_id, because))
                continue
            try:
                wanted.append((change, _keys(change, begun)))
            except (LookupError, TypeError, ValueError):
                because = "its key cannot be read, and so no item: discard it"
                outcome.refused.append(Refused(change.quarantine_id, because))
        items = _items(dynamodb, table_name, {_name(keys): keys for _, keys in wanted})
        held = LandingObject(source, begun.snapshot.time_ms)
        for change, keys in wanted:
            held.add(*_record(change, begun, keys, items.get(_name(keys))))
        if wanted:
            key, _ = held.put(landing)
            outcome.decided += [Decided(change.quarantine_id, key) for change, _ in wanted]
        return outcome

    return read


def _record(change: Lost, begun: Begun, keys: Item, item: Item | None) -> tuple[str, bytes]:
    taken = begun.snapshot
    repair = f"{change.sequence}+{iso_ms(taken.time_ms)}"
    now_ms = time.time_ns() // 1_000_000
    if repair > taken.sequence:  # of the stream that is enabled: its next change must win
        return landed_record("REPAIR", repair, taken.time_ms, keys, item, now_ms)
    return taken.record(keys, item, now_ms)


def _keys(change: Lost, begun: Begun) -> dict[str, dict[str, Any]]:
    """The item's key, typed. Raises LookupError, TypeError or ValueError where the record has none."""
    keys: dict[str, dict[str, Any]] = {}
    for name, kind in begun.keys.items():
        if change.attributes is not None:
            text = change.attributes[landed_name(name)]
        else:
            text = (change.keys or {})[name][kind]
        if not isinstance(text, str) or not text:  # `Number` is text too
            raise TypeError(f"{name} is no key")
        keys[name] = {kind: base64.b64decode(text, validate=True) if kind == "B" else str(text)}
    return keys


def _name(values: Mapping[str, Any]) -> str:
    """A key as one text."""
    return json.dumps(values, default=bytes.hex, sort_keys=True)


def _items(dynamodb: DynamoDBClient, table_name: str, keys: Mapping[str, Any]) -> dict[str, Item]:
    """The items that there are, by their keys' names; read consistently."""
    from botocore.exceptions import BotoCoreError, ClientError

    found: dict[str, Item] = {}
    wanted = list(keys.values())
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
