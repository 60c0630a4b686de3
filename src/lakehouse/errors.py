"""Every error that lakehouse raises on purpose.

    LakehouseError
    ├── ConfigurationError          a setting, an argument or a table file is wrong
    │   ├── TableDefinitionError    a Table or Column that cannot work
    │   ├── ColumnTypeError         a column has another type than its declaration
    │   ├── UnknownTableError       a name that no table file declares
    │   └── PlatformError           Java, Spark jars or an extra are missing on this machine
    ├── DataError                   what lies in landing cannot be applied
    │   ├── CorruptObjectError      a torn or corrupt object stops its stream
    │   ├── UnreadableObjectError   an object that cannot be fetched stops its stream
    │   └── IncompleteBronzeError   bronze may not have all that a table is to be brought to
    ├── LeaseError                  the checkpoint belongs to somebody else
    │   ├── LeaseHeldError          another process holds it now
    │   └── LeaseLostError          another process took it from us
    ├── StreamError                 a source's stream stopped for another reason
    │   ├── CheckpointError         the checkpoint was set back, or is not that of the stream
    │   └── DeliveryError           the local poller could not deliver a batch (lakehouse.local.poller)
    ├── SourceError                 a table, a bucket or a server of the source does not answer as it should
    │   ├── SnapshotRefusedError    a snapshot would leave a gap between itself and the stream
    │   ├── StreamChangedError      the source's stream was switched off and on while it was scanned
    │   └── ExportError             an export that is not whole, or of a kind that is not read
    ├── WorkspaceError              a Databricks workspace does not do what it is asked
    │   └── JobNotFoundError        none of its jobs is the one that is wanted, or several may be
    ├── QuarantineIdError           an id that is not that of one quarantined record
    └── QueryError                  a statement that `lakehouse sql` does not run

Each error carries what it is about as attributes and builds its message from them; the message
ends with what to do next. `transient` says whether the same call may succeed later unchanged.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


class LakehouseError(Exception):
    """Base of every error raised on purpose."""

    transient = False


class ConfigurationError(LakehouseError):
    """A setting, an argument or a table file is wrong."""


class TableDefinitionError(ConfigurationError):
    """A `Table` or `Column` that cannot work; raised when it is constructed."""

    def __init__(self, table: str, problem: str) -> None:
        self.table = table
        self.problem = problem
        super().__init__(f"Table {table!r}: {problem}")


class ColumnTypeError(ConfigurationError):
    """A column of a table that is there has another type than its declaration."""

    def __init__(self, table: str, column: str, there: str, declared: str) -> None:
        self.table = table
        self.column = column
        self.there = there
        self.declared = declared
        super().__init__(
            f"Table {table!r}: column {column!r} is {there} and is declared {declared}. Nothing was changed. "
            "Declare it under a new name, which is filled from bronze; or drop the table, with the streams "
            "stopped, and run this again: the next ingest makes it anew from bronze."
        )


class UnknownTableError(ConfigurationError):
    """A name that no file in lakehouse/tables declares."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"There is no table {name!r}. The tables are: {', '.join(known)}.")


class PlatformError(ConfigurationError):
    """Something that this machine needs is missing: Java, the Spark jars, an optional package."""

    def __init__(self, missing: str, next_step: str) -> None:
        self.missing = missing
        self.next_step = next_step
        super().__init__(f"{missing} {next_step}")


class DataError(LakehouseError):
    """What lies in landing cannot be applied."""


class CorruptObjectError(DataError):
    """A torn or corrupt object, or one of an unknown schema, stopped its stream; nothing was applied."""

    def __init__(self, table: str, path: str, detail: str) -> None:
        self.table = table
        self.path = path
        self.detail = detail
        super().__init__(
            f"Table {table!r} stopped at {path}: {detail}. Nothing of its batch was applied. "
            f"To let the table go on without this object: lakehouse landing set-aside {shlex.quote(path)}"
        )


class UnreadableObjectError(DataError):
    """An object that may be whole, but cannot be fetched, stopped its stream; nothing was applied."""

    def __init__(self, stream: str, path: str, cause: str, remedy: str) -> None:
        self.stream = stream
        self.path = path
        self.cause = cause
        super().__init__(
            f"The stream of {stream!r} stopped at {path}: {cause}. Nothing of its batch was applied. {remedy}"
        )


class IncompleteBronzeError(DataError):
    """Bronze may not have all that a table is to be brought to; nothing was done."""

    def __init__(self, table: str, source: str, because: str, what_next: str) -> None:
        self.table = table
        self.source = source
        super().__init__(f"Table {table!r} is not rebuilt: bronze {because}. {what_next}")


class LeaseError(LakehouseError):
    """The checkpoint belongs to somebody else."""


class LeaseHeldError(LeaseError):
    """Another process holds the checkpoint."""

    transient = True

    def __init__(self, stream: str, holder: str, place: str) -> None:
        self.stream = stream
        self.holder = holder
        self.place = place
        super().__init__(
            f"The checkpoint of {stream!r} is held by {holder} ({place}). Stop that process, or wait for it: "
            "lakehouse ingest --wait."
        )


