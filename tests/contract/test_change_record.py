"""The writer and the reader agree on the change record, though neither imports the other."""

from __future__ import annotations

import json
import re

import pytest

from change_writer import settings as writer_settings
from change_writer.dynamodb import convert
from change_writer.encode import Metadata, change_record_line, escape_name, unescape_name
from lakehouse import change_record

TOMBSTONE = Metadata(
    event_id="e",
    event_name="REMOVE",
    sequence="2026-01-05T08:00:00.123/" + "5".zfill(40),
    approx_stream_ts=1_767_870_000_000,
    ingest_ts=1_767_870_060_000,
    delete_kind="ttl",
)


def test_the_writer_writes_every_name_that_the_reader_knows_and_no_other() -> None:
    written = json.loads(change_record_line(TOMBSTONE, [("callId", '"c"')]))
    assert set(written) - {"callId"} == set(change_record.METADATA)


def test_each_name_means_the_same_to_both() -> None:
    written = json.loads(change_record_line(TOMBSTONE, []))
    assert written == {
        change_record.EVENT_ID: TOMBSTONE.event_id,
        change_record.EVENT_NAME: TOMBSTONE.event_name,
        change_record.SEQUENCE: TOMBSTONE.sequence,
        change_record.CHANGED_MS: TOMBSTONE.approx_stream_ts,
        change_record.INGESTED_MS: TOMBSTONE.ingest_ts,
        change_record.IS_DELETED: True,
        change_record.DELETE_KIND: "ttl",
        change_record.UPDATED_AT: TOMBSTONE.approx_stream_ts,
    }


@pytest.mark.parametrize("number", ["1", "100000000000000000000", "9" * 40])
def test_the_writers_sequence_is_one_to_the_reader(number: str) -> None:
    record = {
        "eventID": "e",
        "eventName": "INSERT",
        "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/c-1/stream/2026-01-05T08:00:00.123",
        "dynamodb": {
            "Keys": {"callId": {"S": "c"}},
            "NewImage": {"callId": {"S": "c"}},
            "SequenceNumber": number,
        },
    }
    sequence = convert(record, 0).metadata.sequence
    assert re.search(change_record.SEQUENCE_PATTERN, sequence)
    assert sequence.endswith(f"/{number.zfill(40)}")


@pytest.mark.parametrize(
    "name", [*change_record.METADATA, "_", "__", "___x", "_private", "__is_deleted", "_Sequence"]
)
def test_no_attribute_of_an_item_can_be_taken_for_metadata(name: str) -> None:
    written = escape_name(name)
    assert written not in change_record.METADATA or name == change_record.UPDATED_AT
    assert unescape_name(written) == name


@pytest.mark.parametrize("name", ["callId", "updated_at", "payload", "a_b", "Is_Deleted", ""])
def test_an_attribute_that_cannot_be_mistaken_keeps_its_name(name: str) -> None:
    assert escape_name(name) == name


def test_an_items_own_metadata_names_stand_beside_the_metadata() -> None:
    own = [
        (name, '"mine"')
        for name in (change_record.SEQUENCE, change_record.IS_DELETED, change_record.EVENT_NAME)
    ]
    written = json.loads(change_record_line(TOMBSTONE, own))
    assert (written[change_record.SEQUENCE], written[change_record.IS_DELETED]) == (TOMBSTONE.sequence, True)
    assert written["___sequence"] == written["__is_deleted"] == written["___eventName"] == "mine"


def test_both_know_the_same_folder_of_raw_records() -> None:
    assert writer_settings.QUARANTINE == change_record.QUARANTINE_FOLDER


def test_no_source_can_be_a_folder_of_the_readers_own() -> None:
    for folder in (change_record.QUARANTINE_FOLDER, change_record.SET_ASIDE_FOLDER):
        assert not writer_settings._SOURCE.fullmatch(folder)
