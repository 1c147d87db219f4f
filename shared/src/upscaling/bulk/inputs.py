"""The inputs of a model for all pictures of a job, checked by the model's openapi.json."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from upscaling.errors import Code, UpscalingError
from upscaling.values import shown

_ONLY_MEMORY = {"tile_size"}
"""Inputs that change memory and speed, but not the result: pictures stay done when they change."""


@dataclass(frozen=True)
class Inputs:
    """All inputs of a model but the picture."""

    picture: str
    """The name of the input for the picture, the first one that is a file."""
    values: dict[str, Any]
    """The other inputs by name, with the defaults of those that were left out."""
    files: frozenset[str]
    """The names of inputs that are files: their values are data URLs."""

    @property
    def suffix(self) -> str:
        """The extension of the results, without a dot."""
        # controlnet-tile has the hosted input `format`, which counts where output_format is left out.
        return self.values["output_format"] or self.values["format"]

    @property
    def arguments(self) -> str:
        """What the result depends on beside the picture, as JSON; files are given by their SHA-256.

        Every model has other inputs, so the text differs between models too.
        """
        values = {
            name: _digest(value) if name in self.files and value else value
            for name, value in self.values.items()
            if name not in _ONLY_MEMORY
        }
        return json.dumps(values, sort_keys=True)


def parse(folder: Path, pairs: Sequence[str]) -> Inputs:
    """The inputs in NAME=VALUE pairs, for the model in a folder; those that are files are given as NAME=@PATH.

    Raises E_INPUT for what openapi.json does not allow, and for files that cannot be read.
    """
    document = _contract(folder)
    schemas = document["components"]["schemas"]
    declared: dict[str, dict[str, Any]] = schemas["Input"]["properties"]
    picture, *files = sorted(
        (name for name, field in declared.items() if field.get("format") == "uri"),
        key=lambda name: declared[name]["x-order"],
    )
    values: dict[str, Any] = {name: field.get("default") for name, field in declared.items() if name != picture}
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in values:
            raise UpscalingError(
                Code.INPUT, f"{shown(pair)} is not an input for all pictures: take NAME=VALUE of {', '.join(values)}."
            )
        given[name] = _content(name, text) if name in files else _typed(declared[name], schemas, text)
    _check(document, picture, given)
    return Inputs(picture, {**values, **given}, frozenset(files))


def _contract(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "openapi.json").read_text())
    except (OSError, ValueError) as error:
        raise UpscalingError(
            Code.INPUT, f"{folder} has no valid openapi.json ({error}); name the folder of a model with --model."
        ) from error


def _check(document: dict[str, Any], picture: str, given: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Input", "components": document["components"]}
    # jsonschema has no types for the errors that it yields.
    errors: Any = Draft202012Validator(schema).iter_errors({picture: "", **given})  # pyright: ignore[reportUnknownMemberType]
    for error in errors:
        name = error.absolute_path[0] if error.absolute_path else ""
        raise UpscalingError(Code.INPUT, f"{name}: {error.message}")


def _typed(declared: dict[str, Any], schemas: dict[str, Any], text: str) -> Any:
    # The type of an input with choices is in a separate schema.
    referred = [schemas[part["$ref"].rpartition("/")[2]] for part in declared.get("allOf", [])]
    kind = next((one["type"] for one in [declared, *referred] if "type" in one), None)
    if kind in ("integer", "number", "boolean"):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the schema says what is wrong
    return text


def _content(name: str, text: str) -> str:
    """The data URL of a file, given as @PATH."""
    if not text.startswith("@"):
        raise UpscalingError(Code.INPUT, f"{name} is {shown(text)}, not a file: take {name}=@PATH.")
    path = Path(text[1:])
    try:
        return f"data:application/octet-stream;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise UpscalingError(Code.INPUT, f"{path} cannot be read ({error.strerror}).") from error


def _digest(url: str) -> str:
    return f"sha256:{hashlib.sha256(url.encode()).hexdigest()}"
