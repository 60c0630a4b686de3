"""A lake for the tests of the report: every kind of row, among them text that means harm."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from pyspark.sql import functions as F
from tests.spark.support import Lake

from lakehouse.catalog.bronze import WRITER_QUARANTINE
from lakehouse.settings import Layer

HARMFUL = (
    "<script>alert(1)</script>",
    "</script><!--",
    "</title></style></svg><img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=\"",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:alert(1)",
    "\u202eright to left\u2066",
    "\x00\x07\x1b[31m\u2028 control",
    "ليلى حداد",
    "a" * 400,
    "a" * 399 + "b",
    "Tom &amp; Jerry's \\u003c & <b>",
    "",
)
"""Names of agents, tags, directions and all the rest."""

NOW = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
DAY = NOW - dt.timedelta(days=3)


NOTHING = (
    "There is no call with a readable time so far.",
    "No calls in the period.",
    "No scorecards in the period.",
    "No analysed text is shown now.",
    "No analysed text has a tag.",
    "No metrics so far.",
    "No student has metrics so far.",
    "No supply or demand was reported so far.",
    "No alert is open.",
    "No coaching insights in the period.",
    "Nothing follows a table yet.",
    "No batch has come in so far.",
    "Quarantine is empty",
)
"""What is said where there is nothing."""


def fill(lake: Lake) -> None:
    """Put rows into every table that the report reads."""
    names = [None, "Ana Souza", "Zoë Nakamura", *HARMFUL]
    directions = [None, "inbound", "outbound", "outbound", *HARMFUL]
    at = DAY.replace(hour=0, minute=0, second=0)
    put(
        lake,
        "silver",
        "calls",
        [
            {
                "call_id": f"c{i}",
                "call_timestamp_raw": "x",
                # Some have no time, some are older than the period, some in the future.
                "call_timestamp_utc": None
                if i % 50 == 0
                else at + dt.timedelta(hours=i % 19, days=-200 if i % 41 == 0 else 400 if i % 43 == 0 else 0),
                "agent_name": names[i % len(names)],
                "direction": "inbound" if i % 3 else directions[i % len(directions)],
                "is_deleted": i % 10 == 9,
            }
            for i in range(240)
        ],
    )
    put(
        lake,
        "silver",
        "transcripts",
        [
            {
                "transcript_id": f"c{i}",
                "shape": "standard",
                "duration_seconds": (4.0, 35.5, 120.25, 0.0)[i % 4],
                "speaker_count": i % 3,
            }
            for i in range(200)
        ],
    )
    put(
        lake,
        "silver",
        "scorecards",
        [
            {
                "guid": f"g{i}",
                "agent": names[i % len(names)],
                "outcome": names[i % 5],
                "scored_at_local": DAY - dt.timedelta(hours=i),
                "overall_score": Decimal(40 + i % 37),
                "score_urgency": Decimal(i % 11) if i % 7 else None,
                "score_ask_for_payment": Decimal(5),
            }
            for i in range(120)
        ],
    )
    put(
        lake,
        "silver",
        "dashboard_items",
        [
            {
                "source_id": f"s{i}",
                "ingested_at": "x",
                "ingested_at_utc": NOW - dt.timedelta(days=i % 5, hours=1),
                "day_partition": (NOW - dt.timedelta(days=i % 5, hours=1)).date(),
                "sentiment": ("positive", "neutral", "negative", "mixed", HARMFUL[0])[i % 5 if i % 2 else 0],
                "score": Decimal("0.5"),
                "status": "analyzed",
                "matched_tags": sorted({"price", *HARMFUL} - {""})[: i % 16],
                "expires_at": NOW + dt.timedelta(days=2),
            }
            for i in range(90)
        ],
    )
    put(
        lake,
        "silver",
        "coaching_insights",
        [
            {
                "id": f"i{i}",
                "insight_type": ("long_call", "agent_silent", names[-2])[i % 3],
                "priority": ("high", "medium", "low")[i % 3 if i % 5 else 0],
                "agent": names[i % len(names)],
                "s3_key": f"k{i % 20}",
                "created_at": DAY - dt.timedelta(hours=i),
                "message": "a secret message",
                "evidence": '{"secret": "evidence"}',
            }
            for i in range(60)
        ],
    )
    put(
        lake,
        "silver",
        "metrics",
        [
            *(
                {
                    "entity_type": "student",
                    "entity_id": f"S{i}",
                    "region": "",
                    "sessions_7d": i % 3,
                    "sessions_14d": i % 5,
                    "sessions_30d": i % 9,
                    "ib_calls_7d": i % 2,
                    "ib_calls_14d": i % 4,
                    "avg_rating": Decimal("4.5"),
                    "health_score": Decimal(30 + i) if i % 6 else None,
                }
                for i in range(66)
            ),
            *(
                {
                    "entity_type": "subject",
                    "entity_id": subject,
                    "region": region,
                    "demand_score": Decimal(60 + i),
                    "supply_score": Decimal(75 - i) if i % 4 else None,
                    "available_tutors": i,
                    "active_students": 1234 * i,
                    "balance_status": "high_demand" if i % 2 else None,
                }
                for i, subject in enumerate(("Physics", *HARMFUL))
                for region in ("north", HARMFUL[0])
            ),
        ],
        as_of=NOW,
    )
    put(
        lake,
        "silver",
        "alerts",
        [
            {
                "alert_id": f"a{i}",
                "alert_type": ("low_health_score", "high_ib_call_frequency", HARMFUL[0])[i % 3],
                "severity": ("warning", "critical", "info", None)[i % 4],
                "entity_type": "student",
                "entity_id": names[i % len(names)] or "nobody",
                "region": "",
                "message": "a secret message",
                "details": '{"secret": "details"}',
                "opened_at": DAY - dt.timedelta(hours=i),
                "closed_at": NOW if i % 5 == 0 else None,
            }
            for i in range(50)
        ],
    )
    put(
        lake,
        "ops",
        "batches",
        [
            {
                "stream": f"{table}/0123456789ab",
                "batch_id": i,
                "source": table,
                "table_name": table,
                "started_at": DAY,
                "finished_at": DAY + dt.timedelta(minutes=i),
                "records": 1000 + i,
                "upserts": 900,
                "deletes": 70,
                "stale": 20 + i,
                "quarantined": 10,
                "misfits": 3,
                "last_changed_at": DAY,
            }
            for i in range(4)
            for table in ("calls", "scorecards")
        ],
    )
    put(
        lake,
        "ops",
        "followed",
        [
            {
                "stream": "metrics/0123456789ab",
                "batch_id": 0,
                "follower": "metrics",
                "table_name": "metric_events",
                "started_at": DAY,
                "finished_at": DAY,
                "changes": 20,
                "entities": 7,
                "committed_at": DAY,
            }
        ],
    )
    put_bad(lake, "calls", *((f"a secret record {i}", "not_json", DAY) for i in range(0, 9, 2)))
    put_bad(
        lake,
        WRITER_QUARANTINE,
        *((f"a secret record {i}", "not_convertible", DAY) for i in range(1, 9, 2)),
        source=HARMFUL[3],
    )
    discard(lake, *(f"a secret record {i}" for i in range(3)), at=DAY)


def put_bad(lake: Lake, table: str, *bad: tuple[str, str, dt.datetime], source: str | None = None) -> None:
    """Put lines that could not be applied into a bronze table: each the line, the reason and when it came."""
    place = f"/landing/_quarantine/{source}" if source else f"/landing/{table}"
    rows = [
        {
            "_problem": reason,
            "_raw": raw,
            "_source_file": f"{place}/dt=2026-01-05/HH=08/a.ndjson.gz",
            "_stream": f"{table}/0123456789ab",
            "_batch_id": 0,
            "_loaded_at": at,
        }
        for raw, reason, at in bad
    ]
    put(lake, "bronze", table, rows)


def discard(lake: Lake, *raws: str, at: dt.datetime) -> None:
    """Decide that these lines in quarantine are discarded."""
    found = lake.quarantine().where(F.col("raw").isin(*raws)).collect()
    assert len(found) == len(raws)
    decided = [
        {"quarantine_id": row.quarantine_id, "decision": "discarded", "decided_at": at} for row in found
    ]
    put(lake, "ops", "quarantine_decisions", decided)


def put(lake: Lake, layer: Layer, name: str, rows: list[Mapping[str, Any]], **same: Any) -> None:
    table = lake.settings.table(layer, name)
    schema = lake.spark.table(table).schema
    if layer == "silver":
        same = {"_sequence": "1", "is_deleted": False, "_changed_at": DAY} | same
    values = [tuple((same | dict(row)).get(field.name) for field in schema) for row in rows]
    frame = lake.spark.createDataFrame(values, schema)
    frame.write.format("delta").mode("append").saveAsTable(table)


class Read(HTMLParser):
    """What a page holds: its elements, and the figures of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.queries: dict[str, str] = {}
        self.text = ""
        self._figure = ""
        self._within: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within.append(tag)
        if tag == "figure":
            self._figure = dict(attrs)["id"] or ""
        elif tag == "table":
            self.tables[self._figure] = []
        elif tag == "tr":
            self.tables[self._figure].append([])
        elif tag in ("td", "th"):
            self.tables[self._figure][-1].append("")
        elif tag == "code":
            self.queries[self._figure] = ""

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._within:
            return
        self.text += data
        if "code" in self._within:
            self.queries[self._figure] += data
        elif {"td", "th"} & set(self._within):
            self.tables[self._figure][-1][-1] += data

    def rows(self, figure: str) -> list[list[str]]:
        """The figures below the head, numbers without separators."""
        return [[cell.replace(",", "") for cell in row] for row in self.tables[figure][1:]]
