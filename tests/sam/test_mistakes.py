"""Single mistakes in the template, each of which something finds; most of them not by the linters.

What the linters find is held too: once they find more, a check of our own may go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.sam import tools
from tests.sam.checks import TEMPLATE, problems

# The linters look at 75 templates before the first test begins.
pytestmark = [pytest.mark.extra, pytest.mark.timeout(1200)]

CALLS = "  CallsMapping:"
SCORECARDS = "  ScorecardsMapping:"
LANDING = "  LandingBucket:"
LANDING_POLICY = "  LandingBucketPolicy:"
ROLE = "  WriterRole:"
WRITER = "  Writer:"


@dataclass(frozen=True)
class Mistake:
    """In the part of the template that begins with `part`, `right` becomes `wrong`, once."""

    part: str
    right: str
    wrong: str
    found_by: frozenset[str] = frozenset()
    """The tools that find it: sam (the transform), cfn-lint, checkov. What none finds, ours must."""


def mistake(part: str, right: str, wrong: str, *found_by: str) -> Mistake:
    return Mistake(part, right, wrong, frozenset(found_by))


MISTAKES = {
    # --- how streams are read ---
    "batch of 20,000": mistake(CALLS, "BatchSize: !Ref BatchSize", "BatchSize: 20000", "cfn-lint"),
    "batch of 20,000 by default": mistake(
        "  BatchSize:",
        "Default: 500\n    MinValue: 1\n    MaxValue: 10000",
        "Default: 20000\n    MinValue: 1",
        "cfn-lint",
    ),
    "Kinesis takes the tables' batch": mistake(
        "  EventsMapping:", "!Ref KinesisBatchSize", "!Ref BatchSize", "cfn-lint"
    ),
    "starts now": mistake(CALLS, "TRIM_HORIZON", "NOW", "cfn-lint"),
    "starts at the latest": mistake(CALLS, "TRIM_HORIZON", "LATEST"),
    "a window of 301 s": mistake(CALLS, "!Ref BatchingWindowSeconds", "301", "cfn-lint"),
    "a factor of 11": mistake(CALLS, "!Ref ParallelizationFactor", "11", "cfn-lint"),
    "a property misspelt": mistake(
        CALLS, "MaximumBatchingWindowInSeconds", "MaximumBatchingWindowInSecond", "cfn-lint"
    ),
    "no partial answers": mistake(CALLS, "[ReportBatchItemFailures]", "[]"),
    "partial answers misspelt": mistake(
        CALLS, "[ReportBatchItemFailures]", "[ReportBatchItemFailure]", "cfn-lint"
    ),
    "no bisection": mistake(CALLS, "BisectBatchOnFunctionError: true", "BisectBatchOnFunctionError: false"),
    "three attempts": mistake(CALLS, "MaximumRetryAttempts: -1", "MaximumRetryAttempts: 3"),
    "no bound of age": mistake(CALLS, "!Ref MaximumRecordAgeSeconds", "-1"),
    "older than the stream keeps": mistake(
        "  MaximumRecordAgeSeconds:", "Default: 43200", "Default: 604800", "cfn-lint"
    ),
    "failed batches among what landed": mistake(
        CALLS, "!GetAtt FailureBucket.Arn", "!GetAtt LandingBucket.Arn"
    ),
    "failed batches nowhere": mistake(
        CALLS,
        "      DestinationConfig:\n        OnFailure:\n          Destination: !GetAtt FailureBucket.Arn\n",
        "",
    ),
    "no metrics of events": mistake(CALLS, "Metrics: [EventCount]", "Metrics: []"),
    "metrics of events misspelt": mistake(
        CALLS, "Metrics: [EventCount]", "Metrics: [EventCounts]", "cfn-lint"
    ),
    "another table's stream": mistake(
        SCORECARDS, "!Ref ScorecardsStreamArn", "!Ref CallsStreamArn", "cfn-lint"
    ),
    "another table's condition": mistake(
        SCORECARDS, "Condition: ReadsScorecards", "Condition: ReadsNothing", "cfn-lint"
    ),
    "a mapping that is always off": mistake(CALLS, "!Ref MappingsEnabled", "false"),
    # --- what the role may do ---
    "an action misspelt": mistake(ROLE, "Action: s3:PutObject", "Action: s3:PutObjectt", "cfn-lint"),
    "every action on objects": mistake(ROLE, "Action: s3:PutObject", "Action: s3:*"),
    "reads what landed": mistake(ROLE, "Action: s3:PutObject\n", "Action: [s3:PutObject, s3:GetObject]\n"),
    "puts anywhere in the bucket": mistake(ROLE, "/${LandingPrefix}/*", "/*"),
    "overwrites what landed": mistake(
        ROLE,
        "                Condition:\n                  StringEquals:\n"
        '                    s3:if-none-match: "*"\n',
        "",
    ),
    "any bucket": mistake(ROLE, "Resource: !Sub ${FailureBucket.Arn}/*", 'Resource: "*"'),
    "any log group": mistake(ROLE, "Resource: !GetAtt WriterLog.Arn", 'Resource: "*"'),
    "any key": mistake(ROLE, "Resource: !GetAtt DataKey.Arn", 'Resource: "*"'),
    "any stream": mistake(ROLE, "Resource: !Ref EventsStreamArn", 'Resource: "*"'),
    "uses the key by itself": mistake(
        ROLE,
        "                Condition:\n                  StringEquals:\n"
        "                    kms:ViaService: !Sub s3.${AWS::Region}.amazonaws.com\n",
        "",
    ),
    "a managed policy": mistake(
        ROLE,
        "      Policies:\n",
        "      ManagedPolicyArns: [arn:aws:iam::aws:policy/service-role/AWSLambdaDynamoDBExecutionRole]\n"
        "      Policies:\n",
    ),
    "anybody takes the role": mistake(ROLE, "Service: lambda.amazonaws.com", 'AWS: "*"', "checkov"),
    "a role that SAM makes": mistake(WRITER, "      Role: !GetAtt WriterRole.Arn\n", "", "sam"),
    # --- the function ---
    "a Python that Lambda has not": mistake(WRITER, "python3.14", "python3.99", "cfn-lint"),
    "a Python of yesterday": mistake(WRITER, "python3.14", "python3.12"),
    "the other processor": mistake(WRITER, "[arm64]", "[x86_64]"),
    "another handler": mistake(WRITER, "handler.lambda_handler", "handler.handler"),
    "a variable misspelt": mistake(WRITER, "S3_BUCKET:", "S3_BUKET:"),
    "a source that is another table's": mistake(WRITER, "]], sentiment_items]]", "]], scorecards]]"),
    "a source under another name": mistake(WRITER, "]], sentiment_items]]", "]], sentiment-items]]"),
    "a layer for everybody": mistake("  ParquetLayer:", "    Condition: LandsParquet\n", ""),
    "a layer where it is not asked for": mistake(
        WRITER,
        "!If [LandsParquet, [!Ref ParquetLayer], !Ref AWS::NoValue]",
        "[!Ref ParquetLayer]",
        "cfn-lint",
    ),
    "Parquet by default": mistake("  LandingFormat:", "Default: ndjson", "Default: parquet"),
    "a time-out in milliseconds": mistake(WRITER, "!Ref TimeoutSeconds", "60000", "cfn-lint"),
    "no concurrency of its own": mistake(
        WRITER, "      ReservedConcurrentExecutions: !Ref ReservedConcurrency\n", "", "cfn-lint", "checkov"
    ),
    "metrics wrapped in JSON": mistake(WRITER, "LogFormat: Text", "LogFormat: JSON"),
    "a log for ever": mistake(
        "  WriterLog:", "      RetentionInDays: !Ref LogRetentionDays\n", "", "cfn-lint", "checkov"
    ),
    # --- the buckets ---
    "no TLS": mistake(LANDING_POLICY, 'aws:SecureTransport: "false"', 'aws:SecureTransport: "true"'),
    "TLS for the objects only": mistake(LANDING_POLICY, "              - !GetAtt LandingBucket.Arn\n", ""),
    "no policy of the bucket": mistake(
        LANDING_POLICY, "Bucket: !Ref LandingBucket", "Bucket: !Ref FailureBucket", "cfn-lint"
    ),
    "public policies": mistake(LANDING, "BlockPublicPolicy: true", "BlockPublicPolicy: false", "checkov"),
    "public access lists": mistake(LANDING, "        BlockPublicAcls: true\n", "", "checkov"),
    "S3's own key": mistake(LANDING, "SSEAlgorithm: aws:kms", "SSEAlgorithm: AES256"),
    "a call to KMS for each object": mistake(LANDING, "BucketKeyEnabled: true", "BucketKeyEnabled: false"),
    "expires by default": mistake("  LandingExpiryDays:", "Default: 0", "Default: 30"),
    "gone with the stack": mistake(LANDING, "DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Delete"),
    "left behind by a first deployment that fails": mistake(
        LANDING, "DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Retain"
    ),
    "a key that is off": mistake(
        "  DataKey:", "EnableKeyRotation: true", "Enabled: false\n      EnableKeyRotation: true"
    ),
    "no versions": mistake(
        LANDING, "Status: Enabled\n      Lifecycle", "Status: Suspended\n      Lifecycle", "checkov"
    ),
    "no metrics of requests": mistake(
        LANDING, "      MetricsConfigurations:\n        - Id: EntireBucket\n", ""
    ),
    "a key that is not rotated": mistake(
        "  DataKey:", "EnableKeyRotation: true", "EnableKeyRotation: false", "checkov"
    ),
    "a key for everybody": mistake(
        "  DataKey:", "AWS: !Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:root", 'AWS: "*"', "checkov"
    ),
    # --- alarms and alerts ---
    "seconds for milliseconds": mistake("  FallingBehind:", "Threshold: 60000", "Threshold: 60"),
    "a metric misspelt": mistake(
        "  EventsDropped:", "MetricName: DroppedEventCount", "MetricName: DropedEventCount"
    ),
    "a metric by another name's dimension": mistake(
        "  FallingBehind:", "Name: FunctionName", "Name: Function"
    ),
    "an average of ages": mistake("  FarBehind:", "Statistic: Maximum", "Statistic: Average"),
    "half the time-out": mistake(
        "  NearTimeout:", "duration / (10 * ${TimeoutSeconds})", "duration / (20 * ${TimeoutSeconds})"
    ),
    "an alarm that nobody hears": mistake("  HandlerErrors:", "      AlarmActions: [!Ref AlertsTopic]\n", ""),
    "silence is good news": mistake("  CallsNotPolled:", "breaching", "notBreaching"),
    "one source's quarantine": mistake("  Quarantined:", "Value: unknown", "Value: calls"),
    "a condition that EventBridge cannot meet": mistake(
        "  AlertsTopicPolicy:",
        "            Resource: !Ref AlertsTopic\n          - Sid: OnlyTLS",
        "            Resource: !Ref AlertsTopic\n            Condition:\n              StringEquals:\n"
        "                aws:SourceAccount: !Ref AWS::AccountId\n          - Sid: OnlyTLS",
    ),
    "a topic in clear": mistake(
        "  AlertsTopic:", "      KmsMasterKeyId: !Ref OperationsKey\n", "", "checkov"
    ),
    "a key that CloudWatch cannot use": mistake("  AlertsTopic:", "!Ref OperationsKey", "alias/aws/sns"),
    "an end of what has none": mistake(
        "  EventsDropped:",
        "      AlarmActions: [!Ref AlertsTopic]\n",
        "      AlarmActions: [!Ref AlertsTopic]\n      OKActions: [!Ref AlertsTopic]\n",
    ),
    "mail by telephone": mistake("  AlertsByMail:", "Protocol: email", "Protocol: sms"),
    "mail for those who want none": mistake(
        "Conditions:", '!Not [!Equals [!Ref AlertEmail, ""]]', '!Equals [!Ref AlertEmail, ""]'
    ),
    "a rule that is off": mistake(
        "  AlertsRule:", "      EventPattern:", "      State: DISABLED\n      EventPattern:"
    ),
    "a policy of another topic": mistake(
        "  AlertsTopicPolicy:", "Topics: [!Ref AlertsTopic]", "Topics: [!Ref AlertEmail]"
    ),
    "one dashboard for all stacks": mistake(
        "  Dashboard:", "!Sub ${AWS::StackName}-${AWS::Region}-change-writer", "change-writer"
    ),
    "no alarms for who reads events alone": mistake(
        "Conditions:",
        "[!Condition ReadsTables, !Condition ReadsEvents]",
        "[!Condition ReadsTables, !Condition ReadsTables]",
    ),
    "no rights for who reads one table alone": mistake(
        "Conditions:",
        "[!Condition ReadsCalls, !Condition ReadsScorecards, !Condition ReadsSentimentItems]",
        "[!Condition ReadsCalls, !Condition ReadsScorecards]",
    ),
    "an alarm for who reads tables alone": mistake(
        "  BatchesFail:", "Condition: ReadsAnything", "Condition: ReadsTables"
    ),
    "another source of alerts": mistake(
        "  AlertsEventSource:", "Default: lakehouse.alerts", "Default: lakehouse.alert"
    ),
    "a dashboard that is no JSON": mistake("  Dashboard:", '"${Writer}"]\n', '"${Writer}"],\n'),
    # --- the rest ---
    "a reference to nothing": mistake(WRITER, "!Ref LandingBucket", "!Ref LandingBuket", "cfn-lint"),
    "a bundle without its landing": mistake(
        "  LandingUrl:", "${LandingBucket}/${LandingPrefix}", "${LandingBucket}"
    ),
    "a type that is not": mistake("  WriterLog:", "AWS::Logs::LogGroup", "AWS::Logs::LogGroups", "cfn-lint"),
}


def applied(wrong: Mistake) -> str:
    text = TEMPLATE.read_text(encoding="utf-8")
    start = text.index(f"\n{wrong.part}\n") + 1
    at = text.index(wrong.right, start)
    # Within the part: before the next line that is indented no further.
    indented = len(wrong.part) - len(wrong.part.lstrip())
    lines = _line_starts(text, start + len(wrong.part) + 1)
    end = next((at for at in lines if text[at : at + indented + 1].strip(" \n")), len(text))
    assert at < end, f"{wrong.right!r} is not in {wrong.part}"
    return text[:at] + wrong.wrong + text[at + len(wrong.right) :]


def _line_starts(text: str, start: int) -> Iterator[int]:
    at = start
    while at < len(text):
        yield at
        at = text.find("\n", at) + 1 or len(text)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """What each tool has against each mistake: by the mistake's number, by the tool's name."""
    source, target = tmp_path_factory.mktemp("mistakes"), tmp_path_factory.mktemp("transformed")
    for number, wrong in enumerate(MISTAKES.values()):
        (source / f"{number}.yaml").write_text(applied(wrong), encoding="utf-8")
    refused = tools.transform(source, target)
    templates: dict[str, Path] = {path.stem: path for path in target.glob("*.json")}
    linted = tools.cfn_lint(templates.values())
    failed, _ = tools.checkov(target)
    return {
        name: {
            "sam": [refused[name]] if name in refused else [],
            "cfn-lint": linted.get(name, []),
            "checkov": failed.get(name, []),
            "ours": _ours(templates[name]) if name in templates else [],
        }
        for name in map(str, range(len(MISTAKES)))
    }


def _ours(path: Path) -> list[str]:
    try:
        return problems(json.loads(path.read_text(encoding="utf-8")))
    except KeyError as missing:
        return [f"there is no {missing}"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(found: dict[str, dict[str, list[str]]], name: str) -> None:
    by = found[str([*MISTAKES].index(name))]
    assert {tool for tool in by if by[tool]} - {"ours"} == MISTAKES[name].found_by, by
    assert any(by.values())


def test_most_mistakes_pass_the_linters() -> None:
    unseen = [name for name, wrong in MISTAKES.items() if not wrong.found_by]
    assert len(MISTAKES) > 60
    assert len(unseen) > 30
