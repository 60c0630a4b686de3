"""Builds the archive of the change writer, byte for byte the same wherever and whenever it is built.

    python lambda/build.py [--output lambda/dist/change_writer.zip] [--layer]

The archive holds the writer's code, and what the dependency group `writer` of pyproject.toml names, as
uv.lock pins it, in wheels for the function's Python and processor. There is no such group as long as boto3 is
all that the writer needs: Lambda brings that. Standard library only; uv is run if there are dependencies.

`--layer` builds the layer for LANDING_FORMAT=parquet too, beside the archive: what layer.txt pins.
Where there is no layer, an empty archive takes its place: SAM uploads what the template names, used or not.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

GROUP = "writer"
# Both as in template.yaml, which a test compares.
PYTHON = "3.14"
PLATFORM = "aarch64-manylinux_2_34"  # Amazon Linux 2023 on arm64

_HERE = Path(__file__).resolve().parent
LAYER = "parquet_layer.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
_NOT_CODE = {"__pycache__", "bin", ".lock"}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Build the archive of the change writer.")
    parser.add_argument(
        "--project", type=Path, default=_HERE.parent, help="folder of pyproject.toml, uv.lock"
    )
    parser.add_argument("--output", type=Path, default=_HERE / "dist" / "change_writer.zip")
    parser.add_argument("--layer", action="store_true", help="build the layer with pyarrow too")
    parsed = parser.parse_args(arguments)
    build(parsed.project, parsed.output)
    _tell(parsed.output)
    layer = parsed.output.with_name(LAYER)
    if parsed.layer:
        build_layer(parsed.project, layer)
        _tell(layer)
    elif not layer.exists():
        _write({}, layer)


def build(project: Path, output: Path) -> None:
    """Write the archive of the project's `lambda/change_writer` and its locked dependencies."""
    files = _files(project / "lambda", "change_writer/**/*.py")
    with tempfile.TemporaryDirectory() as folder:
        if _has_dependencies(project):
            _install(_locked(project), Path(folder))
            files |= _files(Path(folder), "**/*")
        _write(files, output)


def build_layer(project: Path, output: Path) -> None:
    """Write the layer: what the project's `lambda/layer.txt` pins, below `python/`, where Lambda looks."""
    with tempfile.TemporaryDirectory() as folder:
        _install((project / "lambda" / "layer.txt").read_text(encoding="utf-8"), Path(folder) / "python")
        _write(_files(Path(folder), "**/*"), output)


def _write(files: dict[str, Path], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    # Stored, not deflated: what deflate makes of a file depends on the zlib at hand.
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, so that the permissions count, on Windows too
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name].read_bytes())


def _tell(archive: Path) -> None:
    content = archive.read_bytes()
    code_sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
    sys.stdout.write(f"{archive}: {len(content)} bytes, CodeSha256 {code_sha256}\n")


def _files(folder: Path, pattern: str) -> dict[str, Path]:
    paths = (path for path in folder.glob(pattern) if path.is_file())
    relative = ((path.relative_to(folder), path) for path in paths)
    # Compiled files hold times, and installed scripts the path of a Python; the function needs neither.
    return {name.as_posix(): path for name, path in relative if not _NOT_CODE & set(name.parts)}


def _has_dependencies(project: Path) -> bool:
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return bool(declared.get("dependency-groups", {}).get(GROUP))


def _locked(project: Path) -> str:
    """The writer's dependencies as requirements, with the checksums of uv.lock."""
    export = ["uv", "export", "--quiet", "--locked", "--only-group", GROUP, "--no-emit-project"]
    export += ["--project", str(project)]
    return subprocess.run(export, check=True, stdout=subprocess.PIPE, text=True).stdout


def _install(requirements: str, target: Path) -> None:
    """Install into a folder; each requirement must have checksums."""
    install = ["uv", "pip", "install", "--quiet", "--target", str(target), "--requirements", "-"]
    install += ["--require-hashes", "--only-binary", ":all:", "--no-compile-bytecode", "--link-mode", "copy"]
    install += ["--python-version", PYTHON, "--python-platform", PLATFORM]
    subprocess.run(install, check=True, input=requirements, text=True)


if __name__ == "__main__":
    main(sys.argv[1:])
