"""Dashboard items: what an item tells, and what gold shows of it, from the writer's event on."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from tests.spark.parsed import landed, parse, selected
from tests.spark.support import Lake, assert_rows, change, lines_frame, show_times

from change_writer.handler import STREAM_KINDS, make_plan, stream_records
from change_writer.settings import parse_settings
from lakehouse.tables.dashboard_items import dashboard_items

TABLE = dashboard_items()
NOW = datetime.now(UTC)
LABEL = "2026-01-05T08:00:00.123"


def _ago(**time: float) -> str:
    return (NOW - timedelta(**time)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


RECENT = _ago(hours=2)


def _item(at: int, source_id: str, ingested_at: str = RECENT, **attributes: Any) -> dict[str, Any]:
    whole = {"status": "analyzed", "sentiment": "neutral", "score": 0.72} | attributes
    return change(at, source_id=source_id, ingested_at=ingested_at, **whole)


def _parse(spark: SparkSession, **attributes: Any) -> Row:
    record = change(1, **({"source_id": "a", "ingested_at": "2026-01-08T23:30:00-02:00"} | attributes))
    (row,) = show_times(parse(lines_frame(spark, [record]), TABLE)).collect()
    return row


def test_an_item_is_read(spark: SparkSession) -> None:
    row = _parse(
        spark,
        source_type="review",
        source_url="https://example.org/1",
        text_snippet="All right 👍",
        sentiment="positive",
        score=0.9876543,
        model_version="m-3",
        status="analyzed",
        matched_tags=["price", "access", "price"],
        metadata={"stars": 4, "by": {"name": "Zoë"}},
        ttl=1_767_900_000,
    )
    assert (row.source_id, row.ingested_at) == ("a", "2026-01-08T23:30:00-02:00")
    assert (row.ingested_at_utc, str(row.day_partition)) == ("2026-01-09 01:30:00", "2026-01-09")
    assert row.expires_at == "2026-01-16 01:30:00"
    assert (row.source_type, row.source_url) == ("review", "https://example.org/1")
    assert (row.text_snippet, row.model_version, row.status) == ("All right 👍", "m-3", "analyzed")
    assert (row.sentiment, str(row.score), row.sentiment_score_combined) == (
        "positive",
        "0.987654",
        "positive#0.99",
    )
    assert row.matched_tags == ["access", "price"]
    assert row.metadata == '{"by":{"name":"Zoë"},"stars":4}'
    assert row._misfits == 0


@pytest.mark.parametrize(
    ("sentiment", "score", "combined"),
    [
        ("neutral", 0.725, "neutral#0.73"),
        ("neutral", 0.7249, "neutral#0.72"),
        ("negative", -0.005, "negative#-0.01"),
        ("mixed", 0, "mixed#0.00"),
        ("positive", 1, "positive#1.00"),
        ("positive", None, None),
        (None, 0.5, None),
    ],
)
def test_sentiment_and_score_stand_together_to_two_places(
    spark: SparkSession, sentiment: str | None, score: float | None, combined: str | None
) -> None:
    assert _parse(spark, sentiment=sentiment, score=score).sentiment_score_combined == combined


@pytest.mark.parametrize(
    ("tags", "held", "misfits"),
    [
        (["b", "a"], ["a", "b"], 0),
        ([], [], 0),
        (None, None, 0),
        (["a", None, "a"], ["a"], 0),
        (
            [3, "x", 12345678901234567890123456789012345678],
            ["12345678901234567890123456789012345678", "3", "x"],
            0,
        ),
        ('["a"]', None, 1),
        (["0.5", 0.5, "\u20ac"], ["0.5", "\u20ac"], 0),
        ([True, "true", False], ["false", "true"], 0),
        (["", "a"], ["", "a"], 0),
        # What is no scalar is no tag; of one value, however many of its elements do not fit, one is counted.
        (["a", {"tag": "b"}, "c"], ["a", "c"], 1),
        (["a", ["b"], {}, []], ["a"], 1),
        ([{"S": "a"}], [], 1),
        ([[]], [], 1),
        ("a,b", None, 1),
        ("", None, 1),
        ({"a": True}, None, 1),
        (7, None, 1),
        (False, None, 1),
    ],
    ids=str,
)
def test_tags_are_a_sorted_set_of_scalars_and_what_is_none_is_counted(
    spark: SparkSession, tags: Any, held: list[str] | None, misfits: int
) -> None:
    row = _parse(spark, matched_tags=tags)
    assert (row.matched_tags, row._misfits) == (held, misfits)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_read_leaves_no_day_and_no_expiry(spark: SparkSession, text: str) -> None:
    row = _parse(spark, ingested_at=text)
    assert (row.ingested_at_utc, row.day_partition, row.expires_at) == (None, None, None)
    assert (row.ingested_at, row._misfits) == (text, 1)


def test_an_item_whose_time_is_empty_has_no_key(spark: SparkSession) -> None:
    frame = lines_frame(spark, [change(1, source_id="a", ingested_at="")])
    rows = landed(frame, TABLE)
    assert [row._key for row in rows.select("_key").collect()] == [None]
    assert selected(rows, TABLE).isEmpty()


def test_the_last_days_of_time_expire_never(spark: SparkSession) -> None:
    """There is no year 10000 to expire in."""
    row = _parse(spark, ingested_at="9999-12-31T00:00:00Z")
    assert (row.ingested_at_utc, str(row.day_partition)) == ("9999-12-31 00:00:00", "9999-12-31")
    assert (row.expires_at, row._misfits) == (None, 0)


def test_days_of_showing_can_be_set(spark: SparkSession) -> None:
    frame = lines_frame(spark, [change(1, source_id="a", ingested_at="2026-01-08T10:00:00Z")])
    (row,) = show_times(parse(frame, dashboard_items(ttl_days=30))).collect()
    assert row.expires_at == "2026-02-07 10:00:00"


def _shown(lake: Lake) -> list[tuple[str, str | None]]:
    rows = lake.gold("dashboard_items").select("source_id", "tag").collect()
    return sorted(((r.source_id, r.tag) for r in rows), key=lambda pair: (pair[0], pair[1] or ""))


def test_gold_has_a_base_row_and_a_row_for_each_tag_and_follows_every_change(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(spark, tmp_path_factory.mktemp("items"), (TABLE,))
    lake.land(
        "sentiment_items",
        _item(1, "tagged", matched_tags=["price", "access"]),
        _item(1, "plain"),
        _item(1, "empty", matched_tags=[]),
        _item(1, "pending", status="pending", matched_tags=["price"]),
        _item(1, "no status", status=None),
        _item(1, "no score", score=None, matched_tags=["price"]),
        _item(1, "no sentiment", sentiment=None),
        _item(1, "odd score", score="high"),
        _item(1, "no time", "yesterday"),
        _item(1, "old", _ago(days=7, minutes=5), matched_tags=["price"]),
        _item(1, "nearly old", _ago(days=6, hours=23)),
        _item(1, "retagged", matched_tags=["one", "two"]),
        _item(1, "withdrawn", matched_tags=["one"]),
        _item(1, "deleted", matched_tags=["one"]),
        change(1, source_id="no key"),
    )
    first = lake.ingest_well()["sentiment_items"].batches
    assert (first.upserts, first.quarantined) == (14, 1)
    assert _shown(lake) == [
        ("deleted", None),
        ("deleted", "one"),
        ("empty", None),
        ("nearly old", None),
        ("plain", None),
        ("retagged", None),
        ("retagged", "one"),
        ("retagged", "two"),
        ("tagged", None),
        ("tagged", "access"),
        ("tagged", "price"),
        ("withdrawn", None),
        ("withdrawn", "one"),
    ]
    (book,) = (row for row in lake.books() if row.table_name == "dashboard_items")
    assert book.violations == {"analyzed_is_complete": 3, "ingested_at_readable": 1}

    lake.land(
        "sentiment_items",
        _item(2, "retagged", matched_tags=["two", "three"]),
        _item(2, "withdrawn", status="pending", matched_tags=["one"]),
        change(2, deleted=True, source_id="deleted", ingested_at=RECENT),
        _item(2, "pending", matched_tags=["price"]),
    )
    lake.ingest_well()
    shown = {name: [t for n, t in _shown(lake) if n == name] for name, _ in _shown(lake)}
    assert shown["retagged"] == [None, "three", "two"]
    assert shown["pending"] == [None, "price"]
    assert {"withdrawn", "deleted"} & set(shown) == set()
    assert_rows(
        lake.gold("dashboard_items")
        .where("source_id = 'pending'")
        .select("source_id", "sentiment", "score", "tag"),
        [("pending", "neutral", _decimal("0.72"), None), ("pending", "neutral", _decimal("0.72"), "price")],
        "source_id string, sentiment string, score decimal(9,6), tag string",
    )


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def test_one_day_reads_the_files_of_that_day_alone(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(spark, tmp_path_factory.mktemp("day"), (TABLE,), max_files=1)
    for days in (1, 2, 3):
        lake.land("sentiment_items", *(_item(1, f"{days}-{n}", _ago(days=days)) for n in range(3)))
    lake.ingest_well()
    detail = spark.sql(f"DESCRIBE DETAIL {lake.settings.table('silver', TABLE.name)}").first()
    assert detail is not None
    assert detail.clusteringColumns == ["day_partition", "source_id"]
    day = (NOW - timedelta(days=2)).date()
    state = lake.state(TABLE)
    assert len(state.inputFiles()) == 3
    plan = state.where(state.day_partition == day)
    assert plan.count() == 3
    # The plan's own files are those that statistics leave.
    assert len(plan.inputFiles()) <= len(state.inputFiles())


def _stream_event(source_id: str, image: Mapping[str, Any] | None, number: int) -> dict[str, Any]:
    keys = {"source_id": {"S": source_id}, "ingested_at": {"S": RECENT}}
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/sentiment-items-primary/stream/{LABEL}"
    change = {
        "Keys": keys,
        "SequenceNumber": f"{number:021d}",
        "ApproximateCreationDateTime": NOW.timestamp() // 1,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        **({"NewImage": keys | image} if image is not None else {}),
    }
    return {
        "eventID": f"{number:032x}",
        "eventName": "MODIFY" if image is not None else "REMOVE",
        "eventSource": "aws:dynamodb",
        "eventSourceARN": arn,
        "dynamodb": change,
    }


def test_an_event_of_the_stream_ends_as_rows_of_gold(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = {
        "status": {"S": "analyzed"},
        "sentiment": {"S": "negative"},
        "score": {"N": "0.81"},
        "matched_tags": {"SS": ["late", "broken"]},
        "metadata": {"M": {"stars": {"N": "1"}}},
    }
    records = [
        _stream_event("kept", image, 1),
        _stream_event("gone", image, 2),
        _stream_event("gone", None, 3),
    ]
    settings = parse_settings(
        {"S3_BUCKET": "bucket", "SOURCE_MAP": "sentiment-items-primary=sentiment_items"}
    )
    plan = make_plan(
        STREAM_KINDS["aws:dynamodb"], stream_records({"Records": records}), settings, 1_767_880_000_000
    )
    lake = Lake(spark, tmp_path_factory.mktemp("event"), (TABLE,))
    for made in plan.objects:
        assert made.key.startswith("sentiment_items/"), made.key
        lake.land("sentiment_items", data=made.body)
        assert gzip.decompress(made.body)
    lake.ingest_well()
    assert _shown(lake) == [("kept", None), ("kept", "broken"), ("kept", "late")]
