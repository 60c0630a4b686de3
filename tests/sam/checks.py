"""What the stack must be, whatever the linters let through. Each check gives what is wrong, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.sam.cloudformation import Stack

from change_writer.errors import SettingsError
from change_writer.metrics import DIMENSIONS, NAMESPACE, UNITS
from change_writer.settings import parse_settings

LAMBDA = Path(__file__).resolve().parents[2] / "lambda"
TEMPLATE = LAMBDA / "template.yaml"

_TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table"
STREAMS = {
    "CallsStreamArn": f"{_TABLE}/prod-calls/stream/2025-06-27T00:48:05.899",
    "ScorecardsStreamArn": f"{_TABLE}/prod-scorecards/stream/2025-06-28T00:48:05.899",
    "SentimentItemsStreamArn": f"{_TABLE}/sentiment-items-primary/stream/2025-06-29T00:48:05.899",
    "EventsStreamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/call-events",
}
SOURCES = {
    "Calls": ("prod-calls", "calls"),
    "Scorecards": ("prod-scorecards", "scorecards"),
    "SentimentItems": ("sentiment-items-primary", "sentiment_items"),
    "Events": ("call-events", "metric_events"),
}


def given(stack: Stack) -> list[str]:
    """The streams that the stack reads."""
    return [name for name in SOURCES if stack.parameters[f"{name}StreamArn"]]


KEYS = "arn:aws:kms:eu-west-1:123456789012:key/1,arn:aws:kms:eu-west-1:123456789012:key/2"


@dataclass(frozen=True)
class Allowed:
    """One statement of the writer's role: what is allowed, on what, under which condition, and for whom."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Mapping[str, Any] | None
    used_by: str


# All that the role may do. A statement more, or an action, or a resource, and the stack is wrong.
MAY = {
    "Land": Allowed(
        ("s3:PutObject",),
        ("{LandingBucket.Arn}/landing/*",),
        {"StringEquals": {"s3:if-none-match": "*"}},
        "the writer's put_object, and only with IfNoneMatch",
    ),
    "KeepFailedBatches": Allowed(
        ("s3:PutObject",), ("{FailureBucket.Arn}/*",), None, "Lambda, for the on-failure destination"
    ),
    "FindTheFailureBucket": Allowed(
        ("s3:ListBucket",), ("{FailureBucket.Arn}",), None, "Lambda, for the on-failure destination"
    ),
    "EncryptWhatIsPut": Allowed(
        ("kms:GenerateDataKey",),
        ("{DataKey.Arn}",),
        {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}},
        "S3, to encrypt what is put",
    ),
    "Log": Allowed(("logs:CreateLogStream", "logs:PutLogEvents"), ("{WriterLog.Arn}",), None, "Lambda"),
    "ReadTableStreams": Allowed(
        (
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
        ),
        tuple(arn for arn in STREAMS.values() if ":dynamodb:" in arn),
        None,
        "Lambda, to poll",
    ),
    "ReadEventsStream": Allowed(
        (
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
        ),
        (STREAMS["EventsStreamArn"],),
        None,
        "Lambda, to poll",
    ),
    "DecryptStreams": Allowed(
        ("kms:Decrypt",),
        tuple(KEYS.split(",")),
        {
            "StringEquals": {
                "kms:ViaService": ["dynamodb.eu-west-1.amazonaws.com", "kinesis.eu-west-1.amazonaws.com"]
            }
        },
        "Lambda, to poll streams under keys of the account",
    ),
}


