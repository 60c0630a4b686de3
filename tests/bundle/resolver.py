"""The bundle as the CLI would deploy it to one target: includes, overrides, variables, references, presets.

Follows the CLI's own order (bundle/config/mutator): targets are merged, variables resolved, presets applied,
then references among resources resolved. What it does not know is an error, never passed over.
"""

from __future__ import annotations

import copy
import fnmatch
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAIN = "databricks.yml"

# The same as in databricks-bundles, whose source of truth is the CLI's libs/dyn/dynvar/ref.go.
_PART = r"_*[^\W\d_]+(?:[-_]*[^\W_]+)*"
REFERENCE = re.compile(rf"(?<!\$)\$\{{({_PART}(?:\.{_PART}(?:\[[0-9]+\])*)*)\}}")

_MERGED = ("bundle", "workspace", "artifacts", "resources", "sync", "permissions", "variables", "presets")
_KEYED = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name"}
_GRANTED = ("schemas", "volumes")
_LEVELS = {  # of the bundle's permissions, by the kind of resource (apply_bundle_permissions.go)
    "jobs": {"CAN_MANAGE": "CAN_MANAGE", "CAN_RUN": "CAN_MANAGE_RUN", "CAN_VIEW": "CAN_VIEW"},
    "sql_warehouses": {"CAN_MANAGE": "CAN_MANAGE", "CAN_RUN": "CAN_MONITOR", "CAN_VIEW": "CAN_VIEW"},
    "dashboards": {"CAN_MANAGE": "CAN_MANAGE", "CAN_VIEW": "CAN_READ"},
    "alerts": {"CAN_MANAGE": "CAN_MANAGE", "CAN_RUN": "CAN_RUN", "CAN_VIEW": "CAN_READ"},
}
_PATHS = ("python_file", "file_path", "notebook_path", "whl")

USER = {"userName": "ann@example.com", "short_name": "ann", "domain_friendly_name": "ann"}


class BundleError(Exception):
    """The CLI would refuse this, or deploy something else than it says."""


@dataclass(frozen=True)
class Bundle:
    """One target, resolved. `written`: as `config`, but with nothing filled in by modes and defaults."""

    target: str
    config: dict[str, Any]
    written: dict[str, Any]
    variables: dict[str, Any]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.config["resources"].get(kind, {})
        return found


def files() -> dict[str, str]:
    """The text of databricks.yml and of every YAML file in resources/, by its path."""
    paths = [
        ROOT / MAIN,
        *sorted((ROOT / "resources").glob("*.yml")),
        *sorted((ROOT / "resources").glob("*.yaml")),
    ]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def resolve(texts: Mapping[str, str], target: str, given: Mapping[str, Any]) -> Bundle:
    """Resolve a target.

    Raises:
        BundleError: what cannot be deployed.
    """
    config = copy.deepcopy(_included(tuple(sorted(texts.items()))))
    config = _overridden(config, target)
    variables = _variables(config.pop("variables", {}), given)
    bundle = config["bundle"] | {"target": target}
    workspace = {"current_user": USER} | config.get("workspace", {})

    def known(path: list[str]) -> Any:
        if path[0] == "var":
            if len(path) != 2 or path[1] not in variables:
                raise BundleError(f"there is no variable {'.'.join(path[1:])!r}")
            return variables[path[1]]
        if path[0] in ("bundle", "workspace"):
            return _member({"bundle": bundle, "workspace": workspace}, path)
        if path[0] == "resources":
            return None  # later, under the names that presets give
        raise BundleError(f"${{{'.'.join(path)}}} is no reference")

    config = _resolved(config, known)
    variables = {name: _resolved(value, known) for name, value in variables.items()}
    written = copy.deepcopy(config)
    _apply_presets(config)
    _apply_defaults(config)
    resources = config.get("resources", {})
    computed = copy.deepcopy(resources)
    for key, volume in computed.get("volumes", {}).items():
        parts = (str(volume.get(name)) for name in ("catalog_name", "schema_name", "name"))
        volume["volume_path"] = "/Volumes/" + "/".join(parts)
        if "volume_path" in resources["volumes"][key]:
            raise BundleError(f"volumes.{key}.volume_path is computed")
    for kind, members in computed.items():
        for key, resource in members.items():
            resource["id"] = f"<id of {kind}.{key}>"

    def of_resources(path: list[str]) -> Any:
        return _member({"resources": computed}, path)

    return Bundle(target, _resolved(config, of_resources), written, variables)


