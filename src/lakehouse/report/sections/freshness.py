"""How fresh the tables are, what came in, and what lies in quarantine."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.report import charts
from lakehouse.report.charts import Row
from lakehouse.report.figures import Answers, Figure, Section, Table, marks, series
from lakehouse.report.words import MISSING, age, name, names, number, time

_PARTS = ("upserts", "deletes", "stale", "quarantined")
_STATES = ("open", "requeued", "discarded")


def freshness(answers: Answers) -> Section:
    """The section."""
    figures = [
        _tables(answers["tables"]),
        _followers(answers["followers"]),
        _streams(answers["streams"]),
        _quarantine(answers["quarantine"]),
    ]
    return Section("freshness", "Freshness and quarantine", figures)


def _tables(rows: Sequence[Row]) -> Figure:
    return Figure(
        "tables",
        "Tables",
        Table(
            ("Table", "Newest change", "Age", "Last batch", "Compared with its source", "At", "Live rows"),
            [
                (
                    r["table_name"],
                    time(r["newest_change"]),
                    age(r["minutes_old"]),
                    time(r["last_batch"]),
                    MISSING if r["verdict"] is None else name(r["verdict"]),
                    time(r["compared_at"]),
                    number(r["live_rows"]),
                )
                for r in rows
            ],
            6,
        ),
        "There are no tables.",
        "The age is how long before this report the newest change was made at its source.",
        whole=True,
    )


def _followers(rows: Sequence[Row]) -> Figure:
    return Figure(
        "followers",
        "How far metrics and alerts are behind their tables",
        Table(
            ("Follower", "Follows", "Has seen until", "Last written", "Behind"),
            [
                (
                    name(r["follower"]),
                    name(r["table_name"]),
                    time(r["seen_until"]),
                    time(r["written_at"]),
                    age(r["minutes_behind"]),
                )
                for r in rows
            ],
            4,
        ),
        "Nothing follows a table yet.",
        "Behind is what the table has been written since the follower looked at it last.",
    )


def _streams(rows: Sequence[Row]) -> Figure:
    labels = names(map(_fed, rows), _told)
    became = [
        {"stream": _fed(r), "became": part, "records": r[part]} for r in rows for part in _PARTS if r[part]
    ]
    parts = series((b["became"] for b in became), _PARTS)
    return Figure(
        "streams",
        "What came in, by stream and table",
        Table(
            (
                *("Stream", "Last batch", "Batches", "Records"),
                *(p.capitalize() for p in (*_PARTS, "misfits")),
            ),
            [
                (
                    labels[_fed(r)],
                    time(r["last_batch"]),
                    *(number(r[c]) for c in ("batches", "records", *_PARTS, "misfits")),
                )
                for r in rows
            ],
            2,
        ),
        "No batch has come in so far.",
        "Stale records changed nothing: they were superseded, older or seen before. Misfits are values that "
        "do not fit their column.",
        charts.bars(
            marks(became, "records", "record", stream=labels, became=parts),
            "stream",
            "records",
            "became",
            down=list(labels.values()),
            series=list(parts.values()),
        ),
        whole=True,
    )


def _fed(row: Row) -> tuple[str, str | None]:
    return row["stream"], row["table_name"]


def _told(fed: tuple[str, str | None]) -> str:
    """A stream without its checkpoint's identity, and the table that it feeds, if named otherwise."""
    stream, table = fed[0].partition("/")[0], fed[1]
    return name(stream) if table in (stream, None) else f"{name(stream)} \N{RIGHTWARDS ARROW} {name(table)}"


def _quarantine(rows: Sequence[Row]) -> Figure:
    return Figure(
        "quarantine",
        "Quarantine by source and reason",
        Table(
            ("Source", "Reason", "Newest", "Open", "Requeued", "Discarded"),
            [
                (name(r["source"]), name(r["reason"]), time(r["newest"]), *(number(r[c]) for c in _STATES))
                for r in rows
            ],
            3,
        ),
        "Quarantine is empty: every record could be applied.",
        "Records that could not be applied. See them with: lakehouse quarantine list.",
        whole=True,
    )
