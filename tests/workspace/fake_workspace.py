"""A small workspace on 127.0.0.1: the paths, JSON and errors of the APIs that this project asks, with state.

It checks what it is sent (token, ids, parameters) and refuses as a workspace does. A run passes through its
states as it is looked at. What is not in here is answered ENDPOINT_NOT_FOUND and noted in `unknown`.

Bodies follow the Jobs 2.2 and SQL statement APIs as databricks-sdk 0.156 reads them; those of errors and of
the workspace's files follow what is reported of them in public (databricks-sdk-go issues 873 and 917,
databricks-sdk-py issue 997) and the Databricks CLI's own tests. None was compared with a real workspace.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "dapi-of-the-fake-workspace"
USER = "zoe@example.com"
ORG = 900800700600
WAREHOUSE = "abcdef0123456789"


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str | int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error_code": code, "message": message}


@dataclass
class Fault:
    """Trouble for the next `times` requests whose path begins with `path`.

    `drop`: the connection ends without an answer, before anything is done; `drop_after`: when it is done.
    """

    path: str
    kind: Literal["429", "500", "502", "503", "drop", "drop_after"]
    times: int = 1


@dataclass
class Script:
    """What becomes of a job's runs: a life cycle state for each look, and the end.

    `tasks`: task → (result, error, what it printed); a task that is not in here ends as the run does.
    """

    states: tuple[str, ...] = ("PENDING", "RUNNING")
    result: str = "SUCCESS"
    code: str = "SUCCESS"
    type: str = "SUCCESS"
    message: str = ""
    queued: str = ""
    tasks: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass
class Run:
    """A run; `left`: the states that it still passes through. A run without an end goes on for ever."""

    id: int
    job_id: int
    parameters: list[dict[str, str]]
    script: Script
    left: list[str]
    task_ids: dict[str, int]
    state: str = "PENDING"
    ended: bool = False
    endless: bool = False
    started_ms: int = 0

    def go_on(self) -> None:
        """One look further."""
        if self.endless or self.ended:
            return
        if self.left:
            self.state = self.left.pop(0)
        else:
            self.end()

    def end(self) -> None:
        self.state, self.ended = "TERMINATED", True


class FakeWorkspace:
    """The workspace's content, and the server in front of it. `serve` starts one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jobs: dict[int, dict[str, Any]] = {}
        self.scripts: dict[int, Script] = {}
        self.runs: dict[int, Run] = {}
        self.tokens: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.unknown: list[str] = []
        self.on_request: Callable[[str, str], None] = lambda _method, _path: None
        self.answer: Callable[[str, dict[str, str]], list[list[str]]] = lambda _statement, _values: []
        """What a SQL statement gives; raises ValueError for one that fails."""
        self.statements: dict[str, dict[str, Any]] = {}
        self.pending = 0
        """How often a statement is looked at before it has ended."""
        self.page_size = 100
        self.files: dict[str, bytes] = {}
        self.folders = {"/Workspace", f"/Workspace/Users/{USER}"}
        self.things: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self._next = 2**53 + 1  # ids are 64 bits: one that passes through a float is another one

    def new_id(self) -> int:
        self._next += 2
        return self._next

    # --- what a test says ----------------------------------------------------------------------------

    def add_job(
        self,
        name: str,
        *,
        parameters: dict[str, str] | None = None,
        tasks: tuple[str, ...] = ("ingest",),
        arguments: tuple[str, ...] = (
            "--catalog=main",
            "--silver=silver",
            "--tables={{job.parameters.tables}}",
        ),
        continuous: bool = False,
        queue: bool = True,
        script: Script | None = None,
    ) -> int:
        """A job; its ingest's parameters if none are given."""
        if parameters is None:
            parameters = {} if continuous else {"tables": "", "max_files": "1000", "leave_held": "true"}
        settings: dict[str, Any] = {
            "name": name,
            "max_concurrent_runs": 1,
            "timeout_seconds": 0,
            "queue": {"enabled": queue},
            "format": "MULTI_TASK",
            "tasks": [
                {
                    "task_key": key,
                    "run_if": "ALL_SUCCESS",
                    "spark_python_task": {"python_file": "ingest.py", "parameters": list(arguments)},
                }
                for key in tasks
            ],
            "parameters": [{"name": n, "default": v} for n, v in parameters.items()],
        }
        if continuous:
            settings["continuous"] = {"pause_status": "UNPAUSED"}
        job_id = self.create_job(settings)
        if script is not None:
            self.scripts[job_id] = script
        return job_id

    def create_job(self, settings: dict[str, Any]) -> int:
        job_id = self.new_id()
        self.jobs[job_id] = {
            "job_id": job_id,
            "creator_user_name": USER,
            "run_as_user_name": USER,
            "created_time": _now(),
            "settings": settings,
        }
        return job_id

    def start(self, job_id: int, parameters: dict[str, str] | None = None, *, endless: bool = False) -> int:
        """Start a run, as the API or a continuous job's scheduler does."""
        settings = self.jobs[job_id]["settings"]
        given = parameters or {}
        script = self.scripts.get(job_id, Script())
        run = Run(
            self.new_id(),
            job_id,
            [
                {"name": p["name"], "default": p["default"], "value": given.get(p["name"], p["default"])}
                for p in settings.get("parameters", ())
            ],
            script,
            list(script.states),
            {task["task_key"]: self.new_id() for task in settings["tasks"]},
            started_ms=_now(),
        )
        if endless:
            run.endless, run.state = True, "RUNNING"
        elif self.active(job_id) and not settings["queue"]["enabled"]:
            run.script = Script(
                result="MAXIMUM_CONCURRENT_RUNS_REACHED",
                code="MAX_CONCURRENT_RUNS_EXCEEDED",
                type="CLIENT_ERROR",
                message="A previous run of this job was already active.",
            )
            run.end()
        self.runs[run.id] = run
        return run.id

    def active(self, job_id: int) -> list[Run]:
        return [run for run in self.runs.values() if run.job_id == job_id and not run.ended]

    def asked(self, path: str) -> list[Any]:
        """The bodies, or else the queries, of the requests to a path."""
        return [body or query for _, at, query, body in self.requests if at == path]

    # --- what it answers -----------------------------------------------------------------------------

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """The answer to a request. Raises RefusedError."""
        for wanted, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == wanted:
                with self.lock:
                    return answer(self, query, body, *map(unquote, found.groups()))
        self.unknown.append(f"{method} {path}")
        raise RefusedError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")

    def _job(self, told: Any) -> dict[str, Any]:
        job_id = _integer(told, "job_id")
        if job_id not in self.jobs:
            raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Job {job_id} does not exist.")
        return self.jobs[job_id]

    def jobs_list(self, query: dict[str, str], _body: Any) -> Any:
        limit = _integer(query.get("limit", "20"), "limit")
        if not 0 < limit <= 100:
            raise RefusedError(
                400, "INVALID_PARAMETER_VALUE", f"limit must be between 1 and 100, not {limit}"
            )
        name = query.get("name")
        found = [
            {
                **job,
                "settings": {k: v for k, v in job["settings"].items() if k not in ("tasks", "parameters")},
            }
            for job in self.jobs.values()
            if name is None or job["settings"]["name"].casefold() == name.casefold()
        ]
        return _page("jobs", found, query, min(limit, self.page_size))

    def jobs_get(self, query: dict[str, str], _body: Any) -> Any:
        return self._job(query.get("job_id"))

    def jobs_create(self, _query: dict[str, str], body: Any) -> Any:
        settings = {"max_concurrent_runs": 1, "timeout_seconds": 0, "format": "MULTI_TASK", **body}
        return {"job_id": self.create_job(settings)}

    def jobs_reset(self, _query: dict[str, str], body: Any) -> Any:
        self._job(body.get("job_id"))["settings"] = body["new_settings"]
        return {}

    def jobs_delete(self, _query: dict[str, str], body: Any) -> Any:
        del self.jobs[self._job(body.get("job_id"))["job_id"]]
        return {}

    def run_now(self, _query: dict[str, str], body: Any) -> Any:
        job = self._job(body.get("job_id"))
        parameters = body.get("job_parameters", {})
        if not all(isinstance(v, str) for v in parameters.values()):
            raise RefusedError(400, "INVALID_PARAMETER_VALUE", "job_parameters must be a map of strings")
        token = body.get("idempotency_token", "")
        if len(token) > 64:
            raise RefusedError(
                400, "INVALID_PARAMETER_VALUE", "idempotency_token has more than 64 characters"
            )
        if token not in self.tokens or not token:
            self.tokens[token] = self.start(job["job_id"], parameters)
        run_id = self.tokens[token]
        return {"run_id": run_id, "number_in_job": run_id}

    def _run(self, told: Any) -> Run:
        run_id = _integer(told, "run_id")
        if run_id not in self.runs:
            raise RefusedError(400, "INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.")
        return self.runs[run_id]

    def runs_get(self, query: dict[str, str], _body: Any) -> Any:
        run = self._run(query.get("run_id"))
        if "page_token" not in query:
            run.go_on()
        tasks = [self._task(run, key) for key in run.task_ids]
        first = int(query.get("page_token", 0))
        told = {**self._told(run), "tasks": tasks[first : first + self.page_size]}
        if first + self.page_size < len(tasks):
            told["next_page_token"] = str(first + self.page_size)
        return told

    def runs_list(self, query: dict[str, str], _body: Any) -> Any:
        limit = _integer(query.get("limit", "20"), "limit")
        wanted = query.get("job_id")
        found = [
            self._told(run)
            for run in sorted(self.runs.values(), key=lambda run: -run.started_ms)
            if (wanted is None or run.job_id == int(wanted))
            and not (query.get("active_only") == "true" and run.ended)
        ]
        return _page("runs", found, query, min(limit, 26, self.page_size))

    def runs_get_output(self, query: dict[str, str], _body: Any) -> Any:
        run_id = _integer(query.get("run_id"), "run_id")
        if run_id in self.runs:
            raise RefusedError(
                400,
                "INVALID_PARAMETER_VALUE",
                "Retrieving the output of runs with multiple tasks is not supported. Please retrieve the "
                "output of each individual task run instead.",
            )
        for run in self.runs.values():
            for key, task_id in run.task_ids.items():
                if task_id == run_id:
                    _, error, logs = run.script.tasks.get(key, ("", "", ""))
                    told: dict[str, Any] = {"metadata": self._told(run)}
                    if error:
                        told |= {
                            "error": error,
                            "error_trace": f"Traceback (most recent call last):\n{error}",
                        }
                    return {**told, "logs": logs, "logs_truncated": False} if logs else told
        raise RefusedError(400, "INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.")

    def _told(self, run: Run) -> dict[str, Any]:
        job = self.jobs[run.job_id]
        return {
            "job_id": run.job_id,
            "run_id": run.id,
            "number_in_job": run.id,
            "original_attempt_run_id": run.id,
            "creator_user_name": USER,
            "run_name": job["settings"]["name"],
            "run_type": "JOB_RUN",
            "trigger": "CONTINUOUS" if run.endless else "ONE_TIME",
            "run_page_url": f"{self.url}/?o={ORG}#job/{run.job_id}/run/{run.id}",
            "format": "MULTI_TASK",
            "job_parameters": run.parameters,
            "start_time": run.started_ms,
            "setup_duration": 0,
            "execution_duration": 0,
            "cleanup_duration": 0,
            "end_time": run.started_ms + 61_000 if run.ended else 0,
            **({"run_duration": 61_000} if run.ended else {}),
            **_states(run.state, run.script, run.script.result, run.script.message),
        }

    def _task(self, run: Run, key: str) -> dict[str, Any]:
        result, _, _ = run.script.tasks.get(key, (run.script.result, "", ""))
        message = "" if result == "SUCCESS" else "Workload failed, see run output for details"
        return {
            "run_id": run.task_ids[key],
            "task_key": key,
            "attempt_number": 0,
            "run_page_url": f"{self.url}/?o={ORG}#job/{run.job_id}/run/{run.task_ids[key]}",
            **_states(run.state, run.script, result, message),
        }

    # --- SQL statements ------------------------------------------------------------------------------

    def execute(self, _query: dict[str, str], body: Any) -> Any:
        if body.get("warehouse_id") != WAREHOUSE:
            raise RefusedError(
                404, "RESOURCE_DOES_NOT_EXIST", f"SQL warehouse {body.get('warehouse_id')} does not exist."
            )
        seconds = re.fullmatch(r"(\d+)s", body.get("wait_timeout", "10s"))
        if not seconds or not (int(seconds[1]) == 0 or 5 <= int(seconds[1]) <= 50):
            raise RefusedError(400, "INVALID_PARAMETER_VALUE", "wait_timeout must be 0s, or from 5s to 50s")
        values = {one["name"]: one["value"] for one in body.get("parameters", ())}
        unbound = set(re.findall(r":(\w+)", body["statement"])) - set(values)
        assert not unbound, f"the statement has no value for {unbound}"
        statement_id = f"01ef-{self.new_id()}"
        told: dict[str, Any] = {"statement_id": statement_id}
        try:
            rows = self.answer(body["statement"], values)
        except ValueError as error:  # an HTTP status of 200, and a state that says it
            told["status"] = {
                "state": "FAILED",
                "error": {"error_code": "BAD_REQUEST", "message": str(error)},
                "sql_state": "42P01",
            }
        else:
            told["status"] = {"state": "SUCCEEDED"}
            told["result"] = {"chunk_index": 0, "row_count": len(rows), "row_offset": 0, "data_array": rows}
        self.statements[statement_id] = {"left": self.pending, "told": told}
        return self.statement({}, None, statement_id)

    def statement(self, _query: dict[str, str], _body: Any, statement_id: str) -> Any:
        if statement_id not in self.statements:
            raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Statement {statement_id} does not exist.")
        found = self.statements[statement_id]
        if found["left"] > 0:
            found["left"] -= 1
            return {"statement_id": statement_id, "status": {"state": "RUNNING"}}
        return found["told"]

    # --- what a bundle is validated and deployed with ------------------------------------------------

    def config(self, _query: dict[str, str], _body: Any) -> Any:
        return {
            "oidc_endpoint": f"{self.url}/oidc",
            "workspace_id": str(ORG),
            "cloud": "aws",
            "host_type": "workspace",
        }

    def me(self, _query: dict[str, str], _body: Any) -> Any:
        return {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": "1000012345",
            "userName": USER,
            "active": True,
            "displayName": "Zoe",
            "emails": [{"type": "work", "value": USER, "primary": True}],
            "groups": [{"display": "users", "value": "1"}],
        }

    def get_status(self, query: dict[str, str], _body: Any) -> Any:
        path = query.get("path", "")
        if path in self.folders:
            return {"object_type": "DIRECTORY", "path": path, "object_id": _number(path)}
        if path in self.files:
            return {
                "object_type": "FILE",
                "path": path,
                "object_id": _number(path),
                "size": len(self.files[path]),
            }
        raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")

    def mkdirs(self, _query: dict[str, str], body: Any) -> Any:
        self._folder(body["path"])
        return {}

    def _folder(self, path: str) -> None:
        parts = path.strip("/").split("/")
        self.folders |= {"/" + "/".join(parts[: n + 1]) for n in range(len(parts))}

    def delete(self, _query: dict[str, str], body: Any) -> Any:
        path = body["path"]
        below = {p for p in (*self.files, *self.folders) if p == path or p.startswith(f"{path}/")}
        if not below:
            raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")
        if len(below) > 1 and not body.get("recursive"):
            raise RefusedError(400, "DIRECTORY_NOT_EMPTY", f"Folder ({path}) is not empty")
        self.files = {p: content for p, content in self.files.items() if p not in below}
        self.folders -= below
        return {}

    def _write(self, path: str, content: bytes, overwrite: bool) -> Any:
        path = "/" + path.lstrip("/")
        if path in self.files and not overwrite:
            raise RefusedError(409, "RESOURCE_ALREADY_EXISTS", f"Path ({path}) already exists.")
        folder = path.rpartition("/")[0]
        if folder not in self.folders:
            raise RefusedError(
                404, "RESOURCE_DOES_NOT_EXIST", f"The parent folder ({folder}) does not exist."
            )
        self.files[path] = content
        return {}

    def import_file(self, query: dict[str, str], body: Any, path: str) -> Any:
        return self._write(path, body, query.get("overwrite") == "true")

    def import_object(self, _query: dict[str, str], body: Any) -> Any:
        return self._write(body["path"], base64.b64decode(body["content"]), body.get("overwrite", False))

    def export(self, query: dict[str, str], _body: Any) -> Any:
        return self.read(query, None, query["path"])

    def read(self, _query: dict[str, str], _body: Any, path: str) -> Any:
        path = "/" + path.lstrip("/")
        if path not in self.files:
            raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")
        return self.files[path]

    def telemetry(self, _query: dict[str, str], body: Any) -> Any:
        return {"errors": [], "numProtoSuccess": len((body or {}).get("protoLogs", ()))}

    # Catalog objects, warehouses, alerts, dashboards and grants are kept as they were sent, with what names
    # them: enough to be deployed to, and no judge of what is in them.

    def thing_create(self, _query: dict[str, str], body: Any, kind: str) -> Any:
        parts = [body.get(name) for name in ("catalog_name", "schema_name", "name")]
        if kind.startswith("unity-catalog/"):
            key = ".".join(part for part in parts if part)
        else:
            key = f"{self.new_id():x}"
        told = {**body, "id": key, "full_name": key, "dashboard_id": key, "lifecycle_state": "ACTIVE"}
        if f"{kind}/{key}" in self.things:
            raise RefusedError(409, "RESOURCE_ALREADY_EXISTS", f"{key} already exists")
        self.things[f"{kind}/{key}"] = told
        return told

    def thing_get(self, _query: dict[str, str], _body: Any, kind: str, key: str) -> Any:
        if f"{kind}/{key}" not in self.things:
            raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"{key} does not exist.")
        return self.things[f"{kind}/{key}"]

    def thing_change(self, query: dict[str, str], body: Any, kind: str, key: str) -> Any:
        self.thing_get(query, None, kind, key).update(body or {})
        return self.things[f"{kind}/{key}"]

    def thing_delete(self, query: dict[str, str], _body: Any, kind: str, key: str) -> Any:
        self.thing_get(query, None, kind, key)
        del self.things[f"{kind}/{key}"]
        return {}

    def thing_list(self, _query: dict[str, str], _body: Any, kind: str) -> Any:
        found = [thing for name, thing in self.things.items() if name.startswith(f"{kind}/")]
        return {kind.rpartition("/")[2]: found}

    def published(self, _query: dict[str, str], body: Any, key: str) -> Any:
        self.thing_get({}, None, "lakeview/dashboards", key)
        return {"display_name": key, "embed_credentials": False, **(body or {})}

    def granted(self, _query: dict[str, str], _body: Any) -> Any:
        return {"privilege_assignments": [], "access_control_list": []}


