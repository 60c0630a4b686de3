"""What a machine without a suitable Java is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.errors import PlatformError
from lakehouse.local.java import find_java


def fake_java(folder: Path, says: str, *, status: int = 0) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {status}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("says", "release"), [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "21" 2023-09-19', 21)]
)
def test_java_home_wins_over_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, release: int
) -> None:
    program = fake_java(tmp_path, says)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    java = find_java()
    assert (java.program, java.release) == (program, release)


def test_java_is_found_on_the_path_when_java_home_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake_java(tmp_path, 'openjdk version "17.0.1"')
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_java().program == program


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ('java version "1.8.0_402"', "is Java 8"),
        ('openjdk version "11.0.2"', "is Java 11"),
        ('openjdk version "25" 2025-09-16', "is Java 25"),
    ],
)
def test_an_unsuitable_java_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, found: str
) -> None:
    program = fake_java(tmp_path, says)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PlatformError) as raised:
        find_java()
    assert found in str(raised.value)
    assert str(program) in str(raised.value)
    assert "Install a Java runtime of version 17" in str(raised.value)


def test_no_java_at_all_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match=r"no `java` on PATH and no JAVA_HOME.*Install a Java runtime"):
        find_java()


def test_a_java_home_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(PlatformError, match=r"JAVA_HOME is .*gone.* does not exist"):
        find_java()


def test_a_java_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, "No Java runtime present", status=1)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PlatformError, match="No Java runtime present"):
        find_java()
