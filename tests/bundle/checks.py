"""What a resolved target must be. Each check gives what is wrong, in words.

Fields and enumerations are those of databricks-bundles and databricks-sdk; the rules beside them are those of
the CLI itself (bundle/config/validate), what Databricks' documentation says of jobs, and what our jobs need.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import inspect
import io
import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any
from unittest import mock

from databricks.bundles.alerts import Alert
from databricks.bundles.dashboards import Dashboard
from databricks.bundles.jobs import Job
from databricks.bundles.schemas import Schema
from databricks.bundles.sql_warehouses import SqlWarehouse
from databricks.bundles.volumes import Volume
from databricks.sdk.service.catalog import PrivilegeAssignment, SchemasAPI, VolumesAPI
from databricks.sdk.service.jobs import JobSettings
from databricks.sdk.service.sql import EndpointTags, WarehousesAPI
from tests.bundle.resolver import ROOT, Bundle, BundleError, resolve
from tests.bundle.shown import shown_problems

from lakehouse import tables as declared
from lakehouse.databricks.job import settings_from, tables_from
from lakehouse.ingest.lease import EXPIRY_SECONDS
from lakehouse.settings import LAYERS
from lakehouse.table import Table

TARGETS = ("dev", "staging", "prod")
PRINCIPAL = "3f2c6a1e-0000-4000-8000-00000000cafe"
GIVEN: dict[str, Any] = {
    "catalog": "main",
    "landing_location": "s3://lake-landing/landing",
    "transcripts_location": "s3://recordings/transcripts",
    "pca_location": "s3://pca-output/parsedFiles",
    "aws_region": "eu-west-1",
}
"""What everybody has to say; staging and prod want a principal and an address too."""

FROM_KINESIS = {"metric_events"}
"""Tables of changes that no DynamoDB table can be compared with."""

_CLASSES: Mapping[str, Any] = {
    "jobs": Job,
    "schemas": Schema,
    "volumes": Volume,
    "sql_warehouses": SqlWarehouse,
    "alerts": Alert,
    "dashboards": Dashboard,
}
_CALLS: Mapping[str, Any] = {
    "schemas": SchemasAPI.create,
    "volumes": VolumesAPI.create,
    "sql_warehouses": WarehousesAPI.create,
}
_OF_THE_BUNDLE = {"grants", "permissions", "lifecycle"}  # no fields of the API's own objects

# The keys of the CLI's JSON schema that this bundle uses. Another one of them may be added.
_KEYS: Mapping[str, set[str]] = {
    "": {
        *("artifacts", "bundle", "permissions", "presets", "resources", "run_as", "sync", "workspace"),
        *("experimental", "target_workspace"),  # the latter is the resolver's
    },
    "experimental": {"skip_artifact_cleanup"},
    "bundle": {"name", "databricks_cli_version", "engine", "git", "mode"},
    "presets": {"tags"},
    "sync": {"paths"},  # what `exclude` leaves out, a job would look for
    "workspace": {"root_path"},
}

_READ = {"USE_SCHEMA", "SELECT"}
_WORK = {*_READ, "MODIFY", "CREATE_TABLE"}
_FILES = {"READ_VOLUME", "WRITE_VOLUME"}
MAY: Mapping[str, Mapping[str, set[str]]] = {
    "schemas.bronze": {PRINCIPAL: _WORK, "operators": _READ},
    "schemas.silver": {PRINCIPAL: _WORK, "operators": _READ},
    "schemas.gold": {PRINCIPAL: _WORK, "operators": _READ, "analysts": _READ},
    "schemas.ops": {PRINCIPAL: _WORK, "operators": _READ},
    "volumes.checkpoints": {PRINCIPAL: _FILES, "operators": _FILES},
    "volumes.landing": {PRINCIPAL: {"READ_VOLUME"}, "operators": _FILES},
    "volumes.transcripts": {PRINCIPAL: {"READ_VOLUME"}, "operators": {"READ_VOLUME"}},
    "volumes.pca_calls": {PRINCIPAL: {"READ_VOLUME"}, "operators": {"READ_VOLUME"}},
}
"""All that is granted in staging and prod: a privilege more or less is wrong. Dev grants nothing."""

_CRON = re.compile(
    r"[0-5]?\d (?:\*|[0-5]?\d)(?:/[0-5]?\d)? (?:\*|[01]?\d|2[0-3])(?:/\d+)? "
    r"(\?|[\d/*,L-]+) [\d/*,-]+ (\?|\*|[A-Z0-9,#-]+)"
)
_DYNAMIC = re.compile(r"\{\{([^{}]*)\}\}")


def given_for(target: str) -> dict[str, Any]:
    """The values that somebody who deploys this target has to give."""
    more = {} if target == "dev" else {"service_principal": PRINCIPAL, "notify": "oncall@example.com"}
    return GIVEN | more


def problems(texts: Mapping[str, str], tables: Sequence[Table] = declared.TABLES) -> list[str]:
    """All that is wrong with the bundle, in any of its targets."""
    found: dict[str, None] = {}
    bundles = []
    for target in TARGETS:
        try:
            bundle = resolve(texts, target, given_for(target))
        except BundleError as error:
            found[f"{target}: {error}"] = None
            continue
        bundles.append(bundle)
        wrong = list(_fields(bundle))
        if not wrong:  # the others take every field for what it should be
            wrong = [problem for check in CHECKS for problem in check(bundle, tables)]
        found |= dict.fromkeys(f"{target}: {problem}" for problem in wrong)
    found |= dict.fromkeys(_across(texts, bundles))
    return list(found)


# --- fields -------------------------------------------------------------------------------------------------


def _fields(bundle: Bundle) -> Iterator[str]:
    """Every field is one that the CLI and the API know, and has a value of its type."""
    for section, known in _KEYS.items():
        holder = bundle.config if not section else bundle.config.get(section, {})
        for key in sorted(set(holder) - known):
            yield f"{section or 'databricks.yml'} has {key!r}, which means nothing here"
    for kind, members in bundle.config["resources"].items():
        if kind not in _CLASSES:
            yield f"resources.{kind} is not known"
            continue
        for key, resource in members.items():
            yield from _of_a_resource(kind, key, json.dumps(resource))


@lru_cache(maxsize=1000)
def _of_a_resource(kind: str, key: str, told: str) -> tuple[str, ...]:
    """What is wrong with the fields of a resource, which is given as JSON."""
    where, resource = f"{kind}.{key}", json.loads(told)
    try:
        again = _CLASSES[kind].from_dict(copy.deepcopy(resource)).as_dict()
    except (ValueError, TypeError, AssertionError) as error:
        return (f"{where}: {error}",)
    return (*_differences(where, resource, again), *_of_the_api(kind, where, resource))


def _of_the_api(kind: str, where: str, resource: Mapping[str, Any]) -> Iterator[str]:
    own = {k: v for k, v in resource.items() if k not in _OF_THE_BUNDLE}
    for grant in resource.get("grants", []):
        yield from _differences(f"{where}.grants", grant, PrivilegeAssignment.from_dict(grant).as_dict())
    if kind == "jobs":
        yield from _differences(where, own, JobSettings.from_dict(own).as_dict())
    if kind in _CALLS:
        for name in sorted(set(own) - set(inspect.signature(_CALLS[kind]).parameters)):
            yield f"{where}: the API takes no {name!r}"
    if kind == "sql_warehouses":
        yield from _differences(f"{where}.tags", own["tags"], EndpointTags.from_dict(own["tags"]).as_dict())


def _differences(where: str, wanted: Any, got: Any) -> Iterator[str]:
    """Where a value did not survive being read as what it should be."""
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key, value in wanted.items():
            if key in got:
                yield from _differences(f"{where}.{key}", value, got[key])
            elif value not in ({}, []):
                yield f"{where}.{key}: {value!r} is not taken"
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _differences(f"{where}[{number}]", one, other)
    elif wanted != got or type(wanted) is not type(got):
        yield f"{where}: {wanted!r} is read as {got!r}"


# --- jobs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A task that does something, with its job; `inputs`: what it is repeated for."""

    key: str
    job: Mapping[str, Any]
    task: Mapping[str, Any]
    inputs: str | None

    @property
    def where(self) -> str:
        return f"jobs.{self.key}.{self.task.get('task_key')}"

    @property
    def script(self) -> str:
        return str(self.task.get("spark_python_task", {}).get("python_file"))

    @property
    def arguments(self) -> list[str]:
        found: list[str] = self.task.get("spark_python_task", {}).get("parameters", [])
        return found

    def option(self, name: str) -> list[str]:
        """The values that an option is given."""
        return [a.split("=", 1)[1] for a in self.arguments if a.startswith(f"--{name}=")]


