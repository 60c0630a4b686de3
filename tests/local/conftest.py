"""An AWS for the whole run, and a table of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.local.support import StreamedTable

from lakehouse.local.aws import LocalAws


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as server:
        yield server


@pytest.fixture
def table(aws: LocalAws) -> StreamedTable:
    client = aws.client("dynamodb")
    name = f"table-{uuid.uuid4().hex}"
    description = client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return StreamedTable(client, name, description["TableDescription"]["LatestStreamArn"])
