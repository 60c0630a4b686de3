"""A fake workspace for each test, and an environment from which no real one can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.workspace.fake_workspace import TOKEN, FakeWorkspace, serve

LOGINS = ("DATABRICKS_", "AWS_", "ARM_", "GOOGLE_", "BUNDLE_", "ACTIONS_ID_TOKEN_")
"""Variables by which the SDK and the Databricks command line find an account."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorkspace]:
    for name in os.environ:
        if name.startswith(LOGINS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    config = tmp_path / "databrickscfg"
    config.touch()
    with serve() as fake:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))
        monkeypatch.setenv("DATABRICKS_HOST", fake.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        # The SDK may otherwise start the Databricks command line to ask it for a token.
        monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")
        yield fake
