"""The function starts small: no Spark, nothing of the package, boto3 only for the put; and is small."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws_support import LAMBDA

PACKAGE = LAMBDA / "change_writer"
# Budgets. What exceeds one makes every cold start slower: look for another way before raising it.
MODULES = 100
TIMES_THE_STANDARD_LIBRARY = 3
ARCHIVE_BYTES = 200_000


def modules_after(code: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter that has run `code`."""
    script = f"import sys; sys.path.insert(0, {str(LAMBDA)!r})\n{code}\nprint(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_the_pure_modules_need_the_standard_library_only() -> None:
    names = modules_after("import change_writer.dynamodb, change_writer.encode, change_writer.settings")
    assert not names & {"boto3", "botocore", "pyspark", "delta", "lakehouse"}


def test_importing_the_handler_brings_neither_spark_nor_the_package_nor_boto3_nor_pyarrow() -> None:
    names = modules_after("import change_writer.handler")
    assert not names & {"boto3", "botocore", "pyspark", "delta", "lakehouse", "pyarrow"}


def test_making_the_client_brings_boto3_and_neither_spark_nor_the_package() -> None:
    names = modules_after(
        "import os; os.environ['AWS_DEFAULT_REGION'] = 'eu-west-1'\n"
        "from change_writer.landing import s3_client; s3_client()"
    )
    assert "boto3" in names
    assert not names & {"pyspark", "delta", "lakehouse"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_no_module_names_anything_but_the_standard_library_itself_boto3_and_pyarrow(path: object) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    allowed = set(sys.stdlib_module_names) | {"change_writer"}
    if path.name == "landing.py":  # type: ignore[attr-defined]
        allowed |= {"boto3", "botocore", "mypy_boto3_s3"}
    if path.name == "parquet.py":  # type: ignore[attr-defined]
        allowed |= {"pyarrow"}
    assert imported <= allowed


def test_the_folder_of_the_functions_is_no_package() -> None:
    assert not (LAMBDA / "__init__.py").exists()


# --- budgets ----------------------------------------------------------------------------------------


def run(code: str) -> str:
    """What a fresh interpreter, without site-packages, prints after the function's folder is on its path."""
    script = f"import sys, time; sys.path.insert(0, {str(LAMBDA)!r}); before = set(sys.modules)\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout


def seconds_of(imports: str) -> float:
    """Processor time of the import, the best of several: others use the same machine."""
    code = f"begun = time.process_time()\nimport {imports}\nprint(time.process_time() - begun)"
    return min(float(run(code)) for _ in range(7))


def test_the_handler_brings_few_modules() -> None:
    brought = run("import change_writer.handler\nprint(*(set(sys.modules) - before))").split()
    assert 50 < len(brought) < MODULES, sorted(brought)


def test_the_handler_takes_little_longer_to_import_than_what_it_needs_of_python() -> None:
    needed = seconds_of("base64, dataclasses, datetime, decimal, gzip, hashlib, json, logging, random")
    assert seconds_of("change_writer.handler") < TIMES_THE_STANDARD_LIBRARY * needed


def test_the_archive_is_small(tmp_path: Path) -> None:
    archive = tmp_path / "change_writer.zip"
    subprocess.run(
        [sys.executable, LAMBDA / "build.py", "--output", archive], check=True, capture_output=True
    )
    assert archive.stat().st_size < ARCHIVE_BYTES
