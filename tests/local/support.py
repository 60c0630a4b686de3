"""A DynamoDB table for a test, and a look at what a process listens on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an IPv6 address, and ::1, as /proc/net writes them."""


@dataclass
class StreamedTable:
    """A DynamoDB table with the key `id` and a stream of new and old images."""

    client: Any
    name: str
    stream_arn: str

    def put(self, *names: str) -> None:
        for name in names:
            self.client.put_item(TableName=self.name, Item={"id": {"S": name}})


def create_table(client: Any, name: str, keys: Mapping[str, str], *, stream: bool = True) -> str:
    """Create a DynamoDB table and, unless told otherwise, its stream.

    Args:
        keys: type of each key attribute by its name, the partition key first.

    Returns:
        The stream's label; empty without a stream.
    """
    enabled = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}
    made = client.create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": key, "KeyType": kind}
            for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()],
        BillingMode="PAY_PER_REQUEST",
        **(enabled if stream else {}),
    )
    label: str = made["TableDescription"].get("LatestStreamLabel", "")
    return label


ITEM_KEYS = {"site": "S", "number": "S"}
"""The key of `tests.spark.support.ITEMS`."""


def assert_listens_on_loopback_alone(process: int) -> None:
    """Fail unless the process and its children listen, and only on addresses of this machine's own."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    addresses = _listening_addresses(process)
    assert addresses
    assert addresses <= _LOOPBACK


def _listening_addresses(process: int) -> set[str]:
    family = {process}
    while True:
        children = {int(each.name) for each in Path("/proc").glob("[0-9]*") if _parent(each) in family}
        if children <= family:
            break
        family |= children
    sockets = set()
    for member in family:
        for descriptor in Path(f"/proc/{member}/fd").glob("*"):
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # 0A: listening
                addresses.add(fields[1].split(":")[0])
    return addresses


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return -1
