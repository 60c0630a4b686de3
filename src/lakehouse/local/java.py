"""Finding the Java that Spark runs on, and saying clearly when there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lakehouse.errors import PlatformError

OLDEST = 17
NEWEST = 21
"""Spark 4.1 is documented for Java 17 and 21 (its documentation, "Downloading"). On Java 25 a session starts
and the first Delta write fails: Hadoop 3.4.2 calls the security manager, which Java 24 dropped."""

_NEXT_STEP = (
    f"Install a Java runtime of version {OLDEST} (or up to {NEWEST}), for example Eclipse Temurin {OLDEST} "
    f"or your system's openjdk-{OLDEST}-jre-headless, and put it on PATH or set JAVA_HOME to its folder."
)


@dataclass(frozen=True)
class Java:
    """A Java runtime: its `java` program and its feature release, such as 17."""

    program: Path
    release: int


def find_java() -> Java:
    """Return the Java that Spark would start: JAVA_HOME's if that is set, else the first on PATH.

    Raises PlatformError, naming what was found and what to install, if there is none, if it does not
    start, or if its release is not between OLDEST and NEWEST.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        program = Path(home) / "bin" / ("java.exe" if os.name == "nt" else "java")
        if not program.is_file():
            raise PlatformError(f"JAVA_HOME is {home!r}, but {program} does not exist.", _NEXT_STEP)
    else:
        found = shutil.which("java")
        if found is None:
            raise PlatformError(
                "Spark needs Java, but there is no `java` on PATH and no JAVA_HOME.", _NEXT_STEP
            )
        program = Path(found)
    release = _release(program)
    if not OLDEST <= release <= NEWEST:
        where = "from JAVA_HOME" if home else "on PATH"
        raise PlatformError(
            f"Spark 4.1 runs on Java {OLDEST} to {NEWEST}, but {program} ({where}) is Java {release}.",
            _NEXT_STEP,
        )
    return Java(program, release)


def _release(program: Path) -> int:
    """The feature release that `java -version` reports: 17 for "17.0.15", 8 for "1.8.0_402"."""
    try:
        answer = subprocess.run(
            [str(program), "-version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlatformError(f"{program} does not start: {error}.", _NEXT_STEP) from error
    text = answer.stderr + answer.stdout
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if answer.returncode != 0 or match is None:
        first = text.strip().splitlines()[:1]
        raise PlatformError(f"{program} -version failed: {' '.join(first) or 'no output'}.", _NEXT_STEP)
    major, minor = int(match[1]), match[2]
    return int(minor) if major == 1 and minor else major
