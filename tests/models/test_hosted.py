"""Each model takes the place of a hosted one: it offers at least the inputs in tools/hosted/."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from contract import Contract, Input, read
from local_server import ROOT
from schema_compat import breaking_changes

HOSTED = sorted(path.stem for path in (ROOT / "tools" / "hosted").glob("*.json"))
MODELS = sorted(path.parent.name for path in ROOT.glob("models/*/cog.yaml"))
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Hosted:
    contract: Contract
    differences: dict[str, str]
    """Why a model of ours breaks a caller of the hosted one, by what schema_compat says of it."""


def hosted(model: str) -> Hosted:
    written: dict[str, Any] = json.loads((ROOT / "tools" / "hosted" / f"{model}.json").read_text())
    inputs = {row.pop("name"): Input(**_with_tuple(row)) for row in written["inputs"]}
    return Hosted(Contract(inputs, json.dumps(written["output"], sort_keys=True)), written["differences"])


def _with_tuple(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if key == "choices" else value for key, value in row.items()}


def ours(model: str) -> Contract:
    return read((ROOT / "models" / model / "openapi.json").read_text())


def broken(theirs: Contract, mine: Contract) -> set[str]:
    """What breaks for callers of theirs. Where theirs has no bounds, its machine's memory sets one; ours may say it."""
    inputs = {
        name: replace(
            field,
            minimum=field.minimum if name not in theirs.inputs or theirs.inputs[name].minimum is not None else None,
            maximum=field.maximum if name not in theirs.inputs or theirs.inputs[name].maximum is not None else None,
        )
        for name, field in mine.inputs.items()
    }
    return set(breaking_changes(theirs, replace(mine, inputs=inputs)))


def test_every_model_is_compared_with_a_hosted_one() -> None:
    assert set(MODELS) <= set(HOSTED), "write the hosted model's inputs into tools/hosted/"


@pytest.mark.parametrize("model", MODELS)
def test_what_the_hosted_model_takes_is_taken(model: str) -> None:
    assert broken(hosted(model).contract, ours(model)) == set(hosted(model).differences)


@pytest.mark.parametrize("model", MODELS)
def test_hosted_inputs_come_first_and_in_their_order(model: str) -> None:
    names = list(ours(model).inputs)
    expected = [name for name in hosted(model).contract.inputs if name in names]
    assert names[: len(expected)] == expected


@pytest.mark.parametrize("model", MODELS)
def test_readme_tells_every_difference(model: str) -> None:
    _, _, table = (ROOT / "models" / model / "README.md").read_text().partition("## Differences from the hosted model")
    assert [said for said in hosted(model).differences if f"`{re.split(r'[^a-z_]', said)[0]}`" not in table] == []


@pytest.mark.parametrize("model", HOSTED)
def test_hosted_inputs_agree_with_themselves(model: str) -> None:
    for name, field in hosted(model).contract.inputs.items():
        assert field.type in TYPES, name
        assert field.required != ("default" in _row(model, name)), name
        if not field.required and field.default is not None:
            assert isinstance(field.default, TYPES[field.type]), name
            assert field.choices is None or field.default in field.choices, name
            assert field.minimum is None or field.default >= field.minimum, name
            assert field.maximum is None or field.default <= field.maximum, name


def _row(model: str, name: str) -> dict[str, Any]:
    rows = json.loads((ROOT / "tools" / "hosted" / f"{model}.json").read_text())["inputs"]
    return next(row for row in rows if row["name"] == name)


def test_a_bound_of_our_own_is_no_difference_but_a_tighter_one_is() -> None:
    theirs = Contract({"a": Input("number", default=1, maximum=10), "b": Input("number", default=1)}, "{}")
    same = replace(theirs, inputs={**theirs.inputs, "b": Input("number", default=1, minimum=0, maximum=4)})
    assert broken(theirs, same) == set()
    tighter = replace(theirs, inputs={**theirs.inputs, "a": Input("number", default=1, maximum=9)})
    assert broken(theirs, tighter) == {"a: the maximum changed from 10 to 9."}
