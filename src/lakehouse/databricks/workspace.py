"""A Databricks workspace, through its SDK: find the ingest job, run it, wait, and say what came of it.

The SDK retries what is throttled (429, 503) and connections that break, for RETRY_SECONDS; while it waits
for a run this module goes on asking for as long as it may wait. A run is started with a token of its own, so
that a request that is sent twice starts it once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.errors import JobNotFoundError, PlatformError, WorkspaceError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.jobs import BaseRun, Run, RunTask, Task
    from databricks.sdk.service.sql import StatementResponse

INGEST_JOB = "ingest_available_now"
ONCE = "_available_now"
"""Ending by which the name of the job that runs once differs from that of the one that never ends."""

SUCCESS = "SUCCESS"

PROBE_SECONDS = 10
"""How long to try a host that may not be there, before anything is asked of it."""
RETRY_SECONDS = 60
POLL_SECONDS = (2.0, 15.0)
"""Pause between two looks at a run: the first one, and what it grows to."""
ASK_SECONDS = 30.0
"""Pause between two questions to a SQL warehouse."""
GONE_SECONDS = 180.0
"""A continuous job starts its next run within a minute; a stream without a run for so long has ended."""

_LOG_LINES = 15
_TASKS = 10


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `parameters`: name → default. `arguments`: what its tasks are called with, `--name=value`."""

    id: int
    name: str
    parameters: Mapping[str, str]
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StreamRun:
    """A run that has not ended, of a job that never does: it holds the checkpoints of its tables.

    Args:
        parameters: name → value: its job's arguments and parameters, as the run has them.
        page: address of its page; empty if the workspace does not say.
    """

    run_id: int
    job: str
    parameters: Mapping[str, str]
    page: str


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that did not end well: its result, its error, and the last lines of what it printed."""

    task: str
    result: str
    error: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What a run was like when it was last looked at.

    Args:
        state: its life cycle state in the API's words (QUEUED, PENDING, RUNNING, …).
        result: the result in the API's words (SUCCESS, FAILED, TIMEDOUT, CANCELED,
            MAXIMUM_CONCURRENT_RUNS_REACHED, …); empty until it has ended.
        message: why it is queued, or how it ended.
        page: address of its page.
        seconds: how long it has taken, once it has ended.
        failures: what went wrong, once it has ended.
    """

    run_id: int
    state: str
    result: str
    message: str
    page: str
    seconds: float = 0.0
    failures: tuple[TaskFailure, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return bool(self.result)


@dataclass(frozen=True, slots=True)
class Seen:
    """How many of a snapshot's objects a table shows; `stream`: whether a run is still at work on them."""

    objects: int
    of: int
    stream: bool


def connect(profile: str | None = None) -> Workspace:
    """The workspace that the DATABRICKS variables, or a profile of ~/.databrickscfg, say.

    Raises:
        PlatformError: the SDK is not installed.
        WorkspaceError: nothing says which workspace, or how to log in.
    """
    try:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config
    except ImportError:
        raise PlatformError(
            "This needs databricks-sdk.", "Install it: pip install 'lakehouse[databricks]'."
        ) from None
    try:
        config = Config(
            profile=profile, product="lakehouse", product_version="0", retry_timeout_seconds=PROBE_SECONDS
        )
    except ValueError as error:
        raise WorkspaceError("Cannot log in to Databricks", str(error), _log_in(profile)) from error
    config.retry_timeout_seconds = RETRY_SECONDS
    return Workspace(WorkspaceClient(config=config), profile)


class Workspace:
    """What this project asks of a workspace. `connect` makes one.

    Every method raises WorkspaceError where the workspace does not answer or refuses.
    """

    def __init__(self, client: WorkspaceClient, profile: str | None = None) -> None:
        self._client = client
        self._profile = profile

    @property
    def host(self) -> str:
        """Its address."""
        return str(self._client.config.host)

    def find_job(self, wanted: str) -> Job:
        """The job with this id or exact name, else the only one whose name ends with it as a word.

        A bundle's target may put something in front of its names: `[dev zoe] ingest_available_now`.

        Raises:
            JobNotFoundError: there is none, or there are several.
        """
        from databricks.sdk.errors import NotFound

        with self._asking(f"Job {wanted!r}"):
            if wanted.isdecimal():
                try:
                    return self._job(int(wanted))
                except NotFound:
                    raise JobNotFoundError(wanted, self.host, [], several=False) from None
            # The workspace's filter by name does not tell upper from lower case.
            found = [one for one in self._jobs(wanted) if one[1] == wanted]
            others: list[tuple[int, str]] = []
            if not found:
                others = [one for one in self._jobs() if wanted.casefold() in one[1].casefold()]
                found = [one for one in others if _ends_with(one[1], wanted)]
            if len(found) != 1:
                raise JobNotFoundError(wanted, self.host, found or others, several=bool(found))
            return self._job(found[0][0])

    def streams_of(self, job: Job) -> tuple[Job, ...]:
        """The continuous jobs beside one that runs once: of its name, without `_available_now`, and with its
        checkpoints, as other deployments may have jobs of that name."""
        name = job.name.removesuffix(ONCE)
        if name == job.name:
            return ()
        with self._asking(f"Job {name!r}"):
            found = [self._job(id_) for id_, one in self._jobs(name) if one == name]

        def place(one: Job) -> tuple[str | None, ...]:
            return one.arguments.get("catalog"), one.arguments.get("checkpoints")

        return tuple(other for other in found if place(other) == place(job))

    def stream_run(self, streams: Sequence[Job], table: str) -> StreamRun | None:
        """A run of these jobs that has not ended and ingests the table (all, if it names none)."""
        for job in streams:
            with self._asking(f"Runs of job {job.name!r}"):
                for run in self._client.jobs.list_runs(job_id=job.id, active_only=True):
                    parameters = {**job.arguments, **job.parameters, **_parameters(run)}
                    tables = {name.strip() for name in parameters.get("tables", "").split(",")} - {""}
                    if not tables or table in tables:
                        return StreamRun(run.run_id or 0, job.name, parameters, run.run_page_url or "")
        return None

    def check_parameters(self, job: Job, names: Sequence[str]) -> None:
        """Raises WorkspaceError if the job lacks one of these parameters, so that it would not obey it."""
        missing = sorted(set(names) - set(job.parameters))
        if missing:
            raise WorkspaceError(
                f"Job {job.name!r} ({job.id})",
                f"it has no parameter {', '.join(missing)}, so it would ingest something else",
                "Deploy the bundle again, or name another job: --job NAME_OR_ID.",
            )

    def start(self, job: Job, parameters: Mapping[str, str]) -> int:
        """Start a run with these job parameters; returns its id."""
        with self._asking(f"Start of job {job.name!r}"):
            answer = self._client.jobs.run_now(
                job.id, job_parameters=dict(parameters), idempotency_token=uuid.uuid4().hex
            )
            started: Any = answer.response
            return int(started.run_id)

    def look(self, run_id: int) -> Look:
        """Look at a run once. When it has ended, with what went wrong."""
        with self._asking(f"Run {run_id}"):
            return self._look(run_id)

    def wait(
        self,
        run_id: int,
        *,
        timeout: float,
        on_look: Callable[[Look], None] = lambda _look: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Look:
        """Wait until a run has ended, or for `timeout` seconds; returns the last look at it.

        A workspace that does not answer is asked again until the time is over. `on_look` is told each look;
        one without an answer has the state NO_ANSWER.

        Raises:
            WorkspaceError: the workspace refuses (access that has expired, a run that was deleted), or has
                not answered at the end. That stops no run; its page is in the message.
        """
        deadline = time.monotonic() + timeout
        pause, most = POLL_SECONDS
        page = ""
        while True:
            lost: WorkspaceError | None = None
            try:
                look = self.look(run_id)
                page = look.page or page
            except WorkspaceError as error:
                lost, look = error, Look(run_id, "NO_ANSWER", "", error.problem, page)
            left = deadline - time.monotonic()
            if lost is not None and (left <= 0 or not lost.transient):
                where = f" Nothing of this has stopped the run: {page or run_id}"
                raise WorkspaceError(lost.what, lost.problem, lost.next_step + where) from lost
            on_look(look)
            if look.ended or left <= 0:
                return look
            sleep(min(pause, left))
            pause = min(pause * 1.5, most)

    def wait_for_stream(
        self,
        streams: Sequence[Job],
        table: str,
        shows: Callable[[], int],
        of: int,
        *,
        timeout: float,
        on_look: Callable[[Seen], None] = lambda _seen: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Seen:
        """Wait until a table shows all of a snapshot's objects, its stream has ended, or time is over.

        Args:
            shows: asks how many objects it shows (`objects_shown`).
            of: how many there are.
        """
        deadline = time.monotonic() + timeout
        gone_since: float | None = None
        seen = Seen(0, of, True)
        while True:
            lost: WorkspaceError | None = None
            try:
                running = self.stream_run(streams, table) is not None
                # Asked after the look at the stream: what its last run has applied is seen.
                seen = Seen(shows(), of, running)
            except WorkspaceError as error:
                lost, running = error, True
            now = time.monotonic()
            if lost is not None and (now >= deadline or not lost.transient):
                raise lost
            on_look(seen)
            gone_since = None if running else gone_since or now
            gone = gone_since is not None and now - gone_since >= GONE_SECONDS
            if seen.objects >= of or gone or now >= deadline:
                return seen
            sleep(min(ASK_SECONDS, deadline - now))

    def objects_shown(self, warehouse_id: str, table: str, snapshot: str, names: Sequence[str]) -> int:
        """How many of a snapshot's objects a table has rows of.

        An object is in one batch, and a batch in one commit, so that one row tells of the whole object. A
        history has a row of every record. A state table has only rows that are still the newest: of an
        object that was overtaken in each of its records it shows nothing, though it was applied.

        Args:
            table: quoted name of a history, or of a state table.
            snapshot: sequence of the snapshot's records, without the attempt.
            names: file names of its objects.
        """
        statement = (
            "SELECT count(DISTINCT element_at(split(_source_file, '/'), -1)) FROM IDENTIFIER(:table) "
            # Snapshot records of every attempt: `/` sorts below `0`.
            "WHERE _sequence >= :snapshot AND _sequence < concat(:snapshot, '0') "
            "AND array_contains(split(:names, ','), element_at(split(_source_file, '/'), -1))"
        )
        values = {"table": table, "snapshot": snapshot, "names": ",".join(names)}
        return int(self._query(warehouse_id, statement, values))

    def _query(self, warehouse_id: str, statement: str, values: Mapping[str, str]) -> Any:
        """The one value that a statement gives."""
        from databricks.sdk.service.sql import StatementParameterListItem, StatementState

        what = f"SQL warehouse {warehouse_id}"
        with self._asking(what):
            sql = self._client.statement_execution
            parameters = [StatementParameterListItem(name=n, value=v) for n, v in values.items()]
            answer = sql.execute_statement(statement, warehouse_id, parameters=parameters, wait_timeout="30s")
            while _state(answer) in (StatementState.PENDING, StatementState.RUNNING):
                time.sleep(POLL_SECONDS[0])
                answer = sql.get_statement(answer.statement_id or "")
        if _state(answer) is not StatementState.SUCCEEDED:
            status = answer.status
            problem = (status and status.error and status.error.message) or f"the state is {_state(answer)}"
            raise WorkspaceError(what, problem, "Check --silver, and what you may read.")
        assert answer.result is not None
        assert answer.result.data_array
        return answer.result.data_array[0][0]

    def _jobs(self, name: str | None = None) -> Iterator[tuple[int, str]]:
        for job in self._client.jobs.list(name=name, limit=100):
            if job.job_id is not None and job.settings is not None:
                yield job.job_id, job.settings.name or ""

    def _job(self, job_id: int) -> Job:
        job = self._client.jobs.get(job_id)
        settings = job.settings
        if settings is None:
            return Job(job_id, str(job_id), {}, {})
        parameters = {p.name: p.default for p in settings.parameters or ()}
        words = [word for task in settings.tasks or () for word in _words(task)]
        return Job(job_id, settings.name or str(job_id), parameters, _arguments(words))

    def _look(self, run_id: int) -> Look:
        run = page = self._client.jobs.get_run(run_id)
        state, result, message = _told_state(run)
        if not result:
            return Look(run_id, state, "", message, run.run_page_url or "")
        tasks = list(run.tasks or ())
        while page.next_page_token:
            page = self._client.jobs.get_run(run_id, page_token=page.next_page_token)
            tasks += page.tasks or ()
        ended, began = run.end_time or 0, run.start_time or 0
        seconds = (run.run_duration or max(0, ended - began)) / 1000
        failures = () if result == SUCCESS else tuple(self._failures(tasks))
        return Look(run_id, state, result, message, run.run_page_url or "", seconds, failures)

    def _failures(self, tasks: Sequence[RunTask]) -> Iterator[TaskFailure]:
        from databricks.sdk.core import DatabricksError

        latest: dict[str, RunTask] = {}
        for task in tasks:  # a task that was repeated is listed once for each attempt
            before = latest.get(task.task_key)
            if before is None or (task.attempt_number or 0) >= (before.attempt_number or 0):
                latest[task.task_key] = task
        failed = [(task, *_told_state(task)) for task in latest.values()]
        for task, _, result, message in [one for one in failed if one[2] not in ("", SUCCESS)][:_TASKS]:
            error, log = message, ""
            try:
                if task.run_id is not None:  # the output of a task's run: a job's run has none
                    output = self._client.jobs.get_run_output(task.run_id)
                    error, log = output.error or message, output.logs or ""
            except DatabricksError:
                pass  # a task that never began has none, and what its state says stands
            yield TaskFailure(task.task_key, result, error, tuple(log.splitlines()[-_LOG_LINES:]))

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        # All that the SDK raises for an answer, or for none, is one of these; so is a login that fails.
        except (OSError, ValueError) as error:
            raise self._told(what, error) from error

    def _told(self, what: str, error: Exception) -> WorkspaceError:
        """An error of the SDK, with the next step, and whether the same request may succeed later."""
        from databricks.sdk.core import DatabricksError
        from databricks.sdk.errors import NotFound, PermissionDenied, Unauthenticated
        from requests import RequestException

        problem = _first_line(error)
        if isinstance(error, (RequestException, TimeoutError)):
            problem = f"{self.host} does not answer ({_first_line(error.__cause__ or error)})"
            next_step = "Check the host and the network, and try again."
        elif (
            not isinstance(error, DatabricksError)
            or isinstance(error, Unauthenticated)
            or "access token" in problem.lower()  # one that is none is a 403, not a 401
        ):
            next_step = _log_in(self._profile)
        elif isinstance(error, PermissionDenied):
            next_step = "Ask its owner for CAN_MANAGE_RUN, or log in as somebody who has it."
        elif isinstance(error, NotFound):
            next_step = "It may have been deleted."
        else:
            next_step = "Try again."
        told = WorkspaceError(what, problem, next_step)
        told.transient = _may_pass(error)
        return told


def _log_in(profile: str | None) -> str:
    name = f" --profile {profile}" if profile else ""
    return (
        f"Log in: databricks auth login --host https://…{name}; or set DATABRICKS_HOST and "
        "DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET."
    )


def _ends_with(name: str, wanted: str) -> bool:
    """Whether a name ends with another one, with something that is no letter or digit in front of it."""
    return name.endswith(wanted) and not name[: -len(wanted)][-1:].isalnum()


def _words(task: Task) -> Sequence[str]:
    called = task.spark_python_task or task.python_wheel_task
    return (called.parameters if called else None) or ()


def _arguments(words: Sequence[str]) -> dict[str, str]:
    """`--name=value` as name → value, `--name` as name → true; without what a run's parameters fill in."""
    found: dict[str, str] = {}
    for word in words:
        name, told, value = word.partition("=")
        if name.startswith("--") and "{{" not in value:
            found[name.removeprefix("--").replace("-", "_")] = value if told else "true"
    return found


def _parameters(run: BaseRun) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in run.job_parameters or ():
        value = one.default if one.value is None else one.value
        if one.name is not None and value is not None:
            found[one.name] = value
    return found


def _told_state(run: Run | RunTask) -> tuple[str, str, str]:
    """(life cycle state, result, message) of a run or a task; the result is empty until it has ended.

    `status` is the API's newer word, `state` the deprecated one, which alone has the result as the
    workspace's pages show it. A value that this SDK does not know comes as None.
    """
    from databricks.sdk.service.jobs import RunLifeCycleState, RunLifecycleStateV2State

    status, state = run.status, run.state
    now = (status and status.state) or (state and state.life_cycle_state)
    ended = now in (
        RunLifecycleStateV2State.TERMINATED,
        RunLifeCycleState.TERMINATED,
        RunLifeCycleState.SKIPPED,
        RunLifeCycleState.INTERNAL_ERROR,
    )
    word = now.value if now else "UNKNOWN"
    if not ended:
        queued = (status and status.queue_details and status.queue_details.message) or ""
        return word, "", queued or (state and state.state_message) or ""
    details = status.termination_details if status else None
    result = (state and state.result_state) or (details and details.code)
    # A run that the service broke off has no result, only this life cycle state.
    broken = state.life_cycle_state if state else None
    told = result.value if result else broken.value if broken else "UNKNOWN"
    message = (state and state.state_message) or (details and details.message) or ""
    code = details.code.value if details and details.code else ""
    if code and code not in (told, message):
        message = f"{code}: {message}" if message else code
    return word, told, message


def _state(answer: StatementResponse) -> Any:
    return answer.status.state if answer.status else None


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: no connection, too many requests, trouble in the workspace."""
    from databricks.sdk.core import DatabricksError
    from databricks.sdk.errors import (
        DeadlineExceeded,
        InternalError,
        TemporarilyUnavailable,
        TooManyRequests,
    )
    from requests import RequestException

    passing = (DeadlineExceeded, InternalError, TemporarilyUnavailable, TooManyRequests)
    # A status that the SDK has no class for (502) is one that it does not know to be final.
    return isinstance(error, (RequestException, TimeoutError, *passing)) or type(error) is DatabricksError


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
