"""The template: clean before every tool, and the stack that it promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.sam import tools
from tests.sam.checks import KEYS, LAYER, SOURCES, STREAMS, TEMPLATE, VARIABLES, problems
from tests.sam.cloudformation import Stack

from change_writer.settings import parse_settings

pytestmark = pytest.mark.extra


def test_sam_finds_nothing_in_the_template() -> None:
    assert tools.validate(TEMPLATE) == []


def test_cfn_lint_finds_nothing_in_what_cloudformation_gets(transformed_file: Path) -> None:
    assert tools.cfn_lint([transformed_file]) == {}


def test_checkov_finds_nothing_but_what_is_suppressed_with_a_reason(
    transformed: dict[str, Any], transformed_file: Path
) -> None:
    failed, skipped = tools.checkov(transformed_file.parent)
    assert failed == {}
    declared = [
        (skip["id"], name)
        for name, resource in transformed["Resources"].items()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", ())
        if len(skip["comment"].split()) > 5
    ]
    # As many as are used: one that suppresses nothing is stale, one without a reason does not count.
    assert sorted(skipped["template"]) == sorted(declared)
    assert len(declared) == len(set(declared))


def test_nothing_else_is_suppressed(transformed: dict[str, Any]) -> None:
    kinds = {kind for resource in transformed["Resources"].values() for kind in resource.get("Metadata", {})}
    assert kinds <= {"checkov"}
    assert not re.search(r"#\s*(checkov|cfn-lint|noqa)", TEMPLATE.read_text(encoding="utf-8"))


def test_the_stack_is_what_it_should_be(transformed: dict[str, Any]) -> None:
    assert problems(transformed) == []


def test_cloudformation_gets_no_aliases() -> None:
    # YAML aliases and merges are what CloudFormation does not read.
    assert not re.search(
        r"^[^#\n]*(?:: |- )[&*][A-Za-z]|<<:", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE
    )


@pytest.mark.parametrize("left_out", [*SOURCES])
def test_a_stream_that_is_not_given_leaves_nothing_behind(transformed: dict[str, Any], left_out: str) -> None:
    arn = STREAMS[f"{left_out}StreamArn"]
    given = {name: value for name, value in STREAMS.items() if value != arn}
    stack = Stack(transformed, **given)
    everything = repr((stack.resources, stack.outputs))
    assert arn not in everything
    assert f"{{{left_out}Mapping}}" not in everything
    assert left_out + "Mapping" not in stack.resources
    assert left_out + "NotPolled" not in stack.resources
    assert len(stack.of_type("AWS::Lambda::EventSourceMapping")) == 3
    assert _sources(stack) == dict(pair for name, pair in SOURCES.items() if name != left_out)
    assert "DecryptStreams" not in everything


def _sources(stack: Stack) -> dict[str, str]:
    """The sources that the writer reads out of its variables."""
    variables = stack.resources["Writer"]["Environment"]["Variables"] | {"S3_BUCKET": "bucket"}
    return dict(parse_settings({name: str(value) for name, value in variables.items()}).sources)


def test_without_any_stream_the_stack_can_be_made(transformed: dict[str, Any]) -> None:
    stack = Stack(transformed)
    statements = stack.resources["WriterRole"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert not [s["Sid"] for s in statements if re.search(r"kinesis|dynamodb", repr(s["Action"]))]
    assert _sources(stack) == {}
    # An alarm over no metrics at all would be refused.
    assert not {"BatchesFail", "SentToFailureBucket", "EventsDropped"} & stack.resources.keys()


def test_what_expires_expires_below_the_prefix_only(transformed: dict[str, Any]) -> None:
    stack = Stack(transformed, LandingExpiryDays=400, FailureExpiryDays=90, LandingPrefix="a/b")
    rules = [
        [r for r in stack.resources[name]["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in r]
        for name in ("LandingBucket", "FailureBucket")
    ]
    assert rules == [
        [{"Id": "expiry", "Status": "Enabled", "Prefix": "a/b/", "ExpirationInDays": 400}],
        [{"Id": "expiry", "Status": "Enabled", "ExpirationInDays": 90}],
    ]


def test_parquet_adds_its_layer_and_changes_nothing_else(transformed: dict[str, Any]) -> None:
    before, stack = Stack(transformed, **STREAMS), Stack(transformed, **STREAMS, LandingFormat="parquet")
    ((name, layer),) = stack.of_type(LAYER).items()
    writer, plain = stack.resources["Writer"], before.resources["Writer"]
    assert writer.pop("Layers") == [f"{{{name}}}"]
    assert layer["CompatibleArchitectures"] == writer["Architectures"]
    assert layer["CompatibleRuntimes"] == [writer["Runtime"]]
    assert layer["Content"] == {"S3Bucket": "bucket", "S3Key": "layer"}
    assert writer["Environment"]["Variables"].pop("LANDING_FORMAT") == "parquet"
    assert plain["Environment"]["Variables"].pop("LANDING_FORMAT") == "ndjson"
    del stack.resources[name]
    assert (stack.resources, stack.outputs) == (before.resources, before.outputs)


def test_every_parameter_changes_something(transformed: dict[str, Any]) -> None:
    before = _seen(Stack(transformed, **STREAMS, SourceKeyArns=KEYS))
    unused = []
    for name, declared in transformed["Parameters"].items():
        other: Any = "other"
        if declared["Type"] == "Number":
            other = int(declared["Default"]) + 1
        given: dict[str, Any] = {**STREAMS, "SourceKeyArns": KEYS, name: other}
        if name in STREAMS:
            given[name] = STREAMS[name].replace("stream/", "stream/x", 1)
        if _seen(Stack(transformed, **given)) == before:
            unused.append(name)
    assert unused == []


def _seen(stack: Stack) -> str:
    return repr((stack.resources, stack.outputs))


def test_the_bounds_of_the_parameters_are_those_of_lambda(transformed: dict[str, Any]) -> None:
    bounds = {
        name: (what["Default"], what["MinValue"], what["MaxValue"])
        for name, what in transformed["Parameters"].items()
        if "MaxValue" in what
    }
    assert bounds == {
        "BatchSize": (500, 1, 10_000),
        "KinesisBatchSize": (100, 1, 10_000),
        "BatchingWindowSeconds": (5, 1, 30),
        "ParallelizationFactor": (2, 1, 10),
        # Above, the record would leave the stream, after 24 hours, before it went to the failure bucket.
        # Below, it would go before the alarm FarBehind, at 6 hours, has told anybody.
        "MaximumRecordAgeSeconds": (43_200, 28_800, 79_200),
        "TimeoutSeconds": (60, 10, 900),
        "MemoryMegabytes": (512, 256, 10_240),
        "ReservedConcurrency": (10, 1, 1000),
    }


def test_no_limit_of_an_object_may_be_nothing(transformed: dict[str, Any]) -> None:
    for name in ("MaxRecordsPerObject", "MaxBytesPerObject"):
        assert transformed["Parameters"][name]["MinValue"] == 1


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("CallsStreamArn", STREAMS["CallsStreamArn"], STREAMS["CallsStreamArn"].partition("/stream/")[0]),
        ("ScorecardsStreamArn", STREAMS["ScorecardsStreamArn"], STREAMS["EventsStreamArn"]),
        ("SentimentItemsStreamArn", STREAMS["SentimentItemsStreamArn"], "sentiment-items-primary"),
        ("EventsStreamArn", STREAMS["EventsStreamArn"], STREAMS["CallsStreamArn"]),
        (
            "EventsStreamArn",
            "arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/abc",
            "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/abc",  # its services have other names
        ),
        ("LandingPrefix", "landing/prod", "/landing"),
        ("LandingPrefix", "landing_2", "landing/"),
        ("LandingPrefix", "a.b-c", ""),
        ("LandingPrefix", "a", "_landing"),
        ("LandingPrefix", "a/b", "a//b"),
        ("LandingPrefix", "a/b", "a/*"),
        ("AlertsEventSource", "lakehouse.alerts", "aws.lakehouse"),
        ("AlertsEventBusName", "default", ""),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_made(
    transformed: dict[str, Any], parameter: str, good: str, bad: str
) -> None:
    pattern = transformed["Parameters"][parameter]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_the_writer_takes_all_its_variables_from_the_template() -> None:
    asked = set()

    class Environment(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return {"S3_BUCKET": "bucket"}.get(name, default)

    parse_settings(Environment())
    assert asked == VARIABLES
