"""The one effect of the change writer: a put that never overwrites."""

from __future__ import annotations

import enum
import functools
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from change_writer.encode import LandingObject
from change_writer.errors import PutError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONFLICT_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1


class Put(enum.Enum):
    """How a put succeeded."""

    CREATED = "created"
    ALREADY_THERE = "already_there"


@functools.cache
def s3_client() -> S3Client:
    """The process's S3 client, made on first use; tests call `s3_client.cache_clear()`."""
    # Imported here so that the pure modules can be used, and timed, without boto3.
    import boto3
    from botocore.config import Config

    retries = Config(
        connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4}
    )
    return boto3.client("s3", config=retries)


def put_if_absent(client: S3Client, bucket: str, key: str, body: bytes) -> Put:
    """Put an object unless its key is taken; a key that is taken is success, as the key names the content.

    botocore retries throttling, 5xx and time-outs itself. A conflict with a put that is under way
    (409) is retried here. Raises PutError for everything else that S3 or the network refuse.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for attempt in range(CONFLICT_ATTEMPTS):
        try:
            # No ContentEncoding: readers go by the name's .gz, and a client that inflates on its own would
            # hand them plain text under that name.
            client.put_object(
                Bucket=bucket, Key=key, Body=body, ContentType=_content_type(key), IfNoneMatch="*"
            )
            return Put.CREATED
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response.get("Error", {}).get("Code", "")
            # After a put whose answer was lost, botocore's own retry meets the object it has made: 412 too.
            if status == 412 or code == "PreconditionFailed":
                return Put.ALREADY_THERE
            if status != 409 or attempt + 1 == CONFLICT_ATTEMPTS:
                raise PutError(bucket, key, code or str(status)) from error
        except BotoCoreError as error:
            raise PutError(bucket, key, type(error).__name__) from error
        jitter = random.uniform(0.5, 1.0)  # noqa: S311
        time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt * jitter)
    raise AssertionError("unreachable")


def _content_type(key: str) -> str:
    return "application/vnd.apache.parquet" if key.endswith(".parquet") else "application/x-ndjson"


def put_objects(
    client: S3Client, bucket: str, objects: Sequence[LandingObject]
) -> tuple[list[tuple[LandingObject, Put]], tuple[int, PutError] | None]:
    """Put the objects; stop at the first failure, and name its first record.

    The objects are sorted by their first record, so none that is left behind begins earlier.
    """
    landed: list[tuple[LandingObject, Put]] = []
    for landing_object in objects:
        try:
            put = put_if_absent(client, bucket, landing_object.key, landing_object.body)
        except PutError as error:
            return landed, (landing_object.first_index, error)
        landed.append((landing_object, put))
    return landed, None
