"""The way out of quarantine for a change that must not be applied as it is: its item, read afresh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lakehouse.aws.fresh import Key, Reader, typed_key
from lakehouse.aws.objects import Objects
from lakehouse.change_record import landed_name
from lakehouse.operations.quarantine import Decided, FreshRead, Lost, Outcome, Refused


def fresh_read(reader_of: Callable[[str], Reader], landing: Objects) -> FreshRead:
    """What `quarantine.requeue` calls to have items read from a DynamoDB table and landed.

    It refuses changes of other DynamoDB tables and those whose key cannot be read, and raises as
    `Reader.land` does.

    Args:
        reader_of: the reader for a source.
    """

    def read(source: str, changes: Sequence[Lost]) -> Outcome:
        reader, outcome = reader_of(source), Outcome()
        types, stream = reader.key_types()
        wanted: list[tuple[Lost, Key]] = []
        for change in changes:
            if change.table_name not in (None, reader.table_name):
                because = f"it is of DynamoDB table {change.table_name}: give that as --table-name"
                outcome.refused.append(Refused(change.quarantine_id, because))
                continue
            if change.sequence[: len(stream)] > stream:
                because = f"it is of a later stream than {reader.table_name} has: check --table-name"
                outcome.refused.append(Refused(change.quarantine_id, because))
                continue
            try:
                key = _key(change, types)
                typed_key(key, types)
                wanted.append((change, key))
            except (LookupError, TypeError, ValueError, ArithmeticError):
                because = "its key cannot be read, and so no item: discard it"
                outcome.refused.append(Refused(change.quarantine_id, because))
        if wanted:
            landed = reader.land(landing, [(key, change.sequence) for change, key in wanted])
            for place, (change, _) in enumerate(wanted):
                if place in landed.left:
                    because = "its item is gone, maybe expired, and the table ignores expiries: discard it"
                    outcome.refused.append(Refused(change.quarantine_id, because))
                else:
                    outcome.decided.append(Decided(change.quarantine_id, landed.object))
        return outcome

    return read


def _key(change: Lost, types: Mapping[str, str]) -> Key:
    if change.attributes is not None:
        return {name: change.attributes[landed_name(name)] for name in types}
    keys = change.keys or {}
    return {name: keys[name][kind] for name, kind in types.items()}