def _states(state: str, script: Script, result: str, message: str) -> dict[str, Any]:
    """The deprecated `state` and the newer `status`, which the API both sends."""
    skipped = script.result == "MAXIMUM_CONCURRENT_RUNS_REACHED"
    old: dict[str, Any] = {"life_cycle_state": state, "state_message": ""}
    new: dict[str, Any] = {"state": state}
    if state == "QUEUED":
        old["queue_reason"] = script.queued
        new["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": script.queued}
    if state == "TERMINATED":
        if skipped:
            old["life_cycle_state"] = "SKIPPED"
        if result == "INTERNAL_ERROR":
            old["life_cycle_state"] = result
        else:
            old["result_state"] = result
        old |= {"state_message": message, "user_cancelled_or_timedout": result in ("CANCELED", "TIMEDOUT")}
        new["termination_details"] = {"code": script.code, "type": script.type, "message": message}
    return {"state": old, "status": new}


def _page(name: str, found: list[Any], query: dict[str, str], limit: int) -> dict[str, Any]:
    """A page of a list; an empty one has no list at all."""
    first = int(query.get("page_token", 0))
    told: dict[str, Any] = {"has_more": first + limit < len(found)}
    if told["has_more"]:
        told["next_page_token"] = str(first + limit)
    return {name: found[first : first + limit], **told} if found[first:] else told


