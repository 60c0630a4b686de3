"""gold.calls and gold.scorecards: what analysts see, whichever side of the join came first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tests.spark.support import TRANSCRIPTS, Lake, assert_rows, change, show_times

from lakehouse.tables.calls import CALLS
from lakehouse.tables.scorecards import SCORECARDS


def _transcript(seconds: float | None, speakers: int) -> dict[str, Any]:
    items = [
        {"end_time": "0.1", "type": "pronunciation", "speaker_label": f"spk_{n}"} for n in range(speakers)
    ]
    return {"results": {"items": items} | ({} if seconds is None else {"audio_duration": seconds})}


# id of the call, seconds and speakers of its transcript (none: no transcript), then its answer type
ANSWERS: list[tuple[str, tuple[float | None, int] | None, str]] = [
    ("no transcript", None, "Unknown"),
    ("unknown duration", (None, 0), "Unknown"),
    ("duration 0", (0, 2), "Unknown"),
    ("just under 10 s, two speakers", (9.99, 2), "NoAnswer"),
    ("under 10 s, one speaker", (5, 1), "NoAnswer"),
    ("under 10 s, no speaker", (0.5, 0), "NoAnswer"),
    ("10 s, two speakers", (10, 2), "Human"),
    ("five speakers", (60, 5), "Human"),
    ("10 s, one speaker", (10, 1), "Voicemail"),
    ("an hour, one speaker", (3600, 1), "Voicemail"),
    ("no speaker", (60, 0), "Unknown"),
]


def _call(at: int, call_id: str, time: str = "2026-01-08T09:00:00Z", **payload: Any) -> dict[str, Any]:
    return change(at, callId=call_id, callTimestampUTC=time, payload={"direction": "inbound"} | payload)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two runs: what comes first in one comes last in the other."""
    lake = Lake(spark, tmp_path_factory.mktemp("calls"), (CALLS, SCORECARDS, TRANSCRIPTS))
    early, late = ANSWERS[::2], ANSWERS[1::2]

    def calls(names: list[Any], at: int) -> list[dict[str, Any]]:
        return [_call(at, name) for name, _, _ in names]

    def transcripts(names: list[Any]) -> None:
        for name, transcript, _ in names:
            if transcript:
                lake.write_document(f"transcripts/{name}.json", _transcript(*transcript), mtime=1_767_870_000)

    lake.land(
        "calls",
        *calls(early, 1),
        _call(1, "by guid", file_name="a_GUID_guid-1_b.wav"),
        _call(1, "both ids", file_name="a_GUID_guid-2_b.wav"),
        _call(1, "no match", file_name="a_GUID_nobody_b.wav"),
        _call(1, "deleted"),
        _call(1, "transcript only by other case"),
    )
    transcripts(late)
    for number, name in (
        (3, "newer by guid"),
        (4, "only by pca"),
        (5, "own before pca"),
        (6, "guid before pca"),
    ):
        lake.land("calls", _call(1, name, file_name=f"a_GUID_guid-{number}_b.wav"))
    lake.write_document("transcripts/newer by guid.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document("transcripts/guid-3.json", _transcript(200, 1), mtime=1_767_870_001)
    pca = {"Duration": "77.5", "SpeakerTime": {"spk_0": {}, "spk_1": {}, "NonTalkTime": {}}}
    for name, guid in (("four", "guid-4"), ("five", "guid-5"), ("guid before pca", "None")):
        document = {"ConversationAnalytics": pca | {"GUID": guid}, "SpeechSegments": []}
        lake.write_document(f"parsedFiles/{name}.json", document, mtime=1_767_870_009, below=lake.pca)
    lake.write_document("transcripts/own before pca.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document("transcripts/guid-6.json", _transcript(100, 2), mtime=1_767_870_000)
    for place, mtime in (("own first", 1_767_870_009), ("pca first", 1_767_869_000)):
        lake.land("calls", _call(1, place))
        lake.write_document(f"transcripts/{place}.json", _transcript(100, 2), mtime=1_767_870_000)
        document = {"ConversationAnalytics": pca | {"GUID": place}, "SpeechSegments": []}
        lake.write_document(f"parsedFiles/{place}.json", document, mtime=mtime, below=lake.pca)
    lake.write_document("transcripts/both ids.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document("transcripts/guid-2.json", _transcript(200, 1), mtime=1_767_870_000)
    lake.write_document("transcripts/deleted.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document(
        "transcripts/Transcript only by other case.json", _transcript(100, 2), mtime=1_767_870_000
    )
    lake.write_document("transcripts/nobody's.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document("transcripts/rewritten.json", _transcript(5, 1), mtime=1_767_870_000)
    lake.land(
        "scorecards",
        change(
            1, guid="live", datetime="2025-10-08T14-34-19", overallScore=7, scores={"urgency": {"score": 1}}
        ),
        change(1, guid="gone", datetime="2025-10-08T14-34-19"),
        change(2, deleted=True, guid="gone"),
    )
    lake.ingest_well()

    lake.land(
        "calls",
        *calls(late, 1),
        _call(1, "rewritten"),
        _call(2, "analysts 1", "2026-01-09T00:00:00Z"),
        _call(2, "analysts 2", "2026-01-09T23:59:59.999Z"),
        _call(2, "analysts 3", "2026-01-10T00:30:00+01:00"),
        _call(2, "analysts 4", "2026-01-09T12:00:00Z", direction="outbound"),
        _call(2, "the day before", "2026-01-09T00:30:00+01:00"),
        _call(2, "the day after", "2026-01-10T00:00:00Z"),
        change(2, deleted=True, callId="deleted"),
        change(2, deleted=True, callId="never seen"),
    )
    transcripts(early)
    lake.write_document("transcripts/guid-1.json", _transcript(100, 2), mtime=1_767_870_000)
    lake.write_document("transcripts/rewritten.json", _transcript(70, 2), mtime=1_767_870_060)
    for name, seconds in (("1", 60.0), ("2", 90.0), ("3", 30.0)):
        lake.write_document(f"transcripts/analysts {name}.json", _transcript(seconds, 2), mtime=1_767_870_060)
    lake.ingest_well(CALLS, TRANSCRIPTS)
    return lake


@pytest.fixture(scope="module")
def rows(lake: Lake) -> dict[str, Row]:
    found = show_times(lake.gold("calls")).collect()
    assert len({row.call_id for row in found}) == len(found)
    return {row.call_id: row for row in found}


@pytest.mark.parametrize(("name", "transcript", "answer"), ANSWERS, ids=lambda value: str(value))
def test_who_answered(
    name: str, transcript: tuple[float | None, int] | None, answer: str, rows: dict[str, Row]
) -> None:
    row = rows[name]
    assert row.answer_type == answer
    if transcript is None:
        assert (row.call_duration_seconds, row.transcript_s3_key, row.speaker_count) == (None, None, None)
    else:
        assert row.call_duration_seconds == transcript[0]
        assert (row.transcript_s3_key, row.speaker_count) == (
            f"transcripts/{name}.json",
            transcript[1] or None,  # without a label it is not known how many speak
        )
        assert row.duration_source == (None if transcript[0] is None else "audio_duration")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("by guid", "transcripts/guid-1.json"),
        ("both ids", "transcripts/both ids.json"),
        ("newer by guid", "transcripts/guid-3.json"),
        ("own first", "transcripts/own first.json"),
        ("pca first", "transcripts/pca first.json"),
        ("only by pca", "parsedFiles/four.json"),
        ("own before pca", "transcripts/own before pca.json"),
        ("guid before pca", "transcripts/guid-6.json"),
        ("no match", None),
        ("transcript only by other case", None),
    ],
)
def test_a_call_meets_its_transcript_by_its_id_else_by_its_guid(
    name: str, key: str | None, rows: dict[str, Row]
) -> None:
    assert rows[name].transcript_s3_key == key


def test_a_transcript_that_is_written_again_shows_in_its_call(rows: dict[str, Row]) -> None:
    assert (rows["rewritten"].call_duration_seconds, rows["rewritten"].answer_type) == (70.0, "Human")


def test_deleted_calls_do_not_show(lake: Lake, rows: dict[str, Row]) -> None:
    assert {"deleted", "never seen"}.isdisjoint(rows)
    deleted = lake.state(CALLS).where("is_deleted").select("call_id")
    assert_rows(deleted, [("deleted",), ("never seen",)], "call_id string")


def test_the_view_of_calls_has_the_columns_of_the_contract(lake: Lake) -> None:
    assert dict(lake.gold("calls").dtypes) == {c.name: c.type for c in CALLS.columns} | {
        "updated_at": "string",
        "call_duration_seconds": "double",
        "duration_source": "string",
        "answer_type": "string",
        "transcript_s3_key": "string",
        "speaker_count": "int",
    }


def test_the_analysts_first_query(lake: Lake) -> None:
    """Contract, section 9: for a day, by direction and answer type, in one statement."""
    answer = lake.spark.sql(
        f"""
        SELECT direction, answer_type, count(*) AS calls, avg(call_duration_seconds) AS average_seconds,
          count_if(call_duration_seconds > 60) AS over_a_minute
        FROM {lake.settings.table("gold", "calls")}
        WHERE call_timestamp_utc >= '2026-01-09' AND call_timestamp_utc < '2026-01-10'
        GROUP BY direction, answer_type
        """
    )
    assert_rows(
        answer,
        # 60, 90 and 30 seconds: exactly a minute is not over one.
        [("inbound", "Human", 3, 60.0, 1), ("outbound", "Unknown", 1, None, 0)],
        "direction string, answer_type string, calls bigint, average_seconds double, over_a_minute bigint",
    )


def test_live_scorecards_show_with_the_local_time_of_scoring(lake: Lake) -> None:
    view = lake.gold("scorecards")
    assert dict(view.dtypes) == {c.name: c.type for c in SCORECARDS.columns} | {"updated_at": "string"}
    found = view.select(
        "guid", F.col("scored_at_local").cast("string"), F.col("overall_score").cast("string")
    )
    assert_rows(
        found,
        [("live", "2025-10-08 14:34:19", "7.0000")],
        "guid string, scored_at_local string, overall_score string",
    )


def test_the_scorecards_scores_are_there_as_landed(lake: Lake) -> None:
    row = lake.gold("scorecards").select("scores", "score_urgency", "score_ask_for_payment").collect()[0]
    assert (row.scores, str(row.score_urgency), row.score_ask_for_payment) == (
        '{"urgency":{"score":1}}',
        "1.0000",
        None,
    )


def test_documents_without_a_location_are_passed_over(
    spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    import dataclasses

    nowhere = dataclasses.replace(lake.settings, documents={}, checkpoints=str(tmp_path))
    assert set(lake.ingest_well(TRANSCRIPTS, settings=nowhere)) == {"writer_quarantine"}