def steps(bundle: Bundle) -> list[Step]:
    """Every task of every job; those of a loop in its place."""
    found = []
    for key, job in bundle.resources("jobs").items():
        for task in job.get("tasks", []):
            loop = task.get("for_each_task")
            found.append(Step(key, job, loop["task"] if loop else task, loop["inputs"] if loop else None))
    return found


def _compute(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    """Every task has compute that is defined, with our wheel on it; nothing is defined that no task uses."""
    for artifact in bundle.config.get("artifacts", {}).values():
        wheels = posixpath.normpath(posixpath.join(artifact.get("path", "."), "dist/*.whl"))
    for key, job in bundle.resources("jobs").items():
        environments = {e["environment_key"]: e.get("spec", {}) for e in job.get("environments", [])}
        clusters = {c["job_cluster_key"]: c.get("new_cluster", {}) for c in job.get("job_clusters", [])}
        mine = [step for step in steps(bundle) if step.key == key]
        if not mine:
            yield f"jobs.{key} has no task"
        used = {s.task.get("environment_key") for s in mine} | {s.task.get("job_cluster_key") for s in mine}
        for name in sorted({*environments, *clusters} - used):
            yield f"jobs.{key}: nothing runs on {name!r}"
        for step in mine:
            environment, cluster = step.task.get("environment_key"), step.task.get("job_cluster_key")
            others = {"existing_cluster_id", "new_cluster", "environment_variables_key"} & set(step.task)
            if (environment is None) == (cluster is None) or others:
                yield f"{step.where}: one of environment_key and job_cluster_key, and nothing else"
            if environment is not None and environment not in environments:
                yield f"{step.where}: there is no environment {environment!r}"
            if cluster is not None and cluster not in clusters:
                yield f"{step.where}: there is no cluster {cluster!r}"
            libraries = [library.get("whl") for library in step.task.get("libraries", [])]
            if cluster is not None and libraries != [wheels]:
                yield f"{step.where}: its libraries are {libraries}, not [{wheels!r}]"
            if environment is not None and libraries:
                yield f"{step.where}: on serverless compute the environment has the libraries"
        for name, spec in environments.items():
            if spec.get("environment_version") not in ("4", "5"):
                yield f"jobs.{key}: environment_version of {name!r} is {spec.get('environment_version')!r}"
            if spec.get("dependencies") != [wheels]:
                yield f"jobs.{key}: {name!r} has {spec.get('dependencies')}, not [{wheels!r}]"
        for name, cluster in clusters.items():
            yield from (f"jobs.{key}: cluster {name!r}: {problem}" for problem in _cluster(cluster))


def _cluster(cluster: Mapping[str, Any]) -> Iterator[str]:
    if cluster.get("data_security_mode") != "DATA_SECURITY_MODE_STANDARD":
        yield "it is not of standard access mode"
    if (
        not isinstance(cluster.get("num_workers"), int)
        or cluster["num_workers"] < 1
        or "autoscale" in cluster
    ):
        yield "streams want a fixed number of workers"
    runtime = re.fullmatch(r"(\d+)\.(\d+)\.x-scala2\.1[23]", str(cluster.get("spark_version")))
    if not runtime or (int(runtime[1]), int(runtime[2])) < (17, 3):
        yield f"spark_version {cluster.get('spark_version')!r} is no runtime from 17.3 on"
    if cluster.get("aws_attributes", {}).get("first_on_demand", 0) < 1:
        yield "the driver may be taken away"
    if cluster.get("spark_conf"):
        yield "the code sets what it needs; spark_conf would change what values become"
    if not cluster.get("node_type_id"):
        yield "it has no node_type_id"


def _programs(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    """Every task runs a file that is there and is synchronised, with arguments that it takes."""
    synced = bundle.config.get("sync", {}).get("paths", [])
    for step in steps(bundle):
        if not step.task.get("spark_python_task"):
            yield f"{step.where} runs no file of jobs/"
            continue
        if not (ROOT / step.script).is_file():
            yield f"{step.where}: there is no {step.script}"
            continue
        if not any(step.script.startswith(f"{path.rstrip('/')}/") for path in synced):
            yield f"{step.where}: {step.script} is not synchronised"
        yield from (f"{step.where}: {problem}" for problem in _arguments(step, tables))
        for name in sorted({p["name"] for p in step.job.get("parameters", [])}):
            if f"{{{{job.parameters.{name}}}}}" not in " ".join([*step.arguments, step.inputs or ""]):
                yield f"{step.where} does not use the parameter {name!r}"


_ALONE = {"disabled", "run_if", "depends_on"}
_HARMLESS = {"repair": "false", "complete": "false", "dry_run": "false", "everything": "false", "as_of": ""}
"""Defaults of parameters; anything else is for somebody to say."""


def _arguments(step: Step, tables: Sequence[Table]) -> Iterator[str]:
    parameters = {p["name"]: p.get("default") for p in step.job.get("parameters", [])}
    for name in sorted(_ALONE & set(step.task)):
        yield f"{name}: every task runs, and by itself"
    if "git_source" in step.job or "source" in step.task["spark_python_task"]:
        yield "its file is not the one that is deployed"
    for name, default in parameters.items():
        if default != _HARMLESS.get(name, default):
            yield f"nobody has said that {name} is {default!r}"
        if name == "tables" and step.script != "jobs/reconcile.py" and default:
            yield f"it leaves out every table but {default!r}"
    options = [argument.partition("=")[0] for argument in step.arguments if "--documents=" not in argument]
    for option in sorted({o for o in options if options.count(o) > 1}):
        yield f"{option} is there twice, and the last one holds"
    if {"--analysts", "--operators", "--endpoint-url", "--platform", "--warehouse"} & set(options):
        yield "an option that is not for a bundle"
    for argument in step.arguments:
        # An argument of two words could lose an empty second one, or have one that looks like an option.
        if not re.match(r"--[a-z-]+(=|$)", argument):
            yield f"{argument!r} is not of the form --name=value"
    told = {f"job.parameters.{name}": value for name, value in parameters.items()}
    rounds: list[dict[str, Any]] = [{}]
    if step.inputs is not None:
        try:
            rounds = json.loads(filled(step.inputs, told))
        except (ValueError, KeyError) as error:
            yield f"its inputs are no JSON: {error}"
            return
    for number in rounds:
        told |= {f"input.{name}": value for name, value in number.items()}
        try:
            arguments = [filled(argument, told) for argument in step.arguments]
        except KeyError as error:
            yield f"nothing is called {error}"
            return
        yield from _taken(step, arguments, tables)


def filled(text: str, told: Mapping[str, Any]) -> str:
    """A text with the values of what it refers to when it runs."""
    return _DYNAMIC.sub(lambda match: str(told[match[1]]), text)


def _taken(step: Step, arguments: Sequence[str], tables: Sequence[Table]) -> Iterator[str]:
    """What the file's own parser, and what is made of its arguments, has against them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), mock.patch.object(declared, "TABLES", tuple(tables)):
            args = parser_of(step.script).parse_args(arguments)
            settings_from(args)
            tables_from(args)
    except SystemExit:
        yield f"{step.script} refuses it: {said.getvalue().strip().splitlines()[-1]}"
        return
    except Exception as error:  # whatever it has against them
        yield f"{step.script} refuses it: {error}"
        return
    if "--service-credential" in _options(step.script) and not (args.service_credential and args.region):
        yield "it calls AWS, so it needs --service-credential and --region"
    if args.platform != "databricks" or args.warehouse is not None:
        yield "it is told that it runs on one machine"


class _FoundError(Exception):
    """Carries the parser out of a job's main."""


@cache
def module_of(script: str) -> ModuleType:
    """A file of jobs/, imported."""
    spec = importlib.util.spec_from_file_location(f"bundle_{script.replace('/', '_')}", ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser that a file of jobs/ makes."""

    def look(parser: argparse.ArgumentParser, _argv: object = None) -> None:
        raise _FoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", look):
        try:
            module_of(script).main([])
        except _FoundError as found:
            parser: argparse.ArgumentParser = found.args[0]
            return parser
    raise AssertionError(f"{script} parses no arguments")


@cache
def _options(script: str) -> frozenset[str]:
    return frozenset(parser_of(script)._option_string_actions)


def _places(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    """The arguments of every job name the bundle's own schemas, volumes and locations."""
    schemas, volumes = bundle.resources("schemas"), bundle.resources("volumes")

    def path(volume: str) -> str:
        found = volumes.get(volume, {})
        return "/".join(("/Volumes", *(str(found.get(n)) for n in ("catalog_name", "schema_name", "name"))))

    wanted = {"catalog": bundle.variables["catalog"], "checkpoints": path("checkpoints")}
    wanted |= {layer: schemas.get(layer, {}).get("name") for layer in LAYERS}
    documents = {source for t in tables if t.format == "documents" for source in t.sources}
    for step in steps(bundle):
        # Repairs land with a conditional put, which a volume does not have.
        puts = step.script == "jobs/reconcile.py"
        landing = bundle.variables["landing_location"] if puts else path("landing")
        for option, value in (wanted | {"landing": landing}).items():
            if step.option(option) != [value]:
                yield f"{step.where}: --{option} is {step.option(option)}, not {value!r}"
        if "--trigger" in _known(step):
            given = dict(pair.partition("=")[::2] for pair in step.option("documents"))
            if given != {source: path(source) for source in documents}:
                yield f"{step.where}: the documents are {given}, and the tables have {sorted(documents)}"
            for option in ("no-file-events", "parquet"):
                if step.option(option) != [bundle.variables[option.replace("-", "_")]]:
                    yield f"{step.where}: --{option} is not as the variable says"


def _known(step: Step) -> frozenset[str]:
    return _options(step.script) if (ROOT / step.script).is_file() else frozenset()


def _ingests(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    """One checkpoint, one holder: no run beside another, and none that fails for a holder at work."""
    kinds: dict[str, str] = {}
    for step in steps(bundle):
        if "--trigger" not in _known(step):
            continue
        serverless = "environment_key" in step.task
        triggers = step.option("trigger")
        if serverless and triggers != ["available-now"]:
            yield f"{step.where}: serverless compute has no trigger but available-now"
        if not serverless and triggers == ["available-now"]:
            yield f"{step.where}: a cluster that is always up, for a stream that ends at once"
        if not serverless and "continuous" not in step.job:
            yield f"{step.where}: a stream that does not end wants a continuous job"
        waits = [filled(w, defaults(step.job)) for w in step.option("wait")]
        if not waits or float(waits[0]) <= EXPIRY_SECONDS:
            yield f"{step.where}: --wait must outlast the lease of a holder that died ({EXPIRY_SECONDS:g} s)"
        if serverless and not step.job["queue"].get("enabled"):
            yield f"{step.where}: a backfill that is asked for during the hourly run would be skipped"
        if serverless and [filled(a, defaults(step.job)) for a in step.option("leave-held")] != ["true"]:
            yield f"{step.where}: it fails while the stream is at work: --leave-held"
        if not serverless and step.option("tables"):
            yield f"{step.where}: one job has the streams of all tables"
        kinds["serverless" if serverless else "cluster"] = step.key
    if set(kinds) != {"serverless", "cluster"}:
        yield f"there is not one ingest on a cluster and one on serverless compute, but {kinds}"
    for step in steps(bundle):
        for option in ("tables", "max-files", "wait", "leave-held"):
            if step.key == kinds.get("serverless") and not step.option(option):
                yield f"{step.where}: a backfill cannot say --{option}"


def _by_hand(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    """What costs a scan, or hours, is not done again before somebody has looked."""
    for step in steps(bundle):
        once = step.task.get("max_retries") == 0 and step.task.get("disable_auto_optimization") is True
        if step.script in ("jobs/reconcile.py", "jobs/rebuild.py") and not once:
            yield f"{step.where} would be tried again by itself"
        if step.script in ("jobs/setup.py", "jobs/rebuild.py") and list(_pauses(step.job)):
            yield f"{step.where} is for people to start"


def defaults(job: Mapping[str, Any]) -> dict[str, str]:
    """The values of a job's parameters when nobody gives others, by reference."""
    return {f"job.parameters.{p['name']}": p.get("default", "") for p in job.get("parameters", [])}


def _covers(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    """Every table that is made from a DynamoDB table is compared with it."""
    wanted = {t.name for t in tables if t.format == "changes"} - FROM_KINESIS
    for step in steps(bundle):
        if step.script == "jobs/reconcile.py":
            inputs = filled(str(step.inputs), defaults(step.job))
            with contextlib.suppress(ValueError):  # said elsewhere
                compared = {one.get("table") for one in json.loads(inputs)}
                if compared != wanted:
                    yield f"{step.where} compares {sorted(map(str, compared))}, not {sorted(wanted)}"
    used = {step.script for step in steps(bundle)}
    for path in sorted((ROOT / "jobs").glob("*.py")):
        if f"jobs/{path.name}" not in used:
            yield f"no job runs jobs/{path.name}"


def _runs(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    """How jobs start, end, fail, repeat, and whom they tell."""
    for key, job in bundle.resources("jobs").items():
        where, written = f"jobs.{key}", bundle.written["resources"]["jobs"][key]
        triggers = [name for name in ("schedule", "continuous", "trigger", "triggers") if name in job]
        if len(triggers) > 1:
            yield f"{where}: {' and '.join(triggers)} exclude each other"
        if written.get("max_concurrent_runs") != 1:
            yield f"{where}: max_concurrent_runs must be said, and be 1"
        rules = {rule["metric"]: rule["value"] for rule in job.get("health", {}).get("rules", [])}
        mails = job.get("email_notifications", {})
        told = {"on_failure"}
        if "continuous" in job:
            told |= {"on_streaming_backlog_exceeded"}
            yield from (f"{where}: {problem}" for problem in _continuous(job, rules))
        else:
            told |= {"on_duration_warning_threshold_exceeded"}
            yield from (f"{where}: {problem}" for problem in _batch(job, written, rules))
        for event in sorted(told):
            if mails.get(event) != [bundle.variables["notify"]]:
                yield f"{where}: nobody is told {event}"
        tags = {"project", "environment", "cost_center"} - set(job.get("tags", {}))
        if tags:
            yield f"{where} lacks the tags {sorted(tags)}"


def _continuous(job: Mapping[str, Any], rules: Mapping[str, int]) -> Iterator[str]:
    if not any(metric in rules for metric in ("STREAMING_BACKLOG_FILES", "STREAMING_BACKLOG_BYTES")):
        yield "no health rule tells that it lags"
    if "task_retry_mode" not in job["continuous"]:
        yield "task_retry_mode is not said, and would be NEVER"
    if job.get("timeout_seconds"):
        yield "a stream that does not end has no time-out"
    for task in job.get("tasks", []):
        if {"max_retries", "min_retry_interval_millis", "retry_on_timeout", "depends_on"} & set(task):
            yield "a continuous job has no retry policy and no dependencies of tasks"


def _batch(job: Mapping[str, Any], written: Mapping[str, Any], rules: Mapping[str, int]) -> Iterator[str]:
    limit, slow = job.get("timeout_seconds", 0), rules.get("RUN_DURATION_SECONDS", 0)
    if not limit:
        yield "it has no time-out"
    if not 0 < slow < limit:
        yield "no health rule tells that it takes long, before its time is out"
    if "queue" not in written:
        yield "queue is not said"
    for task in job.get("tasks", []):
        inner = task.get("for_each_task", {}).get("task", {})
        if "max_retries" not in task or (inner and "max_retries" not in inner):
            yield "max_retries is not said"
        if inner and task.get("max_retries"):
            yield "max_retries belongs to the task within for_each_task"
    schedule = job.get("schedule")
    if schedule is not None:
        if not _CRON.fullmatch(schedule.get("quartz_cron_expression", "")):
            yield f"{schedule.get('quartz_cron_expression')!r} is no Quartz expression"
        day, weekday = (schedule.get("quartz_cron_expression", "").split() + [""] * 6)[3:6:2]
        if (day == "?") == (weekday == "?"):
            yield "one of day and weekday has to be ?"
        if schedule.get("timezone_id") != "UTC":
            yield "its time zone is not UTC"


# --- storage, access, targets -------------------------------------------------------------------------------


def _storage(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    schemas, volumes = bundle.resources("schemas"), bundle.resources("volumes")
    if set(schemas) != set(LAYERS):
        yield f"the schemas are {sorted(schemas)}"
    documents = {source for t in tables if t.format == "documents" for source in t.sources}
    missing = {"checkpoints", "landing", *documents} - set(volumes)
    if missing:
        yield f"there is no volume for {sorted(missing)}"
    if len({schema.get("name") for schema in schemas.values()}) < len(schemas):
        yield "two schemas have one name"
    kept = [("schemas", key) for key in schemas] + [("volumes", "checkpoints")]
    for kind, key in kept:
        protected = bundle.resources(kind).get(key, {}).get("lifecycle", {}).get("prevent_destroy")
        if protected is not (bundle.target != "dev"):
            yield f"{kind}.{key}: prevent_destroy is {protected}"
    for key, schema in schemas.items():
        if schema.get("catalog_name") != bundle.variables["catalog"]:
            yield f"schemas.{key} is in another catalog"
    for key, volume in volumes.items():
        if bundle.written["resources"]["volumes"][key].get("schema_name") != "${resources.schemas.ops.name}":
            yield f"volumes.{key} does not say by a reference that its schema comes first"
        if volume.get("catalog_name") != bundle.variables["catalog"]:
            yield f"volumes.{key} is in another catalog"
        external, location = volume.get("volume_type") == "EXTERNAL", volume.get("storage_location")
        if external is (key == "checkpoints"):
            yield f"volumes.{key} is {volume.get('volume_type')}"
        if external != bool(location) or (location and not re.fullmatch(r"s3://[^/]+/.+[^/]", location)):
            yield f"volumes.{key}: its location is {location!r}"
    locations = {key: f"{v['storage_location']}/" for key, v in volumes.items() if v.get("storage_location")}
    for key, location in locations.items():
        for other, above in locations.items():
            if key != other and location.startswith(above):
                yield f"volumes.{key} lies in volumes.{other}"


def _warehouse(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    for key, warehouse in bundle.resources("sql_warehouses").items():
        where = f"sql_warehouses.{key}"
        if warehouse.get("auto_stop_mins") != 10:
            yield f"{where} stops after {warehouse.get('auto_stop_mins')} minutes"
        if warehouse.get("enable_serverless_compute") is not True or warehouse.get("warehouse_type") != "PRO":
            yield f"{where} is not serverless, of warehouse_type PRO: a short stop would cost a wait"
        if warehouse.get("cluster_size") not in ("2X-Small", "X-Small", "Small"):
            yield f"{where} is {warehouse.get('cluster_size')}"
        if not 1 <= warehouse.get("min_num_clusters", 0) <= warehouse.get("max_num_clusters", 0):
            yield f"{where}: max_num_clusters is less than min_num_clusters"
    if not bundle.resources("sql_warehouses"):
        yield "there is no SQL warehouse"


_PERMITTED = (
    ("jobs", "CAN_MANAGE_RUN", None),
    ("sql_warehouses", "CAN_MONITOR", "CAN_USE"),
    ("dashboards", "CAN_RUN", "CAN_RUN"),
    ("alerts", "CAN_RUN", None),
)
"""What operators and analysts may do with each kind; the principal manages all."""


def _access(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    wanted = MAY if bundle.target != "dev" else {}
    for kind in ("schemas", "volumes"):
        for key, resource in bundle.resources(kind).items():
            granted: dict[str, set[str]] = {}
            for grant in resource.get("grants", []):
                granted.setdefault(grant["principal"], set()).update(grant["privileges"])
            if granted != dict(wanted.get(f"{kind}.{key}", {})):
                yield f"{kind}.{key} grants {granted}"
    for kind, operators, analysts in _PERMITTED:
        may = {PRINCIPAL: "CAN_MANAGE", "operators": operators}
        if analysts is not None:
            may["analysts"] = analysts
        for key, resource in bundle.resources(kind).items():
            permissions = {_who(p): p.get("level") for p in resource.get("permissions", [])}
            if permissions != (may if bundle.target != "dev" else {}):
                yield f"{kind}.{key} permits {permissions}"


def _who(permission: Mapping[str, Any]) -> str:
    for kind in ("service_principal_name", "group_name", "user_name"):
        if kind in permission:
            # A principal is no group: what is granted to one under the other's kind is granted to nobody.
            right = (permission[kind] == PRINCIPAL) == (kind == "service_principal_name")
            return str(permission[kind]) if right else f"{kind} {permission[kind]}"
    return "nobody"


def _pauses(job: Mapping[str, Any]) -> Iterator[str]:
    for name in ("schedule", "continuous", "trigger"):
        if name in job:
            yield job[name]["pause_status"]


def _mode(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    config, jobs = bundle.config, bundle.resources("jobs")
    at_work = {key for key, job in jobs.items() if "UNPAUSED" in _pauses(job)}
    has_trigger = {key for key, job in jobs.items() if list(_pauses(job))}
    root = config["target_workspace"].get("root_path", "")
    if config["bundle"].get("engine") != "direct":
        yield "the engine is not direct"
    if bundle.target == "dev":
        if config["bundle"]["mode"] != "development":
            yield "dev is not in development mode"
        if at_work:
            yield f"{sorted(at_work)} would run by themselves"
        if config.get("run_as") or root:
            yield "a developer's copy runs as the developer, in the developer's folder"
        return
    if config["bundle"]["mode"] != "production":
        yield f"{bundle.target} is not in production mode"
    ingests = {"ingest", "ingest_available_now"}
    if len(at_work & ingests) != 1:
        yield f"of {sorted(ingests)} one has to be at work, and not {sorted(at_work & ingests)}"
    if has_trigger - ingests - at_work:
        yield f"{sorted(has_trigger - ingests - at_work)} do not run"
    resolved = config.get("workspace", {}).get("root_path", "")
    if not root or "ann" in resolved or f"/{bundle.target}" not in resolved or "lakehouse" not in resolved:
        yield f"root_path {resolved!r} does not make sure that there is one deployment"
    for key, job in jobs.items():
        if job.get("run_as") != {"service_principal_name": PRINCIPAL}:
            yield f"jobs.{key} runs as {job.get('run_as')}"
    if bundle.target == "prod" and config["bundle"].get("git", {}).get("branch") != "main":
        yield "prod may be deployed from any branch"


def _artifact(bundle: Bundle, _: Sequence[Table]) -> Iterator[str]:
    artifacts = bundle.config.get("artifacts", {})
    if len(artifacts) != 1:
        yield f"the artifacts are {sorted(artifacts)}"
    for key, artifact in artifacts.items():
        unknown = set(artifact) - {"type", "path", "build", "dynamic_version", "files", "executable"}
        if unknown:
            yield f"artifacts.{key} has {sorted(unknown)}"
        if artifact.get("type") != "whl" or artifact.get("build") != "uv build --wheel":
            yield f"artifacts.{key} builds no wheel"
        if artifact.get("dynamic_version") is not True:
            yield f"artifacts.{key}: a cluster would keep an older wheel of the same version"
        project = ROOT / artifact.get("path", ".") / "pyproject.toml"
        if not project.is_file():
            yield f"artifacts.{key}: there is no {project.relative_to(ROOT)}"
        elif tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"] != "lakehouse":
            yield f"artifacts.{key} is another package"
    if bundle.config.get("experimental", {}).get("skip_artifact_cleanup") is not True:
        yield "a deployment takes the wheel away that runs in progress still need"
    for path in bundle.config.get("sync", {}).get("paths", []):
        if not (ROOT / path).is_dir():
            yield f"sync: there is no {path}"


def _across(texts: Mapping[str, str], bundles: Sequence[Bundle]) -> Iterator[str]:
    """What shows in no target alone."""
    whole = "\n".join(texts.values())
    for bundle in bundles[:1]:
        for name in bundle.variables:
            if f"${{var.{name}}}" not in whole:
                yield f"nothing uses the variable {name!r}"
            if not re.search(rf"^  {name}:\n    description: \S", whole, re.MULTILINE):
                yield f"the variable {name!r} is not described"
    roots = [b.config.get("workspace", {}).get("root_path") for b in bundles if b.target != "dev"]
    if len(set(roots)) < len(roots):
        yield "two targets have one root_path"
    for found in re.findall(r"https?://\S+|/home/\S+|\bdapi[0-9a-f]{16,}|\bAKIA\w{16}", whole):
        yield f"{found} does not belong here"


Check = Callable[[Bundle, Sequence[Table]], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    _compute,
    _programs,
    _places,
    _ingests,
    _by_hand,
    _covers,
    _runs,
    _storage,
    _warehouse,
    _access,
    _mode,
    _artifact,
    shown_problems,
)
