"""The Spark jars that pyspark does not bring: Delta, and S3A with the AWS SDK's modules.

`jars.lock` names every jar exactly, with its SHA-256. What is missing from the user's cache is fetched
once, by the Apache Ivy that lies in pyspark's own jars folder; afterwards no network is used.

    LAKEHOUSE_CACHE          the cache folder; else $XDG_CACHE_HOME/lakehouse, else ~/.cache/lakehouse
    LAKEHOUSE_IVY_SETTINGS   an Ivy settings file, for a company's mirror; else Ivy's own public default

A cache folder may be copied from another machine: the jars are the same everywhere. Behind a proxy,
JAVA_TOOL_OPTIONS="-Dhttps.proxyHost=… -Dhttps.proxyPort=…" tells Ivy about it.

To make the lock anew after changing ROOTS: `python -m lakehouse.local.jars lock`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lakehouse.errors import PlatformError
from lakehouse.local.java import find_java

LOCK = Path(__file__).with_name("jars.lock")
ROOTS = {
    "delta": ("io.delta:delta-spark_4.1_2.13:4.4.0", "io.delta:delta-storage:4.4.0"),
    "s3a": (
        "org.apache.hadoop:hadoop-aws:3.4.2",
        "software.amazon.awssdk:s3:2.29.52",
        "software.amazon.awssdk:s3-transfer-manager:2.29.52",
        "software.amazon.awssdk:sts:2.29.52",
    ),
}
"""What is asked for; only the AWS SDK's modules bring their dependencies with them, the rest is in Spark."""
_SHIPPED_BY_SPARK = re.compile(
    r"netty-(?!nio-client)|slf4j-api-|commons-codec-|commons-logging-|httpclient-|httpcore-"
)
_TIMEOUT_SECONDS = 900
_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"{options}/></resolvers>
</ivysettings>
"""
_EXACT = ' usepoms="false" checksums=""'
"""A locked jar needs no POM, and its SHA-256 is checked here: one request a jar instead of three or more."""


@dataclass(frozen=True)
class Jar:
    """One line of jars.lock."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    set: str

    @property
    def file_name(self) -> str:
        return "-".join(filter(None, (self.artifact, self.version, self.classifier))) + ".jar"

    @property
    def coordinates(self) -> str:
        return ":".join(filter(None, (self.group, self.artifact, self.version, self.classifier)))


def read_lock(path: Path = LOCK) -> list[Jar]:
    """Parse lines of `group:artifact:version[:classifier] sha256 set`; `#` starts a comment."""
    jars = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            coordinates, sha256, name = line.split()
            group, artifact, version, classifier = (*coordinates.split(":"), "")[:4]
            jars.append(Jar(group, artifact, version, classifier, sha256, name))
    return jars


def cache_folder() -> Path:
    """The folder that holds the verified jars; it need not exist yet."""
    explicit = os.environ.get("LAKEHOUSE_CACHE")
    if explicit:
        return Path(explicit).expanduser() / "jars"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "lakehouse" / "jars"