def _integer(told: Any, name: str) -> int:
    try:
        return int(told)
    except (TypeError, ValueError):
        raise RefusedError(400, "INVALID_PARAMETER_VALUE", f"{name} must be a number, not {told!r}") from None


def _number(path: str) -> int:
    return int.from_bytes(path.encode()[-6:])


def _now() -> int:
    return time.time_ns() // 1_000_000


_UC = r"(unity-catalog/(?:catalogs|schemas|volumes|external-locations))"
_KINDS = r"(sql/warehouses|alerts|lakeview/dashboards)"
Answer = Callable[..., Any]
ROUTES: list[tuple[str, str, Answer]] = [
    ("GET", r"/\.well-known/databricks-config", FakeWorkspace.config),
    ("GET", r"/api/2\.2/jobs/list", FakeWorkspace.jobs_list),
    ("GET", r"/api/2\.[012]/jobs/get", FakeWorkspace.jobs_get),
    ("POST", r"/api/2\.2/jobs/create", FakeWorkspace.jobs_create),
    ("POST", r"/api/2\.2/jobs/reset", FakeWorkspace.jobs_reset),
    ("POST", r"/api/2\.2/jobs/delete", FakeWorkspace.jobs_delete),
    ("POST", r"/api/2\.2/jobs/run-now", FakeWorkspace.run_now),
    ("GET", r"/api/2\.2/jobs/runs/get", FakeWorkspace.runs_get),
    ("GET", r"/api/2\.2/jobs/runs/list", FakeWorkspace.runs_list),
    ("GET", r"/api/2\.2/jobs/runs/get-output", FakeWorkspace.runs_get_output),
    ("POST", r"/api/2\.0/sql/statements/?", FakeWorkspace.execute),
    ("GET", r"/api/2\.0/sql/statements/([^/]+)", FakeWorkspace.statement),
    ("GET", r"/api/2\.0/preview/scim/v2/Me", FakeWorkspace.me),
    ("GET", r"/api/2\.0/workspace/get-status", FakeWorkspace.get_status),
    ("POST", r"/api/2\.0/workspace/mkdirs", FakeWorkspace.mkdirs),
    ("POST", r"/api/2\.0/workspace/delete", FakeWorkspace.delete),
    ("POST", r"/api/2\.0/workspace/import", FakeWorkspace.import_object),
    ("GET", r"/api/2\.0/workspace/export", FakeWorkspace.export),
    ("POST", r"/api/2\.0/workspace-files/import-file/(.+)", FakeWorkspace.import_file),
    ("GET", r"/api/2\.0/workspace-files/(.+)", FakeWorkspace.read),
    ("POST", r"/telemetry-ext", FakeWorkspace.telemetry),
    ("POST", rf"/api/2\.1/{_UC}", FakeWorkspace.thing_create),
    ("GET", rf"/api/2\.1/{_UC}/([^/]+)", FakeWorkspace.thing_get),
    ("PATCH", rf"/api/2\.1/{_UC}/([^/]+)", FakeWorkspace.thing_change),
    ("DELETE", rf"/api/2\.1/{_UC}/([^/]+)", FakeWorkspace.thing_delete),
    ("GET", r"/api/2\.1/unity-catalog/permissions/[^/]+/[^/]+", FakeWorkspace.granted),
    ("PATCH", r"/api/2\.1/unity-catalog/permissions/[^/]+/[^/]+", FakeWorkspace.granted),
    ("GET", rf"/api/2\.0/{_KINDS}", FakeWorkspace.thing_list),
    ("POST", rf"/api/2\.0/{_KINDS}", FakeWorkspace.thing_create),
    ("GET", rf"/api/2\.0/{_KINDS}/([^/]+)", FakeWorkspace.thing_get),
    ("PATCH", rf"/api/2\.0/{_KINDS}/([^/]+)", FakeWorkspace.thing_change),
    ("DELETE", rf"/api/2\.0/{_KINDS}/([^/]+)", FakeWorkspace.thing_delete),
    ("POST", r"/api/2\.0/(sql/warehouses)/([^/]+)/edit", FakeWorkspace.thing_change),
    ("GET", r"/api/2\.0/lakeview/dashboards/([^/]+)/published", FakeWorkspace.published),
    ("POST", r"/api/2\.0/lakeview/dashboards/([^/]+)/published", FakeWorkspace.published),
    ("GET", r"/api/2\.0/permissions/[^/]+/[^/]+", FakeWorkspace.granted),
    ("PUT", r"/api/2\.0/permissions/[^/]+/[^/]+", FakeWorkspace.granted),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one packet: the second one would wait for the first one's receipt
    workspace: FakeWorkspace

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""

    def _serve(self) -> None:
        fake = self.workspace
        at = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(at.query, keep_blank_values=True).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = "/import-file/" not in at.path and raw
        fault = self._fault(at.path)
        if fault == "drop":
            return self._drop()
        body: Any = None
        try:
            if fault is not None and fault != "drop_after":
                raise _trouble(fault)
            self._check_token(at.path)
            body = json.loads(raw) if is_json else raw
            with fake.lock:
                fake.requests.append((self.command, at.path, query, body))
            fake.on_request(self.command, at.path)
            answer, status, headers = fake.handle(self.command, at.path, query, body), 200, {}
        except RefusedError as refused:
            answer, status, headers = refused.body, refused.status, refused.headers
        except json.JSONDecodeError as error:
            answer = {
                "error_code": "MALFORMED_REQUEST",
                "message": f"Invalid JSON given in the body: {error}",
            }
            status, headers = 400, {}
        if fault == "drop_after":
            return self._drop()
        self._send(status, headers, answer)

    def _fault(self, path: str) -> str | None:
        with self.workspace.lock:
            for fault in self.workspace.faults:
                if path.startswith(fault.path) and fault.times > 0:
                    fault.times -= 1
                    return fault.kind
        return None

    def _check_token(self, path: str) -> None:
        told = self.headers.get("Authorization", "")
        if path.startswith("/.well-known/"):
            return
        if not told:
            raise RefusedError(
                401, 401, "Credential was not sent or was of an unsupported type for this API."
            )
        if told != f"Bearer {TOKEN}":
            raise RefusedError(403, 403, "Invalid access token.")

    def _send(self, status: int, headers: dict[str, str], answer: Any) -> None:
        if isinstance(answer, bytes):
            kind, content = "application/octet-stream", answer
        elif status == 502:  # what stands in front of the workspace answers in HTML
            kind, content = "text/html", b"<html><head><title>502 Bad Gateway</title></head></html>"
        else:
            kind, content = "application/json", json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.send_header("X-Databricks-Org-Id", str(ORG))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
    setattr(_Handler, f"do_{_method}", _Handler._serve)


def _trouble(kind: str) -> RefusedError:
    told = {
        "429": (
            429,
            "REQUEST_LIMIT_EXCEEDED",
            "Current request exceeds the rate limit.",
            {"Retry-After": "1"},
        ),
        "500": (500, "INTERNAL_ERROR", "The workspace has met an error.", {}),
        "502": (502, "BAD_GATEWAY", "Bad Gateway", {}),
        "503": (503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable.", {}),
    }
    return RefusedError(*told[kind])


@contextmanager
def serve() -> Iterator[FakeWorkspace]:
    """A workspace on a free port of 127.0.0.1."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    fake = FakeWorkspace(f"http://127.0.0.1:{server.server_address[1]}")
    handler.workspace = fake  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
