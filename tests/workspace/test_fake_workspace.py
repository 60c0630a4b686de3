"""The fake workspace refuses what a workspace refuses, and nothing leads from these tests to a real one."""

from __future__ import annotations

import base64
import os

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import DatabricksError
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.jobs import RunLifecycleStateV2State, TerminationCodeCode
from databricks.sdk.service.workspace import ImportFormat, ObjectType
from tests.workspace.fake_workspace import FakeWorkspace


def test_a_client_made_from_the_environment_knows_the_fake_workspace_alone(workspace: FakeWorkspace) -> None:
    found = WorkspaceClient().config
    assert found.host == workspace.url
    assert found.host.startswith("http://127.0.0.1:")
    assert found.auth_type == "pat"
    assert not [name for name in os.environ if name.startswith(("AWS_", "ARM_", "GOOGLE_"))]


def test_another_token_is_refused_everywhere(workspace: FakeWorkspace) -> None:
    client = WorkspaceClient(host=workspace.url, token="another one")
    for ask in (client.current_user.me, lambda: client.jobs.get_run(1), lambda: client.jobs.run_now(1)):
        with pytest.raises(PermissionDenied, match="Invalid access token"):
            ask()
    assert {path for _, path, _, _ in workspace.requests} == {"/.well-known/databricks-config"}


def test_what_is_not_there_is_not_found(workspace: FakeWorkspace) -> None:
    client = WorkspaceClient()
    for ask in (
        lambda: client.jobs.get(1),
        lambda: client.jobs.run_now(1),
        lambda: client.jobs.get_run(1),
        lambda: client.workspace.get_status("/Workspace/nope"),
    ):
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(DatabricksError, match="No API found for 'GET /api/2"):
        list(client.clusters.list())
    assert workspace.unknown == ["GET /api/2.1/clusters/list"]


def test_a_run_passes_through_its_states_as_it_is_looked_at(workspace: FakeWorkspace) -> None:
    client = WorkspaceClient()
    job_id = workspace.add_job("ingest")
    run_id = client.jobs.run_now(job_id, job_parameters={"tables": "calls"}).response.run_id
    assert run_id > 2**53
    states = []
    for _ in range(4):
        run = client.jobs.get_run(run_id)
        states.append(run.status.state)
    assert states == [
        RunLifecycleStateV2State.PENDING,
        RunLifecycleStateV2State.RUNNING,
        RunLifecycleStateV2State.TERMINATED,
        RunLifecycleStateV2State.TERMINATED,
    ]
    assert run.status.termination_details.code is TerminationCodeCode.SUCCESS
    assert {p.name: p.value for p in run.job_parameters}["tables"] == "calls"
    with pytest.raises(InvalidParameterValue, match="output of each individual task run"):
        client.jobs.get_run_output(run_id)


def test_lists_come_in_pages(workspace: FakeWorkspace) -> None:
    workspace.page_size = 2
    ids = [workspace.add_job(f"job {n}") for n in range(5)]
    client = WorkspaceClient()
    assert [job.job_id for job in client.jobs.list()] == ids
    assert [job.job_id for job in client.jobs.list(name="JOB 3")] == [ids[3]]
    assert list(client.jobs.list(name="job")) == []


def test_files_lie_in_folders(workspace: FakeWorkspace) -> None:
    client = WorkspaceClient()
    folder = "/Workspace/Users/zoe@example.com/x"

    def put(text: bytes) -> None:
        content = base64.b64encode(text).decode()
        client.workspace.import_(f"{folder}/a.txt", content=content, format=ImportFormat.AUTO)

    with pytest.raises(NotFound, match="parent folder"):
        put(b"1")
    client.workspace.mkdirs(folder)
    put(b"1")
    with pytest.raises(DatabricksError, match="already exists"):
        put(b"2")
    assert client.workspace.get_status(f"{folder}/a.txt").object_type is ObjectType.FILE
    client.workspace.delete(folder, recursive=True)
    with pytest.raises(NotFound):
        client.workspace.get_status(folder)
