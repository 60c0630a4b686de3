"""A landed snapshot applied on Databricks: by a run of the ingest job, or by the stream that is running."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lakehouse.cli.show import err, print_rows, printable, say
from lakehouse.settings import Settings

if TYPE_CHECKING:
    from lakehouse.databricks.workspace import Job, Look, Seen, StreamRun, TaskFailure, Workspace
    from lakehouse.table import Table

LEAVE_HELD = "leave_held"
"""Parameter of the job, and argument of jobs/ingest.py: leave a checkpoint that is held to its holder."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of the run. `minutes`: how long to wait."""

    table: Table
    job: str | None
    profile: str | None
    minutes: float
    warehouse_id: str | None
    silver: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workspace in which the job was found, and the continuous jobs beside it."""

    wanted: Wanted
    workspace: Workspace
    job: Job
    streams: tuple[Job, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """Of the job's run. A checkpoint that is held is to be an error, if the job can be told so."""
        held = {LEAVE_HELD: "false"} if LEAVE_HELD in self.job.parameters else {}
        return {"tables": self.wanted.table.name, **held}

    @property
    def leaves_held(self) -> bool:
        """Whether a run ends well though another one holds the checkpoint, and has applied nothing."""
        told = {**self.job.arguments, **self.parameters}.get(LEAVE_HELD, "false")
        return told.lower() == "true"


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a snapshot.

    Args:
        applied: None if that is not known.
        by: `run` for a run that was started for it, `stream` for one that was there already.
        state, result: as the API says them; for a stream the result is empty.
    """

    applied: bool | None
    by: str
    job: str
    run_id: int
    state: str
    result: str
    message: str
    page: str
    seconds: float = 0.0
    failures: tuple[TaskFailure, ...] = ()
    next_step: str = ""
    interrupted: bool = False

    @property
    def exit_status(self) -> int:
        """Of the command."""
        return 130 if self.interrupted else {True: 0, False: 1, None: 3}[self.applied]


def prepare(wanted: Wanted) -> Prepared:
    """Log in and find the job.

    Raises:
        WorkspaceError: that is not possible.
        click.BadParameter: `--silver` names no schema.
    """
    from lakehouse.databricks.workspace import INGEST_JOB, connect

    if wanted.silver is not None and wanted.silver.count(".") != 1:
        raise click.BadParameter("write it as CATALOG.SCHEMA.", param_hint="--silver")
    workspace = connect(wanted.profile)
    job = workspace.find_job(wanted.job or INGEST_JOB)
    workspace.check_parameters(job, ["tables"])
    return Prepared(wanted, workspace, job, workspace.streams_of(job))


def apply_snapshot(run: Prepared, snapshot: str, names: Sequence[str] | None) -> Applied:
    """Start the job for the table and wait for it; or wait for the stream that has the checkpoint.

    Args:
        snapshot: sequence of the snapshot's records, without the attempt.
        names: file names of its objects, if they are known.

    Raises:
        WorkspaceError: the workspace does not answer or refuses.
    """
    table = run.wanted.table.name
    holder = run.workspace.stream_run(run.streams, table)
    # Between this look and the start a stream may begin. The lease on the checkpoint is what keeps two
    # from writing: the run then fails and says who holds it.
    return _start(run) if holder is None else _follow(run, holder, snapshot, names)


def print_applied(applied: Applied, landed: Mapping[str, Any], style: str) -> None:
    """The end of it; for machines one row, with what landed."""
    if style != "table":
        told = {name: value for name, value in asdict(applied).items() if name != "interrupted"}
        if style == "csv":
            told["failures"] = json.dumps(told["failures"], ensure_ascii=False)
        # A scan tells its own seconds.
        told = {
            f"run_{name}" if name in ("seconds", "state", "result") else name: v for name, v in told.items()
        }
        row = {**landed, **told}
        print_rows(list(row), [list(row.values())], style)
        return
    took = f" after {_span(applied.seconds)}" if applied.seconds else ""
    where = f" {applied.page}" if applied.page else ""
    say(f"{applied.result or applied.state}{took}: run {applied.run_id} of job {applied.job}.{where}")
    if applied.message:
        say(printable(applied.message))
    for failure in applied.failures:
        say(f"Task {failure.task}: {failure.result}. {printable(failure.error)}")
        for line in failure.log:
            say(f"  {printable(line)}")
    if applied.next_step:
        say(applied.next_step)


def _start(run: Prepared) -> Applied:
    from lakehouse.databricks.workspace import SUCCESS, Look

    with _watching(f"job {run.job.name}") as tell:
        run_id = run.workspace.start(run.job, run.parameters)
        last = Look(run_id, "PENDING", "", "", "")

        def look(now: Look) -> None:
            nonlocal last
            if now.page and not last.page:
                tell("", f"Run {run_id} of job {run.job.name}: {now.page}")
            tell(now.state, f"{now.state}{f' ({now.message})' if now.message else ''}")
            last = now

        interrupted = False
        try:
            last = run.workspace.wait(run_id, timeout=run.wanted.minutes * 60, on_look=look)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        applied, message = None, "Stopped waiting. The run goes on."
        next_step = f"To stop it: {_command(run, 'cancel-run', str(run_id))}"
    elif not last.ended:
        applied, message = (
            None,
            f"Not ended after {_span(run.wanted.minutes * 60)} of waiting. The run goes on.",
        )
        next_step = "See its page."
    elif last.result == SUCCESS and run.leaves_held:
        applied = None
        message = "The job ends well too where another run has the checkpoint; then that one applies it."
        next_step = "See on its page what it printed for the table."
    elif last.result == SUCCESS:
        applied, message, next_step = True, last.message, ""
    else:
        applied, message = False, last.message
        next_step = f"The snapshot has landed, and need not be taken again. To apply it: {_again(run)}"
    return Applied(
        applied=applied,
        by="run",
        job=run.job.name,
        run_id=run_id,
        state=last.state,
        result=last.result,
        message=message,
        page=last.page,
        seconds=last.seconds,
        failures=last.failures,
        next_step=next_step,
        interrupted=interrupted,
    )


def _follow(run: Prepared, holder: StreamRun, snapshot: str, names: Sequence[str] | None) -> Applied:
    """Wait for a running stream, as far as anybody can tell what it has done.

    A continuous run never ends, and the Jobs API knows nothing of its batches, so the table is asked for
    the snapshot's objects. Without a warehouse, or without the objects' names, nothing is asked.
    """
    from lakehouse.databricks.workspace import Seen

    table = run.wanted.table
    told = (
        f"The stream of job {holder.job} has the checkpoint of {table.name} and takes the snapshot by itself"
    )
    common: dict[str, Any] = {
        "by": "stream",
        "job": holder.job,
        "run_id": holder.run_id,
        "state": "RUNNING",
        "result": "",
        "page": holder.page,
    }
    silver = run.wanted.silver or _silver(holder.parameters)
    if names is None:
        missing = "an incremental export's objects are not recorded, so the table cannot be asked for them"
    elif run.wanted.warehouse_id is None:
        missing = "give --warehouse-id to have the table asked, and waited for"
    elif silver is None:
        missing = "the job does not say where the table is; give --silver CATALOG.SCHEMA"
    else:
        missing = ""
    if missing:
        message = f"{told}; no run was started. Whether it has is not known: {missing}."
        return Applied(applied=None, message=message, **common)
    catalog, _, schema = (silver or "").partition(".")
    name = Settings(landing="/", checkpoints="/", catalog=catalog, silver=schema).table(
        "silver", table.history_name if table.history else table.name
    )
    objects = list(names or ())

    def shows() -> int:
        if not objects:
            return 0
        return run.workspace.objects_shown(run.wanted.warehouse_id or "", name, snapshot, objects)

    interrupted = False
    seen = Seen(0, len(objects), True)
    with _watching(f"job {holder.job}") as tell:
        tell("", f"{told}; waiting until {name} shows it. {holder.page}")

        def look(now: Seen) -> None:
            nonlocal seen
            seen = now
            tell(f"{now.objects}", f"{now.objects:,} of {now.of:,} objects applied")

        try:
            seen = run.workspace.wait_for_stream(
                run.streams, table.name, shows, len(objects), timeout=run.wanted.minutes * 60, on_look=look
            )
        except KeyboardInterrupt:
            interrupted = True
    count = f"{seen.objects:,} of {seen.of:,} objects of the snapshot are seen in {name}"
    if seen.objects >= seen.of:
        return Applied(applied=True, message=f"{count}: it was applied.", **common)
    if not seen.stream and not interrupted:
        common["state"] = "GONE"
        return Applied(
            applied=False,
            message=f"{count}, and the stream has ended.",
            next_step=f"Start it again, or apply the snapshot by a run: {_again(run)}",
            **common,
        )
    why = "Stopped waiting" if interrupted else f"No more time after {_span(run.wanted.minutes * 60)}"
    hint = "" if table.history else " An object that was overtaken in every record is never seen there."
    message = f"{why}: {count}. The stream goes on.{hint}"
    return Applied(applied=None, message=message, interrupted=interrupted, **common)


def _again(run: Prepared) -> str:
    request = {"job_id": run.job.id, "job_parameters": run.parameters}
    return _command(run, "run-now", "--json", json.dumps(request))


def _command(run: Prepared, *words: str) -> str:
    """A command of the Databricks command line, as it is typed."""
    profile = ("--profile", run.wanted.profile) if run.wanted.profile else ()
    return shlex.join(("databricks", "jobs", *words, *profile))


def _silver(told: Mapping[str, str]) -> str | None:
    catalog = told.get("catalog")
    return f"{catalog}.{told.get('silver', 'silver')}" if catalog else None


@contextmanager
def _watching(what: str) -> Iterator[Callable[[str, str], None]]:
    """Told (state, words): a line on standard error whenever the state is another one.

    On a terminal a line that moves shows the state and the time meanwhile. Words without a state are a line
    of their own.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(escape(what), total=None)
        before, began = "", time.monotonic()

        def tell(state: str, words: str) -> None:
            nonlocal before
            if state:
                progress.update(task, description=escape(f"{what}: {printable(words)}"))
            if not state or state != before:
                after = f" after {_span(time.monotonic() - began)}" if state else ""
                err.print(escape(printable(words)) + after, highlight=False, soft_wrap=True)
                before = state or before

        yield tell


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 s"
