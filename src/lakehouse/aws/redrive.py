"""Failed batches and quarantined records, given to the writer once more.

Two kinds of object are taken, told by what is in them:

- What Lambda keeps of a batch that it gave up, in the failure bucket: JSON that says where in the stream the
  batch was (`DDBStreamBatchInfo`, `KinesisBatchInfo`), with the whole event under `payload`. The developer
  guide shows that as text ("Retain discarded records for a DynamoDB event source in Lambda",
  services-dynamodb-errors; for Kinesis kinesis-on-failure-destination); it is taken as text or as an object.
- What the writer quarantined, `<landing>/_quarantine/…`: a line for each record, itself under `record`.

Names are hashes of what is in an object and puts are conditional, so the same redrive again lands nothing
new; and what lands a second time under another name the tables absorb, as they absorb a redelivery.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any, Literal

from lakehouse.aws.objects import Objects
from lakehouse.aws.writer import Landed, Planned, RefusedEventError, Writer
from lakehouse.errors import DataError, SourceError

Kind = Literal["failed batch", "quarantine", "unknown"]

MAX_INFLATED_BYTES = 64 * 1024 * 1024
"""The most that a quarantine object may inflate to; the writer cuts them at 8 MB unless told otherwise."""

UNKNOWN_SOURCE = "unknown"
"""Where the writer quarantines what does not say which table or stream it is of."""

_BATCH_INFO = ("DDBStreamBatchInfo", "KinesisBatchInfo")
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one object.

    Args:
        object: where it lies.
        kind: what it is.
        records: of the stream, that it holds. The counts that follow are of change records, of which a record
            of Kinesis may make several.
        landed: put into landing now; in a dry run those that can be converted, whether they are there or not.
        already_there: landing had them, under the same name.
        quarantined: that the writer cannot convert: of a failed batch they are in quarantine now; of a
            quarantine object they stay where they are.
        failed: that are neither in landing nor in quarantine.
        deleted: whether the object was removed.
        problem: why something was left, and what to do; None if nothing was.
    """

    object: str
    kind: Kind
    records: int = 0
    landed: int = 0
    already_there: int = 0
    quarantined: int = 0
    failed: int = 0
    deleted: bool = False
    problem: str | None = None

    @property
    def done(self) -> bool:
        """Whether everything of it is in landing, or of a failed batch in quarantine."""
        return self.problem is None


class _UnfitError(DataError):
    """An object that cannot be redriven."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What an object holds: an event, and a problem if there ought to be more in it."""

    kind: Kind
    event: Mapping[str, Any]
    missing: int = 0
    problem: str | None = None


def find(objects: Objects, name: str, since: datetime | None = None) -> list[str]:
    """The keys of an object, or of all below a folder, that were written at `since` or after it."""
    listed = ((key, written) for key, written in objects.listed(name) if not key.endswith("/"))
    return [key for key, written in listed if since is None or written >= since]


def redrive(
    objects: Objects,
    keys: Sequence[str],
    writer: Writer,
    sources: Collection[str],
    *,
    dry_run: bool = False,
    delete: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Redriven]:
    """Give objects to the writer once more.

    Args:
        keys: of failed batches and quarantine objects, in any order.
        sources: those that some table reads from landing. What would land elsewhere is refused: nobody would
            see it.
        dry_run: convert, and put nothing.
        delete: remove each failed batch that is done. Quarantine objects are a part of landing and stay.
        on_progress: called with (objects done, objects in all).

    Returns:
        What became of each object, in the order of the keys.
    """
    done = 0
    found: list[Redriven] = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for one in pool.map(lambda key: _redrive(objects, key, writer, sources, dry_run, delete), keys):
                found.append(one)
                done += 1
                if on_progress is not None:
                    on_progress(done, len(keys))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _redrive(
    objects: Objects, key: str, writer: Writer, sources: Collection[str], dry_run: bool, delete: bool
) -> Redriven:
    url = objects.url(key)
    try:
        found = _read(objects, key)
    except (_UnfitError, SourceError) as error:
        return Redriven(url, "unknown", problem=str(error))
    records = len(found.event.get("Records") or ())
    told = Redriven(url, found.kind, records + found.missing)
    try:
        planned = writer.plan(found.event)
    except RefusedEventError as error:
        return replace(told, failed=told.records, problem=str(error))
    strange = sorted(planned.sources.keys() - {*sources, UNKNOWN_SOURCE})
    if strange:
        return replace(
            told,
            failed=told.records,
            problem=f"It would land as source {strange[0]!r}, which no table reads from landing. Nothing was "
            f"landed. Say what it is: --source-map {planned.sources[strange[0]]}=SOURCE, or take the "
            "function's map: --function NAME.",
        )
    told = _land(told, planned, writer, dry_run)
    problem = told.problem or found.problem
    told = replace(told, failed=told.failed + found.missing, problem=problem)
    if delete and told.done and told.kind == "failed batch" and not dry_run:
        try:
            objects.delete(key)
        except SourceError as error:
            return replace(told, problem=f"It landed, but could not be deleted: {error}")
        return replace(told, deleted=True)
    return told


