"""The guide says what the template has: parameters with their defaults, alarms, statements of the role."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from tests.sam import tools
from tests.sam.checks import LAMBDA, MAY, STREAMS
from tests.sam.cloudformation import Stack

pytestmark = pytest.mark.extra

GUIDE = (LAMBDA.parent / "docs" / "writer.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_parameter_is_described_with_its_default(transformed: dict[str, Any]) -> None:
    described: dict[str, str] = {}
    for names, _, defaults in _rows("Deploy"):
        each = [part.strip(" `") for part in defaults.split(",")]
        described |= zip(_names(names), each * len(_names(names)) if len(each) == 1 else each, strict=True)
    declared = {name: str(what["Default"]) or "none" for name, what in transformed["Parameters"].items()}
    assert described == declared


def test_every_alarm_is_described(transformed: dict[str, Any]) -> None:
    alarms = Stack(transformed, **STREAMS).of_type("AWS::CloudWatch::Alarm")
    assert sorted(name for row in _rows("When an alarm goes off") for name in _names(row[0])) == sorted(
        alarms
    )


def test_every_statement_of_the_role_is_described() -> None:
    described = {_names(row[0])[0]: tuple(_names(row[1])) for row in _rows("What the role may do")}
    assert described == {sid: allowed.actions for sid, allowed in MAY.items()}


def test_the_guide_deploys_with_the_version_that_is_tested() -> None:
    assert set(re.findall(r"aws-sam-cli==[0-9.]+", GUIDE)) == {tools.SAM}


def test_the_configuration_of_the_deployment_is_read() -> None:
    config = tomllib.loads((LAMBDA / "samconfig.toml").read_text(encoding="utf-8"))["default"]
    assert config["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
    assert config["validate"]["parameters"]["lint"] is True
    assert f'STACK="{config["global"]["parameters"]["stack_name"]}"' in GUIDE
