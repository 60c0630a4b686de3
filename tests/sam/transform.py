"""Turns SAM templates into CloudFormation, as deploying does: run by sam-cli's own Python, with no account.

    python transform.py <folder of .yaml> <folder for .json>

Prints what SAM refused, as JSON: {"<name>": "<why>"}.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform


class ManagedPolicies:
    """What SAM would ask an account for. The template names none; if it did, checks.py would see it."""

    def load(self) -> dict[str, str]:
        names = (
            "AWSLambdaBasicExecutionRole",
            "AWSLambdaDynamoDBExecutionRole",
            "AWSLambdaKinesisExecutionRole",
        )
        return {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in names}


def transformed(template: dict[str, Any]) -> dict[str, Any]:
    for resource in template["Resources"].values():
        # Archives are uploaded before the transform; what it sees is where they lie.
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            resource["Properties"]["ContentUri"] = "s3://bucket/layer"
    result: dict[str, Any] = transform(template, {}, ManagedPolicies(), passthrough_metadata=True)
    return result


def main(source: Path, target: Path) -> None:
    logging.disable(logging.CRITICAL)
    refused = {}
    for path in sorted(source.glob("*.yaml")):
        try:
            result = transformed(yaml_parse(path.read_text(encoding="utf-8")))
        except InvalidDocumentException as error:
            refused[path.stem] = "; ".join(str(cause.message) for cause in error.causes)
        else:
            (target / f"{path.stem}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(refused))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
