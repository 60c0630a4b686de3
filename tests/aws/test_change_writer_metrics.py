"""The metrics: a line of JSON for each source, as CloudWatch reads it and as the template needs it."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aws_support import LAMBDA, Landing, load_event
from botocore.awsrequest import AWSResponse

from change_writer import handler
from change_writer.handler import lambda_handler
from change_writer.landing import s3_client
from change_writer.metrics import DIMENSIONS, NAMESPACE, UNITS, Tally, metrics_line
from change_writer.settings import UNKNOWN_SOURCE

CONTEXT = SimpleNamespace(function_name="lakehouse-Writer-1")
NOW_MS = 1_767_873_660_500
"""A minute and a half second after the last record of calls-changes."""


@pytest.fixture
def lines(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[object], list[str]]:
    """Invoke the function in Lambda's place; gives what it wrote to stdout, line by line."""
    monkeypatch.setattr("change_writer.handler.time.time_ns", lambda: NOW_MS * 1_000_000)

    def invoke(event: object) -> list[str]:
        capsys.readouterr()
        lambda_handler(event, CONTEXT)
        return capsys.readouterr().out.splitlines()

    return invoke


def as_cloudwatch_reads(line: str) -> dict[tuple[str, str], tuple[dict[str, str], str, float]]:
    """(namespace, metric) → dimensions, unit, value; by the specification of the embedded metric format."""
    document = json.loads(line)
    assert isinstance(document["_aws"]["Timestamp"], int)
    found = {}
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
        (names,) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            value = document[metric["Name"]]
            assert isinstance(value, int | float)
            assert not isinstance(value, bool)
            dimensions = {name: document[name] for name in names}
            assert all(isinstance(each, str) and each for each in dimensions.values())
            found[directive["Namespace"], metric["Name"]] = (dimensions, metric["Unit"], value)
    return found


def values(line: str) -> dict[str, float]:
    return {name: value for (_, name), (_, _, value) in as_cloudwatch_reads(line).items()}


# --- what is written --------------------------------------------------------------------------------


def test_an_invocation_writes_one_line_for_its_source(
    landing: Landing, lines: Callable[[object], list[str]]
) -> None:
    (line,) = lines(load_event("calls-changes"))
    size = landing.client.head_object(Bucket=landing.bucket, Key=landing.object_keys()[0])["ContentLength"]
    assert values(line) == {
        "Records": 4,
        "Tombstones": 1,
        "Quarantined": 0,
        "Objects": 1,
        "Bytes": size,
        "OldestRecordAgeSeconds": 3660.5,
    }
    assert json.loads(line)["_aws"]["Timestamp"] == NOW_MS
    read = as_cloudwatch_reads(line)
    assert {namespace for namespace, _ in read} == {NAMESPACE}
    assert {name: unit for (_, name), (_, unit, _) in read.items()} == UNITS
    assert [dimensions for dimensions, _, _ in read.values()] == [
        {"FunctionName": "lakehouse-Writer-1", "Source": "calls"}
    ] * len(UNITS)


def test_the_units_are_cloudwatchs_own() -> None:
    # API reference, MetricDatum: any other unit and the whole line is dropped.
    assert set(UNITS.values()) <= {"Seconds", "Bytes", "Count"}


def test_quarantine_is_counted_with_the_source_it_is_of(
    landing: Landing, lines: Callable[[object], list[str]]
) -> None:
    (line,) = lines(load_event("scorecards-one-bad-number"))
    assert (values(line)["Records"], values(line)["Quarantined"], values(line)["Objects"]) == (3, 1, 2)
    sizes = [entry["Size"] for entry in landing.client.list_objects_v2(Bucket=landing.bucket)["Contents"]]
    assert values(line)["Bytes"] == sum(sizes)


def test_each_source_has_a_line_of_its_own(lines: Callable[[object], list[str]]) -> None:
    event = load_event("calls-changes")
    event["Records"] += load_event("scorecards-changes")["Records"][:1]
    event["Records"][1]["eventSourceARN"] = "stream-ARN"
    by_source = {json.loads(line)["Source"]: values(line) for line in lines(event)}
    assert {source: (each["Records"], each["Quarantined"]) for source, each in by_source.items()} == {
        "calls": (3, 0),
        UNKNOWN_SOURCE: (1, 1),
        "scorecards": (1, 0),
    }
    assert {each["Objects"] for each in by_source.values()} == {1}


def test_a_record_of_several_events_is_one_record(lines: Callable[[object], list[str]]) -> None:
    data = "eyJhIjoxfXsiYSI6Mn0="  # {"a":1}{"a":2}
    event = {
        "Records": [
            {
                "eventSource": "aws:kinesis",
                "eventID": "shardId-000000000000:5",
                "eventName": "aws:kinesis:record",
                "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks",
                "kinesis": {"sequenceNumber": "5", "data": data, "approximateArrivalTimestamp": 1767873660.0},
            }
        ]
    }
    (line,) = lines(event)
    assert (json.loads(line)["Source"], values(line)["Records"]) == ("clicks", 1)
    assert values(line)["OldestRecordAgeSeconds"] == 0.5


def test_what_s3_had_already_counts_as_landed(lines: Callable[[object], list[str]]) -> None:
    (first,) = lines(load_event("calls-changes"))
    (again,) = lines(load_event("calls-changes"))
    assert values(again)["Objects"] == values(first)["Objects"] == 1
    assert values(again)["Bytes"] == values(first)["Bytes"] > 0


