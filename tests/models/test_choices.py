"""The choices of the models' inputs are those of the shared package and of its catalogue."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from model_folder import MODELS, ROOT, Model

from upscaling import weights
from upscaling.diffusion import controlnet_tile
from upscaling.diffusion.colour_fix import COLOUR_FIXES
from upscaling.diffusion.options import UPSCALERS
from upscaling.diffusion.patches import Order, SeamFix
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import SCHEDULES
from upscaling.diffusion.structure import STRUCTURES
from upscaling.faces.detection import SMALLEST_FOUND
from upscaling.portraits import codeformer
from upscaling.portraits.gfpgan import VERSIONS
from upscaling.superres.swinir import NOISES, TaskType
from upscaling.superres.upscalers import TWINS


def test_networks_to_choose_are_those_of_the_catalogue() -> None:
    names = [entry.name for entry in weights.of_model("real-esrgan", "superres")]
    assert set(TWINS.values()) <= set(names)
    assert choices(Model("real-esrgan"), "model") == [name for name in names if name not in TWINS.values()]


def test_tasks_and_noises_to_choose_are_those_of_the_package() -> None:
    assert choices(Model("swinir"), "task_type") == list(TaskType)
    assert choices(Model("swinir"), "noise") == list(NOISES)


def test_networks_for_faces_to_choose_are_those_of_the_catalogue() -> None:
    restorers = {
        name: [entry.name for entry in weights.of_model(name, "face")][2:]
        for name in ("real-esrgan", "gfpgan", "codeformer")
    }
    assert choices(Model("real-esrgan"), "face_model") == restorers["real-esrgan"]
    assert choices(Model("gfpgan"), "version") == list(VERSIONS)
    assert list(VERSIONS.values()) == restorers["gfpgan"]
    assert restorers["codeformer"] == [codeformer.RESTORER]


def test_inputs_of_faces_are_the_same_everywhere() -> None:
    names = ("face_strength", "only_center_face", "min_face_size")
    first, *others = (
        {name: {key: value for key, value in Model(model).inputs[name].items() if key != "x-order"} for name in names}
        for model in ("real-esrgan", "gfpgan", "codeformer")
    )
    assert others == [first, first]
    assert first["min_face_size"]["minimum"] == SMALLEST_FOUND


@pytest.mark.parametrize("name", MODELS)
def test_weights_for_non_commercial_use_are_marked_wherever_a_model_is_chosen(name: str) -> None:
    restricted = [entry for entry in weights.of_model(name) if entry.non_commercial]
    (row,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| [{name}](")]
    head = "".join(Model(name).text("README.md").splitlines(keepends=True)[:5])
    marked = {"non-commercial use only" in text.lower() for text in (row, head, Model(name).text("cog.yaml"))}
    assert marked == {bool(restricted)}


def test_choices_of_ultimate_sd_upscale_are_those_of_the_package() -> None:
    model = Model("ultimate-sd-upscale")
    assert choices(model, "upscaler") == list(UPSCALERS)
    assert choices(model, "mode_type") == list(Order)
    assert choices(model, "seam_fix_mode") == list(SeamFix)
    assert choices(model, "scheduler") == list(SCHEDULES)
    assert choices(model, "color_fix") == list(COLOUR_FIXES)
    assert choices(model, "checkpoint") == [entry.name for entry in weights.of_model(model.name, "checkpoint")]
    hosted_but_not_there = {"dpmpp"}
    assert set(choices(model, "sampler_name")) == set(SAMPLERS) | hosted_but_not_there


def test_choices_of_controlnet_tile_are_those_of_the_package() -> None:
    model = Model("controlnet-tile")
    assert choices(model, "resolution") == list(controlnet_tile.RESOLUTIONS)
    assert choices(model, "scheduler") == list(controlnet_tile.SAMPLERS)
    assert choices(model, "structure") == ["none", *STRUCTURES]
    assert choices(model, "color_fix") == list(COLOUR_FIXES)
    assert choices(model, "checkpoint") == [entry.name for entry in weights.of_model(model.name, "checkpoint")]
    networks = [entry.name for entry in weights.of_model(model.name, "superres")]
    assert choices(model, "upscaler") == list(controlnet_tile.UPSCALERS) == ["automatic", "Lanczos", *networks]


def test_networks_of_controlnet_tile_are_in_the_catalogue() -> None:
    names = {
        kind: [entry.name for entry in weights.of_model("controlnet-tile", kind)] for kind in ("controlnet", "lora")
    }
    assert names["controlnet"] == [controlnet_tile.CONTROLNET, *controlnet_tile.STRUCTURE_CONTROLNETS.values()]
    loras = {controlnet_tile.LCM_LORA, controlnet_tile.SHARPNESS_LORA, *controlnet_tile.DETAILS_LORAS}
    assert loras <= set(names["lora"])
    assert list(controlnet_tile.STRUCTURE_CONTROLNETS) == list(STRUCTURES)


def choices(model: Model, name: str) -> list[Any]:
    """The literal choices of an input in run.py."""
    (run,) = [
        node
        for node in ast.walk(ast.parse(model.text("run.py")))
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    names = [argument.arg for argument in run.args.args][-len(run.args.defaults) :]
    declared = run.args.defaults[names.index(name)]
    assert isinstance(declared, ast.Call)
    return next(ast.literal_eval(keyword.value) for keyword in declared.keywords if keyword.arg == "choices")
