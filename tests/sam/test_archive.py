"""The archive that is deployed: the same bytes wherever it is built, and quick to start."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.sam.checks import LAMBDA, TEMPLATE

pytestmark = pytest.mark.extra

ROOT = LAMBDA.parent
BUILD = LAMBDA / "build.py"
GUIDE = ROOT / "docs" / "writer.md"
LAYER = (LAMBDA / "layer.txt").read_text(encoding="utf-8")


def _build_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_archive", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build: Any = _build_module()


def built(output: Path, *options: str | Path, **environment: str) -> bytes:
    command = [sys.executable, BUILD, "--output", output, *options]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return output.read_bytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "change_writer.zip"
    built(path)
    return path


def test_it_holds_the_writers_modules_and_nothing_else(archive: Path) -> None:
    package = LAMBDA / "change_writer"
    wanted = {f"change_writer/{path.name}" for path in package.glob("*.py")}
    with zipfile.ZipFile(archive) as opened:
        assert set(opened.namelist()) == wanted
        assert all(opened.read(name) == (LAMBDA / name).read_bytes() for name in wanted)
        # Lambda runs as another user: it must be able to read them.
        assert {entry.external_attr >> 16 for entry in opened.infolist()} == {0o100644}


def test_it_is_the_same_wherever_and_whenever_it_is_built(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    shutil.copytree(LAMBDA / "change_writer", other / "lambda" / "change_writer")
    shutil.copy(ROOT / "pyproject.toml", other)
    for number, path in enumerate(sorted((other / "lambda").rglob("*.py"))):
        os.utime(path, (number * 1e6, number * 1e6))
        path.chmod(0o600 + number % 2 * 0o111)
    (other / "lambda" / "change_writer" / "__pycache__").mkdir(exist_ok=True)
    (other / "lambda" / "change_writer" / "__pycache__" / "handler.py").write_text("stale")
    again = built(tmp_path / "b.zip", "--project", other, TZ="Pacific/Auckland", PYTHONHASHSEED="1")
    assert again == archive.read_bytes()


def test_it_is_built_for_the_function_of_the_template() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    assert f"Runtime: python{build.PYTHON}\n" in template
    assert "Architectures: [arm64]\n" in template
    assert build.PLATFORM.startswith("aarch64-")
    (uri,) = re.findall(r"CodeUri: (\S+)", template)
    # Where build.py writes if it is not told.
    assert LAMBDA / uri == LAMBDA / "dist" / "change_writer.zip"


def test_without_the_layer_there_is_an_empty_archive_in_its_place(archive: Path) -> None:
    # SAM uploads what the template names, whether it is used or not; Lambda makes no layer of an empty one.
    (uri,) = re.findall(r"ContentUri: (\S+)", TEMPLATE.read_text(encoding="utf-8"))
    assert Path(uri) == Path("dist") / build.LAYER
    with zipfile.ZipFile(archive.with_name(build.LAYER)) as opened:
        assert opened.namelist() == []


def test_the_layer_has_the_pyarrow_that_the_tests_run_with() -> None:
    (pinned,) = re.findall(r"^pyarrow==(\S+) --hash=sha256:[0-9a-f]{64}$", LAYER, re.MULTILINE)
    assert len(re.findall(r"^[^#\s]", LAYER, re.MULTILINE)) == 1
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert [package["version"] for package in locked if package["name"] == "pyarrow"] == [pinned]


def test_the_layer_fits_and_is_for_the_functions_processor(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    done = subprocess.run(
        [sys.executable, BUILD, "--layer", "--output", folder / "a.zip"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr[-200:]}")
    with zipfile.ZipFile(folder / build.LAYER) as opened:
        names = opened.namelist()
        size = sum(entry.file_size for entry in opened.infolist())
        (library,) = (name for name in names if name.startswith("python/pyarrow/_parquet.cpython"))
        assert f"cpython-{build.PYTHON.replace('.', '')}-aarch64" in library
        assert opened.read(library)[18:20] == b"\xb7\x00"  # ELF: AArch64
    assert {name.split("/")[0] for name in names} == {"python"}
    # Lambda's bound, function and layers together: 250 MB unzipped.
    assert size + archive.stat().st_size < 250_000_000
    (said,) = re.findall(r"(\d+) MB unzipped", GUIDE.read_text(encoding="utf-8"))
    assert size / 1e6 == pytest.approx(int(said), rel=0.1)
    (folder / "a.zip").unlink()
    before = (folder / build.LAYER).read_bytes()
    built(folder / "a.zip")  # leaves a layer that is there alone
    assert (folder / build.LAYER).read_bytes() == before


def test_the_writer_has_no_dependencies_of_its_own() -> None:
    # With one, this test goes, and the archive's size and the time of a cold start are measured again.
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert build.GROUP not in declared["dependency-groups"]


def test_a_dependency_would_come_from_the_lock_file_for_arm64(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "lambda" / "change_writer").mkdir(parents=True)
    (project / "lambda" / "change_writer" / "handler.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f'[dependency-groups]\n{build.GROUP} = ["markupsafe==3.0.3"]\n'
    )
    locked = subprocess.run(["uv", "lock", "--quiet"], cwd=project, capture_output=True, text=True)
    if locked.returncode:
        pytest.skip(f"no package registry: {locked.stderr[-200:]}")
    first = built(tmp_path / "a.zip", "--project", project)
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        names = opened.namelist()
        (library,) = (name for name in names if name.endswith(".so"))
        machine = opened.read(library)[18:20]
    assert "change_writer/handler.py" in names
    assert f"cpython-{build.PYTHON.replace('.', '')}-aarch64" in library
    assert machine == b"\xb7\x00"  # ELF: AArch64
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("bin/")]
    assert built(tmp_path / "b.zip", "--project", project) == first
    # What the lock file does not have is not taken from elsewhere.
    manifest = project / "pyproject.toml"
    manifest.write_text(manifest.read_text().replace("3.0.3", "3.0.2"))
    with pytest.raises(subprocess.CalledProcessError):
        built(tmp_path / "c.zip", "--project", project)


def _python_of_the_function() -> str | None:
    found = subprocess.run(
        ["uv", "python", "find", "--offline", build.PYTHON], capture_output=True, text=True
    )
    return found.stdout.strip() if found.returncode == 0 else None


# Lambda unpacks the archive where nothing can be written: every cold start compiles it.
_IMPORT = """
import sys, time
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
begun = time.perf_counter()
import change_writer.handler
print(time.perf_counter() - begun, "boto3" in sys.modules, callable(change_writer.handler.lambda_handler))
"""


def _imported(python: str, folder: Path) -> float:
    done = subprocess.run([python, "-I", "-c", _IMPORT, folder], capture_output=True, text=True, check=True)
    seconds, has_boto3, has_handler = done.stdout.split()
    assert (has_boto3, has_handler) == ("False", "True")
    return float(seconds)


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    folder = archive.parent / "task"
    zipfile.ZipFile(archive).extractall(folder)
    return folder


def test_it_starts_within_a_second_and_before_boto3(unpacked: Path) -> None:
    assert statistics.median(_imported(sys.executable, unpacked) for _ in range(5)) < 1


def test_it_starts_on_the_functions_python(unpacked: Path) -> None:
    python = _python_of_the_function()
    if python is None:
        pytest.skip(f"no Python {build.PYTHON} here: `uv python install {build.PYTHON}`")
    assert _imported(python, unpacked) < 1


def test_the_guide_says_how_large_it_is(archive: Path) -> None:
    (said,) = re.findall(r"(\d+) kB as an archive", GUIDE.read_text(encoding="utf-8"))
    assert archive.stat().st_size / 1000 == pytest.approx(int(said), rel=0.3)
