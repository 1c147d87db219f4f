"""What a model declares of its inputs, and values of the inputs that all models share which they must refuse."""

from __future__ import annotations

import json
from typing import Any

from local_server import ROOT

BEYOND_BOUNDS: list[tuple[str, Any]] = [
    ("scale", -0.1),
    ("scale", 10.1),
    ("width", 0),
    ("height", 0),
    ("tile_size", -1),
    ("tile_size", 2049),
    ("output_format", "gif"),
    ("output_quality", 0),
    ("output_quality", 101),
]
OF_WRONG_TYPE: list[tuple[str, Any]] = [
    ("image", 5),
    ("scale", "4"),
    ("width", 1.5),
    ("height", "1"),
    ("tile_size", "0"),
    ("output_format", 1),
    ("output_quality", "95"),
]


def schemas(model: str) -> dict[str, Any]:
    """The schemas of a model's contract, by name."""
    return json.loads((ROOT / "models" / model / "openapi.json").read_text())["components"]["schemas"]


def bounded(model: str) -> set[str]:
    """The inputs that have bounds or choices."""
    declared = schemas(model)["Input"]["properties"]
    return {name for name, field in declared.items() if {"minimum", "maximum", "allOf"} & set(field)}
