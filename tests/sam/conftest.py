"""The template as CloudFormation gets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.sam import tools
from tests.sam.checks import TEMPLATE


@pytest.fixture(scope="session")
def transformed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = tmp_path_factory.mktemp("sam"), tmp_path_factory.mktemp("cloudformation")
    shutil.copy(TEMPLATE, source)
    assert tools.transform(source, target) == {}
    return target / "template.json"


@pytest.fixture(scope="session")
def transformed(transformed_file: Path) -> dict[str, Any]:
    template: dict[str, Any] = json.loads(transformed_file.read_text(encoding="utf-8"))
    return template
