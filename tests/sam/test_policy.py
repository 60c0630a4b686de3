"""What the writer's role may do is what the writer does, and what Lambda does for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from tests.sam.checks import KEYS, LAMBDA, MAY, STREAMS, role
from tests.sam.cloudformation import Stack

pytestmark = pytest.mark.extra

# What S3 asks for, by the API reference: PutObject with no ACL, tags, lock or copy source needs this alone,
# and with If-None-Match no more.
ACTIONS = {("s3", "put_object"): {"s3:PutObject"}}
ARGUMENTS = {"Bucket", "Key", "Body", "ContentType", "IfNoneMatch"}


def _calls() -> Iterator[ast.Call]:
    for path in sorted((LAMBDA / "change_writer").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _operations() -> dict[tuple[str, str], list[ast.Call]]:
    """The calls in the writer that are operations of the services that it makes clients of."""
    made = [call for call in _calls() if _name(call) in ("client", "resource")]
    services = {call.args[0].value for call in made if isinstance(call.args[0], ast.Constant)}
    assert len(services) == len(made), "a client of a service that cannot be told"
    found: dict[tuple[str, str], list[ast.Call]] = {}
    session = botocore.session.get_session()
    for service in services:
        names = {xform_name(name) for name in session.get_service_model(str(service)).operation_names}
        # What the clients of boto3 put on top of operations.
        names |= {
            "upload_file",
            "upload_fileobj",
            "download_file",
            "download_fileobj",
            "copy",
            "get_paginator",
        }
        for call in _calls():
            if _name(call) in names:
                found.setdefault((str(service), _name(call)), []).append(call)
    return found


def test_the_role_may_do_exactly_what_is_listed(transformed: dict[str, Any]) -> None:
    assert [*role(Stack(transformed, **STREAMS, SourceKeyArns=KEYS))] == []


def test_what_the_writer_calls_is_what_its_statement_allows() -> None:
    operations = _operations()
    assert operations.keys() == ACTIONS.keys()
    by_the_writer = [allowed for allowed in MAY.values() if allowed.used_by.startswith("the writer's")]
    assert {a for allowed in by_the_writer for a in allowed.actions} == set().union(*ACTIONS.values())
    for call in operations["s3", "put_object"]:
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        assert arguments.keys() == ARGUMENTS
        # The role may not put without it.
        assert ast.unparse(arguments["IfNoneMatch"]) == "'*'"


def test_no_statement_reaches_beyond_its_own_things() -> None:
    for sid, allowed in MAY.items():
        assert allowed.used_by, sid
        for action in allowed.actions:
            assert "*" not in action, sid
        for resource in allowed.resources:
            assert resource.startswith(("{", "arn:aws:")), sid
            assert "*" not in resource.removesuffix("/*"), sid
    # Objects are put, never read, tagged, locked or deleted.
    actions = {action for allowed in MAY.values() for action in allowed.actions}
    assert {a for a in actions if a.startswith("s3:")} == {"s3:PutObject", "s3:ListBucket"}
    assert MAY["FindTheFailureBucket"].resources == ("{FailureBucket.Arn}",)