class LeaseLostError(LeaseError):
    """Another process took the checkpoint while this one was at work; this one stops."""

    def __init__(self, stream: str, place: str, holder: str) -> None:
        self.stream = stream
        self.place = place
        self.holder = holder
        super().__init__(
            f"The lease of {stream!r} ({place}) now names {holder}: this process had been silent for too "
            "long and stops. The batch at hand is repeated by the new holder; nothing is lost."
        )


class StreamError(LakehouseError):
    """A table's stream stopped; the other tables go on."""

    def __init__(self, stream: str, detail: str) -> None:
        self.stream = stream
        self.detail = detail
        super().__init__(f"The stream of {stream!r} stopped: {detail}")


class CheckpointError(StreamError):
    """Bronze has another batch under the number of this one: the checkpoint was set back, or is another's."""

    def __init__(self, stream: str, folder: str, batch_id: int, object_: str) -> None:
        self.folder = folder
        self.batch_id = batch_id
        self.object = object_
        super().__init__(
            stream,
            f"batch {batch_id} of its checkpoint {folder} is not the batch of that number that bronze has "
            f"({object_} is in one of them alone). The checkpoint was restored from a copy, or belongs to "
            "another stream. Nothing was applied. Begin a new one, which reads landing again: lakehouse "
            "ingest --from-the-beginning; what bronze has already changes nothing.",
        )


class SourceError(LakehouseError):
    """A table, a bucket or a server of the source does not answer as it should."""

    def __init__(self, what: str, detail: str) -> None:
        self.what = what
        self.detail = detail
        super().__init__(f"{what}: {detail}")


class SnapshotRefusedError(SourceError):
    """A snapshot would leave a gap between itself and the stream, so none is taken."""

    def __init__(self, table_name: str, problem: str, next_step: str) -> None:
        self.table_name = table_name
        self.problem = problem
        self.next_step = next_step
        super().__init__(f"No snapshot of DynamoDB table {table_name}", f"{problem}. {next_step}")


class StreamChangedError(SourceError):
    """The source's stream was switched off and on while it was scanned: changes in between are lost."""

    def __init__(self, table_name: str, begun_with: str, found: str) -> None:
        self.table_name = table_name
        self.begun_with = begun_with
        self.found = found
        super().__init__(
            f"The scan of DynamoDB table {table_name} stops",
            f"it began under the stream of {begun_with}, and now the stream is of {found}. What changed "
            "in between is in neither: begin a new scan with --restart.",
        )


class ExportError(SourceError):
    """An export that is not whole, is of another table, or is of a kind that is not read."""

    def __init__(self, where: str, problem: str, next_step: str) -> None:
        self.where = where
        self.problem = problem
        self.next_step = next_step
        super().__init__(f"Export {where}", f"{problem}. {next_step}")


class WorkspaceError(LakehouseError):
    """A Databricks workspace does not answer, refuses, or is not set up for what is asked of it."""

    def __init__(self, what: str, problem: str, next_step: str) -> None:
        self.what = what
        self.problem = problem
        self.next_step = next_step
        super().__init__(f"{what}: {problem.rstrip('.')}. {next_step}")


class JobNotFoundError(WorkspaceError):
    """None of a workspace's jobs is the one that is wanted, or several may be.

    `candidates` are the ids and names of jobs that it may be.
    """

    def __init__(
        self, wanted: str, host: str, candidates: Sequence[tuple[int, str]], *, several: bool
    ) -> None:
        self.wanted = wanted
        self.candidates = tuple(candidates)
        named = ", ".join(f"{name} ({id_})" for id_, name in self.candidates[:10])
        if several:
            problem, next_step = f"{len(self.candidates)} jobs may be meant: {named}", "Name one: --job ID."
        elif self.candidates:
            problem, next_step = f"there is none. Jobs that may be meant: {named}", "Name one: --job ID."
        else:
            problem = "there is none that you may see"
            next_step = "Deploy it: databricks bundle deploy, or name another one: --job NAME_OR_ID."
        super().__init__(f"Job {wanted!r} in {host}", problem, next_step)


class QuarantineIdError(LakehouseError):
    """An id that is not that of one quarantined record.

    `found` are the ids that begin with it; None if it cannot be an id at all.
    """

    def __init__(self, wanted: str, found: Sequence[str] | None) -> None:
        self.wanted = wanted
        self.found = found
        if found is None:
            problem = f"{wanted!r} is no id of a quarantined record: give its first 6 hex digits or more."
        elif not found:
            problem = (
                f"No quarantined record has the id {wanted}. See lakehouse quarantine list --status all."
            )
        else:
            some = ", ".join(id_[: len(wanted) + 6] for id_ in found[:5])
            problem = (
                f"{len(found)} quarantined records have an id that begins with {wanted}: {some}. Give more."
            )
        super().__init__(problem)


class QueryError(LakehouseError):
    """A statement that `lakehouse sql` does not run, or that Spark refused."""
