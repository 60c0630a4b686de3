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
EDGES = (
    "lakehouse.aws",
    "lakehouse.cli",
    "lakehouse.databricks",
    "lakehouse.demo",
    "lakehouse.local",
)
"""Where a session is obtained and the platform is chosen; everything else is the engine."""

TREE = (
    ("cli", "jobs"),
    ("demo",),
    ("local",),
    ("operations",),
    ("aws", "databricks", "report"),
    ("gold",),
    ("ingest",),
    ("catalog",),
    ("sql",),
    ("tables",),
    ("table", "settings", "change_record", "errors"),
)
"""Where code lives (section 7 of the design): each line may import from those below it."""

ARROWS = {
    "jobs": {"operations", "aws", "databricks", "gold", "ingest", "catalog", "settings", "errors"},
    "cli": {
        *("demo", "local", "operations", "aws", "databricks", "report", "gold", "ingest", "sql", "tables"),
        *("table", "settings", "errors"),
    },
    "demo": {"local", "aws", "gold", "ingest", "tables", "settings", "errors"},
    "local": {"ingest", "catalog", "table", "settings", "errors"},
    "operations": {"ingest", "catalog", "sql", "table", "settings", "change_record", "errors"},
    "aws": {"gold", "sql", "table", "settings", "change_record", "errors"},
    "databricks": {"tables", "table", "settings", "errors"},
    "report": {"tables", "table", "settings", "errors"},
    "gold": {"ingest", "catalog", "tables", "table", "settings"},
    "ingest": {"catalog", "sql", "table", "settings", "change_record", "errors"},
    "catalog": {"sql", "table", "settings", "errors"},
    "sql": {"table", "settings", "change_record"},
    "tables": {"table", "errors"},
    "table": {"errors"},
    "settings": {"errors"},
    "change_record": set(),
    "errors": set(),
}
"""What each of them imports: all of it, so that a new arrow is a decision."""

EXCEPTIONS = {
    (
        "lakehouse.table",
        "lakehouse.sql.paths",
    ): "what a path is, for the declaration and for SQL; it knows neither",
    ("lakehouse.tables.coaching_insights", "lakehouse.sql.values"): "expressions; they know no table",
    ("lakehouse.tables.dashboard_items", "lakehouse.sql.values"): "expressions; they know no table",
    ("lakehouse.tables.scorecards", "lakehouse.sql.values"): "expressions; they know no table",
    ("lakehouse.tables.scorecards", "lakehouse.settings"): "SQL literals are quoted in one place",
    ("lakehouse.catalog.declared", "lakehouse.gold.tables"): "columns of what followers write",
    (
        "lakehouse.aws.release",
        "lakehouse.operations.quarantine",
    ): "what quarantine asks of whoever reads afresh",
}
"""Imports that the tree does not have, each with its reason."""


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
        "lakehouse.change_record",
        "lakehouse.ingest.stream",
        "lakehouse.tables.calls",
        "lakehouse.local.session",
    } <= set(MODULES)
    assert "pyspark.sql" in _imports(MODULES["lakehouse.table"])
    assert "lakehouse.ingest.runner" in _imports(JOBS / "ingest.py")


@pytest.mark.parametrize("name", MODULES)
def test_the_package_imports_nothing_that_stands_on_it(name: str) -> None:
    above = {i for i in _imports(MODULES[name]) if _belongs(i, "jobs", "notebooks", "change_writer", "tests")}
    assert not above


@pytest.mark.parametrize(
    "name", ["lakehouse", "lakehouse.__init__", "lakehouse.change_record", "lakehouse.errors"]
)
def test_the_lowest_modules_import_the_standard_library_alone(name: str) -> None:
    if name in MODULES:
        assert {i.split(".")[0] for i in _imports(MODULES[name])} <= STANDARD


def _package(name: str) -> str:
    """The part of the tree that a module belongs to; empty for the package itself."""
    return name.removesuffix(".__init__").partition(".")[2].partition(".")[0]


def _arrows() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """The imports between parts of the tree, those of single modules by (from, to)."""
    files = MODULES | {f"jobs.{path.stem}": path for path in JOBS.glob("*.py")}
    known = {name.removesuffix(".__init__") for name in MODULES}
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name, path in files.items():
        here = "jobs" if name.startswith("jobs.") else _package(name)
        for other in _imports(path) & known - {"lakehouse"}:
            if _package(other) != here:
                found.setdefault((here, _package(other)), set()).add((name.removesuffix(".__init__"), other))
    return found


def test_the_tree_is_that_of_the_design_and_every_part_has_a_place_in_it() -> None:
    parts = {_package(name) for name in MODULES} - {"", "__init__"} | {"jobs"}
    assert parts == {part for line in TREE for part in line} == set(ARROWS)
    places = {part: place for place, line in enumerate(TREE) for part in line}
    lowest = len(TREE) - 1
    for part, others in ARROWS.items():
        for other in others:
            assert places[part] < places[other] or places[part] == places[other] == lowest, (part, other)


