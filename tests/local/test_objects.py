"""A folder and a bucket keep objects alike."""

from __future__ import annotations

import os
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from lakehouse.aws.objects import FolderObjects, Objects, S3Objects, open_objects
from lakehouse.errors import ConfigurationError, SourceError
from lakehouse.local.aws import LocalAws


@pytest.fixture(params=["folder", "bucket", "prefix"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects(tmp_path)
    aws: LocalAws = request.getfixturevalue("aws")
    bucket = f"objects-{uuid.uuid4().hex}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return S3Objects(aws.client("s3"), bucket, "some/prefix" if request.param == "prefix" else "")


def test_put_new_never_overwrites(objects: Objects) -> None:
    assert objects.put_new("a/b", b"first")
    assert not objects.put_new("a/b", b"second")
    assert objects.get("a/b") == b"first"
    assert list(objects.keys("a/")) == ["a/b"]


def test_of_many_at_once_exactly_one_puts_and_it_is_whole(objects: Objects) -> None:
    bodies = [bytes([n]) * 100_000 for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        new = list(pool.map(lambda body: objects.put_new("a/b", body), bodies))
    assert new.count(True) == 1
    assert objects.get("a/b") == bodies[new.index(True)]
    assert list(objects.keys("a/")) == ["a/b"]


def test_put_replaces(objects: Objects) -> None:
    objects.put("a/b", b"first")
    objects.put("a/b", b"second")
    assert objects.get("a/b") == b"second"
    assert not objects.put_new("a/b", b"third")


def test_objects_are_listed_with_when_they_were_written(objects: Objects) -> None:
    for key in ("a/b", "a/c/d", "ab", "e"):
        objects.put(key, b"x")
    assert [key for key, _ in objects.listed("a")] == ["a/b", "a/c/d"]
    assert [key for key, _ in objects.listed("a/b")] == ["a/b"]
    assert [key for key, _ in objects.listed("")] == ["a/b", "a/c/d", "ab", "e"]
    assert list(objects.listed("none")) == []
    now = datetime.now(UTC)
    assert all(abs(now - written) < timedelta(minutes=5) for _, written in objects.listed(""))


def test_delete_removes_one_object_and_minds_none(objects: Objects) -> None:
    objects.put("a/b", b"x")
    objects.put("a/bc", b"x")
    objects.delete("a/b")
    objects.delete("a/b")
    assert list(objects.keys("a/")) == ["a/bc"]


def test_nothing_is_none(objects: Objects) -> None:
    assert objects.get("a") is None
    objects.put("a/b/c", b"")
    assert objects.get("a/b/c") == b""
    assert objects.get("a/b") is None
    assert objects.get("a/b/c/d") is None
    assert objects.get("a/b/other") is None


def test_keys_are_sorted_and_below_the_prefix_alone(objects: Objects) -> None:
    names = ["a/b", "a/b.c/d", "a/b-c", "a/b0", "a/c/d/e", "a/B", "a/é", "ab/c", "b/a"]
    for name in names:
        assert objects.put_new(name, b"x")
    assert list(objects.keys("a/")) == sorted(n for n in names if n.startswith("a/"))
    assert list(objects.keys("a/c/")) == ["a/c/d/e"]
    assert list(objects.keys("z/")) == []


def test_more_keys_than_a_page_holds(objects: Objects) -> None:
    for n in range(1005):
        objects.put(f"a/{n:04d}", b"")
    assert list(objects.keys("a/")) == [f"a/{n:04d}" for n in range(1005)]


def test_above_is_the_folder_around_it(objects: Objects) -> None:
    objects.put("a/b/c", b"x")
    inner = open_objects(objects.url("a/b"), objects._client if isinstance(objects, S3Objects) else None)
    assert inner.get("c") == b"x"
    assert inner.above().get("b/c") == b"x"
    assert inner.above().url("b/c") == objects.url("a/b/c")
    assert inner.above().above().get("a/b/c") == b"x"


def test_unfinished_files_are_none(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put("a/b", b"x")
    (tmp_path / "a" / ".1234.part").write_bytes(b"half")
    (tmp_path / "a" / "folder").mkdir()
    assert list(objects.keys("a/")) == ["a/b"]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for put in (FolderObjects(tmp_path).put, FolderObjects(tmp_path).put_new):
        with pytest.raises(OSError, match="No space"):
            put("a/b", b"x")
    assert list((tmp_path / "a").iterdir()) == []


def test_locations(tmp_path: Path, aws: LocalAws) -> None:
    s3 = aws.client("s3")
    assert open_objects("s3://bucket/a/b/", s3).url("c") == "s3://bucket/a/b/c"
    assert open_objects("s3a://bucket", s3).url("c") == "s3://bucket/c"
    assert open_objects(f"file://{tmp_path}").url("c") == f"{tmp_path}/c"
    assert open_objects(str(tmp_path)).url("c") == f"{tmp_path}/c"
    with pytest.raises(ConfigurationError, match=r"use a folder, or an s3:// URL"):
        open_objects("gs://bucket/a")
    with pytest.raises(ConfigurationError, match="names no bucket"):
        open_objects("s3:///a", s3)
    with pytest.raises(ConfigurationError, match=r"is no folder\. Check the path"):
        open_objects(str(tmp_path / "nowhere"))


def test_a_folder_that_is_to_be_written_is_made(tmp_path: Path) -> None:
    landing = open_objects(f"{tmp_path}/new/landing", create=True)
    assert landing.put_new("a", b"1")
    assert (tmp_path / "new" / "landing" / "a").read_bytes() == b"1"
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/landing cannot be made: Not a directory"):
        open_objects(f"{tmp_path}/file/landing", create=True)


def test_a_bucket_that_refuses_is_a_source_error(aws: LocalAws) -> None:
    nowhere = S3Objects(aws.client("s3"), "no-such-bucket", "p")
    for call in (
        lambda: nowhere.get("a"),
        lambda: nowhere.put("a", b""),
        lambda: nowhere.put_new("a", b""),
        lambda: list(nowhere.keys("a/")),
    ):
        with pytest.raises(SourceError, match=r"s3://no-such-bucket/p/a.*NoSuchBucket"):
            call()


def test_a_server_that_is_not_there_is_a_source_error() -> None:
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )
    nowhere = S3Objects(s3, "gone")
    for call in (
        lambda: nowhere.get("a"),
        lambda: nowhere.put("a", b""),
        lambda: nowhere.put_new("a", b""),
        lambda: list(nowhere.keys("a/")),
    ):
        with pytest.raises(SourceError, match="s3://gone/a"):
            call()
