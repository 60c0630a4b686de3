"""The change writer's own code, run outside Lambda.

It is deployed as a folder and is no part of this package: it comes from the checkout, or from the archive
that is deployed (`lambda/dist/change_writer.zip`). What lands through here has the names and the content that
it would have from Lambda, because it is the same code.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lakehouse.errors import ConfigurationError, LakehouseError, PlatformError, SourceError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHECKOUT = Path(__file__).resolve().parents[3] / "lambda"


def writer_code(code: Path | None = None) -> ModuleType:
    """The module of the Lambda's handler.

    Args:
        code: the folder that holds `change_writer`, or the archive of it; if not given, the checkout's.

    Raises:
        PlatformError: it is not there, or another copy of it is in use already.
    """
    place = (code or CHECKOUT).expanduser().resolve()
    if not place.is_file() and not (place / "change_writer").is_dir():
        raise PlatformError(
            f"The writer's code is not at {place}.",
            "Give the command from a checkout of lakehouse, or name the folder or archive with --writer.",
        )
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    try:
        module = importlib.import_module("change_writer.handler")
    except ImportError as error:  # zipimport's errors are such too
        raise PlatformError(
            f"The writer's code at {place} cannot be loaded ({error}).", "Build it anew: lambda/build.py."
        ) from error
    if not hasattr(module, "put_objects"):
        raise PlatformError(
            f"The writer's code at {place} is too old for this.", "Take that of this version."
        )
    if place not in Path(str(module.__file__)).resolve().parents:
        raise PlatformError(
            f"Another copy of the writer is in use: {module.__file__}.", "Leave --writer away, or PYTHONPATH."
        )
    return module


def function_environment(client: Any, function: str) -> Mapping[str, str]:
    """The variables of a deployed function, by a boto3 client of Lambda.

    Raises:
        SourceError: Lambda does not tell them.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = client.get_function_configuration(FunctionName=function)
    except (BotoCoreError, ClientError) as error:
        raise SourceError(f"Lambda function {function}", str(error)) from error
    variables: Mapping[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables


class RefusedEventError(LakehouseError):
    """The writer takes nothing of an event."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What an event comes to before anything is put.

    sources: those that it lands in, each with a table or stream that lands there (None if no record says
    which). lands, quarantined: change records. The objects are the writer's own: first those of change
    records, then those of quarantined records.
    """

    records: int
    sources: Mapping[str, str | None]
    lands: int
    quarantined: int
    objects: Sequence[Any]
    quarantine: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Landed:
    """How many lines S3 took (`created`), had already, or did not take; `code` is S3's then."""

    created: int = 0
    already_there: int = 0
    left: int = 0
    code: str | None = None


class Writer:
    """The writer with its settings, and a client of S3 to put with."""

    def __init__(self, environ: Mapping[str, str], client: S3Client, code: Path | None = None) -> None:
        """Args as for `writer_code`; `environ` holds the function's variables (docs, "The writer").

        Raises:
            ConfigurationError: a variable is missing or wrong.
        """
        self._handler: Any = writer_code(code)
        self._client = client
        settings = importlib.import_module("change_writer.settings")
        self._landing: Any = importlib.import_module("change_writer.landing")
        self._error = importlib.import_module("change_writer.errors").ChangeWriterError
        try:
            self._settings = settings.parse_settings(environ)
        except self._error as error:
            raise ConfigurationError(str(error)) from None

    @property
    def landing(self) -> str:
        """Where it lands, as a URL."""
        return f"s3://{self._settings.bucket}/{self._settings.prefix}".rstrip("/")

    def plan(self, event: object) -> Planned:
        """Convert an event's records. Nothing is put.

        Raises:
            RefusedEventError: it is no event of a stream, or its stream has no new images.
        """
        plans = []
        try:
            records = self._handler.stream_records(event)
            kind = self._handler.STREAM_KINDS[records[0]["eventSource"]] if records else None
            left = 0
            while left < len(records):  # the writer takes no more at once than its memory holds
                now_ms = time.time_ns() // 1_000_000
                plan = self._handler.make_plan(kind, records[left:], self._settings, ingest_ts_ms=now_ms)
                plans.append(plan)
                left = len(records) if plan.left is None else left + plan.left
        except self._error as error:
            raise RefusedEventError(str(error)) from None
        quarantine = self._settings.quarantine_folder
        sources = {folder: source for plan in plans for folder, source in plan.sources.items()}
        names = {name for name in map(kind.origin, records) if name} if kind else ()
        origins = {self._settings.source_of(name): name for name in names}
        good: list[Any] = []
        bad: list[Any] = []
        for one in (one for plan in plans for one in plan.objects):
            (bad if one.folder == quarantine(sources[one.folder]) else good).append(one)
        return Planned(
            len(records),
            {source: origins.get(source) for source in sources.values()},
            sum(one.lines for one in good),
            sum(one.lines for one in bad),
            good,
            bad,
        )

    def put(self, objects: Sequence[Any]) -> Landed:
        """Put objects of a plan unless they are there; stops at the first that S3 does not take."""
        landed, failure = self._landing.put_objects(self._client, self._settings.bucket, objects)
        there = sum(one.lines for one, put in landed if put.name == "ALREADY_THERE")
        put = sum(one.lines for one, _ in landed)
        left = sum(one.lines for one in objects) - put
        return Landed(put - there, there, left, failure[1].code if failure else None)
