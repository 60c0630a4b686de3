"""The wheel stands alone: it builds, installs without dependencies and brings what it needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--wheel", "--quiet", "--out-dir", str(out)], cwd=ROOT, check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_module_and_the_list_of_jars(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {str(p.relative_to(source)) for p in source.rglob("*.py")} | {
        "lakehouse/local/jars.lock",
        "lakehouse/report/report.css",
        "lakehouse/report/report.html.jinja",
    }
    assert wanted <= names
    assert not [n for n in names if n.startswith(("tests", "jobs", "change_writer"))]


def test_the_wheel_asks_for_nothing_that_databricks_brings(wheel: Path) -> None:
    metadata = next(n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    wanted = [line for line in lines if line.startswith("Requires-Dist:")]
    assert wanted
    assert all("extra ==" in line for line in wanted)


def test_the_wheel_installs_alone_and_its_command_says_what_is_missing(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)]
    subprocess.run(install, check=True)
    modules = ("", ".change_record", ".errors", ".table", ".sql.select")
    code = f"import sys, {', '.join(f'lakehouse{name}' for name in modules)}; print(*sys.modules)"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert "pyspark" not in run.stdout
    command = subprocess.run([tmp_path / "venv/bin/lakehouse"], capture_output=True, text=True)
    assert command.returncode == 1
    assert "pip install 'lakehouse[local,aws]'" in command.stderr
    assert "Traceback" not in command.stderr
