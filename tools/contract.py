"""A model's contract, read from its openapi.json: its inputs and its output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

NOTHING = object()
"""The default of an input without one: null is a default too."""


@dataclass(frozen=True)
class Input:
    """One declared input."""

    type: str
    format: str | None = None
    default: Any = NOTHING
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    """None where every value of the type is allowed."""
    required: bool = False


@dataclass(frozen=True)
class Contract:
    """What callers of a model rely on."""

    inputs: dict[str, Input]
    """By name, in the order in which they are shown."""
    output: str
    """The output's schema without its title, as JSON with sorted keys."""


def read(text: str) -> Contract:
    """The contract in the text of an openapi.json, as Cog writes it."""
    schemas = json.loads(text)["components"]["schemas"]
    declared = schemas["Input"]
    fields = sorted(declared.get("properties", {}).items(), key=lambda named: named[1]["x-order"])
    required = declared.get("required", [])
    return Contract(
        {name: _input(field, name in required, schemas) for name, field in fields},
        json.dumps(_without_titles(schemas["Output"]), sort_keys=True),
    )


def _input(field: dict[str, Any], required: bool, schemas: dict[str, Any]) -> Input:
    # An input with choices refers to a schema of its own.
    whole = dict(field)
    for part in field.get("allOf", []):
        whole |= {key: value for key, value in schemas[part["$ref"].rpartition("/")[2]].items() if key != "description"}
    return Input(
        type=whole.get("type", ""),
        format=whole.get("format"),
        default=whole.get("default", NOTHING),
        minimum=whole.get("minimum"),
        maximum=whole.get("maximum"),
        choices=tuple(whole["enum"]) if "enum" in whole else None,
        required=required,
    )


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_titles(value) for key, value in schema.items() if key != "title"}
    return [_without_titles(value) for value in schema] if isinstance(schema, list) else schema
