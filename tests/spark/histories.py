"""Random histories of one item, as change records, and what a table has to make of them.

A history is told as it comes about: an item is written and deleted, its stream is switched off and on,
scans and exports take snapshots of it, repairs read it again. So beside the oracle, which reads the records,
there is the item itself to compare with. `LAKEHOUSE_SEED` makes a run again; a seed and a number make one
history again.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.spark.support import change

SEED = 20260109
"""Of the runs that are always made."""

START_MS = 1_767_600_000_123
DELETED = 0.48
"""How often an item that is there is deleted next: so about 3 of 10 records are deletes."""

Record = dict[str, Any]
Row = tuple[Any, ...]
Key = tuple[str, str]


def seed(*, fresh: bool = False) -> int:
    """LAKEHOUSE_SEED; if that is not set, the fixed one, or one that nobody has tried yet."""
    told = os.environ.get("LAKEHOUSE_SEED")
    return int(told) if told else secrets.randbits(32) if fresh else SEED


def iso(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmm`"""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}"


# --- the oracle --------------------------------------------------------------------------------------


def order(sequence: str) -> tuple[Any, ...]:
    """Place of a change among those of its key: by what its sequence says, not by how it sorts as text."""
    base, *repairs = sequence.split("+")
    label, place = base.split("/", 1)
    taken, _, attempt = place[1:].partition("/")
    if place.startswith("-"):
        return label, "snapshot", taken, int(attempt or 0), repairs
    return label, "stream", "", int(place), repairs


def latest(changes: Iterable[Record], *, ttl_deletes: str = "apply") -> Record | None:
    """The change that a state table must show, of all that were ever landed for one key."""
    ignored = "ttl" if ttl_deletes == "ignore" else "none"
    counting = [c for c in changes if c.get("_deleteKind") != ignored]
    return max(counting, key=lambda c: order(c["_sequence"]), default=None)


COLUMNS = (
    "site, number, _sequence, is_deleted, _delete_kind, _event_id, _event_name, "
    "unix_millis(_changed_at) AS changed_ms, updated_at, note, amount"
)
"""A row as it is compared: every column of `support.ITEMS` but where and when it was written."""


def row(made: Mapping[str, Any]) -> Row:
    """The row that a change makes."""
    names = ("_deleteKind", "_eventID", "_eventName", "_approxStreamTs")
    updated = made.get("updated_at")
    return (
        *key_of(made),
        made["_sequence"],
        made["is_deleted"],
        *(made.get(name) for name in names),
        None if updated is None else str(updated),
        made.get("note"),
        made.get("amount"),
    )


def key_of(made: Mapping[str, Any]) -> Key:
    """The key of a change."""
    return made["site"], made["number"]


# --- histories ---------------------------------------------------------------------------------------


@dataclass
class History:
    """All that happened to one item, and what it is in the end (its attributes, None if it is gone).

    `records` holds each change once, in the order in which the changes were made.
    """

    key: Key
    records: list[Record] = field(default_factory=list)
    item: dict[str, Any] | None = None


def history(seed: int, number: int, events: int) -> History:
    """The history of that number, of so many records or one more."""
    rng = random.Random(f"{seed}/{number}")
    told = _Telling(rng, History((f"history {number}", rng.choice(("1", "a/b", "ä", "'")))))
    if rng.random() < 0.5:
        told.write()  # there before its first stream
    told.switch_on()
    actions = (told.change, told.snapshot, told.resume, told.repair, told.switch)
    while len(told.made.records) < events - told.owes_snapshot:
        rng.choices(actions, (76, 4, 4, 8, 3))[0]()
    if told.owes_snapshot:
        told.snapshot()
    return told.made


