"""Alerts on EventBridge: batches within PutEvents' limits, and only what failed put again."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.aws.client import aws_client
from lakehouse.errors import ConfigurationError, PlatformError
from lakehouse.gold.publication import Alert, PutResult

DEFAULT_BUS = "default"
DEFAULT_SOURCE = "lakehouse.alerts"

MAX_ENTRIES = 10
"""Entries of one request (EventBridge API reference, PutEvents)."""

MAX_REQUEST_BYTES = 256 * 1024
"""The entries of one request are smaller together, unless it is one entry alone. The user guide's limit was
256 KB, and that of boto3's model is 1 MB since 2026; the smaller one costs nothing and holds everywhere."""

MAX_ENTRY_BYTES = 1_000_000
"""An entry is smaller, or is not sent. One between both limits is sent alone, and EventBridge decides."""

ATTEMPTS = 6
"""Requests in which one entry is sent, at most."""

BATCHES_IN_VAIN = 3
"""After so many batches in a row that failed whole, for reasons that pass, the bus is left alone."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 20.0

_PASSING = frozenset({"InternalFailure", "InternalException", "ThrottlingException", "ServiceUnavailable"})
"""Codes of an entry that may go through later (API reference, PutEventsResultEntry, and its kin)."""

_ABOUT_ENTRIES = frozenset(
    {"ValidationException", "ValidationError", "InvalidArgument", "MalformedDetail", "SerializationException"}
)
"""Codes of a request that is refused because of an entry in it; so is any with HTTP status 413."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sized:
    """An entry of PutEvents and its size in bytes, as EventBridge counts it."""

    alert_id: str
    entry: Mapping[str, Any]
    size: int


class _UnavailableError(Exception):
    """The bus takes nothing now."""