def test_what_s3_did_not_take_is_not_counted_as_landed(
    landing: Landing, lines: Callable[[object], list[str]]
) -> None:
    refused = AWSResponse("http://127.0.0.1", 403, {}, SimpleNamespace(stream=lambda: [b""]))  # type: ignore[arg-type]
    answers = [None, refused]
    s3_client().meta.events.register("before-send.s3.PutObject", lambda **_: answers.pop(0))
    landing.configure(MAX_RECORDS="3")
    (line,) = lines(load_event("calls-changes"))
    assert (values(line)["Records"], values(line)["Objects"]) == (4, 1)


def test_no_level_of_the_log_silences_the_metrics(
    landing: Landing, lines: Callable[[object], list[str]]
) -> None:
    landing.configure(LOG_LEVEL="CRITICAL")
    assert len(lines(load_event("calls-changes"))) == 1


def test_a_line_holds_nothing_of_an_item(lines: Callable[[object], list[str]]) -> None:
    text = "\n".join(lines(load_event("calls-changes")))
    for secret in ("Ada Example", "call-0001", "landing/"):
        assert secret not in text


def test_without_a_time_there_is_no_age() -> None:
    assert "OldestRecordAgeSeconds" not in metrics_line("f", "s", Tally(records=1), NOW_MS)
    assert values(metrics_line("f", "s", Tally(oldest_ms=0), 1500))["OldestRecordAgeSeconds"] == 1.5


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    assert values(metrics_line("f", "s", Tally(oldest_ms=2000), 1500))["OldestRecordAgeSeconds"] == 0


@pytest.mark.parametrize("event", [{"Records": []}, load_event("calls-changes")])
def test_outside_lambda_nothing_is_written(
    landing: Landing, capsys: pytest.CaptureFixture[str], event: object
) -> None:
    lambda_handler(event, None)
    assert capsys.readouterr().out == ""


def test_the_lines_go_where_the_caller_says(
    lines: Callable[[object], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    event = load_event("calls-changes")
    written: list[str] = []
    lambda_handler(event, CONTEXT, write_metrics=written.extend)
    assert capsys.readouterr().out == ""
    assert written == lines(event) != []


def test_an_event_without_records_writes_nothing(lines: Callable[[object], list[str]]) -> None:
    assert lines({"Records": []}) == []


# --- what the template asks for -----------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Reads a template: of CloudFormation's short forms, only what they are given."""


def _argument(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _argument)
TEMPLATE = yaml.load((LAMBDA / "template.yaml").read_text(encoding="utf-8"), _Loader)


def metrics_of_alarms() -> Iterator[tuple[str, dict[str, Any]]]:
    """(alarm, metric) for every metric of our namespace: name, dimensions, and a unit if one is asked for."""
    for name, resource in TEMPLATE["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            properties = resource["Properties"]
            several = [each.get("MetricStat", {}) for each in properties.get("Metrics", ()) if "Id" in each]
            stats = [{**each, **each["Metric"]} for each in several if each] or [properties]
            yield from ((name, each) for each in stats if each.get("Namespace") == NAMESPACE)


def test_what_the_alarms_ask_for_is_what_the_handler_says(lines: Callable[[object], list[str]]) -> None:
    (line,) = lines(load_event("scorecards-one-bad-number"))
    emitted = as_cloudwatch_reads(line)
    asked = list(metrics_of_alarms())
    assert {name for name, _ in asked} == {"Quarantined"}
    for name, metric in asked:
        dimensions, unit, _ = emitted[NAMESPACE, metric["MetricName"]]
        given = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        assert given.keys() == dimensions.keys(), name
        # A unit that is asked for finds only what was said with it.
        assert metric.get("Unit", unit) == unit, name
        assert given["FunctionName"] == "Writer", name  # !Ref Writer is the function's name


def test_the_alarms_ask_for_every_source_that_the_template_knows() -> None:
    sources = {
        each["Value"]
        for _, metric in metrics_of_alarms()
        for each in metric["Dimensions"]
        if each["Name"] == "Source"
    }
    joined = TEMPLATE["Resources"]["Writer"]["Properties"]["Environment"]["Variables"]["SOURCE_MAP"]
    mapped = set(re.findall(r"\b(calls|scorecards|sentiment_items|metric_events)\b", str(joined)))
    assert sources == mapped | {UNKNOWN_SOURCE}
    assert len(mapped) == 4


def test_the_dashboard_shows_every_metric_by_the_dimensions_it_has() -> None:
    body, _ = TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    searches = re.findall(r"SEARCH\('\{(.*?)\} (.*?) MetricName=\\\"(\w+)", body)
    assert {name for _, _, name in searches} == UNITS.keys()
    for schema, condition, _ in searches:
        assert schema == ",".join((NAMESPACE, *DIMENSIONS))
        assert condition == r"FunctionName=\"${Writer}\""


def test_the_log_lets_the_lines_through_as_they_are() -> None:
    assert TEMPLATE["Resources"]["Writer"]["Properties"]["LoggingConfig"]["LogFormat"] == "Text"


# --- the process --------------------------------------------------------------------------------------


def test_the_collector_is_set_in_lambda_alone() -> None:
    code = f"import gc, sys; sys.path.insert(0, {str(LAMBDA)!r}); import change_writer.handler"
    found = {}
    for name, environment in {"here": {}, "lambda": {"AWS_LAMBDA_FUNCTION_NAME": "f"}}.items():
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"{code}; print(gc.get_threshold()[0])"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found[name] = int(done.stdout)
    assert found == {"here": gc.get_threshold()[0], "lambda": handler.COLLECT_AFTER}
    assert found["here"] < found["lambda"]
