"""boto3's clients as this project makes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, overload

from lakehouse.errors import PlatformError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


@overload
def aws_client(service: Literal["dynamodb"]) -> DynamoDBClient: ...
@overload
def aws_client(service: Literal["s3"]) -> S3Client: ...
@overload
def aws_client(service: str) -> Any: ...
def aws_client(service: str) -> Any:
    """A client of the account, region and endpoint that the AWS variables and profiles say.

    Throttled and failed requests are tried ten times, with growing pauses.

    Raises:
        PlatformError: boto3 is not installed, or no region is set.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ImportError:
        raise PlatformError("This needs boto3.", "Install it: pip install 'lakehouse[aws]'.") from None
    config = Config(retries={"mode": "standard", "total_max_attempts": 10}, max_pool_connections=64)
    try:
        # boto3 itself knows AWS_DEFAULT_REGION alone.
        region = os.environ.get("AWS_REGION") or None
        return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]
    except NoRegionError:
        raise PlatformError("No AWS region is set.", "Set AWS_REGION, or a profile that has one.") from None
