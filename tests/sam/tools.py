"""The programs that look at the template, each at one version and in an environment of its own.

`python tests/sam/tools.py` fetches them. The tests run what was fetched, without a network and without
credentials, and are skipped where it is missing; with LAKEHOUSE_TOOLS=required, as in CI, they fail there.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# Not in the project's own environment: the three of them bring 180 packages, and want other versions of some.
SAM, CFN_LINT, CHECKOV = "aws-sam-cli==1.170.0", "cfn-lint==1.58.0", "checkov==3.3.30"
_ASK_VERSION = {
    SAM: ("sam", "--version"),
    CFN_LINT: ("cfn-lint", "--version"),
    CHECKOV: ("checkov", "--version"),
}

REGION = "eu-west-1"
_HERE = Path(__file__).resolve().parent


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
    }


def _uvx(tool: str, command: Sequence[str | Path], *, offline: bool) -> subprocess.CompletedProcess[str]:
    options = ["--offline"] if offline else []
    return subprocess.run(
        ["uv", "tool", "run", *options, "--from", tool, *command],
        capture_output=True,
        text=True,
        env=_environment(),
    )


@functools.cache
def _is_there(tool: str) -> bool:
    return shutil.which("uv") is not None and not _uvx(tool, _ASK_VERSION[tool], offline=True).returncode


def run(tool: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a tool; skips the test, or fails it, if the tool has not been fetched."""
    if not _is_there(tool):
        reason = f"{tool} is not there: run `uv run python tests/sam/tools.py`"
        if os.environ.get("LAKEHOUSE_TOOLS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return _uvx(tool, command, offline=True)


def validate(template: Path) -> list[str]:
    """What `sam validate --lint` has against a template."""
    done = run(SAM, "sam", "validate", "--lint", "--template", template)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def transform(templates: Path, into: Path) -> dict[str, str]:
    """Turn each `<name>.yaml` into CloudFormation, `<name>.json`, as deploying does.

    Returns what SAM said of those that it refused, by name.
    """
    done = run(SAM, "python", _HERE / "transform.py", templates, into)
    assert done.returncode == 0, done.stderr[-3000:]
    refused: dict[str, str] = json.loads(done.stdout)
    return refused


def cfn_lint(templates: Iterable[Path]) -> dict[str, list[str]]:
    """What cfn-lint has against CloudFormation templates, information included, by name."""
    done = run(CFN_LINT, "cfn-lint", "--include-checks", "I", "--format", "json", "--", *templates)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for match in json.loads(done.stdout):
        place = "/".join(str(part) for part in match["Location"]["Path"] or ())
        found[Path(match["Filename"]).stem].append(f"{match['Rule']['Id']} {place}: {match['Message']}")
    return found


def checkov(templates: Path) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str]]]]:
    """What checkov has against the templates of a folder, by name: failed; skipped, as (check, resource)."""
    done = run(
        CHECKOV, "checkov", "--directory", templates, "--framework", "cloudformation", "--skip-download",
        "--output", "json",
    )  # fmt: skip
    report = json.loads(done.stdout)
    failed: defaultdict[str, list[str]] = defaultdict(list)
    skipped: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for check in _checks(report, "failed_checks"):
        failed[Path(check["file_path"]).stem].append(f"{check['check_id']} {check['resource']}")
    for check in _checks(report, "skipped_checks"):
        resource = check["resource"].rpartition(".")[2]
        skipped[Path(check["file_path"]).stem].append((check["check_id"], resource))
    assert report["summary"]["parsing_errors"] == 0, report["summary"]
    return failed, skipped


def _checks(report: Mapping[str, Any], kind: str) -> Iterable[Mapping[str, Any]]:
    checks: list[Mapping[str, Any]] = report["results"][kind]
    return checks


def fetch() -> None:
    """Fetch every tool. Raises CalledProcessError."""
    for tool, command in _ASK_VERSION.items():
        done = _uvx(tool, command, offline=False)
        print(tool, done.stdout.strip().splitlines()[-1:] or done.stderr)
        done.check_returncode()


if __name__ == "__main__":
    fetch()
    sys.exit(0)
