"""Dependencies point one way, and importing the package costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "lakehouse"
JOBS = ROOT / "jobs"
MODULES = {
    p.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", "."): p
    for p in PACKAGE.rglob("*.py")
}

STANDARD = set(sys.stdlib_module_names)
EDGES = ("lakehouse.aws", "lakehouse.cli", "lakehouse.job", "lakehouse.local", "lakehouse.workspace")
"""Where a session is obtained and the platform is chosen; everything else is the engine."""


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(path: Path, *, at_runtime: bool = False) -> set[str]:
    """The modules that a file imports anywhere; `at_runtime`: without those for the type checker alone."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
                yield str(child.module)
            elif (
                at_runtime and isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            ):
                continue
            else:
                yield from walk(child)

    return set(walk(_tree(path)))


def _belongs(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _engine() -> dict[str, Path]:
    return {name: path for name, path in MODULES.items() if not _belongs(name, *EDGES)}


def _code(path: Path) -> Iterator[ast.AST]:
    """Every node of a file but its docstrings, which may name what they do not use."""
    tree = _tree(path)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return (node for node in ast.walk(tree) if id(node) not in told)


def test_there_is_something_to_look_at() -> None:
    assert {
        "lakehouse.events",
        "lakehouse.ingest",
        "lakehouse.tables.calls",
        "lakehouse.local.session",
    } <= set(MODULES)
    assert "pyspark.sql" in _imports(MODULES["lakehouse.table"])
    assert "lakehouse.ingest" in _imports(JOBS / "ingest.py")


@pytest.mark.parametrize("name", MODULES)
def test_the_package_imports_nothing_that_stands_on_it(name: str) -> None:
    above = {i for i in _imports(MODULES[name]) if _belongs(i, "jobs", "notebooks", "change_writer", "tests")}
    assert not above


@pytest.mark.parametrize("name", ["lakehouse", "lakehouse.__init__", "lakehouse.events", "lakehouse.errors"])
def test_the_lowest_modules_import_the_standard_library_alone(name: str) -> None:
    if name in MODULES:
        assert {i.split(".")[0] for i in _imports(MODULES[name])} <= STANDARD


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("lakehouse.table", {"lakehouse.errors"}),
        ("lakehouse.settings", {"lakehouse.errors"}),
        ("lakehouse.lease", {"lakehouse.errors"}),
        ("lakehouse.ops", {"lakehouse.table"}),
        ("lakehouse.changes", set()),
        ("lakehouse.parse", {"lakehouse.events", "lakehouse.table", "lakehouse.errors"}),
        ("lakehouse.sources", {"lakehouse.settings", "lakehouse.events", "lakehouse.errors"}),
        ("lakehouse.floors", {"lakehouse.ops", "lakehouse.settings", "lakehouse.table"}),
        (
            "lakehouse.merge",
            {"lakehouse.errors", "lakehouse.floors", "lakehouse.settings", "lakehouse.table"},
        ),
        ("lakehouse.gold.metrics", {"lakehouse.gold.tables"}),
    ],
)
def test_a_module_stands_on_those_below_it_alone(name: str, allowed: set[str]) -> None:
    own = {i for i in _imports(MODULES[name]) if i in MODULES}
    assert own <= allowed


def test_a_table_can_be_declared_without_pyspark() -> None:
    for name in ("lakehouse.table", "lakehouse.settings", "lakehouse.lease", "lakehouse.ops"):
        assert not {i for i in _imports(MODULES[name], at_runtime=True) if _belongs(i, "pyspark", "delta")}


def test_table_files_know_nothing_of_how_they_are_applied() -> None:
    files = [name for name in MODULES if _belongs(name, "lakehouse.tables")]
    assert len(files) >= 4
    for name in files:
        known = {i for i in _imports(MODULES[name]) if _belongs(i, "lakehouse") and i in MODULES}
        assert known <= {
            "lakehouse.table",
            "lakehouse.documents",
            "lakehouse.errors",
            "lakehouse.events",
            "lakehouse.tables",
            *files,
        }, name
        assert not {i for i in _imports(MODULES[name]) if _belongs(i, "delta")}


def test_the_engine_obtains_no_session() -> None:
    sessions = {"builder", "getOrCreate", "getActiveSession", "active", "local_session", "DatabricksSession"}
    for name, path in _engine().items():
        used = {n.attr for n in ast.walk(_tree(path)) if isinstance(n, ast.Attribute)}
        used |= {n.id for n in ast.walk(_tree(path)) if isinstance(n, ast.Name)}
        assert not used & sessions, name
        assert not {
            i for i in _imports(path) if _belongs(i, "lakehouse.local", "databricks", "lakehouse.cli")
        }, name


def test_the_engine_uses_nothing_that_serverless_refuses() -> None:
    refused = {
        "cache",
        "persist",
        "rdd",
        "sparkContext",
        "_jvm",
        "_jdf",
        "toPandas",
        "foreachPartition",
        "udf",
    }
    for name, path in _engine().items():
        assert not {n.attr for n in ast.walk(_tree(path)) if isinstance(n, ast.Attribute)} & refused, name


def test_one_module_knows_the_platform() -> None:
    knowing = set()
    for name, path in _engine().items():
        for node in _code(path):
            asks = (
                isinstance(node, ast.Attribute)
                and node.attr == "platform"
                and ast.unparse(node.value) != "sys"
            )
            names = (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and "cloudFiles" in node.value
            )
            if asks or names:
                knowing.add(name)
    # Settings ask it once, for a default.
    assert knowing == {"lakehouse.sources", "lakehouse.settings"}


@pytest.mark.parametrize("job", sorted(JOBS.glob("*.py")), ids=lambda path: path.stem)
def test_a_job_is_short_and_stands_on_the_package_alone(job: Path) -> None:
    assert len(job.read_text(encoding="utf-8").splitlines()) <= 60
    assert not {
        i for i in _imports(job) if _belongs(i, "lakehouse.local", "lakehouse.cli", "change_writer", "tests")
    }


@pytest.mark.parametrize(
    "modules",
    [
        "",
        ".events, lakehouse.errors",
        ".table, lakehouse.settings, lakehouse.lease, lakehouse.ops",
        ".aws.snapshot, lakehouse.aws.objects, lakehouse.aws.client, lakehouse.aws.items",
        ".cli",
        ".local",
    ],
)
def test_importing_brings_neither_spark_nor_the_aws_client(modules: str) -> None:
    script = f"import sys; sys.path.insert(0, sys.argv[1])\nimport lakehouse{modules}\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script, str(PACKAGE.parent)], check=True, capture_output=True, text=True
    )
    loaded = set(answer.stdout.split())
    assert "lakehouse" in loaded
    assert not {"pyspark", "py4j", "delta", "boto3", "pyarrow"} & loaded
