"""What transcripts of each shape tell, worked out by hand, and which documents are read."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from tests.unit.transcripts import talk, transcript, word

from lakehouse.demo.transcript_figures import Heard, newest_transcripts, read_transcript

NOON = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)


def turns(*said: tuple[str | None, object], total: object = None) -> str:
    """Call Analytics output: who speaks, and until which millisecond."""
    document: dict[str, Any] = {
        "JobStatus": "COMPLETED",
        "Participants": [{"ParticipantRole": "AGENT"}, {"ParticipantRole": "CUSTOMER"}],
        "Transcript": [{"ParticipantRole": role, "EndOffsetMillis": end} for role, end in said],
    }
    if total is not None:
        document["ConversationCharacteristics"] = {"TotalConversationDurationMillis": total}
    return json.dumps(document)


def parsed(*said: tuple[str | None, object], **analytics: Any) -> str:
    """A PCA file: who speaks, and until which second."""
    segments = [{"SegmentSpeaker": speaker, "SegmentEndTime": end} for speaker, end in said]
    return json.dumps({"ConversationAnalytics": analytics, "SpeechSegments": segments})


def heard(body: str | bytes) -> Heard:
    told = read_transcript(body, "a")
    assert told is not None
    return told[2]


# --- the standard shape


def test_the_length_is_the_latest_end_of_items_segments_and_audio_segments() -> None:
    words = word("3.5", speaker_label="spk_0"), word("6.88", speaker_label="spk_1"), {"type": "punctuation"}
    later = {"end_time": "7.1", "speaker_label": "spk_0"}
    latest = {"end_time": "7.25", "speaker_label": "spk_0"}
    assert heard(transcript(*words)) == Heard(6.88, 2)
    assert heard(transcript(*words, speaker_labels={"speakers": 2, "segments": [later]})) == Heard(7.1, 2)
    assert heard(transcript(*words, speaker_labels={"segments": [later]}, audio_segments=[latest])) == Heard(
        7.25, 2
    )


def test_ends_are_compared_as_numbers_not_as_text() -> None:
    assert heard(talk("9.9", "spk_0")).seconds == 9.9
    assert heard(transcript(word("9.9"), word("10.2"))).seconds == 10.2


@pytest.mark.parametrize("duration", ["61.5", 61.5])
def test_an_audio_duration_wins_over_any_end(duration: object) -> None:
    assert heard(transcript(word("70.0"), audio_duration=duration)).seconds == 61.5


@pytest.mark.parametrize("duration", [None, "", "long", "nan"])
def test_an_audio_duration_that_is_no_number_does_not(duration: object) -> None:
    assert heard(transcript(word("70.0"), audio_duration=duration)).seconds == 70.0


def test_speakers_are_the_distinct_labels_of_all_three_places() -> None:
    body = transcript(
        word("1.0", speaker_label="spk_0"),
        word("2.0", speaker_label="spk_0"),
        speaker_labels={"speakers": 9, "segments": [{"end_time": "2.0", "speaker_label": "spk_1"}]},
        audio_segments=[{"end_time": "2.0", "speaker_label": "spk_2"}],
    )
    assert heard(body) == Heard(2.0, 3)


def test_channels_count_only_where_something_is_said_in_them() -> None:
    listed = {"channels": [{"channel_label": "ch_0"}, {"channel_label": "ch_1"}], "number_of_channels": 2}
    one = transcript(word("12.0", channel_label="ch_0"), channel_labels=listed)
    two = transcript(word("12.0", channel_label="ch_0"), word("13.0", channel_label="ch_1"))
    assert heard(one) == Heard(12.0, 1)
    assert heard(two) == Heard(13.0, 2)


def test_speaker_labels_count_and_the_channel_beside_them_does_not() -> None:
    labels = {"channel_label": "ch_0", "segments": [{"end_time": "5", "speaker_label": "spk_0"}]}
    body = transcript(word("5", speaker_label="spk_0", channel_label="ch_0"), speaker_labels=labels)
    assert heard(body) == Heard(5.0, 1)


def test_of_a_silent_transcript_neither_length_nor_speakers_are_known() -> None:
    assert heard(transcript(speaker_labels={"speakers": 0, "segments": []})) == Heard(None, None)


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "null", '"text"', "{}", b"\xff{}", '{"results": null}', '{"results": []}'),
        *('{"Transcript": {}}', '{"ConversationAnalytics": "x"}', '{"ConversationCharacteristics": {}}'),
    ],
)
def test_what_cannot_be_read_or_has_no_shape_is_no_transcript(body: str | bytes) -> None:
    assert read_transcript(body, "a") is None


def test_old_outputs_split_by_channel_name_them_on_the_channels_alone() -> None:
    channels = [{"channel_label": "ch_0", "items": [word("5")]}, {"channel_label": "ch_1", "items": []}]
    assert heard(transcript(word("5"), channel_labels={"channels": channels})) == Heard(5.0, 1)


def test_items_that_are_no_objects_are_passed_over() -> None:
    assert heard('{"results": {"items": [7], "audio_segments": "x"}}') == Heard(None, None)


# --- Call Analytics


def test_call_analytics_states_its_length_in_milliseconds_and_speakers_are_the_roles_that_speak() -> None:
    assert heard(turns(("AGENT", 16960), ("CUSTOMER", 19860), total=42460)) == Heard(42.46, 2)
    assert heard(turns(("AGENT", 1000), ("AGENT", 19860), total="20000")) == Heard(20.0, 1)


@pytest.mark.parametrize("total", [None, "", "long"])
def test_without_a_stated_length_the_latest_turn_s_end_counts(total: object) -> None:
    assert heard(turns(("AGENT", 9860), ("CUSTOMER", 10150), (None, 9999), total=total)) == Heard(10.15, 2)


def test_participants_who_say_nothing_do_not_count() -> None:
    assert heard(turns(total=30000)) == Heard(30.0, 0)


def test_contact_lens_says_who_speaks_by_participant_and_its_chats_are_no_transcripts() -> None:
    said = {"EndOffsetMillis": 8000, "Content": "Call me", "ParticipantId": "CUSTOMER"}
    people = [{"ParticipantId": who, "ParticipantRole": who} for who in ("AGENT", "CUSTOMER")]
    call = {"Channel": "VOICE", "Participants": people, "Transcript": [said]}
    assert heard(json.dumps(call)) == Heard(8.0, 1)
    assert heard(json.dumps({"Transcript": [{"EndOffsetMillis": 8000}]})) == Heard(8.0, None)
    assert read_transcript(json.dumps(call | {"Channel": "CHAT"}), "a") is None


# --- PCA


def test_an_ivr_is_no_speaker_and_a_duration_of_zero_is_none() -> None:
    labels = [{"Speaker": "spk_2", "DisplayText": "Genesys IVR"}]
    body = parsed(("IVR", 1), ("spk_0", 9.5), ("spk_2", 3), Duration="0.0", SpeakerLabels=labels)
    assert heard(body) == Heard(9.5, 1)


@pytest.mark.parametrize("duration", ["28.67", 28.67])
def test_a_pca_file_s_duration_is_text_or_number(duration: object) -> None:
    body = parsed(("spk_0", 0.25), ("spk_1", 90.0), ("spk_1", 3), Duration=duration)
    assert heard(body) == Heard(28.67, 2)


@pytest.mark.parametrize("members", [{}, {"Duration": None}, {"Duration": "None"}])
def test_without_a_duration_the_latest_segment_s_end_counts(members: dict[str, Any]) -> None:
    assert heard(parsed(("spk_0", "9.5"), ("spk_1", 10.25), **members)) == Heard(10.25, 2)


def test_without_segments_the_speakers_are_those_whose_talk_was_timed() -> None:
    times = {"spk_0": {"TotalTimeSecs": 9.9}, "spk_1": {}, "NonTalkTime": {"TotalTimeSecs": 0.0}}
    assert heard(parsed(Duration="12", SpeakerTime=times)) == Heard(12.0, 2)
    assert heard(parsed(("spk_0", 5.0), Duration="12", SpeakerTime=times)) == Heard(12.0, 1)
    assert heard(parsed((None, 5.0), Duration="12", SpeakerTime=times)) == Heard(12.0, 2)
    assert heard(parsed(Duration="12", SpeakerTime=None)) == Heard(12.0, None)


@pytest.mark.parametrize(
    ("analytics", "expected"),
    [({"GUID": "77"}, "77"), *(({"GUID": none}, "a") for none in ("None", "", None)), ({}, "a")],
)
def test_a_pca_file_s_id_is_its_guid_else_its_name(analytics: dict[str, Any], expected: str) -> None:
    told = read_transcript(parsed(**analytics), "a")
    assert told is not None
    assert told[:2] == (expected, "pca")


def test_members_tell_the_shape_and_results_come_first() -> None:
    standard, analytics = json.loads(talk("20", "spk_0")), json.loads(turns(("AGENT", 1000)))
    pca = json.loads(parsed(("spk_0", 7.0), GUID="77"))
    for members, expected in (
        (standard | analytics | pca, "standard"),
        (analytics | pca, "call_analytics"),
        (analytics | pca | {"results": None}, "call_analytics"),
        (pca | {"Transcript": "text"}, "pca"),
    ):
        told = read_transcript(json.dumps(members), "a")
        assert told is not None
        assert told[1] == expected


# --- which documents


def test_the_newest_of_an_id_is_taken_from_both_places() -> None:
    later = NOON + dt.timedelta(seconds=1)
    documents = [
        ("transcripts/a.json", talk("20", "spk_0"), NOON),
        ("site/transcripts/redacted-a.json", turns(("AGENT", 30000)), later),
        ("pca/parsedFiles/x.wav.json", parsed(("spk_0", 40), GUID="b"), NOON),
        ("pca/parsedFiles/redacted-x.wav.json", parsed(("spk_0", 50), GUID="b"), NOON),  # of an earlier key
        ("pca/parsedFiles/y.json", parsed(("spk_0", 60), GUID="None"), NOON),
        ("pca/parsedFiles/z.json", "{torn", later),
        ("pca/parsedFiles/note.txt", parsed(), later),
        ("elsewhere/c.json", talk("20", "spk_0"), later),
    ]
    for order in (1, -1):
        newest = newest_transcripts(documents[::order])
        found = {key: (each.shape, each.heard.seconds, each.key) for key, each in newest.items()}
        assert found == {
            "a": ("call_analytics", 30.0, "redacted-a.json"),
            "b": ("pca", 40.0, "x.wav.json"),
            "y": ("pca", 60.0, "y.json"),
        }
