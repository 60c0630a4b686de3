"""boto3's clients as this project makes them."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Literal, overload

from lakehouse.errors import PlatformError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


@overload
def aws_client(
    service: Literal["dynamodb"], *, region: str | None = None, credentials: Any = None
) -> DynamoDBClient: ...
@overload
def aws_client(service: Literal["s3"], *, region: str | None = None, credentials: Any = None) -> S3Client: ...
@overload
def aws_client(service: str, *, region: str | None = None, credentials: Any = None) -> Any: ...
def aws_client(service: str, *, region: str | None = None, credentials: Any = None) -> Any:
    """A client of the account, region and endpoint that the AWS variables and profiles say.

    Throttled and failed requests are tried ten times, with growing pauses.

    Args:
        region: if not given, what the variables and profiles say.
        credentials: a botocore session, as a Unity Catalog service credential gives it.

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
        region = region or os.environ.get("AWS_REGION") or None
        maker: Any = _session(credentials) if credentials else boto3
        return maker.client(service, region_name=region, config=config)
    except NoRegionError:
        raise PlatformError("No AWS region is set.", "Set AWS_REGION, or a profile that has one.") from None


@functools.cache
def _session(credentials: Any) -> Any:
    """One boto3 session for each of botocore: a second one would register its handlers there again, and the
    next client of S3 fails over that."""
    import boto3

    return boto3.Session(botocore_session=credentials)
