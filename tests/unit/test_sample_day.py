"""The made-up day: deterministic, applicable in order, in the contract's shapes, and believable."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.demo.coaching_figures import coaching_figures
from lakehouse.demo.sample_day import (
    CRITERIA,
    Delete,
    Document,
    Expire,
    Item,
    Operation,
    Put,
    Update,
    sample_day,
)
from lakehouse.demo.source_figures import answer_type
from lakehouse.demo.transcript_figures import Heard, read_transcript

DAY = dt.date(2025, 10, 8)
NOON = dt.datetime(2025, 10, 8, 12, tzinfo=dt.UTC)
KEY_OF = {"calls": "callId", "scorecards": "guid"}
PAYLOAD_NAMES = {
    *("agentId", "agentName", "allocation", "direction", "file_name", "firstOrFollowUp", "medium"),
    *("program", "queueName", "sessionId", "siteName", "s3_bucket", "queueId", "siteId", "tenantId"),
}
SCORECARD_NAMES = {
    *("guid", "datetime", "agent", "callType", "notes", "outcome", "primaryIntent", "secondaryIntent"),
    *("resolutionReason", "summary", "ingestedAt", "overallScore", "scores"),
}


@pytest.fixture(scope="module")
def day() -> list[Operation]:
    return list(sample_day(DAY))


def key_text(table: str, attributes: Item) -> str:
    text = attributes[KEY_OF[table]]["S"]
    assert isinstance(text, str)
    return text


def of_table(operations: Iterable[Operation], table: str) -> list[Put | Update | Delete | Expire]:
    return [each for each in operations if not isinstance(each, Document) and each.table == table]


def plain(value: Item) -> Any:
    """A typed value as a plain one; fails on anything that DynamoDB would refuse."""
    ((kind, inner),) = value.items()
    if kind == "M":
        return {name: plain(each) for name, each in inner.items()}
    if kind == "N":
        assert re.fullmatch(r"-?\d+(\.\d+)?", inner)
        return Decimal(inner)
    if kind == "NULL":
        assert inner is True
        return None
    assert kind == "S"
    assert isinstance(inner, str)
    return inner


def payload_of(item: Item) -> dict[str, Any] | None:
    """The payload as plain values, whichever way it is written."""
    if "payload" not in item:
        return None
    value = plain(item["payload"])
    payload: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return payload


def transcripts(operations: Iterable[Operation], folder: str = "transcripts/") -> list[Document]:
    return [each for each in operations if isinstance(each, Document) and each.name.startswith(folder)]


def read(document: Document) -> tuple[str, str, Heard] | None:
    base = document.name.rpartition("/")[2].removesuffix(".json")
    return read_transcript(document.body, base.removeprefix("redacted-"))


def live_items(operations: Iterable[Operation]) -> dict[str, dict[str, Item]]:
    """Apply the operations in order; fails where one does not fit the state that it finds."""
    state: dict[str, dict[str, Item]] = {"calls": {}, "scorecards": {}}
    for each in operations:
        if isinstance(each, Document):
            continue
        table = state[each.table]
        if isinstance(each, Put):
            key = key_text(each.table, each.item)
            assert key not in table, "a put onto a live key"
            table[key] = each.item
            continue
        key = key_text(each.table, each.key)
        assert list(each.key) == [KEY_OF[each.table]]
        assert key in table, f"{type(each).__name__} of a key that is not live"
        if isinstance(each, Update):
            assert each.changes
            assert KEY_OF[each.table] not in each.changes
            table[key] = table[key] | each.changes
        else:
            del table[key]
    return state


# --- the day as a whole


def test_the_same_arguments_give_the_same_day_and_others_give_another(day: list[Operation]) -> None:
    assert list(sample_day(DAY)) == day
    assert list(sample_day(DAY, seed=8)) != day
    assert list(sample_day(DAY + dt.timedelta(days=1))) != day


def test_the_day_does_not_depend_on_the_process() -> None:
    script = (
        "import datetime, hashlib; from lakehouse.demo.sample_day import sample_day; "
        "day = list(sample_day(datetime.date(2025, 10, 8), calls=60)); "
        "print(hashlib.sha256(repr(day).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(digests) == 1


def test_every_operation_fits_the_state_that_it_finds(day: list[Operation]) -> None:
    state = live_items(day)
    assert 1850 < len(state["calls"]) < 2000
    assert len(state["scorecards"]) > 700


@pytest.mark.parametrize("seed", range(5))
def test_other_seeds_are_applicable_too(seed: int) -> None:
    live_items(sample_day(dt.date(2024, 2, 29), seed=seed, calls=300))


def test_the_default_day_has_the_promised_number_of_each_kind(day: list[Operation]) -> None:
    counts = Counter(type(each).__name__ for each in day)
    assert 2700 <= counts["Put"] <= 3500
    assert 500 <= counts["Update"] <= 900
    assert 100 <= counts["Delete"] <= 250
    assert 25 <= counts["Expire"] <= 55
    assert (
        len({key_text("calls", each.item) for each in of_table(day, "calls") if isinstance(each, Put)})
        == 2000
    )


def test_calls_is_the_scale() -> None:
    assert list(sample_day(DAY, calls=0)) == []
    puts = [each for each in of_table(sample_day(DAY, calls=100), "calls") if isinstance(each, Put)]
    assert len({key_text("calls", each.item) for each in puts}) == 100


def test_operations_come_in_the_order_of_time(day: list[Operation]) -> None:
    times = [
        (each.item if isinstance(each, Put) else each.changes)["updated_at"]["S"]
        for each in of_table(day, "calls")
        if isinstance(each, Put | Update)
    ]
    assert times == sorted(times)


def test_some_keys_change_several_times_within_a_second(day: list[Operation]) -> None:
    seconds = Counter(
        (key_text("calls", each.key), each.changes["updated_at"]["S"][:19])
        for each in of_table(day, "calls")
        if isinstance(each, Update)
    )
    assert sum(changes >= 3 for changes in seconds.values()) > 20


@pytest.mark.parametrize("table", ["calls", "scorecards"])
def test_some_keys_are_deleted_and_come_back(day: list[Operation], table: str) -> None:
    deleted: set[str] = set()
    back = 0
    for each in of_table(day, table):
        if isinstance(each, Delete):
            deleted.add(key_text(table, each.key))
        back += isinstance(each, Put) and key_text(table, each.item) in deleted
    assert 5 < back < len(deleted)


def test_an_item_that_was_put_is_not_changed_by_later_updates(day: list[Operation]) -> None:
    state: dict[str, Item] = {}
    telling = 0
    for each in of_table(day, "scorecards"):
        if isinstance(each, Put):
            state[key_text("scorecards", each.item)] = each.item
        elif isinstance(each, Update):
            before = state[key_text("scorecards", each.key)]
            telling += before != before | each.changes
    assert telling > 150


# --- items


def test_calls_have_the_attributes_of_the_contract(day: list[Operation]) -> None:
    shapes, queue_ids, without = Counter[str](), Counter[str](), 0
    for item in live_items(day)["calls"].values():
        assert item.keys() <= {"callId", "callTimestampUTC", "updated_at", "payload"}
        payload = payload_of(item)
        if payload is None:
            without += 1
            continue
        shapes.update(item["payload"].keys())
        assert payload.keys() == PAYLOAD_NAMES
        assert payload["direction"] in ("inbound", "outbound")
        assert re.search(r"_GUID_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_", payload["file_name"])
        for name, value in payload.items():
            numeric = name in ("siteId", "tenantId") or (name == "queueId" and not isinstance(value, str))
            assert isinstance(value, int | Decimal) if numeric else isinstance(value, str)
        queue_ids[type(payload["queueId"]).__name__] += 1
    assert 0 < without < 15
    assert 0.15 < shapes["S"] / shapes.total() < 0.25
    assert min(queue_ids["str"], queue_ids["int"], queue_ids["Decimal"]) > 50


def test_late_payloads_arrive_by_an_update(day: list[Operation]) -> None:
    bare = {
        key_text("calls", each.item)
        for each in of_table(day, "calls")
        if isinstance(each, Put) and "payload" not in each.item
    }
    filled = {
        key_text("calls", each.key)
        for each in of_table(day, "calls")
        if isinstance(each, Update) and "payload" in each.changes
    }
    assert bare & filled
    assert bare - filled


def test_call_times_have_z_or_an_offset_and_some_offsets_hide_another_date(day: list[Operation]) -> None:
    endings, elsewhere, on_the_day = Counter[bool](), 0, 0
    for item in live_items(day)["calls"].values():
        text = item["callTimestampUTC"]["S"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:00)", text)
        endings[text.endswith("Z")] += 1
        called = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
        assert DAY <= called.date() <= DAY + dt.timedelta(days=1)
        on_the_day += called.date() == DAY
        elsewhere += text[:10] != called.date().isoformat()
    assert 0.1 < endings[False] / endings.total() < 0.2
    assert elsewhere > 20
    assert 0.97 < on_the_day / endings.total() < 1


def test_calls_follow_a_day_curve_and_are_mostly_inbound(day: list[Operation]) -> None:
    hours: Counter[int] = Counter()
    directions: Counter[str] = Counter()
    for item in live_items(day)["calls"].values():
        hours[dt.datetime.fromisoformat(item["callTimestampUTC"]["S"]).astimezone(dt.UTC).hour] += 1
        payload = payload_of(item)
        directions[payload["direction"] if payload else "none"] += 1
    assert min(hours[hour] for hour in range(13, 20)) > 4 * max(hours[hour] for hour in range(3, 7))
    assert 0.6 < directions["inbound"] / directions.total() < 0.75


def test_scorecards_have_the_attributes_of_the_contract(day: list[Operation]) -> None:
    criteria: Counter[str] = Counter()
    fine_scores, unscored = 0, 0
    cards = live_items(day)["scorecards"].values()
    for item in cards:
        assert item.keys() <= SCORECARD_NAMES
        card = {name: plain(value) for name, value in item.items()}
        dt.datetime.strptime(card["datetime"], "%Y-%m-%dT%H-%M-%S")
        dt.datetime.fromisoformat(card["ingestedAt"])
        for name, judged in card["scores"].items():
            assert judged.keys() == {"score", "evidence"}
            assert 0 <= judged["score"] <= 10
            criteria[name] += 1
        score = card.get("overallScore")
        unscored += score is None
        fine_scores += score is not None and -score.as_tuple().exponent > 4
    assert criteria.keys() == {*CRITERIA, "empathy"}
    assert 0 < criteria["empathy"] < 0.1 * len(cards)
    assert 0 < len(cards) - criteria["urgency"] < 0.1 * len(cards)
    assert unscored
    assert fine_scores


def test_scorecards_belong_to_calls(day: list[Operation]) -> None:
    guids = set()
    for each in of_table(day, "calls"):
        payload = payload_of(each.item if isinstance(each, Put) else getattr(each, "changes", {}))
        if payload:
            guids.add(payload["file_name"].split("_GUID_")[1].split("_")[0])
    cards = {
        key_text("scorecards", each.item) for each in of_table(day, "scorecards") if isinstance(each, Put)
    }
    assert len(cards - guids) < 5  # a call whose payload never came has no file name


def test_awkward_text_is_there(day: list[Operation]) -> None:
    text = repr([each for each in day if not isinstance(each, Document)])
    for awkward in ("O'Dálaigh", "<b>", "👍🏽", "\\n", "\\u2028", "DROP TABLE", '"JL"'):
        assert awkward in text, awkward


# --- transcripts


def test_most_transcripts_have_the_standard_shape(day: list[Operation]) -> None:
    features: Counter[str] = Counter()
    documents = transcripts(day)
    for each in documents:
        try:
            body = json.loads(each.body)
        except ValueError:
            features["torn"] += 1
            continue
        if "Transcript" in body:
            features["call_analytics"] += 1
            continue
        assert each.name in (
            f"transcripts/{body['jobName']}.json",
            f"transcripts/redacted-{body['jobName']}.json",
        )
        assert body.keys() == {"jobName", "accountId", "results", "status"}
        results = body["results"]
        assert ("speaker_labels" in results) != ("channel_labels" in results)
        label = "speaker_label" if "speaker_labels" in results else "channel_label"
        assert len(results["items"]) <= 60
        for item in results["items"]:
            assert isinstance(item["alternatives"][0]["confidence"], str)
            assert label in item
            if item["type"] == "punctuation":
                assert "start_time" not in item
                assert "end_time" not in item
            else:
                assert float(item["start_time"]) < float(item["end_time"])
        starts = [float(item["start_time"]) for item in results["items"] if "start_time" in item]
        assert starts == sorted(starts)
        for segment in results.get("audio_segments", []):
            said = [results["items"][index]["alternatives"][0]["content"] for index in segment["items"]]
            assert " ".join(said[:-1]) + said[-1] == segment["transcript"]
        features.update(
            name for name in ("channel_labels", "audio_segments", "audio_duration") if name in results
        )
        features["redacted"] += "redacted-" in each.name
        features["hidden"] += "[PII]" in each.body
        features["silent"] += not results["items"]
    assert features["torn"]
    assert features["silent"]
    assert features["hidden"]
    assert features["redacted"] > 50
    assert 0.08 < features["call_analytics"] / len(documents) < 0.16
    standard = len(documents) - features["call_analytics"]
    assert 0.2 < features["channel_labels"] / standard < 0.3
    assert 0.3 < features["audio_segments"] / standard < 0.4
    assert 0 < features["audio_duration"] / len(documents) < 0.05


def test_transcripts_of_calls_may_be_missing_rewritten_or_redacted(day: list[Operation]) -> None:
    calls = {key_text("calls", each.item) for each in of_table(day, "calls") if isinstance(each, Put)}
    bodies: dict[str, list[str]] = defaultdict(list)
    for each in transcripts(day):
        bodies[each.name.removeprefix("transcripts/").removesuffix(".json")].append(each.body)
    plain_names = {name for name in bodies if not name.startswith("redacted-")}
    redacted = {name.removeprefix("redacted-") for name in bodies if name.startswith("redacted-")}
    assert plain_names | redacted <= calls
    assert 0.06 < len(calls - plain_names - redacted) / len(calls) < 0.15
    assert redacted & plain_names
    assert redacted - plain_names
    rewritten = [versions for versions in bodies.values() if len(versions) == 2]
    assert len(rewritten) > 60
    assert all(first != second for first, second in rewritten)


def test_call_analytics_transcripts_agree_with_themselves(day: list[Operation]) -> None:
    unstated = 0
    found = [each.body for each in transcripts(day) if each.body.startswith('{"JobName"')]
    for body in map(json.loads, filter(lambda body: body.endswith("}"), found)):
        assert body["JobStatus"] == "COMPLETED"
        ends = [0]
        for turn in body["Transcript"]:
            assert ends[-1] <= turn["BeginOffsetMillis"] < turn["EndOffsetMillis"]
            ends.append(turn["EndOffsetMillis"])
            words = [each["Content"] for each in turn["Items"] if each["Type"] == "pronunciation"]
            assert turn["Content"] == " ".join(words) + turn["Items"][-1]["Content"]
        roles = {turn["ParticipantRole"] for turn in body["Transcript"]}
        assert roles <= {each["ParticipantRole"] for each in body["Participants"]}
        stated = body.get("ConversationCharacteristics")
        unstated += stated is None
        assert stated is None or stated["TotalConversationDurationMillis"] >= ends[-1]
    assert 0 < unstated < len(found) / 4


def test_answer_types_and_durations_are_believable(day: list[Operation]) -> None:
    told = filter(None, map(read, transcripts(day)))
    heard = [each for _, _, each in told]
    answers = Counter(map(answer_type, heard))
    assert answers.keys() == {"Human", "NoAnswer", "Unknown", "Voicemail"}
    assert answers["Human"] > answers["Voicemail"] > answers["Unknown"]
    lengths = [each.seconds for each in heard if each.seconds and answer_type(each) == "Human"]
    assert 150 < statistics.median(lengths) < 330
    assert statistics.mean(lengths) > 1.15 * statistics.median(lengths)  # a long tail, as log-normals have


# --- PCA files


def test_some_calls_have_a_pca_file_beside_the_transcript_and_some_have_only_that(
    day: list[Operation],
) -> None:
    own = {each.name.rpartition("/")[2].removeprefix("redacted-")[:36] for each in transcripts(day)}
    id_of = {}
    for each in of_table(day, "calls"):
        item = each.item if isinstance(each, Put) else getattr(each, "changes", {})
        if payload := payload_of(item):
            call = key_text("calls", item if "callId" in item else each.key)  # type: ignore[union-attr]
            id_of[payload["file_name"].split("_GUID_")[1].split("_")[0]] = call
    told = [each[0] for each in map(read, transcripts(day, "pca/parsedFiles/")) if each]
    calls = {id_of[key] for key in told if key in id_of}
    assert len(calls & own) > 60
    assert len(calls - own) > 40
    assert 0 < sum(key not in id_of for key in told) < 0.1 * len(told)  # of no call that is known


def test_pca_files_are_rewritten_redacted_torn_or_foreign(day: list[Operation]) -> None:
    documents = transcripts(day, "pca/parsedFiles/")
    bodies: dict[str, list[str]] = defaultdict(list)
    for each in documents:
        bodies[each.name].append(each.body)
    assert 120 < len(bodies) < 220
    rewritten = [versions for versions in bodies.values() if len(versions) == 2]
    assert rewritten
    assert all(first != second for first, second in rewritten)
    twins = [name for name in bodies if "redacted-" in name]
    assert twins
    assert all(name.replace("redacted-", "") in bodies for name in twins)
    unread = [each.body for each in documents if read(each) is None]
    assert any(body.startswith('{"ConversationAnalytics"') for body in unread)
    assert any("s3:TestEvent" in body for body in unread)
    assert len(unread) < 0.1 * len(documents)


@pytest.mark.parametrize("seed", range(3))
def test_every_coaching_rule_and_every_priority_occurs(seed: int) -> None:
    found = {(each.name, each.body, NOON) for each in transcripts(sample_day(DAY, seed=seed), "pca/")}
    assert {*coaching_figures(found)} == {
        *((f"{who}_negative_sentiment", how) for who in ("agent", "customer") for how in ("medium", "high")),
        *((name, "medium") for name in ("agent_dominates", "agent_silent", "customer_sentiment_fell")),
        *((name, "low") for name in ("long_silence", "long_call")),
    }


def test_pca_files_vary_as_genuine_ones_do(day: list[Operation]) -> None:
    features: Counter[str] = Counter()
    for each in transcripts(day, "pca/parsedFiles/"):
        if read(each) is None:
            continue
        body = json.loads(each.body)
        analytics = body["ConversationAnalytics"]
        features[f"duration as {type(analytics['Duration']).__name__}"] += 1
        features["agent unknown"] += analytics["Agent"] == "None"
        features["guid None"] += analytics.get("GUID") == "None"
        features["no labels"] += "SpeakerLabels" not in analytics
        times = analytics.get("SpeakerTime", {})
        features["agent second"] += analytics.get("SpeakerLabels", [{}])[0].get("Speaker") == "spk_1"
        features["nobody timed"] += times.keys() == {"NonTalkTime"}
        features["no times"] += not times
        features["no segments"] += not body["SpeechSegments"]
        for trend in analytics["SentimentTrends"].values():
            assert -5 <= trend["SentimentScore"] <= 5
            features["no quarters"] += "SentimentPerQuarter" not in trend
        talk = sum(Decimal(str(time["TotalTimeSecs"])) for time in times.values())
        assert talk <= Decimal(str(analytics["Duration"]))
        features["on the limit"] += {q["Score"] for q in _quarters(analytics)} >= {3.3, 1.3}
        dt.datetime.fromisoformat(analytics["ConversationTime"])
    assert min(features.values()) > 0, features
    assert 10 < features["on the limit"] < 0.4 * features.total()


def _quarters(analytics: dict[str, Any]) -> list[dict[str, Any]]:
    trends = analytics["SentimentTrends"].values()
    return [quarter for trend in trends for quarter in trend.get("SentimentPerQuarter", [])]