def _land(told: Redriven, planned: Planned, writer: Writer, dry_run: bool) -> Redriven:
    """Put what a plan has, and count it."""
    again = told.kind == "quarantine"  # what still cannot be converted lies in quarantine already: here
    if dry_run:
        good, bad = Landed(planned.lands), Landed(planned.quarantined)
    else:
        good = writer.put(planned.objects)
        bad = Landed(planned.quarantined) if again else writer.put(planned.quarantine)
    told = replace(
        told,
        landed=good.created,
        already_there=good.already_there,
        quarantined=planned.quarantined - bad.left,
        failed=good.left + bad.left,
    )
    if good.left or bad.left:
        told = replace(
            told,
            problem=f"S3 did not take all below {writer.landing}: {good.code or bad.code}. Mend that, and "
            "give the command again; what has landed stays.",
        )
    elif again and planned.quarantined:
        told = replace(
            told,
            problem=f"The writer cannot convert {planned.quarantined:,} of its records as yet; `lakehouse "
            "quarantine list` says why. They stay where they are.",
        )
    return told


# --- reading -----------------------------------------------------------------------------------------


def _read(objects: Objects, key: str) -> _Found:
    """What an object holds.

    Raises:
        SourceError: it cannot be fetched.
        _UnfitError: it is neither a failed batch nor a quarantine object, or is damaged.
    """
    body = objects.get(key)
    if body is None:
        raise _UnfitError("It is gone. Nothing was done; list the folder again.")
    return _quarantined(body) if body.startswith(b"\x1f\x8b") else _failed_batch(body)


def _failed_batch(body: bytes) -> _Found:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    name = next((n for n in _BATCH_INFO if isinstance(told, dict) and n in told), None)
    if told is None or name is None:
        raise _UnfitError(
            "It is neither a failed batch nor a quarantine object, and was skipped. Name the objects, or a "
            "folder that holds nothing else."
        )
    where = told[name] if isinstance(told[name], dict) else {}
    event = told.get("payload")
    if isinstance(event, str):
        try:
            event = json.loads(event)
        except (ValueError, RecursionError):
            event = None
    if not isinstance(event, dict) or not isinstance(event.get("Records"), list):
        raise _UnfitError(
            f"It has no `payload` that can be read: a batch of {where.get('batchSize')} records, "
            f"{where.get('startSequenceNumber')} to {where.get('endSequenceNumber')} of shard "
            f"{where.get('shardId')} of {where.get('streamArn')}. While the stream keeps them (24 hours for "
            "a table), a second event source mapping can read them; afterwards `lakehouse backfill` and "
            "`lakehouse reconcile` bring what the table holds now."
        )
    size, held = where.get("batchSize"), len(event["Records"])
    if not isinstance(size, int) or size > held:
        missing = size - held if isinstance(size, int) else 0
        of = f" of {size:,}" if missing else " and does not say of how many"
        problem = f"Its payload holds {held:,} records{of}. What it holds was taken; it is kept."
        return _Found("failed batch", event, missing, problem)
    return _Found("failed batch", event)


def _quarantined(body: bytes) -> _Found:
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as inflating:
            text = inflating.read(MAX_INFLATED_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise _UnfitError("It is a torn or damaged gzip, and was skipped.") from None
    if len(text) > MAX_INFLATED_BYTES:
        raise _UnfitError(f"It inflates to more than {MAX_INFLATED_BYTES:,} bytes, and was skipped.")
    lines = [line for line in text.split(b"\n") if line.strip()]
    read = [_record(line) for line in lines]
    records = [record for record in read if record is not None]
    if not records:
        raise _UnfitError(
            "It is neither a failed batch nor a quarantine object (change records that have landed need no "
            "redrive), and was skipped."
        )
    missing = len(lines) - len(records)
    problem = f"{missing:,} of its lines hold no record of a stream; they were left." if missing else None
    return _Found("quarantine", {"Records": records}, missing, problem)


def _record(line: bytes) -> Any:
    """The record of a quarantine object's line, None if there is none."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or "reason" not in told:
        return None
    record = told.get("record")
    return record if isinstance(record, dict) else None
