"""What Lambda hands to a function for a DynamoDB stream: the records' JSON form, and the context object."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Context:
    """As much of Lambda's context object as a handler of streams may want."""

    aws_request_id: str
    function_name: str = "local"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:local"
    memory_limit_in_mb: int = 512
    log_group_name: str = "/aws/lambda/local"
    log_stream_name: str = "local"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def to_lambda_record(record: Any, stream_arn: str) -> dict[str, Any]:
    """Return a record of the streams API, as boto3 gives it, in the form in which Lambda's event has it.

    Times become epoch seconds, binary base64 text, `userIdentity` gets Lambda's lowercase names, and the
    stream's ARN is added.
    """
    image = {name: _plain(value) for name, value in record["dynamodb"].items()}
    created = image.get("ApproximateCreationDateTime")
    if isinstance(created, datetime):
        seconds = created.timestamp()
        image["ApproximateCreationDateTime"] = int(seconds) if seconds.is_integer() else seconds
    converted = {name: record[name] for name in record if name not in {"dynamodb", "userIdentity"}}
    converted["dynamodb"] = image
    if record.get("userIdentity"):
        identity = record["userIdentity"]
        converted["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    converted["eventSourceARN"] = stream_arn
    return converted


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    return value