def role(stack: Stack) -> Iterator[str]:
    """The role may do exactly what MAY lists, and only Lambda may take it."""
    writer = stack.resources["WriterRole"]
    if writer.keys() & {"ManagedPolicyArns", "PermissionsBoundary"}:
        yield "the role has policies from elsewhere"
    yield from _differs(
        "who may take the role",
        writer["AssumeRolePolicyDocument"]["Statement"],
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    )
    statements = [s for policy in writer["Policies"] for s in policy["PolicyDocument"]["Statement"]]
    found = {
        s.get("Sid"): (
            s["Effect"],
            _list(s.get("Action")),
            _list(s.get("Resource")),
            s.get("Condition"),
            *(s.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}),
        )
        for s in statements
    }
    wanted = {
        sid: ("Allow", list(a.actions), resources, a.condition)
        for sid, a in MAY.items()
        if (resources := _of_streams(stack, a.resources))
    }
    yield from _differs("what the role may do", found, wanted)
    if len(statements) != len(found):
        yield "two statements have the same Sid"
    others = {*stack.of_type("AWS::IAM::Role")} - {"WriterRole"}
    others |= {
        name for name, kind in stack.types.items() if kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
    }
    others |= {name for name, kind in stack.types.items() if kind == "AWS::Lambda::Permission"}
    if others:
        yield f"there are roles or policies that nothing accounts for: {sorted(others)}"


def _of_streams(stack: Stack, resources: tuple[str, ...]) -> list[str]:
    """Without those of streams that the stack does not read."""
    others = {arn for arn in STREAMS.values() if arn not in stack.parameters.values()}
    return [resource for resource in resources if resource not in others]


def mappings(stack: Stack) -> Iterator[str]:
    """A mapping for each stream, property by property."""
    wanted = {
        f"{name}Mapping": {
            "FunctionName": "{Writer}",
            "EventSourceArn": STREAMS[f"{name}StreamArn"],
            "Enabled": "true",
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 100 if name == "Events" else 500,
            "MaximumBatchingWindowInSeconds": 5,
            "ParallelizationFactor": 2,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": 12 * 60 * 60,
            "DestinationConfig": {"OnFailure": {"Destination": "{FailureBucket.Arn}"}},
            "MetricsConfig": {"Metrics": ["EventCount"]},
        }
        for name in given(stack)
    }
    yield from _differs("the event source mappings", stack.of_type("AWS::Lambda::EventSourceMapping"), wanted)


def function(stack: Stack) -> Iterator[str]:
    """The function, its environment as its own settings read it, and its log."""
    functions = stack.of_type("AWS::Lambda::Function")
    if functions.keys() != {"Writer"}:
        yield f"the functions are {sorted(functions)}"
        return
    writer = functions["Writer"]
    variables = writer["Environment"]["Variables"]
    for name, wanted in {
        "Runtime": "python3.14",
        "Architectures": ["arm64"],
        "Handler": "change_writer.handler.lambda_handler",
        "Role": "{WriterRole.Arn}",
        "Timeout": 60,
        "MemorySize": 512,
        "ReservedConcurrentExecutions": 10,
        # JSON would wrap the lines that hold metrics.
        "LoggingConfig": {"LogGroup": "{WriterLog}", "LogFormat": "Text"},
        "Layers": None,
    }.items():
        yield from _differs(f"the function's {name}", writer.get(name), wanted)
    if variables.keys() != VARIABLES:
        yield f"the function's variables are {sorted(variables)}"
    # A reference stands for a name that CloudFormation makes.
    environ = {name: re.sub(r"[{}]", "", str(value)) for name, value in variables.items()}
    try:
        settings = parse_settings(environ)
    except SettingsError as error:
        yield f"the function does not take its variables: {error}"
        return
    yield from _differs("where it lands", (settings.bucket, settings.prefix), ("LandingBucket", "landing"))
    sources = dict(SOURCES[name] for name in given(stack))
    yield from _differs("the sources", dict(settings.sources), sources)
    yield from _differs(
        "its limits and format",
        (settings.max_records, settings.max_payload_bytes, settings.log_level, settings.landing_format),
        (2000, 8_000_000, "INFO", "ndjson"),
    )
    yield from _differs(
        "the log",
        stack.resources["WriterLog"],
        {
            "LogGroupName": "/aws/lambda/lakehouse-change-writer",
            "RetentionInDays": 30,
            "KmsKeyId": "{OperationsKey.Arn}",
        },
    )


VARIABLES = {
    "S3_BUCKET",
    "S3_PREFIX",
    "SOURCE_MAP",
    "MAX_RECORDS",
    "MAX_PAYLOAD_BYTES",
    "LOG_LEVEL",
    "LANDING_FORMAT",
}


