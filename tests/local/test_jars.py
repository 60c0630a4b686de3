"""The Spark jars: what the lock names, and fetching from a mirror that is a folder (no network)."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.errors import PlatformError
from lakehouse.local import jars
from lakehouse.local.jars import Jar, cache_folder, class_path, read_lock

CONTENT = b"not really a jar"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a lock of two small jars, and an empty folder that Ivy takes for the world."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    lock = tmp_path / "jars.lock"
    lock.write_text(f"# comment\norg.one:first:1.0 {digest} delta\norg.two:second:2.0 {digest} s3a\n")
    monkeypatch.setattr(jars, "LOCK", lock)
    monkeypatch.setattr(jars.read_lock, "__defaults__", (lock,))
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(
        '<ivysettings><settings defaultResolver="folder"/><resolvers>'
        f'<filesystem name="folder"><artifact pattern="{tmp_path}/mirror/[artifact]-[revision].[ext]"/>'
        "</filesystem></resolvers></ivysettings>"
    )
    monkeypatch.setenv("LAKEHOUSE_IVY_SETTINGS", str(settings))
    monkeypatch.setenv("LAKEHOUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def test_the_lock_names_every_jar_exactly_once() -> None:
    locked = read_lock()
    assert [jar.coordinates for jar in locked if jar.set == "delta"] == list(jars.ROOTS["delta"])
    assert set(jars.ROOTS["s3a"]) <= {jar.coordinates for jar in locked if jar.set == "s3a"}
    assert len(locked) == 36 == len({jar.file_name for jar in locked})
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in locked)


def test_the_lock_leaves_out_what_spark_ships() -> None:
    artifacts = {jar.artifact for jar in read_lock()}
    assert "netty-nio-client" in artifacts
    assert not artifacts & {"slf4j-api", "commons-codec", "commons-logging", "httpclient", "httpcore"}
    assert {name for name in artifacts if name.startswith("netty-")} == {"netty-nio-client"}


def test_a_classifier_is_part_of_the_name_and_of_the_coordinates() -> None:
    jar = Jar("org.one", "first", "1.0", "linux", "", "delta")
    assert (jar.file_name, jar.coordinates) == ("first-1.0-linux.jar", "org.one:first:1.0:linux")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"LAKEHOUSE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a/jars")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/lakehouse/jars")),
        ({}, Path("/home/me/.cache/lakehouse/jars")),
    ],
)
def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("LAKEHOUSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == folder


def test_missing_jars_are_fetched_once_and_then_need_nothing(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first-1.0.jar", "second-2.0.jar"):
        (mirror / name).write_bytes(CONTENT)
    found = class_path(s3a=True)
    assert [path.name for path in found] == ["first-1.0.jar", "second-2.0.jar"]
    assert all(path.read_bytes() == CONTENT for path in found)
    assert capsys.readouterr().err.startswith("Fetching 2 Spark jars once")
    monkeypatch.setenv("LAKEHOUSE_IVY_SETTINGS", "/nowhere")
    monkeypatch.setenv("PATH", "")
    assert class_path(s3a=True) == found
    assert class_path(s3a=False) == found[:1]
    assert [path.name for path in cache_folder().iterdir() if path.name.startswith(".")] == []
    assert capsys.readouterr().err == ""


def test_a_damaged_jar_is_fetched_again(mirror: Path) -> None:
    (mirror / "first-1.0.jar").write_bytes(CONTENT)
    damaged = cache_folder() / "first-1.0.jar"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(CONTENT[:-1])
    lines: list[str] = []
    assert class_path(s3a=False, progress=lines.append) == [damaged]
    assert damaged.read_bytes() == CONTENT
    assert len(lines) == 1


def test_jars_that_cannot_be_fetched_are_named_with_what_to_do(mirror: Path) -> None:
    (mirror / "first-1.0.jar").write_bytes(CONTENT)
    with pytest.raises(PlatformError) as raised:
        class_path(s3a=True, progress=lambda line: None)
    message = str(raised.value)
    assert "org.two:second:2.0" in message
    assert "org.one:first:1.0" not in message
    assert "needs the network once" in message
    assert str(cache_folder()) in message
    assert "LAKEHOUSE_IVY_SETTINGS" in message


def test_a_jar_with_a_wrong_checksum_is_refused_and_not_kept(mirror: Path) -> None:
    (mirror / "first-1.0.jar").write_bytes(b"something else")
    with pytest.raises(
        PlatformError, match=r"not the ones .* by SHA-256, and were not kept: org.one:first:1.0"
    ):
        class_path(s3a=False, progress=lambda line: None)
    assert list(cache_folder().glob("*.jar")) == []


def test_a_settings_file_that_is_not_there_is_named(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_IVY_SETTINGS", str(mirror / "none.xml"))
    with pytest.raises(PlatformError, match=r"none\.xml, which is not a file"):
        class_path(s3a=False, progress=lambda line: None)


def test_two_processes_may_fetch_at_once(mirror: Path) -> None:
    (mirror / "first-1.0.jar").write_bytes(CONTENT)
    script = (
        "import sys; from pathlib import Path; from lakehouse.local import jars;"
        "jars.read_lock.__defaults__ = (Path(sys.argv[1]),);"
        "print(*jars.class_path(s3a=False, progress=lambda line: None))"
    )
    command = [sys.executable, "-c", script, str(jars.LOCK)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert said == [str(cache_folder() / "first-1.0.jar")] * 2
    assert os.listdir(cache_folder()) == ["first-1.0.jar"]
