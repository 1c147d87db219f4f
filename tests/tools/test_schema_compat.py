from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schema_compat
from contract import read
from histories import commit
from schema_compat import breaking_changes

Schema = dict[str, Any]

BEFORE: Schema = {
    "Input": {
        "type": "object",
        "title": "Input",
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "format": "uri", "x-order": 0},
            "scale": {"type": "number", "default": 4, "minimum": 0, "maximum": 10, "x-order": 1},
            "steps": {"type": "integer", "default": 20, "x-order": 2},
            "mode": {"allOf": [{"$ref": "#/components/schemas/mode"}], "default": "slow", "x-order": 3},
            "seed": {"type": "integer", "default": None, "nullable": True, "x-order": 4},
            "sharp": {"type": "boolean", "default": False, "x-order": 5},
        },
    },
    "mode": {"type": "string", "enum": ["fast", "slow", "slower"], "description": "An enumeration."},
    "Output": {"type": "string", "format": "uri", "title": "Output"},
}


def text(schemas: Schema) -> str:
    return json.dumps({"components": {"schemas": schemas}})


def changed(change: Callable[[Schema, Schema], object]) -> Schema:
    """BEFORE after a change, which gets its inputs and all schemas."""
    schemas = json.loads(json.dumps(BEFORE))
    change(schemas["Input"]["properties"], schemas)
    return schemas


def told(change: Callable[[Schema, Schema], object]) -> list[str]:
    return breaking_changes(read(text(BEFORE)), read(text(changed(change))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda inputs, _: inputs.pop("steps"), "steps was removed."),
        (lambda inputs, _: inputs["steps"].update(type="string"), "steps: the type changed from integer to string."),
        (lambda inputs, _: inputs["image"].pop("format"), "image: the type changed from string (uri) to string."),
        (lambda inputs, _: inputs["scale"].update(minimum=1), "scale: the minimum changed from 0 to 1."),
        (lambda inputs, _: inputs["scale"].update(maximum=9.5), "scale: the maximum changed from 10 to 9.5."),
        (lambda inputs, _: inputs["steps"].update(minimum=0), "steps: the minimum changed from none to 0."),
        (lambda inputs, _: inputs["steps"].update(maximum=0), "steps: the maximum changed from none to 0."),
        (lambda _, schemas: schemas["mode"]["enum"].remove("slower"), 'mode: it no longer accepts "slower".'),
        (
            lambda inputs, _: (
                inputs["steps"].update(allOf=[{"$ref": "#/components/schemas/n"}])
                or _.update(n={"type": "integer", "enum": [20, 30]})
            ),
            "steps: it accepted every value and now accepts only 20, 30.",
        ),
        (lambda inputs, _: inputs["scale"].update(default=2), "scale: the default changed from 4 to 2."),
        (lambda inputs, _: inputs["mode"].update(default="fast"), 'mode: the default changed from "slow" to "fast".'),
        (lambda inputs, _: inputs["seed"].update(default=0), "seed: the default changed from none to 0."),
        (lambda inputs, _: inputs["sharp"].update(default=0), "sharp: the default changed from false to 0."),
        (lambda _, schemas: schemas["Input"]["required"].append("steps"), "steps: it is now required."),
        (
            lambda inputs, schemas: (
                inputs.update(mask={"type": "string", "x-order": 6}) or schemas["Input"]["required"].append("mask")
            ),
            "mask is new and required.",
        ),
        (
            lambda _, schemas: schemas["Output"].update(format="binary"),
            'The output changed from {"format": "uri", "type": "string"} to {"format": "binary", "type": "string"}.',
        ),
    ],
)
def test_a_breaking_change_is_told(change: Callable[[Schema, Schema], object], said: str) -> None:
    assert told(change) == [said]


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs, _: None,
        lambda inputs, _: inputs.update(mask={"type": "string", "default": None, "x-order": 6}),
        lambda inputs, _: inputs["scale"].update(minimum=-1, maximum=11),
        lambda inputs, _: inputs["scale"].pop("minimum"),
        lambda inputs, _: inputs["scale"].update(default=4.0),
        lambda inputs, _: inputs["scale"].update(description="Other words.", title="Factor"),
        lambda inputs, _: inputs["seed"].pop("default"),
        lambda inputs, _: inputs["steps"].update({"x-order": 9}),
        lambda _, schemas: schemas["mode"]["enum"].append("fastest"),
        lambda _, schemas: schemas["mode"].update(description="Other words."),
        lambda _, schemas: schemas["Input"]["required"].remove("image"),
        lambda _, schemas: schemas["Output"].update(title="Result"),
    ],
)
def test_what_breaks_no_caller_is_no_breaking_change(change: Callable[[Schema, Schema], object]) -> None:
    assert told(change) == []


def test_all_breaking_changes_are_told_at_once() -> None:
    def change(inputs: Schema, schemas: Schema) -> None:
        del inputs["steps"]
        inputs["scale"].update(minimum=2, default=3)
        schemas["mode"]["enum"] = ["slow"]
        schemas["Output"] = {"type": "array", "items": {"type": "string", "format": "uri"}}

    assert [re.split(r"\W", line)[0] for line in told(change)] == ["scale", "scale", "steps", "mode", "The"]


def models(**schemas: Schema | None) -> dict[str, str | None]:
    return {f"models/{name}/openapi.json": value and text(value) for name, value in schemas.items()}


def test_models_are_compared_with_a_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = commit(tmp_path, models(one=BEFORE, two=BEFORE, gone=BEFORE))
    commit(tmp_path, models(one=changed(lambda inputs, _: inputs.pop("steps")), gone=None, new=BEFORE))
    assert schema_compat.main([base], tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Breaking changes:",
        "gone: the model was removed.",
        "one: steps was removed.",
    ]
    assert schema_compat.main([base, "two", "new"], tmp_path) == 0
    assert capsys.readouterr().out == "No breaking change.\n"


def test_unknown_commit_is_an_error_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(tmp_path, models(one=BEFORE))
    assert schema_compat.main(["no-such-branch"], tmp_path) == 2
    assert "no-such-branch" in capsys.readouterr().err
