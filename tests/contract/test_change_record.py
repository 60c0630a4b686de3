"""The writer and the reader agree on the change record, though neither imports the other."""

from __future__ import annotations

import json
import re

import pytest

from change_writer import settings as writer_settings
from change_writer.dynamodb import convert
from change_writer.encode import Metadata, change_record_line, escape_name, unescape_name
from lakehouse import events

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
    assert set(written) - {"callId"} == set(events.METADATA)


def test_each_name_means_the_same_to_both() -> None:
    written = json.loads(change_record_line(TOMBSTONE, []))
    assert written == {
        events.EVENT_ID: TOMBSTONE.event_id,
        events.EVENT_NAME: TOMBSTONE.event_name,
        events.SEQUENCE: TOMBSTONE.sequence,
        events.CHANGED_MS: TOMBSTONE.approx_stream_ts,
        events.INGESTED_MS: TOMBSTONE.ingest_ts,
        events.IS_DELETED: True,
        events.DELETE_KIND: "ttl",
        events.UPDATED_AT: TOMBSTONE.approx_stream_ts,
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
    assert re.search(events.SEQUENCE_PATTERN, sequence)
    assert sequence.endswith(f"/{number.zfill(40)}")


@pytest.mark.parametrize(
    "name", [*events.METADATA, "_", "__", "___x", "_private", "__is_deleted", "_Sequence"]
)
def test_no_attribute_of_an_item_can_be_taken_for_metadata(name: str) -> None:
    written = escape_name(name)
    assert written not in events.METADATA or name == events.UPDATED_AT
    assert unescape_name(written) == name


@pytest.mark.parametrize("name", ["callId", "updated_at", "payload", "a_b", "Is_Deleted", ""])
def test_an_attribute_that_cannot_be_mistaken_keeps_its_name(name: str) -> None:
    assert escape_name(name) == name


def test_an_items_own_metadata_names_stand_beside_the_metadata() -> None:
    own = [(name, '"mine"') for name in (events.SEQUENCE, events.IS_DELETED, events.EVENT_NAME)]
    written = json.loads(change_record_line(TOMBSTONE, own))
    assert (written[events.SEQUENCE], written[events.IS_DELETED]) == (TOMBSTONE.sequence, True)
    assert written["___sequence"] == written["__is_deleted"] == written["___eventName"] == "mine"


def test_both_know_the_same_folder_of_raw_records() -> None:
    assert writer_settings.QUARANTINE == events.QUARANTINE_FOLDER


def test_no_source_can_be_a_folder_of_the_readers_own() -> None:
    for folder in (events.QUARANTINE_FOLDER, events.SET_ASIDE_FOLDER):
        assert not writer_settings._SOURCE.fullmatch(folder)