def layers(stack: Stack) -> Iterator[str]:
    """No layer: nobody who lands NDJSON carries pyarrow."""
    yield from _differs("the layers", stack.of_type(LAYER), {})


LAYER = "AWS::Lambda::LayerVersion"


# Not `Retain`, which would leave them behind whenever the first deployment fails.
KEPT = ("RetainExceptOnCreate", "Retain")


def buckets(stack: Stack) -> Iterator[str]:
    """Both buckets: kept, encrypted under the data's key, closed, TLS only, nothing that expires."""
    kept = stack.of_type("AWS::S3::Bucket")
    yield from _differs("the buckets", sorted(kept), ["FailureBucket", "LandingBucket"])
    for name, bucket in kept.items():
        yield from _differs(f"what becomes of {name}", stack.policies[name], KEPT)
        wanted = {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {
                        "BucketKeyEnabled": True,
                        "ServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": "{DataKey.Arn}",
                        },
                    }
                ]
            },
            "PublicAccessBlockConfiguration": dict.fromkeys(
                ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
            ),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "VersioningConfiguration": {"Status": "Enabled"},
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": "deleted-and-unfinished",
                        "Status": "Enabled",
                        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                    }
                ]
            },
        }
        if name == "LandingBucket":
            wanted["MetricsConfigurations"] = [{"Id": "EntireBucket"}]
        yield from _differs(name, bucket, wanted)
    policies = {
        p["Bucket"]: p["PolicyDocument"]["Statement"] for p in stack.of_type("AWS::S3::BucketPolicy").values()
    }
    for name in kept:
        both = [f"{{{name}.Arn}}", f"{{{name}.Arn}}/*"]
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": both}
        wanted_statements = [
            {"Sid": "OnlyTLS", **deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Sid": "OnlyTLS12", **deny, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
        ]
        yield from _differs(f"the policy of {name}", policies.get(f"{{{name}}}"), wanted_statements)


_OWNER = {
    "Sid": "AccountDecides",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "kms:*",
    "Resource": "*",
}


def keys(stack: Stack) -> Iterator[str]:
    """The data's key is left to IAM, and kept; the other may be used by log, alarms and alerts."""
    log = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/lakehouse-change-writer"
    use = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    statements = {
        "DataKey": [_OWNER],
        "OperationsKey": [
            _OWNER,
            {
                "Sid": "LogsEncryptTheLog",
                "Effect": "Allow",
                "Principal": {"Service": "logs.eu-west-1.amazonaws.com"},
                "Action": use,
                "Resource": "*",
                "Condition": {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log}},
            },
            {
                "Sid": "AlertsAreEncrypted",
                "Effect": "Allow",
                "Principal": {"Service": ["cloudwatch.amazonaws.com", "events.amazonaws.com"]},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                "Resource": "*",
            },
        ],
    }
    found = stack.of_type("AWS::KMS::Key")
    yield from _differs(
        "the keys' policies", {n: k["KeyPolicy"]["Statement"] for n, k in found.items()}, statements
    )
    for name, key in found.items():
        said = {member: key[member] for member in key if member not in ("Description", "KeyPolicy")}
        days = {"PendingWindowInDays": 30} if name == "DataKey" else {}
        yield from _differs(name, said, {"EnableKeyRotation": True} | days)
    yield from _differs("what becomes of DataKey", stack.policies["DataKey"], KEPT)