class EventBus:
    """Puts alerts on a bus of EventBridge.

    Args:
        client: boto3's `events`; it repeats requests that are throttled or meet a network error.
        name: name or ARN of the bus.
        source: `Source` of the events.
        sleep: called with seconds between attempts.

    Raises:
        ConfigurationError: a name or source that EventBridge does not take.
    """

    def __init__(
        self,
        client: Any,
        name: str = DEFAULT_BUS,
        source: str = DEFAULT_SOURCE,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not name.strip():
            raise ConfigurationError(
                "The event bus has no name. The one that every account has is 'default'."
            )
        if not source.strip() or source.startswith("aws."):
            raise ConfigurationError(
                f"{source!r} is no source of events: it must be some text that does not begin with 'aws.'."
            )
        self._client = client
        self._name = name
        self._source = source
        self._sleep = sleep
        self._is_there = name == DEFAULT_BUS
        self._in_vain = 0

    def put(self, alerts: Sequence[Alert]) -> dict[str, PutResult]:
        """Put alerts, and say by alert_id what became of each.

        Only entries that failed are sent again, after pauses with jitter. What is too large, or refused for
        good, does not hold back the others. Once a request as a whole does not get through, all that is left
        is `unavailable`.

        Raises:
            ConfigurationError: there is no such bus. (EventBridge would take the events, and drop them.)
        """
        results: dict[str, PutResult] = {}
        sized = []
        for alert in alerts:
            try:
                one = entry_of(alert, self._name, self._source)
            except OverflowError:
                results[alert.alert_id] = PutResult("refused", 1, "it has a time before year 1 or after 9999")
                continue
            if one.size < MAX_ENTRY_BYTES:
                sized.append(one)
            else:
                problem = f"it has {one.size:,} bytes; an event has fewer than {MAX_ENTRY_BYTES:,}"
                results[alert.alert_id] = PutResult("refused", 1, problem)
        try:
            self._look_for_it()
            for batch in batches(sized):
                self._put_batch(batch, results)
        except _UnavailableError as error:
            for one in sized:
                results.setdefault(one.alert_id, PutResult("unavailable", 0, str(error)))
        return results

    def _look_for_it(self) -> None:
        """Events for a bus that does not exist are dropped without an error (user guide, PutEvents)."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._is_there:
            return
        try:
            self._client.describe_event_bus(Name=self._name)
        except ClientError as error:
            code = _code(error)
            if code in ("ResourceNotFoundException", "ValidationException"):
                raise ConfigurationError(
                    f"There is no event bus {self._name!r} in this account and region. Create it, or name "
                    "another one."
                ) from error
            if code != "AccessDeniedException":
                raise _UnavailableError(str(error)) from error
            log.warning("whether event bus %s exists cannot be told: DescribeEventBus is denied", self._name)
        except BotoCoreError as error:
            raise _UnavailableError(str(error)) from error
        self._is_there = True

    def _put_batch(self, batch: Sequence[Sized], results: dict[str, PutResult]) -> None:
        waiting = list(batch)
        problems: dict[str, str] = {}
        for attempt in range(1, ATTEMPTS + 1):
            answers = self._request(waiting, attempt, results)
            if answers is None:
                return
            again = []
            for one, answer in zip(waiting, answers, strict=True):
                code = answer.get("ErrorCode")
                if answer.get("EventId") and not code:
                    results[one.alert_id] = PutResult("published", attempt)
                elif code and code not in _PASSING:
                    # Not its message, which may show the data it is about.
                    results[one.alert_id] = PutResult("refused", attempt, f"EventBridge refused it: {code}")
                else:
                    problems[one.alert_id] = code or "no answer"
                    again.append(one)
            waiting = again
            if not waiting:
                break
            if attempt < ATTEMPTS:
                self._pause(attempt)
        for one in waiting:
            problem = f"EventBridge did not take it in {ATTEMPTS} attempts: {problems[one.alert_id]}"
            results[one.alert_id] = PutResult("failed", ATTEMPTS, problem)
        self._in_vain = self._in_vain + 1 if len(waiting) == len(batch) else 0
        if self._in_vain >= BATCHES_IN_VAIN:
            raise _UnavailableError(f"nothing of {self._in_vain} batches in a row got through")

    def _request(
        self, waiting: Sequence[Sized], attempt: int, results: dict[str, PutResult]
    ) -> list[Mapping[str, Any]] | None:
        """The answers, one an entry; None if the request was refused, and its entries have their results."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answers = self._client.put_events(Entries=[one.entry for one in waiting])["Entries"]
            return [*answers[: len(waiting)], *([{}] * (len(waiting) - len(answers)))]
        except (ClientError, BotoCoreError) as error:
            if not _is_about_entries(error):
                # The client has tried it several times, if it was worth it.
                for one in waiting:
                    results[one.alert_id] = PutResult("unavailable", attempt, str(error))
                raise _UnavailableError(str(error)) from error
            if len(waiting) == 1:
                problem = f"EventBridge refused it: {_code(error)}"
                results[waiting[0].alert_id] = PutResult("refused", attempt, problem)
                return None
        for one in waiting:
            self._put_batch([one], results)
        return None

    def _pause(self, attempt: int) -> None:
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
        self._sleep(random.uniform(0, longest))  # noqa: S311 - jitter, no secret


def events_client(
    *, region: str | None = None, endpoint_url: str | None = None, credentials: Any = None
) -> Any:
    """boto3's client of EventBridge.

    Args:
        region, endpoint_url: if not given, what the AWS variables and profiles say.
        credentials: a botocore session, as a Unity Catalog service credential gives it.

    Raises:
        PlatformError: boto3 is not installed, or no region is set.
    """
    if not (region or endpoint_url or credentials):
        return aws_client("events")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ImportError:
        raise PlatformError("This needs boto3.", "Install it: pip install 'lakehouse[aws]'.") from None
    config = Config(retries={"mode": "standard", "total_max_attempts": 10})
    session = boto3.Session(
        botocore_session=credentials, region_name=region or os.environ.get("AWS_REGION") or None
    )
    try:
        return session.client("events", endpoint_url=endpoint_url, config=config)
    except NoRegionError:
        raise PlatformError("No AWS region is set.", "Set AWS_REGION, or give --region.") from None


def entry_of(alert: Alert, bus: str, source: str) -> Sized:
    """An alert as an entry of PutEvents (contract, section 7).

    Its size is 14 for the time, and the UTF-8 bytes of source, detail type and detail (user guide,
    "Calculating PutEvents event entry size").
    """
    detail = detail_of(alert)
    entry = {
        "EventBusName": bus,
        "Source": source,
        "DetailType": alert.alert_type,
        "Time": _time(alert.opened_at).replace(microsecond=0),  # an event's time has whole seconds
        "Detail": detail,
    }
    size = 14 + sum(len(text.encode()) for text in (source, alert.alert_type, detail))
    return Sized(alert.alert_id, entry, size)


def detail_of(alert: Alert) -> str:
    """The row as a JSON object: times in ISO 8601 with Z, `details` as an object if it is one.

    `published_at`, `published_severity` and `publish_attempts` are those of before: where
    `published_severity` is null, the event tells of the opening.
    """
    row = asdict(alert)
    for name in ("opened_at", "closed_at", "published_at"):
        if row[name] is not None:
            row[name] = _time(row[name]).isoformat(timespec="microseconds").replace("+00:00", "Z")
    details = row.pop("details")
    # Its own text, not what Python reads in it: a float would lose digits of a number.
    row_text = json.dumps(row, ensure_ascii=False)
    written = details if _is_object(details) else json.dumps(details, ensure_ascii=False)
    return f'{row_text[:-1]}, "details": {written}}}'


def batches(entries: Iterable[Sized]) -> Iterator[list[Sized]]:
    """Cut entries into requests, in their order: MAX_ENTRIES and less than MAX_REQUEST_BYTES each.

    An entry that is as large by itself goes alone.
    """
    batch: list[Sized] = []
    size = 0
    for one in entries:
        if batch and (len(batch) == MAX_ENTRIES or size + one.size >= MAX_REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _is_object(text: str | None) -> bool:
    """Whether a text is a JSON object, by the strict rules: NaN is none."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return text is not None and isinstance(json.loads(text, parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def _is_about_entries(error: Exception) -> bool:
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return _code(error) in _ABOUT_ENTRIES or status == 413


def _code(error: Exception) -> str:
    code: str = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    return code
