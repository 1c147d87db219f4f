"""Schedules: the values that ComfyUI computes, to seven digits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import LARGEST, SCHEDULES, SMALLEST, TABLE, sigmas, timestep
from upscaling.errors import Code, UpscalingError


def test_the_table_is_that_of_stable_diffusion_1_5() -> None:
    found = TABLE[[0, 1, 100, 200, 500, 900, 999]].tolist()
    expected = [0.02916753, 0.0413145, 0.3439313, 0.5716659, 1.6182789, 8.3465967, 14.61464]
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(TABLE) == 1000


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [
        ("normal", [14.61464, 10.74680, 8.081519], [0.2321642, 0.02916754]),
        ("karras", [14.61464, 11.72537, 9.340208], [0.0484819, 0.02916754]),
        ("exponential", [14.61464, 10.53632, 7.596079], [0.04045751, 0.02916754]),
        ("sgm_uniform", [14.61464, 10.90732, 8.307171], [0.3437048, 0.2254523]),
        ("simple", [14.61464, 10.90423, 8.302803], [0.3416739, 0.2230031]),
        ("ddim_uniform", [11.02833, 8.390684, 6.506398], [0.2281467, 0.04131448]),
    ],
)
def test_twenty_steps_of_every_schedule(schedule: str, first: list[float], last: list[float]) -> None:
    levels = sigmas(schedule, 20, 1, "euler").tolist()
    assert len(levels) == 21
    assert levels[-1] == 0
    assert levels[:3] == pytest.approx(first, rel=1e-6)
    assert levels[-3:-1] == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "sampler", "steps", "denoise", "first", "last"),
    [
        ("normal", "euler", 20, 0.2, 0.552068, 0.0291675),
        ("karras", "euler", 20, 0.2, 0.159361, 0.0291675),
        ("exponential", "euler", 20, 0.2, 0.0961746, 0.0291675),
        ("sgm_uniform", "euler", 20, 0.2, 0.571189, 0.0982427),
        ("simple", "euler", 20, 0.2, 0.569285, 0.0935676),
        ("ddim_uniform", "euler", 20, 0.2, 0.550357, 0.0413145),
        ("normal", "dpm_2", 20, 0.2, 0.571189, 0.0982427),
        ("normal", "euler_ancestral", 16, 0.1, 0.33091, 0.0291675),
    ],
)
def test_below_one_denoise_takes_the_end_of_a_longer_schedule(
    schedule: str, sampler: str, steps: int, denoise: float, first: float, last: float
) -> None:
    levels = sigmas(schedule, steps, denoise, sampler).tolist()
    assert len(levels) == steps + 1
    assert [levels[0], levels[-2]] == pytest.approx([first, last], rel=3e-6)


def test_the_length_is_rounded_down_in_floating_point() -> None:
    # 7 / .07 is 99.99… in binary fractions: the last 7 of 99 levels.
    assert torch.equal(sigmas("sgm_uniform", 7, 0.07, "euler"), sigmas("sgm_uniform", 99, 1, "euler")[-8:])


@pytest.mark.parametrize(("steps", "count"), [(6, 7), (20, 20), (30, 31), (300, 333)])
def test_ddim_uniform_may_have_more_steps(steps: int, count: int) -> None:
    assert len(sigmas("ddim_uniform", steps, 1, "ddim")) == count + 1


@pytest.mark.parametrize(
    ("sampler", "steps", "denoise", "stride"),
    [("ddim", 6, 0.99, 166), ("ddim", 30, 0.98, 33), ("ddim", 12, 0.95, 83), ("uni_pc", 5, 0.99, 166)],
)
def test_ddim_uniform_just_below_one_takes_its_last_steps(
    sampler: str, steps: int, denoise: float, stride: int
) -> None:
    # steps / denoise is rounded down to steps: the schedule has one level more than that.
    dropped = sampler == "uni_pc"
    timesteps = [1 + stride * i for i in range(dropped, steps + dropped)]
    assert torch.equal(sigmas("ddim_uniform", steps, denoise, sampler)[:-1], TABLE[timesteps].flip(0))


def test_ddim_uniform_of_more_steps_than_the_table_has_takes_every_sigma() -> None:
    assert torch.equal(sigmas("ddim_uniform", 20, 0.01, "ddim")[:-1], TABLE[1:21].flip(0))


@pytest.mark.parametrize("sampler", ["dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"])
def test_some_samplers_leave_out_the_level_before_zero(sampler: str) -> None:
    longer = sigmas("normal", 11, 1, "euler")
    assert torch.equal(sigmas("normal", 10, 1, sampler), longer[[*range(10), 11]])


@settings(max_examples=200)
@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    steps=st.integers(1, 400) | st.sampled_from([9_999, 10_000]),
    denoise=st.floats(1e-4, 1) | st.just(1.0),
)
def test_levels_fall_to_zero_and_stay_in_the_range(schedule: str, sampler: str, steps: int, denoise: float) -> None:
    levels = sigmas(schedule, steps, denoise, sampler)
    assert levels.dtype == torch.float32
    assert bool((levels.diff() < 0).all())
    assert levels[-1] == 0
    assert levels[0] <= LARGEST * (1 + 1e-6)
    assert len(levels) > 1 and levels[-2] >= SMALLEST * (1 - 1e-6)
    if denoise <= 0.9999:
        assert len(levels) <= steps + 1
        assert len(levels) == steps + 1 or steps / denoise > 998  # levels that coincide are taken once


def test_without_denoise_there_is_no_step() -> None:
    assert sigmas("normal", 20, 0, "euler").tolist() == [0]


def test_the_end_of_a_huge_schedule_is_had_without_the_rest() -> None:
    assert len(sigmas("karras", 1, 1e-12, "euler")) == 2


@pytest.mark.parametrize("denoise", [1e-300, 1e-320, 5e-324])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_smallest_numbers_are_one_step_of_the_least_noise(schedule: str, denoise: float) -> None:
    assert torch.equal(sigmas(schedule, 20, denoise, "euler"), sigmas(schedule, 20, 1e-12, "euler"))
    if schedule != "ddim_uniform":  # it takes every sigma of the table
        assert sigmas(schedule, 20, denoise, "euler").tolist() == pytest.approx([SMALLEST, 0], rel=1e-5)


def test_timesteps_are_the_nearest_whole_ones() -> None:
    assert [timestep(sigma) for sigma in TABLE.tolist()] == list(range(1000))
    assert [timestep(0.552068), timestep(0.159361), timestep(1e-9), timestep(100)] == [192, 26, 0, 999]


@pytest.mark.parametrize(
    ("schedule", "steps", "denoise", "named"),
    [
        ("linear", 20, 0.2, "'linear'.*karras"),
        ("normal", 0, 0.2, "steps is 0.*10000"),
        ("normal", 10_001, 0.2, "steps is 10001"),
        ("normal", 20, -0.1, "denoise is -0.1"),
        ("normal", 20, 1.5, "denoise is 1.5"),
        ("normal", 20, float("nan"), "denoise is nan"),
    ],
)
def test_values_out_of_range_are_named(schedule: str, steps: int, denoise: float, named: str) -> None:
    with pytest.raises(UpscalingError, match=named) as caught:
        sigmas(schedule, steps, denoise, "euler")
    assert caught.value.code is Code.INPUT
