"""The samplers of controlnet-tile's `scheduler` against diffusers', on its schedule and a toy denoiser."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from toy_denoiser import source, toy

from upscaling.diffusion.noise import NoiseSource, noised
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import last_steps, sigmas, timestep

# Of Stable Diffusion 1.5, as its repository configures schedulers.
SETTINGS: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading",
    "steps_offset": 1,
}  # fmt: skip
CASES = pytest.mark.parametrize(("steps", "strength"), [(8, 0.35), (20, 0.5), (20, 1.0), (30, 0.25), (30, 1.0)])

# Their set_timesteps does so.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def taken(steps: int, strength: float) -> torch.Tensor:
    """The noise levels that a pass of controlnet-tile takes."""
    return last_steps(sigmas("ddim_uniform", steps, 1, "ddim"), steps, strength)


def start(levels: torch.Tensor) -> tuple[torch.Tensor, NoiseSource]:
    noise = source()
    clean = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    return noised(clean, levels[0].item(), noise.draw()), noise


def ours(name: str, levels: torch.Tensor) -> torch.Tensor:
    latents, noise = start(levels)
    return SAMPLERS[name](toy, latents, levels, noise, lambda step: None)


def kept(sigma: float) -> float:
    """The share of the picture in latents of variance 1, which diffusers' schedulers have."""
    return 1 / sqrt(sigma**2 + 1)


def noise_of(latents: torch.Tensor, sigma: float) -> torch.Tensor:
    """What a network that predicts noise gives where the toy gives the picture."""
    return (latents - toy(latents, sigma)) / sigma


def ddim(levels: torch.Tensor, steps: int, each: Callable[[torch.Tensor, float], None], **others: bool) -> torch.Tensor:
    scheduler = DDIMScheduler(**SETTINGS, clip_sample=False, **others)
    scheduler.set_timesteps(steps)
    latents = start(levels)[0] * kept(levels[0].item())
    for sigma, step in zip(levels[:-1].tolist(), scheduler.timesteps[-(len(levels) - 1) :], strict=True):
        assert step == timestep(sigma)
        noise = noise_of(latents / kept(sigma), sigma)
        each(latents / kept(sigma), sigma)
        latents = scheduler.step(noise, step, latents, return_dict=False)[0]
    return latents


@CASES
def test_ddim_takes_the_timesteps_and_the_steps_of_ddim(steps: int, strength: float) -> None:
    levels = taken(steps, strength)
    expected = ddim(levels, steps, lambda latents, sigma: None, set_alpha_to_one=True)
    torch.testing.assert_close(ours("ddim", levels), expected, rtol=0, atol=1e-4)


@CASES
def test_the_published_ddim_leaves_noise_of_timestep_0_and_ours_does_not(steps: int, strength: float) -> None:
    # Stable Diffusion 1.5's own configuration has set_alpha_to_one off. Noise of 0.03 is below what a network sees.
    levels = taken(steps, strength)
    last: list[tuple[torch.Tensor, float]] = []
    expected = ddim(levels, steps, lambda *given: last.append(given), set_alpha_to_one=False)
    alpha = DDIMScheduler(**SETTINGS).alphas_cumprod[0].item()
    left = sqrt(1 - alpha) * noise_of(*last[-1])
    assert left.abs().max() > 0.01
    torch.testing.assert_close(ours("ddim", levels) * sqrt(alpha) + left, expected, rtol=0, atol=1e-4)


@CASES
def test_euler_ancestral_is_that_of_diffusers(steps: int, strength: float) -> None:
    levels = taken(steps, strength)
    scheduler = EulerAncestralDiscreteScheduler(**SETTINGS)
    scheduler.set_timesteps(steps)
    count = len(levels) - 1
    torch.testing.assert_close(scheduler.sigmas[-count - 1 :], levels, rtol=2e-5, atol=0)
    latents, noise = start(levels)
    for step, sigma in zip(scheduler.timesteps[-count:], levels.tolist(), strict=False):
        scheduler.scale_model_input(latents, step)
        predicted = noise_of(latents, sigma)
        latents = scheduler.step(predicted, step, latents, generator=noise.generator, return_dict=False)[0]
    torch.testing.assert_close(ours("euler_ancestral", levels), latents, rtol=0, atol=2e-4)


@CASES
def test_dpmpp_2m_is_that_of_diffusers_on_the_timesteps_of_ddim(steps: int, strength: float) -> None:
    levels = taken(steps, strength)
    scheduler = DPMSolverMultistepScheduler(**SETTINGS, prediction_type="sample", final_sigmas_type="zero")
    count = len(levels) - 1
    scheduler.set_timesteps(count)
    scheduler.sigmas = levels
    latents = start(levels)[0] * kept(levels[0].item())
    for step, sigma in zip(scheduler.timesteps, levels.tolist(), strict=False):
        clean = toy(latents / kept(sigma), sigma)
        latents = scheduler.step(clean, step, latents, return_dict=False)[0]
    torch.testing.assert_close(ours("dpmpp_2m", levels), latents, rtol=0, atol=1e-4)


def test_diffusers_own_timesteps_of_dpmpp_2m_are_those_of_one_step_more() -> None:
    scheduler = DPMSolverMultistepScheduler(**SETTINGS, final_sigmas_type="zero")
    scheduler.set_timesteps(20)
    theirs = scheduler.timesteps.tolist()
    assert theirs[:3] == [941, 894, 847]
    assert [timestep(sigma) for sigma in taken(20, 1)[:3].tolist()] == [951, 901, 851]
