"""Samplers: what holds for all of them; tests/reference compares them with the published ones."""

from __future__ import annotations

import pytest
import torch
from toy_denoiser import counted, source, toy

from upscaling.diffusion.noise import noised
from upscaling.diffusion.samplers import ONE_AT_A_TIME, SAMPLERS, sampler
from upscaling.diffusion.sigmas import SCHEDULES, sigmas
from upscaling.errors import Code, UpscalingError

HOSTED = [
    "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
    "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip


def ignore(step: int) -> None:
    pass


def sampled(name: str, levels: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    noise = source()
    return SAMPLERS[name](toy, noised(clean, levels[0].item(), noise.draw()), levels, noise, ignore)


def test_every_hosted_sampler_but_one_is_there() -> None:
    assert set(SAMPLERS) == {*HOSTED, "lcm"}
    assert all(sampler(name) is SAMPLERS[name] for name in SAMPLERS)


@pytest.mark.parametrize(("name", "named"), [("dpmpp", "'dpmpp'.*dpmpp_2m"), ("plms", "'plms'.*euler, .*lcm")])
def test_samplers_that_do_not_exist_are_named(name: str, named: str) -> None:
    with pytest.raises(UpscalingError, match=named) as caught:
        sampler(name)
    assert caught.value.code is Code.INPUT


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_that_the_denoiser_knows_is_what_comes_out(name: str, schedule: str, steps: int) -> None:
    """Where the denoised latents are always the same, every sampler ends there, but for the noise at its last sigma."""
    levels = sigmas(schedule, steps, 0.6, name)
    clean = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(3))
    noise = source()
    start = noised(torch.zeros_like(clean), levels[0].item(), noise.draw())
    found = SAMPLERS[name](lambda latents, sigma: clean, start, levels, noise, ignore)
    ends = {"dpm_fast": levels[-2], "dpm_adaptive": levels[-2], "uni_pc": 0.001, "uni_pc_bh2": 0.001}
    left = ends.get(name, 0) / levels[0] if steps > 1 else 0
    torch.testing.assert_close(found, clean + (start - clean) * left, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_steps_are_told_in_order_to_the_last(name: str) -> None:
    levels = sigmas("karras", 7, 0.8, name)
    told: list[int] = []
    noise = source()
    SAMPLERS[name](toy, noised(torch.zeros(1, 4, 6, 5), levels[0].item(), noise.draw()), levels, noise, told.append)
    assert told == sorted(told)
    assert told[-1] == len(levels) - 1
    if name not in ("dpm_fast", "dpm_adaptive"):
        assert told == [*range(1, len(levels))]


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("euler", 6), ("lms", 6), ("lcm", 6), ("dpmpp_2m", 6), ("dpmpp_3m_sde", 6), ("uni_pc", 6), ("dpm_fast", 6),
     ("heun", 11), ("dpm_2", 11), ("dpmpp_2s_ancestral", 11), ("dpmpp_sde", 11)],
)  # fmt: skip
def test_evaluations_of_six_steps(name: str, evaluations: int) -> None:
    denoise, called = counted(toy)
    levels = sigmas("karras", 6, 0.5, name)
    SAMPLERS[name](denoise, torch.randn(1, 4, 6, 5), levels, source(), ignore)
    assert len(called) == evaluations
    assert max(called) == pytest.approx(levels[0].item())


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - ONE_AT_A_TIME))
def test_a_batch_gives_what_one_by_one_gives(name: str) -> None:
    levels = sigmas("normal", 6, 0.4, name)
    clean = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    alone = torch.cat([sampled(name, levels, one) for one in clean.split(1)])
    assert torch.equal(sampled(name, levels, clean), alone)


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_a_step_nothing_changes(name: str) -> None:
    latents = torch.randn(1, 4, 6, 5)
    denoise, called = counted(toy)
    assert torch.equal(SAMPLERS[name](denoise, latents, torch.zeros(1), source(), ignore), latents)
    assert called == []


def test_dpm_adaptive_stops_where_the_network_fails() -> None:
    levels = sigmas("normal", 20, 0.2, "dpm_adaptive")
    with pytest.raises(UpscalingError) as caught:
        SAMPLERS["dpm_adaptive"](
            lambda latents, sigma: latents * torch.nan, torch.ones(1, 4, 6, 5), levels, source(), ignore
        )
    assert caught.value.code is Code.NONFINITE


def test_lcm_renews_the_noise_at_every_step() -> None:
    levels = sigmas("sgm_uniform", 3, 0.5, "lcm")
    start = torch.full((1, 4, 6, 5), 0.3)
    noise, same = source(), source()
    expected = start
    for sigma, following in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        expected = toy(expected, sigma)
        if following:
            expected = expected + following * same.draw()
    assert torch.equal(SAMPLERS["lcm"](toy, start, levels, noise, ignore), expected)


@pytest.mark.parametrize(
    ("name", "schedule", "steps", "denoise", "expected"),
    [
        ("uni_pc", "normal", 20, 0.2, [-0.611576257, -0.25097002, 0.342715628, 0.619331995]),
        ("uni_pc", "karras", 6, 1.0, [-0.795933996, -0.564958529, 0.600876698, 0.749424561]),
        ("uni_pc_bh2", "normal", 20, 0.2, [-0.611684375, -0.250763253, 0.342519359, 0.619427092]),
        ("uni_pc_bh2", "karras", 6, 1.0, [-0.780914379, -0.527089854, 0.563907986, 0.740670145]),
    ],
)
def test_unipc_gives_fixed_numbers(name: str, schedule: str, steps: int, denoise: float, expected: list[float]) -> None:
    """They are diffusers' too (UniPCMultistepScheduler 0.42.1 along these sigmas, in fp64).

    Sigmas are in fp32, and their last bit is not the same on every CPU.
    """
    levels = sigmas(schedule, steps, denoise, name)
    start = torch.linspace(-1.5, 1.5, 4).double().reshape(1, 1, 1, 4) * levels[0].item()
    found = SAMPLERS[name](toy, start, levels, source(), ignore)
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-7)