# --- files -----------------------------------------------------------------------------------------------


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as the CLI reads it: no key twice, and only true and false are booleans."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise BundleError(f"key {key!r} is there twice (line {node.start_mark.line + 1})")
    return {
        key: loader.construct_object(value, deep=True)
        for key, (_, value) in zip(keys, node.value, strict=True)
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


@lru_cache(maxsize=1000)
def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, _Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise BundleError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: it is no mapping")
    located: dict[str, Any] = _located(content, posixpath.dirname(path))
    return located


def _located(value: Any, folder: str, key: str = "") -> Any:
    """Paths, which are relative to the file that has them, made relative to the root."""
    if isinstance(value, dict):
        return {k: _located(v, folder, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_located(v, folder, key) for v in value]
    is_wheel = key == "dependencies" and isinstance(value, str) and value.endswith(".whl")
    if (
        isinstance(value, str)
        and (key in _PATHS or is_wheel)
        and "${" not in value
        and not value.startswith("/")
    ):
        return posixpath.normpath(posixpath.join(folder, value))
    return value


@lru_cache(maxsize=4)
def _included(files_: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    texts = dict(files_)
    config = copy.deepcopy(_parse(MAIN, texts[MAIN]))
    included: list[str] = []
    for pattern in config.pop("include", []):
        found = fnmatch.filter((path for path in texts if path != MAIN), pattern)
        if not found:
            raise BundleError(f"include {pattern!r} finds no file")
        included += [path for path in found if path not in included]
    for path in sorted(set(texts) - {MAIN} - set(included)):
        raise BundleError(f"{path} is not included")
    keys: dict[str, str] = {}
    for path in (MAIN, *sorted(included)):
        content = config if path == MAIN else copy.deepcopy(_parse(path, texts[path]))
        for kind, members in content.get("resources", {}).items():
            for key in members:
                if key in keys:  # unique over all kinds (validate/unique_resource_keys.go)
                    raise BundleError(f"{path}: {kind}.{key}: {keys[key]} has that key too")
                keys[key] = path
        if path != MAIN:
            config = _merge(config, content, path)
    return config


def _merge(base: Any, over: Any, where: str) -> Any:
    """Mappings key by key, lists one after the other, everything else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {k: _merge(base[k], v, f"{where}.{k}") if k in base else v for k, v in over.items()}
    if isinstance(base, list) and isinstance(over, list):
        return base + over
    if isinstance(base, (dict, list)) != isinstance(over, (dict, list)):
        raise BundleError(f"{where}: {type(over).__name__} in the place of {type(base).__name__}")
    return over


def _overridden(config: dict[str, Any], target: str) -> dict[str, Any]:
    targets = config.pop("targets", {})
    if target not in targets:
        raise BundleError(f"there is no target {target!r}")
    # A section with nothing in it is none.
    chosen = {name: section for name, section in (targets[target] or {}).items() if section is not None}
    for name, member in chosen.get("resources", {}).items():
        for key in member:
            if key not in config.get("resources", {}).get(name, {}):
                raise BundleError(f"targets.{target} changes {name}.{key}, which nothing defines")
    values = chosen.get("variables", {})
    for name in values:
        if name not in config.get("variables", {}):
            raise BundleError(f"targets.{target} sets the variable {name!r}, which is not declared")
    chosen["variables"] = {n: v if isinstance(v, dict) else {"default": v} for n, v in values.items()}
    for name in _MERGED:
        if name in chosen:
            config[name] = _merge(
                config.get(name, type(chosen[name])()), chosen[name], f"targets.{target}.{name}"
            )
    if "run_as" in chosen:
        config["run_as"] = chosen["run_as"]
    bundle = config["bundle"]
    bundle["mode"] = chosen.get("mode", "")
    bundle["git"] = bundle.get("git", {}) | chosen.get("git", {})
    config["target_workspace"] = chosen.get("workspace", {})
    for kind in config.get("resources", {}).values():
        for resource in kind.values():
            for name, by in _KEYED.items():
                if name in resource:
                    resource[name] = _merged_by(resource[name], by)
    return config


def _merged_by(members: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for member in members:
        key = str(member.get(by))
        merged[key] = _merge(merged[key], member, key) if key in merged else member
    return list(merged.values())


# --- variables and references ------------------------------------------------------------------------------


def _variables(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, variable in declared.items():
        unknown = set(variable) - {"default", "description", "type", "lookup"}
        if unknown:
            raise BundleError(f"variable {name!r}: {sorted(unknown)} means nothing")
        if "lookup" in variable:
            raise BundleError(f"variable {name!r} is looked up: validating would ask the workspace")
        value = given.get(name, variable.get("default"))
        if value is None:
            raise BundleError(f"variable {name!r} has no value")
        if isinstance(value, (dict, list)) != (variable.get("type") == "complex"):
            raise BundleError(f"variable {name!r}: a list or mapping is of type complex, and nothing else is")
        values[name] = value
    return values


def _resolved(value: Any, known: Callable[[list[str]], Any], seen: tuple[str, ...] = ()) -> Any:
    """The value with its references replaced by what `known` says; those that it answers with None stay."""
    if isinstance(value, dict):
        return {k: _resolved(v, known, seen) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolved(v, known, seen) for v in value]
    if not isinstance(value, str):
        return value
    if len(REFERENCE.findall(value)) != len(re.findall(r"(?<!\$)\$\{", value)):
        raise BundleError(f"{value!r} has a ${{ that begins no reference")

    def one(reference: str) -> Any:
        if reference in seen:
            raise BundleError(f"{reference} refers to itself")
        found = known(reference.split("."))
        return found if found is None else _resolved(found, known, (*seen, reference))

    whole = REFERENCE.fullmatch(value)
    if whole:
        found = one(whole[1])
        return value if found is None else found

    def text(match: re.Match[str]) -> str:
        found = one(match[1])
        if isinstance(found, (dict, list)):
            raise BundleError(f"{match[0]} within a text is no text")
        return match[0] if found is None else str(found).lower() if isinstance(found, bool) else str(found)

    return REFERENCE.sub(text, value)


def _member(root: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = root
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            raise BundleError(f"${{{'.'.join(path)}}} refers to nothing")
        value = value[name]
    return value


# --- what modes and defaults add ----------------------------------------------------------------------------


def _triggers(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("schedule", "continuous", "trigger"):
        if name in job:
            yield job[name]


def _apply_presets(config: dict[str, Any]) -> None:
    """Development mode, the presets, run_as, permissions, grants of one principal put together."""
    presets = copy.deepcopy(config.get("presets", {}))
    tags = presets.setdefault("tags", {})
    if config["bundle"]["mode"] == "development":
        presets.setdefault("name_prefix", f"[dev {USER['short_name']}] ")
        presets.setdefault("trigger_pause_status", "PAUSED")
        presets.setdefault("jobs_max_concurrent_runs", 4)
        tags.setdefault("dev", USER["short_name"])
    prefix = presets.get("name_prefix", "")
    resources = config.get("resources", {})
    for job in resources.get("jobs", {}).values():
        job["name"] = prefix + job.get("name", "")
        job["tags"] = tags | job.get("tags", {})
        if not job.get("max_concurrent_runs") and "jobs_max_concurrent_runs" in presets:
            job["max_concurrent_runs"] = presets["jobs_max_concurrent_runs"]
        for trigger in _triggers(job):
            if "trigger_pause_status" in presets:
                trigger.setdefault("pause_status", presets["trigger_pause_status"])
        if "run_as" in config:
            job.setdefault("run_as", config["run_as"])
    for schema in resources.get("schemas", {}).values():
        schema["name"] = re.sub(r"\W+", "_", prefix.strip("[ ").replace("] ", "_")) + schema["name"]
    for warehouse in resources.get("sql_warehouses", {}).values():
        warehouse["name"] = prefix + warehouse.get("name", "")
        custom = warehouse.setdefault("tags", {}).setdefault("custom_tags", [])
        present = {tag["key"] for tag in custom}
        custom += [{"key": k, "value": v} for k, v in sorted(tags.items()) if k not in present]
    for kind in ("dashboards", "alerts"):
        for resource in resources.get(kind, {}).values():
            resource["display_name"] = prefix + resource.get("display_name", "")
    for alert in resources.get("alerts", {}).values():
        if "run_as" in config:
            alert.setdefault("run_as", config["run_as"])
    for kind, levels in _LEVELS.items():
        for key, resource in resources.get(kind, {}).items():
            own = list(resource.get("permissions", []))
            for permission in config.get("permissions", []):
                who = {k: v for k, v in permission.items() if k != "level"}
                if permission["level"] not in ("CAN_MANAGE", "CAN_RUN", "CAN_VIEW"):
                    raise BundleError(f"permissions: {permission['level']} is no level of a bundle")
                if permission["level"] not in levels:
                    continue
                if any(who.items() <= p.items() for p in own):
                    raise BundleError(f"{kind}.{key} and the bundle both say what {who} may do")
                own.append({"level": levels[permission["level"]], **who})
            if own:
                resource["permissions"] = own
    for kind in _GRANTED:
        for key, resource in resources.get(kind, {}).items():
            if any(not g.get("principal") or not g.get("privileges") for g in resource.get("grants", [])):
                raise BundleError(f"{kind}.{key}: a grant without a principal or a privilege")


def _apply_defaults(config: dict[str, Any]) -> None:
    resources = config.get("resources", {})
    for job in resources.get("jobs", {}).values():
        job.setdefault("max_concurrent_runs", 1)
        job.setdefault("queue", {"enabled": True})
        for trigger in _triggers(job):
            trigger.setdefault("pause_status", "UNPAUSED")
    for volume in resources.get("volumes", {}).values():
        volume.setdefault("volume_type", "MANAGED")
    for warehouse in resources.get("sql_warehouses", {}).values():
        warehouse.setdefault("auto_stop_mins", 120)