def test_dependencies_are_those_of_the_table_and_no_others() -> None:
    found = {
        arrow: {each for each in imports if not _is_excepted(each)} for arrow, imports in _arrows().items()
    }
    used: dict[str, set[str]] = {part: set() for part in ARROWS}
    for (part, other), imports in found.items():
        assert not imports or other in ARROWS[part], f"{part} imports {other}: {sorted(imports)}"
        if imports:
            used[part].add(other)
    assert used == ARROWS


def _is_excepted(found: tuple[str, str]) -> bool:
    name, other = found
    return any(name == n and (other == o or other == o.rpartition(".")[0]) for n, o in EXCEPTIONS)


def test_no_exception_outlives_its_reason() -> None:
    imports = {each for found in _arrows().values() for each in found}
    assert set(EXCEPTIONS) <= imports


@pytest.mark.parametrize("name", ["lakehouse.sql.paths", "lakehouse.sql.values"])
def test_what_declarations_use_of_sql_knows_no_table(name: str) -> None:
    own = {i for i in _imports(MODULES[name]) if i in MODULES}
    assert own <= {"lakehouse.sql.paths", "lakehouse.settings", "lakehouse.change_record"}


@pytest.mark.parametrize("name", [name for name in MODULES if _belongs(name, "lakehouse.sql")])
def test_sql_is_made_without_a_session(name: str) -> None:
    assert not {i for i in _imports(MODULES[name]) if _belongs(i, "pyspark", "delta")}


def test_nothing_imports_the_demo_but_the_command_line() -> None:
    assert {part for part, other in _arrows() if other == "demo"} == {"cli"}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("lakehouse.catalog.ops", {"lakehouse.table"}),
        ("lakehouse.catalog.bronze", {"lakehouse.table"}),
        ("lakehouse.ingest.commits", {"lakehouse.errors"}),
        ("lakehouse.ingest.sources", {"lakehouse.settings", "lakehouse.change_record"}),
        ("lakehouse.ingest.lease", {"lakehouse.errors", "lakehouse.ingest.commits", "lakehouse.settings"}),
        ("lakehouse.ingest.floors", {"lakehouse.catalog.ops", "lakehouse.settings", "lakehouse.table"}),
        (
            "lakehouse.ingest.bronze",
            {
                "lakehouse.catalog.bronze",
                "lakehouse.ingest.commits",
                "lakehouse.settings",
                "lakehouse.sql.lines",
                "lakehouse.table",
            },
        ),
        (
            "lakehouse.ingest.changes",
            {
                *("lakehouse.ingest.commits", "lakehouse.settings", "lakehouse.sql.select"),
                "lakehouse.table",
            },
        ),
        (
            "lakehouse.ingest.silver",
            {
                *("lakehouse.ingest.bronze", "lakehouse.ingest.changes", "lakehouse.ingest.commits"),
                *("lakehouse.ingest.floors", "lakehouse.ingest.refused", "lakehouse.settings"),
                "lakehouse.table",
            },
        ),
        ("lakehouse.gold.metrics", {"lakehouse.gold.tables"}),
    ],
)
def test_a_module_stands_on_those_below_it_alone(name: str, allowed: set[str]) -> None:
    own = {i for i in _imports(MODULES[name]) if i in MODULES}
    assert own <= allowed


def test_a_table_can_be_declared_without_pyspark() -> None:
    for name in ("lakehouse.table", "lakehouse.settings", "lakehouse.catalog.ops", "lakehouse.sql.select"):
        assert not {i for i in _imports(MODULES[name], at_runtime=True) if _belongs(i, "pyspark", "delta")}


def test_table_files_know_nothing_of_how_they_are_applied() -> None:
    files = [name for name in MODULES if _belongs(name, "lakehouse.tables")]
    assert len(files) >= 4
    for name in files:
        known = {i for i in _imports(MODULES[name]) if _belongs(i, "lakehouse") and i in MODULES}
        assert known <= {
            "lakehouse.table",
            "lakehouse.tables.document_members",
            "lakehouse.errors",
            "lakehouse.change_record",
            "lakehouse.tables",
            "lakehouse.sql.values",
            "lakehouse.settings",
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


def test_no_module_knows_the_platform_but_where_it_matters() -> None:
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
    # Where streams read from, and by what a checkpoint is held; settings ask it once, for a default.
    assert knowing == {"lakehouse.ingest.sources", "lakehouse.ingest.lease", "lakehouse.settings"}


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
        ".change_record, lakehouse.errors",
        ".table, lakehouse.settings, lakehouse.sql.select, lakehouse.sql.lines, lakehouse.catalog.ops",
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