def class_path(*, s3a: bool, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Return the jars that a session needs, as existing, verified files; fetch those that are missing.

    Every file's SHA-256 is compared at every call: 20 MB take some 20 ms, a session some 4 s. `progress`
    gets one line before a fetch (default: stderr). Safe with several processes at once: each fetches
    into a folder of its own and moves whole files.

    Raises PlatformError if a jar cannot be fetched, or is not the one that the lock names.
    """
    wanted = [jar for jar in read_lock() if jar.set == "delta" or s3a]
    folder = cache_folder()
    missing = [jar for jar in wanted if _sha256(folder / jar.file_name) != jar.sha256]
    if missing:
        report = progress if progress is not None else _to_stderr
        report(f"Fetching {len(missing)} Spark jars once, into {folder} …")
        _fetch(missing, folder)
    return [folder / jar.file_name for jar in wanted]


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    """Fetch, verify and move the jars into the folder; all are verified before the first is moved."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
            work = Path(temporary)
            dependencies = "".join(_dependency(jar) for jar in jars)
            log = _run_ivy(work, dependencies, "[artifact]-[revision](-[classifier]).[ext]", _EXACT)
            found = {jar: _sha256(work / "out" / jar.file_name) for jar in jars}
            absent = [jar for jar, sha256 in found.items() if sha256 is None]
            if absent:
                raise PlatformError(_not_fetched(absent, log), _next_step(folder))
            wrong = [jar for jar, sha256 in found.items() if sha256 != jar.sha256]
            if wrong:
                raise PlatformError(
                    f"These jars are not the ones that {LOCK.name} names by SHA-256, and were not kept: "
                    f"{_names(wrong)}.",
                    "A mirror or proxy may serve something else in their place. " + _next_step(folder),
                )
            for jar in jars:
                os.replace(work / "out" / jar.file_name, folder / jar.file_name)
    except OSError as error:
        raise PlatformError(
            f"The Spark jars cannot be written to {folder}: {error}.",
            "Set LAKEHOUSE_CACHE to a folder that you may write to.",
        ) from error


def _run_ivy(work: Path, dependencies: str, pattern: str, resolver_options: str = "") -> str:
    """Resolve the dependencies and copy the jars to `work/out`; return Ivy's output, come what may."""
    settings = os.environ.get("LAKEHOUSE_IVY_SETTINGS")
    if settings and not Path(settings).is_file():
        raise PlatformError(
            f"LAKEHOUSE_IVY_SETTINGS names {settings}, which is not a file.", "Correct or unset it."
        )
    if not settings:
        settings = str(work / "settings.xml")
        Path(settings).write_text(_SETTINGS.format(options=resolver_options), encoding="utf-8")
    module = work / "ivy.xml"
    module.write_text(
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
        '<info organisation="lakehouse" module="jars"/>'
        '<configurations><conf name="default"/></configurations>'
        f"<dependencies>{dependencies}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    command = [str(find_java().program), "-Dsun.net.client.defaultConnectTimeout=20000"]
    command += ["-Dsun.net.client.defaultReadTimeout=60000", "-cp", str(_ivy_jar()), "org.apache.ivy.Main"]
    command += ["-settings", settings, "-cache", str(work / "ivy"), "-novalidate", "-ivy", str(module)]
    command += ["-types", "jar", "-confs", "default", "-retrieve", str(work / "out" / pattern)]
    try:
        answer = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            cwd=work,
        )
    except subprocess.TimeoutExpired:
        return f"Ivy gave no answer within {_TIMEOUT_SECONDS} s."
    return answer.stdout + answer.stderr


def _dependency(jar: Jar) -> str:
    names = f"org={quoteattr(jar.group)} name={quoteattr(jar.artifact)} rev={quoteattr(jar.version)}"
    extra = f" m:classifier={quoteattr(jar.classifier)}" if jar.classifier else ""
    artifact = f'<artifact name={quoteattr(jar.artifact)} type="jar" ext="jar"{extra}/>'
    return f'<dependency {names} conf="default->default" transitive="false">{artifact}</dependency>'


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    folder = Path(spec.origin).parent / "jars" if spec is not None and spec.origin else None
    found = sorted(folder.glob("ivy-*.jar")) if folder is not None else []
    if not found:
        raise PlatformError("pyspark with its jars is not installed.", "Run: uv sync --extra local")
    return found[-1]


def _sha256(path: Path) -> str | None:
    """The file's SHA-256 in hexadecimal, or None if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _not_fetched(jars: Sequence[Jar], log: str) -> str:
    """Ivy copies all jars or none: name those that it misses, if it names any, and its first reason."""
    missed = set(re.findall(r":: (\S+#\S+;\S+): not found", log))
    named = [jar for jar in jars if f"{jar.group}#{jar.artifact};{jar.version}" in missed] or jars
    reasons = re.findall(r"(?m)^\s*(.*(?:\w+Exception|Host \S+ not found|no answer within).*)$", log)
    why = f" Ivy says: {reasons[0][:300]}." if reasons else ""
    return f"These Spark jars are not in the cache and could not be fetched: {_names(named)}.{why}"


def _next_step(folder: Path) -> str:
    return (
        "The first run needs the network once. Without it, copy the folder "
        f"{folder} from a machine that has it; with a company mirror, set LAKEHOUSE_IVY_SETTINGS to an "
        "Ivy settings file that names it."
    )


def _names(jars: Iterable[Jar]) -> str:
    names = [jar.coordinates for jar in jars]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def lock() -> str:
    """Resolve ROOTS through the network and return the text of a new jars.lock (a minute or so)."""
    lines = [
        "# group:artifact:version[:classifier] sha256 set -- made by: python -m lakehouse.local.jars lock"
    ]
    for name, roots in ROOTS.items():
        dependencies = ""
        for root in roots:
            group, artifact, version = root.split(":")
            transitive = "true" if group == "software.amazon.awssdk" else "false"
            dependencies += (
                f'<dependency org="{group}" name="{artifact}" rev="{version}" '
                f'conf="default->master,runtime" transitive="{transitive}"/>'
            )
        with tempfile.TemporaryDirectory() as temporary:
            log = _run_ivy(
                Path(temporary),
                dependencies,
                "[organisation]/[artifact]/[revision]/[artifact]-[revision].[ext]",
            )
            found = sorted(Path(temporary, "out").glob("*/*/*/*.jar"))
            if len(found) < len(roots):
                raise PlatformError(
                    f"{roots} could not be resolved: {log[-1000:]}", "Try again with network."
                )
            for path in found:
                if not _SHIPPED_BY_SPARK.match(path.name):
                    group, artifact, version = path.parts[-4:-1]
                    lines.append(f"{group}:{artifact}:{version} {_sha256(path)} {name}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["lock"]:
        sys.exit("usage: python -m lakehouse.local.jars lock")
    LOCK.write_text(lock(), encoding="utf-8")
    _to_stderr(f"{LOCK}: {len(read_lock())} jars")
