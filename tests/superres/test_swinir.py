from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.superres.swinir import JPEG_QUALITIES, NOISES, Options, TaskType, network, own_scale


def choose(task_type: Any, noise: Any, jpeg: Any, is_grey: bool) -> str:
    return network(Options(task_type, noise, jpeg), is_grey)


SUPER_RESOLUTION = (TaskType.LARGE, TaskType.MEDIUM)
DENOISING = (TaskType.DENOISE_GREY, TaskType.DENOISE_COLOUR)


def test_the_networks_of_all_tasks_are_those_of_the_catalogue() -> None:
    inputs = product(TaskType, NOISES, JPEG_QUALITIES, [False, True])
    chosen = {choose(*values) for values in inputs}
    assert chosen == {entry.name for entry in weights.of_model("swinir")}


@pytest.mark.parametrize("task", TaskType)
def test_super_resolution_enlarges_by_four_and_nothing_else_enlarges(task: TaskType) -> None:
    assert own_scale(task) == (4 if task in SUPER_RESOLUTION else 1)


def test_the_large_task_takes_the_large_network() -> None:
    assert "SwinIR-L_x4" in choose(TaskType.LARGE, 15, 40, is_grey=False)
    assert "SwinIR-M_x4" in choose(TaskType.MEDIUM, 15, 40, is_grey=False)


@pytest.mark.parametrize("noise", NOISES)
def test_denoising_takes_the_network_of_the_level(noise: int) -> None:
    grey, colour = (choose(task, noise, 40, is_grey=False) for task in DENOISING)
    assert grey == f"004_grayDN_DFWB_s128w8_SwinIR-M_noise{noise}"
    assert colour == f"005_colorDN_DFWB_s128w8_SwinIR-M_noise{noise}"


@pytest.mark.parametrize("jpeg", JPEG_QUALITIES)
def test_jpeg_repair_takes_the_network_of_the_quality_and_of_the_colours(jpeg: int) -> None:
    grey, colour = (choose(TaskType.REPAIR_JPEG, 15, jpeg, is_grey) for is_grey in (True, False))
    assert grey == f"006_CAR_DFWB_s126w7_SwinIR-M_jpeg{jpeg}"
    assert colour == f"006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg{jpeg}"


@pytest.mark.parametrize("task", [task for task in TaskType if task is not TaskType.REPAIR_JPEG])
def test_only_jpeg_repair_looks_at_colours(task: TaskType) -> None:
    assert choose(task, 15, 40, is_grey=True) == choose(task, 15, 40, is_grey=False)


def test_networks_for_grey_are_those_that_were_trained_on_grey() -> None:
    grey = {entry.name for entry in weights.of_model("swinir") if "_gray" in entry.name or "_CAR_" in entry.name}
    of_tasks = {choose(TaskType.DENOISE_GREY, noise, 40, is_grey=False) for noise in NOISES}
    of_tasks |= {choose(TaskType.REPAIR_JPEG, 15, jpeg, is_grey=True) for jpeg in JPEG_QUALITIES}
    assert grey == of_tasks


@pytest.mark.parametrize("arbitrary", [0, -1, 75, 10**30, 1.5, None, "high"])
def test_tasks_accept_any_value_of_inputs_that_they_do_not_use(arbitrary: Any) -> None:
    for task in SUPER_RESOLUTION:
        assert choose(task, arbitrary, arbitrary, is_grey=False) == choose(task, 15, 40, is_grey=False)
    for task in DENOISING:
        assert choose(task, 15, arbitrary, is_grey=False) == choose(task, 15, 40, is_grey=False)
    assert choose(TaskType.REPAIR_JPEG, arbitrary, 40, False) == choose(TaskType.REPAIR_JPEG, 15, 40, False)


@pytest.mark.parametrize("jpeg", [0, 15, 75, 50, -10, 10.5, None, "40"])
def test_jpeg_repair_refuses_other_qualities_by_name(jpeg: Any) -> None:
    with pytest.raises(UpscalingError, match="E_INPUT: jpeg is "):
        choose(TaskType.REPAIR_JPEG, 15, jpeg, is_grey=False)


@pytest.mark.parametrize("task", DENOISING)
@pytest.mark.parametrize("noise", [0, 20, 10.5, None, "15"])
def test_denoising_refuses_other_levels_by_name(task: TaskType, noise: Any) -> None:
    with pytest.raises(UpscalingError, match="E_INPUT: noise is "):
        choose(task, noise, 40, is_grey=False)


@pytest.mark.parametrize("task", ["", "Real-World Image Super-Resolution", 5, None, ["x"], {}])
def test_unknown_tasks_are_refused_with_the_known_ones(task: Any) -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: task_type is .*; take one of Real-World Image Super-Res"):
        choose(task, 15, 40, is_grey=False)