def alerts(stack: Stack) -> Iterator[str]:
    """The alerts' way: bus, rule, topic, who may publish to it, and who gets mail."""
    topic = "{AlertsTopic}"
    publish = {"Action": "sns:Publish", "Resource": topic}
    policy = stack.resources["AlertsTopicPolicy"]
    yield from _differs("whose the topic's policy is", policy["Topics"], [topic])
    yield from _differs(
        "the topic's policy",
        policy["PolicyDocument"]["Statement"],
        [
            {
                "Sid": "Alarms",
                "Effect": "Allow",
                "Principal": {"Service": "cloudwatch.amazonaws.com"},
                **publish,
                "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
            },
            # EventBridge publishes to SNS without saying for whom: any condition here refuses every alert.
            {"Sid": "Alerts", "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, **publish},
            {
                "Sid": "OnlyTLS",
                "Effect": "Deny",
                "Principal": "*",
                **publish,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    )
    yield from _differs(
        "the topic's key", stack.resources["AlertsTopic"].get("KmsMasterKeyId"), "{OperationsKey}"
    )
    rule = {**stack.resources["AlertsRule"]}
    rule.pop("Description", None)
    wanted = {
        "EventBusName": "default",
        "EventPattern": {"source": ["lakehouse.alerts"]},
        "Targets": [{"Id": "topic", "Arn": topic}],
    }
    yield from _differs("the rule", rule, wanted)
    email = stack.parameters["AlertEmail"]
    mail = {"AlertsByMail": {"TopicArn": topic, "Protocol": "email", "Endpoint": email}} if email else {}
    yield from _differs("the mail", stack.of_type("AWS::SNS::Subscription"), mail)


# What there is to measure, and under which names it is found.
_FUNCTION, _MAPPING = ("FunctionName",), ("EventSourceMappingUUID",)
METRICS = {
    **{
        ("AWS/Lambda", name): _FUNCTION
        for name in (
            "ConcurrentExecutions",
            "DestinationDeliveryFailures",
            "Duration",
            "Errors",
            "Invocations",
            "IteratorAge",
            "Throttles",
        )
    },
    **{
        ("AWS/Lambda", name): _MAPPING
        for name in (
            "DroppedEventCount",
            "FailedInvokeEventCount",
            "OnFailureDestinationDeliveredEventCount",
            "PolledEventCount",
        )
    },
    **{("AWS/S3", name): ("BucketName", "FilterId") for name in ("4xxErrors", "5xxErrors", "PutRequests")},
    # What the writer itself says: tests/aws holds that it does, unit by unit.
    **{(NAMESPACE, name): DIMENSIONS for name in UNITS},
}
_EACH_SOURCE = tuple(
    {"FunctionName": "{Writer}", "Source": source}
    for source in (*(s for _, s in SOURCES.values()), "unknown")
)
_EACH_MAPPING = tuple({"EventSourceMappingUUID": f"{{{name}Mapping}}"} for name in SOURCES)
_WRITER = ({"FunctionName": "{Writer}"},)
_BUCKET = ({"BucketName": "{LandingBucket}", "FilterId": "EntireBucket"},)


@dataclass(frozen=True)
class Alarm:
    """An alarm: the sum or maximum of a metric over `seconds`, `times` in a row, above `above`.

    `ends`: it tells of its end too. What tells of records that are gone has no end by itself.
    """

    metric: str
    of: tuple[dict[str, str], ...]
    statistic: str
    seconds: int
    above: float
    times: int = 1
    expression: str | None = "SUM(METRICS())"
    ends: bool = True


ALARMS = {
    "FallingBehind": Alarm("AWS/Lambda IteratorAge", _WRITER, "Maximum", 60, 60_000, 2),
    "FarBehind": Alarm("AWS/Lambda IteratorAge", _WRITER, "Maximum", 60, 6 * 60 * 60 * 1000),
    "HandlerErrors": Alarm("AWS/Lambda Errors", _WRITER, "Sum", 300, 10),
    "BatchesFail": Alarm("AWS/Lambda FailedInvokeEventCount", _EACH_MAPPING, "Sum", 300, 0, 3),
    "Throttles": Alarm("AWS/Lambda Throttles", _WRITER, "Sum", 300, 0, 3),
    "NearTimeout": Alarm("AWS/Lambda Duration", _WRITER, "Maximum", 300, 80, 1, "duration / (10 * 60)"),
    "SentToFailureBucket": Alarm(
        "AWS/Lambda OnFailureDestinationDeliveredEventCount", _EACH_MAPPING, "Sum", 300, 0, ends=False
    ),
    "EventsDropped": Alarm("AWS/Lambda DroppedEventCount", _EACH_MAPPING, "Sum", 300, 0, ends=False),
    "FailureBucketRefuses": Alarm("AWS/Lambda DestinationDeliveryFailures", _WRITER, "Sum", 300, 0),
    "Quarantined": Alarm("Lakehouse/ChangeWriter Quarantined", _EACH_SOURCE, "Sum", 300, 0),
    "LandingBucket4xx": Alarm("AWS/S3 4xxErrors", _BUCKET, "Sum", 300, 50, 2),
    "LandingBucket5xx": Alarm("AWS/S3 5xxErrors", _BUCKET, "Sum", 300, 10, 2),
}


def alarms(stack: Stack) -> Iterator[str]:
    """Every alarm of ALARMS, and for each stream one that its polling has stopped; all tell the topic."""
    found = stack.of_type("AWS::CloudWatch::Alarm")
    idle = {f"{name}NotPolled": name for name in given(stack)}
    wanted = {name: _of_stack(stack, alarm) for name, alarm in ALARMS.items()}
    # CloudWatch refuses one over nothing.
    wanted = {name: alarm for name, alarm in wanted.items() if alarm.of}
    yield from _differs("the alarms", sorted(found), sorted({*wanted, *idle}))
    for name, alarm in found.items():
        told = ["{AlertsTopic}"]
        yield from _differs(f"{name}: AlarmActions", alarm.get("AlarmActions"), told)
        ends = name not in wanted or wanted[name].ends
        yield from _differs(f"{name}: OKActions", alarm.get("OKActions"), told if ends else None)
        if alarm.get("ActionsEnabled", True) is not True:
            yield f"{name}: it tells nobody"
        if name in idle:
            yield from _not_polled(name, alarm, {"EventSourceMappingUUID": f"{{{idle[name]}Mapping}}"})
        elif name in wanted:
            yield from _alarm(name, alarm, wanted[name])


def _of_stack(stack: Stack, alarm: Alarm) -> Alarm:
    """The alarm, without what it measures of mappings that are not there."""
    there = [{"EventSourceMappingUUID": f"{{{name}Mapping}}"} for name in given(stack)]
    return replace(alarm, of=tuple(each for each in alarm.of if each in there or each not in _EACH_MAPPING))


def _alarm(name: str, alarm: Mapping[str, Any], wanted: Alarm) -> Iterator[str]:
    several = len(ALARMS[name].of) > 1 or name == "NearTimeout"
    if several:
        (shown,) = [m for m in alarm["Metrics"] if m.get("ReturnData", True)]
        yield from _differs(f"{name}: Expression", shown.get("Expression"), wanted.expression)
        statistics = [m["MetricStat"] for m in alarm["Metrics"] if m is not shown]
    else:
        statistics = [
            {"Stat": alarm.get("Statistic"), "Period": alarm.get("Period"), "Metric": alarm},
        ]
    found = [
        (
            f"{s['Metric'].get('Namespace')} {s['Metric'].get('MetricName')}",
            _dimensions(s["Metric"]),
            s["Stat"],
            s["Period"],
        )
        for s in statistics
    ]
    yield from _differs(
        f"{name}: what it measures",
        found,
        [(wanted.metric, dimensions, wanted.statistic, wanted.seconds) for dimensions in wanted.of],
    )
    yield from _differs(
        f"{name}: when it goes off",
        [alarm.get(k) for k in ("ComparisonOperator", "Threshold", "EvaluationPeriods", "DatapointsToAlarm")],
        ["GreaterThanThreshold", wanted.above, wanted.times, None],
    )
    yield from _differs(f"{name}: without data", alarm.get("TreatMissingData"), "notBreaching")


def _not_polled(name: str, alarm: Mapping[str, Any], of: dict[str, str]) -> Iterator[str]:
    members = ("Namespace", "MetricName", "Statistic", "Period", "ComparisonOperator", "Threshold")
    found = [alarm.get(m) for m in (*members, "EvaluationPeriods", "TreatMissingData")]
    # Without data is what it is for.
    wanted = ["AWS/Lambda", "PolledEventCount", "SampleCount", 300, "LessThanThreshold", 1, 3, "breaching"]
    yield from _differs(name, found, wanted)
    yield from _differs(f"{name}: of", _dimensions(alarm), of)


def dashboard(stack: Stack) -> Iterator[str]:
    """The dashboard is JSON, its widgets do not overlap, and it shows only what there is to measure.

    Its name has the region in it: an account's dashboards are those of all regions.
    """
    name = stack.resources["Dashboard"]["DashboardName"]
    yield from _differs("the dashboard's name", name, "lakehouse-eu-west-1-change-writer")
    try:
        widgets = json.loads(stack.resources["Dashboard"]["DashboardBody"])["widgets"]
    except ValueError as error:
        yield f"the dashboard is no JSON: {error}"
        return
    places = [(w["x"], w["y"]) for w in widgets]
    if len(places) != len(set(places)) or any(w["x"] + w["width"] > 24 for w in widgets):
        yield "the dashboard's widgets overlap"
    shown = set()
    for metric in (metric for widget in widgets for metric in widget["properties"]["metrics"]):
        if isinstance(metric[0], dict):
            search = re.fullmatch(
                r"SEARCH\('\{([\w/]+),([\w,]+)\} FunctionName=\"\{Writer\}\" MetricName=\"(\w+)\"', "
                r"'(?:Sum|Maximum)', 60\)",
                metric[0]["expression"],
            )
            if not search:
                yield f"the dashboard's expression {metric[0]} is none that is known"
                continue
            namespace, dimensions, name = search.groups()
            names = tuple(dimensions.split(","))
        else:
            namespace, name, *rest = metric
            names = tuple(part for part in rest[::2] if isinstance(part, str))
        shown.add((namespace, name))
        yield from _differs(f"the dashboard's {namespace} {name}", names, METRICS.get((namespace, name)))
    yield from _differs("what the dashboard shows", sorted(METRICS.keys() - shown), [])


OUTPUTS = {
    "LandingUrl": "s3://{LandingBucket}/landing",
    "LandingBucketName": "{LandingBucket}",
    "DataKeyArn": "{DataKey.Arn}",
    "FailureUrl": "s3://{FailureBucket}/aws/lambda",
    "FailureBucketName": "{FailureBucket}",
    "WriterName": "{Writer}",
    "WriterArn": "{Writer.Arn}",
    "WriterRoleArn": "{WriterRole.Arn}",
    "WriterLogName": "{WriterLog}",
    "AlertsTopicArn": "{AlertsTopic}",
    "AlertsEventBusName": "default",
    "AlertsEventSource": "lakehouse.alerts",
}


def outputs(stack: Stack) -> Iterator[str]:
    """What the bundle is told."""
    mapped = {f"{name}MappingId": f"{{{name}Mapping}}" for name in given(stack)}
    yield from _differs("the outputs", stack.outputs, OUTPUTS | mapped)


CHECKS: tuple[Callable[[Stack], Iterator[str]], ...] = (
    role,
    mappings,
    function,
    layers,
    buckets,
    keys,
    alerts,
    alarms,
    dashboard,
    outputs,
)


OF_STREAMS = (role, mappings, function, alarms, outputs)
"""The checks of what depends on which streams are given."""


def problems(template: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a transformed template: with all streams given, the rest by default; with
    mail; and, in what depends on it, with any other choice of streams, none included."""
    whole = Stack(template, **STREAMS, SourceKeyArns=KEYS)
    found = [problem for check in CHECKS for problem in check(whole)]
    found += alerts(Stack(template, AlertEmail="alerts@example.com"))
    for count in range(len(STREAMS)):
        for names in combinations(STREAMS, count):
            stack = Stack(template, **{name: STREAMS[name] for name in names}, SourceKeyArns=KEYS)
            found += (problem for check in OF_STREAMS for problem in check(stack))
    return found


def _differs(what: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {found!r} instead of {wanted!r}"


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _dimensions(metric: Mapping[str, Any]) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", ())}
