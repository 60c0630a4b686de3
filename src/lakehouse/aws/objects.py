"""Objects by key below a location: a folder, or a prefix of an S3 bucket.

Landing is written through this alone, and a landed object is never overwritten.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lakehouse.aws.client import aws_client
from lakehouse.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1


class Objects(Protocol):
    """Objects below one location; a key is a relative path with `/`."""

    def url(self, key: str) -> str:
        """Where an object lies, for people."""

    def put_new(self, key: str, body: bytes) -> bool:
        """Put an object unless its key is taken; False if it is. It is there whole, or not at all."""

    def put(self, key: str, body: bytes) -> None:
        """Put an object, over an older one if there is one. It is there whole, or not at all."""

    def get(self, key: str) -> bytes | None:
        """An object's content, or None if there is none."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`, which ends with `/`; sorted."""

    def listed(self, key: str) -> Iterator[tuple[str, datetime]]:
        """The object of this key, or all below this folder, sorted; each with when it was last written.

        An empty key stands for everything.
        """

    def delete(self, key: str) -> None:
        """Remove an object; it is no error if there is none."""

    def above(self) -> Objects:
        """The objects below the folder that this location lies in."""


def open_objects(location: str, client: S3Client | None = None, *, create: bool = False) -> Objects:
    """The objects below a folder or an `s3://` (or `s3a://`) URL.

    Args:
        client: of S3; if not given, one that follows the AWS variables and the default credentials.
        create: make a folder that does not exist.

    Raises:
        ConfigurationError: a location of another kind, or a folder that does not exist or cannot be made.
    """
    scheme, found, rest = location.partition("://")
    if found and scheme in ("s3", "s3a"):
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise ConfigurationError(f"{location} names no bucket.")
        return S3Objects(client or aws_client("s3"), bucket, prefix.strip("/"))
    if found and scheme != "file":
        raise ConfigurationError(f"{location}: use a folder, or an s3:// URL.")
    root = Path(rest if found else location).expanduser().absolute()
    if create:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{root} cannot be made: {error.strerror}.") from error
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder. Check the path, or create it.")
    return FolderObjects(root)


class S3Objects:
    """Objects below a prefix of a bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def url(self, key: str) -> str:
        """Where an object lies, for people."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def put_new(self, key: str, body: bytes) -> bool:
        """Put an object unless its key is taken (`If-None-Match: *`).

        A conflict with another put of the same key (409) is tried again, as S3's guide asks ("Prevent
        object overwrites with conditional writes").
        """
        from botocore.exceptions import BotoCoreError, ClientError

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=f"{self._prefix}{key}", Body=body, IfNoneMatch="*"
                )
                return True
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status == 412:
                    return False
                if status != 409 or attempt == _ATTEMPTS:
                    raise self._refused(key, error) from error
            except BotoCoreError as error:
                raise self._refused(key, error) from error
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def put(self, key: str, body: bytes) -> None:
        """Put an object, over an older one if there is one."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}{key}", Body=body)
        except (ClientError, BotoCoreError) as error:
            raise self._refused(key, error) from error

    def get(self, key: str) -> bytes | None:
        """An object's content, or None if there is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{key}")
            return answer["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                return None
            raise self._refused(key, error) from error
        except BotoCoreError as error:
            raise self._refused(key, error) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`; S3 lists them sorted."""
        yield from (key for key, _ in self._list(prefix))

    def listed(self, key: str) -> Iterator[tuple[str, datetime]]:
        """The object of this key, or all below this folder, sorted; each with when it was last written."""
        folder = key if key.endswith("/") or not key else f"{key}/"
        for found, written in self._list(key):
            if found == key or found.startswith(folder):  # S3 lists `key2` as well
                yield found, written

    def delete(self, key: str) -> None:
        """Remove an object; it is no error if there is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}{key}")
        except (ClientError, BotoCoreError) as error:
            raise self._refused(key, error) from error

    def above(self) -> Objects:
        """The objects below the prefix without its last part."""
        return S3Objects(self._client, self._bucket, self._prefix[:-1].rpartition("/")[0])

    def _list(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}"):
                for found in page.get("Contents", []):
                    yield found["Key"][len(self._prefix) :], found["LastModified"]
        except (ClientError, BotoCoreError) as error:
            raise self._refused(prefix, error) from error

    def _refused(self, key: str, error: Exception) -> SourceError:
        return SourceError(self.url(key), str(error))


class FolderObjects:
    """Objects below a folder of a local file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def url(self, key: str) -> str:
        """Where an object lies, for people."""
        return str(self._root / key)

    def put_new(self, key: str, body: bytes) -> bool:
        """Put an object unless its key is taken: a hard link to a finished file cannot replace another."""
        written = self._write(key, body)
        try:
            os.link(written, self._root / key)
            return True
        except FileExistsError:
            return False
        except OSError:  # no links here, as on a volume: there a file appears, whole, when it is closed
            try:
                with open(self._root / key, "xb") as file:
                    file.write(body)
            except FileExistsError:
                return False
            return True
        finally:
            written.unlink()

    def put(self, key: str, body: bytes) -> None:
        """Put an object, over an older one if there is one."""
        os.replace(self._write(key, body), self._root / key)

    def get(self, key: str) -> bytes | None:
        """An object's content, or None if there is none."""
        try:
            return (self._root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`; unfinished files are none."""
        found = (self._root / prefix).rglob("[!.]*")
        yield from sorted(p.relative_to(self._root).as_posix() for p in found if p.is_file())

    def listed(self, key: str) -> Iterator[tuple[str, datetime]]:
        """The file of this name, or all below this folder, sorted; each with when it was last written."""
        keys = [key] if (self._root / key).is_file() else self.keys(key)
        yield from ((k, datetime.fromtimestamp((self._root / k).stat().st_mtime, UTC)) for k in keys)

    def delete(self, key: str) -> None:
        """Remove a file; it is no error if there is none."""
        (self._root / key).unlink(missing_ok=True)

    def above(self) -> Objects:
        """The objects below the folder that this one lies in."""
        return FolderObjects(self._root.parent)

    def _write(self, key: str, body: bytes) -> Path:
        """A finished file beside the key's place, under a name that every reader of landing passes over."""
        folder = (self._root / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
        try:
            with open(number, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
        return Path(name)
