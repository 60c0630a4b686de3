"""What CloudFormation makes of a template: conditions decided, functions of the template evaluated.

A reference to a resource stays a word: `{Writer}`, `{LandingBucket.Arn}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackName": "lakehouse",
}
_NOTHING = object()


class Stack:
    """A transformed template with values for its parameters.

    `resources` are the properties, evaluated, of the resources that there are.
    """

    def __init__(self, template: Mapping[str, Any], **parameters: object) -> None:
        declared = template["Parameters"]
        assert parameters.keys() <= declared.keys(), parameters.keys() - declared.keys()
        self.parameters = {
            name: _typed(what["Type"], parameters.get(name, what["Default"]))
            for name, what in declared.items()
        }
        self._template = template
        present = {name: what for name, what in template["Resources"].items() if self._is_there(what)}
        self.types = {name: what["Type"] for name, what in present.items()}
        self.resources = {name: self._value(what.get("Properties", {})) for name, what in present.items()}
        self.policies = {
            name: (what.get("DeletionPolicy"), what.get("UpdateReplacePolicy"))
            for name, what in present.items()
        }
        outputs = template.get("Outputs", {}).items()
        self.outputs = {name: self._value(what["Value"]) for name, what in outputs if self._is_there(what)}

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of the resources of a type, by name."""
        return {name: self.resources[name] for name, its_type in self.types.items() if its_type == kind}

    def _is_there(self, what: Mapping[str, Any]) -> bool:
        return "Condition" not in what or self._condition(what["Condition"])

    def _condition(self, name: str) -> bool:
        return bool(self._value(self._template["Conditions"][name]))

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self._value, value) if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function == "Condition" or function.startswith("Fn::"):
                return self._function(function, argument)
        evaluated = {name: self._value(member) for name, member in value.items()}
        return {name: member for name, member in evaluated.items() if member is not _NOTHING}

    def _function(self, function: str, argument: Any) -> Any:
        if function == "Ref":
            return self._reference(argument)
        if function == "Condition":
            return self._condition(argument)
        if function == "Fn::If":
            name, yes, no = argument
            return self._value(yes if self._condition(name) else no)
        if function == "Fn::GetAtt":
            return "{" + ".".join(argument if isinstance(argument, list) else [argument]) + "}"
        if function == "Fn::Sub":
            text, given = argument if isinstance(argument, list) else (argument, {})
            known = self._value(given)
            return re.sub(
                r"\$\{([^!}]+)\}",
                lambda found: str(known[found[1]] if found[1] in known else self._reference(found[1])),
                text,
            )
        arguments = self._value(argument)
        if function == "Fn::Join":
            return arguments[0].join(map(str, arguments[1]))
        if function == "Fn::Split":
            return arguments[1].split(arguments[0])
        if function == "Fn::Select":
            return arguments[1][int(arguments[0])]
        if function == "Fn::Equals":
            return str(arguments[0]) == str(arguments[1])
        if function == "Fn::Not":
            return not arguments[0]
        if function == "Fn::Or":
            return any(arguments)
        raise NotImplementedError(function)

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        return self.parameters[name] if name in self.parameters else "{" + name + "}"


def _typed(kind: str, value: Any) -> Any:
    if kind == "CommaDelimitedList":
        return str(value).split(",")
    return int(value) if kind == "Number" else value
