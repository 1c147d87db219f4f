"""Our samplers against k-diffusion's, on a toy denoiser, from ComfyUI's order of seeds and draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from k_diffusion import sampling
from toy_denoiser import counted, source, toy

from upscaling.diffusion.noise import NoiseSource, noised
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import sigmas

SEED = 7
SHAPE = (1, 4, 6, 5)
SCHEDULES = [
    ("normal", 20, 0.2),
    ("karras", 9, 1.0),
    ("exponential", 8, 0.35),
    ("sgm_uniform", 4, 0.6),
    ("simple", 1, 0.5),
    ("ddim_uniform", 12, 0.4),
]
ENDS_ONLY = ("dpm_fast", "dpm_adaptive")
BROWNIAN = ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde")
ANCESTRAL = ("euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral")
PUBLISHED = ("euler", "heun", "dpm_2", "lms", "dpmpp_2m", *ENDS_ONLY, *BROWNIAN, *ANCESTRAL)
# k-diffusion reads a length of the step that it has not set.
CASES = [
    (name, *case) for name in PUBLISHED for case in SCHEDULES if case[1] > 1 or name not in (*ENDS_ONLY, *BROWNIAN[1:])
]


class InDouble(NoiseSource):
    """Noise in fp64, so that only formulas can differ."""

    def draw(self) -> torch.Tensor:
        return super().draw().double()

    def brownian(self, smallest: float, largest: float) -> Callable[[float, float], torch.Tensor]:
        between = super().brownian(smallest, largest)
        return lambda sigma, following: between(float(sigma), float(following)).double()


def published(name: str, latents: torch.Tensor, levels: torch.Tensor, **noise: Any) -> torch.Tensor:
    def model(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return toy(latents, sigma[:, None, None, None])

    sample: Callable[..., torch.Tensor] = getattr(sampling, f"sample_{name}")
    with warnings.catch_warnings():
        # Its sigmas have more digits than the range that torchsde has rounded, and scalars come as tensors.
        warnings.filterwarnings("ignore", "Should have t[ab]")
        warnings.filterwarnings("ignore", "To copy construct from a tensor")
        if name in ENDS_ONLY:
            steps = (len(levels) - 1,) if name == "dpm_fast" else ()
            return sample(model, latents, levels[-2], levels[0], *steps, disable=True)
        return sample(model, latents, levels, disable=True, **noise)


def ignore(step: int) -> None:
    pass


@pytest.mark.parametrize(("name", "schedule", "steps", "denoise"), CASES)
def test_from_a_seed_samplers_give_what_k_diffusion_gives(name: str, schedule: str, steps: int, denoise: float) -> None:
    levels = sigmas(schedule, steps, denoise, name)
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    noise = source(SEED, SHAPE[2:])
    ours = SAMPLERS[name](toy, noised(clean, levels[0].item(), noise.draw()), levels, noise, ignore)

    torch.manual_seed(SEED)  # ancestral samplers of k-diffusion go on with the generator that drew the first noise
    start = noised(clean, levels[0].item(), torch.randn(SHAPE))
    positive = levels[levels > 0]
    tree = sampling.BrownianTreeNoiseSampler(start, positive.min(), positive.max(), SEED) if name in BROWNIAN else None
    theirs = published(name, start, levels, **({"noise_sampler": tree} if tree else {}))
    # k-diffusion rounds the middle of dpmpp_sde's steps to fp32, as the CPU's exp and log do. Up to 1e-6 away, a
    # Brownian motion has moved by up to 1e-3. The test in fp64 has no such middle.
    tolerance = 1e-3 if name == "dpmpp_sde" else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "schedule", "steps", "denoise"), CASES)
def test_in_fp64_the_formulas_are_those_of_k_diffusion(name: str, schedule: str, steps: int, denoise: float) -> None:
    levels = sigmas(schedule, steps, denoise, name).double()
    start = noised(torch.zeros(SHAPE), levels[0].item(), source(SEED, SHAPE[2:]).draw()).double()
    ours = SAMPLERS[name](toy, start, levels, InDouble(**vars(source(SEED, SHAPE[2:]))), ignore)

    same = InDouble(**vars(source(SEED, SHAPE[2:])))
    positive = levels[levels > 0]
    brownian = same.brownian(positive.min().item(), positive.max().item())
    draws = dict.fromkeys(ANCESTRAL, lambda sigma, following: same.draw()) | dict.fromkeys(BROWNIAN, brownian)
    torch.set_default_dtype(torch.float64)  # dpm_fast makes its own sigmas in the default type
    try:
        theirs = published(name, start, levels, **({"noise_sampler": draws[name]} if name in draws else {}))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("turns", [8, 16])
def test_dpm_adaptive_takes_and_rejects_the_same_steps(turns: int) -> None:
    def restless(latents: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        return torch.tanh(latents) + torch.sin(turns * torch.as_tensor(sigma).log())

    denoise, called = counted(restless)
    levels = sigmas("normal", 20, 0.5, "dpm_adaptive").double()
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).double() * levels[0]
    ours = SAMPLERS["dpm_adaptive"](denoise, start, levels, source(SEED, SHAPE[2:]), ignore)
    model, ends = (lambda latents, sigma: restless(latents, sigma[0])), (levels[-2].item(), levels[0].item())
    theirs, steps = sampling.sample_dpm_adaptive(model, start, *ends, disable=True, return_info=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert len(called) == steps["nfe"]
    assert steps["n_reject"] > 3