def landed(rng: random.Random, histories: Sequence[History]) -> list[Record]:
    """Every record of the histories at least once, in any order; of what lands, a quarter are duplicates."""
    records = [made for one in histories for made in one.records]
    again = rng.choices(records, k=-(-len(records) // 3))
    # A redelivery is the same change, but for the writer's clock.
    records += [{**made, "_ingestTs": made["_ingestTs"] + rng.randrange(9) * 1000} for made in again]
    rng.shuffle(records)
    return records


@dataclass
class _Telling:
    rng: random.Random
    made: History
    now: int = START_MS
    label: str = ""
    owes_snapshot: bool = False
    """Whether it may have changed while no stream was on, and no snapshot has told of it since."""
    at: int = 0
    """SequenceNumber of the last change."""
    scan: tuple[str, str, int] | None = None
    """Label, time and attempt of the last scan that saw it."""

    def write(self) -> None:
        """Put the item; nobody is told."""
        item: dict[str, Any] = {"note": f"{self.now} {self.rng.choice(('ä€𝄞', '', 'x'))}"}
        if self.rng.random() < 0.7:
            item["amount"] = self.rng.randrange(-(2**63), 2**63)
        if self.rng.random() < 0.1:
            item["more"] = self.rng.choice((5, "no column holds it", [1, 2]))
        if self.rng.random() < 0.3:
            item["updated_at"] = f"{iso(self.now)}Z"
        self.made.item = item

    def wait(self) -> None:
        """Let some time pass: often less than a second, which the stream does not tell apart."""
        self.now += self.rng.choice((0, 1, 7, 200, 2_000, 60_000, 7_200_000))

    def change(self) -> None:
        """Write or delete the item, and have the stream tell of it."""
        self.wait()
        old = self.made.item
        if old is not None and self.rng.random() < DELETED:
            self.made.item = None
        else:
            self.write()
        self.at += self.rng.randrange(1, 10 ** self.rng.choice((1, 1, 3, 20, 30)))
        name = "INSERT" if old is None else "REMOVE" if self.made.item is None else "MODIFY"
        told = self.now // 1000 * 1000 if self.rng.random() < 0.97 else None
        kind = self.rng.choice(("ttl", "user")) if name == "REMOVE" else None
        self.tell(f"{self.label}/{self.at:040d}", name, told, kind)

    def snapshot(self) -> None:
        """Scan or export the table. A scan does not see what is gone; an incremental export tells of it."""
        self.now += self.rng.randrange(1, 5_000)
        sequence = f"{self.label}/-{iso(self.now)}Z"
        if self.made.item is not None and self.rng.random() < 0.6:
            self.scan = (self.label, sequence, 1)
            sequence += "/0001"
        self.tell(sequence, "SNAPSHOT", self.now)
        self.owes_snapshot = False

    def resume(self) -> None:
        """The last scan was killed, goes on, and reads the item again."""
        if self.scan is None or self.scan[0] != self.label or self.made.item is None:
            return
        label, sequence, attempt = self.scan
        self.scan = (label, sequence, attempt + self.rng.choice((1, 1, 9)))
        taken = int(datetime.fromisoformat(sequence.split("/-")[1]).timestamp() * 1000 + 0.5)
        self.tell(f"{sequence}/{self.scan[2]:04d}", "SNAPSHOT", taken)

    def repair(self) -> None:
        """Read the item again, above a row that may lag behind (as lakehouse.aws.fresh does)."""
        self.now += self.rng.randrange(1, 5_000)
        seen = self.made.records[: self.rng.randrange(len(self.made.records) + 1)]
        there = latest(self.rng.sample(seen, len(seen)))
        above = f"{there['_sequence']}+{iso(self.now)}Z" if there else ""
        taken = f"{self.label}/-{iso(self.now)}Z"
        if above > taken:
            self.tell(above, "REPAIR", self.now)
        else:
            self.tell(taken, "SNAPSHOT", self.now)
            self.owes_snapshot = False

    def switch(self) -> None:
        """Switch the stream off and on again; what happens in between no stream tells."""
        if self.owes_snapshot:
            return
        for _ in range(self.rng.randrange(3)):
            self.wait()
            if self.made.item is None or self.rng.random() < DELETED:
                self.made.item = None
            else:
                self.write()
        self.switch_on()

    def switch_on(self) -> None:
        """A new stream; its numbers may begin below the earlier one's, and have 1 to 40 digits."""
        self.now += self.rng.randrange(1, 5_000)
        self.label = iso(self.now)
        self.at = self.rng.randrange(10 ** self.rng.choice((1, 2, 21, 22, 39)))
        self.owes_snapshot = True

    def tell(self, sequence: str, name: str, ms: int | None, kind: str | None = None) -> None:
        """Make the change record of what the item is now."""
        site, number = self.made.key
        item = self.made.item
        record = change(sequence, deleted=item is None, site=site, number=number)
        del record["_approxStreamTs"], record["updated_at"]
        record.pop("_deleteKind", None)
        record |= {"_eventName": name, "_eventID": uuid.UUID(int=self.rng.getrandbits(128)).hex}
        record |= {} if ms is None else {"_approxStreamTs": ms, "updated_at": ms}
        record |= {} if kind is None else {"_deleteKind": kind}
        self.made.records.append(record | (item or {}))


def shares(records: Sequence[Record]) -> dict[str, float]:
    """What share of the records are of each kind, by name."""
    distinct = {(key_of(r), r["_sequence"]): r for r in records}
    told = [(key_of(r), order(r["_sequence"])[0], r.get("_approxStreamTs")) for r in distinct.values()]
    counts = {
        "deletes": sum(r["is_deleted"] for r in distinct.values()),
        "expiries": sum(r.get("_deleteKind") == "ttl" for r in distinct.values()),
        "creations": sum(r["_eventName"] == "INSERT" for r in distinct.values()),
        "snapshots": sum(r["_eventName"] == "SNAPSHOT" for r in distinct.values()),
        "repairs": sum(r["_eventName"] == "REPAIR" for r in distinct.values()),
        "within_a_second": len(told) - len(set(told)),
    }
    found = {name: count / len(distinct) for name, count in counts.items()}
    return found | {"duplicates": 1 - len(distinct) / len(records)}


# --- figures -----------------------------------------------------------------------------------------


def note_figures(**figures: Any) -> None:
    """Add a line of JSON to the file that LAKEHOUSE_PROOF names, if it names one."""
    path = os.environ.get("LAKEHOUSE_PROOF")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures, ensure_ascii=False) + "\n")
