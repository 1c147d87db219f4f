"""DPM-Solver (Lu et al. 2022): steps of order one to three in the logarithm of sigma.

Both samplers use no other sigmas than the first and the last above 0, which is where they end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan, exp, expm1, isfinite, log

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.euler import euler
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, ends
from upscaling.errors import Code, UpscalingError

_RELATIVE, _ABSOLUTE = 0.05, 0.0078  # tolerated errors: k-diffusion's, the absolute one a level of 8 bits
_FIRST_STEP = 0.05  # in the logarithm of sigma
_ACCEPTED = 0.81  # the least growth of the step size that an accepted step proposes
_DONE = 1e-5  # what may be left, in the logarithm of sigma

Slope = Callable[[torch.Tensor, float], torch.Tensor]
"""The noise in latents, of standard deviation 1, as the denoiser sees it; the float is -log sigma."""


def dpm_fast(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """DPM-Solver-fast: as many evaluations as there are steps, in solver steps of equal length."""
    evaluations = len(sigmas) - 1
    if evaluations < 2:
        return euler(denoise, latents, sigmas, noise, on_step)  # the first sigma is also where it would end
    end, start = (-log(sigma) for sigma in ends(sigmas))
    orders = _orders(evaluations)
    length = (end - start) / len(orders)
    slope = _slope(denoise)
    done = 0
    for number, order in enumerate(orders):
        latents = _STEPS[order](slope, latents, start + number * length, length)
        done += order
        on_step(done)
    return latents


def dpm_adaptive(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """DPM-Solver-23: steps of order three, as long as those of order two agree with them; a batch of one.

    `on_step` is told how far it has come, in steps of the schedule. Raises E_NONFINITE.
    """
    assert len(latents) == 1, "the length of a step depends on the latents, so each takes its own"
    steps = len(sigmas) - 1
    if steps < 2:
        return euler(denoise, latents, sigmas, noise, on_step)
    end, start = (-log(sigma) for sigma in ends(sigmas))
    slope = _slope(denoise)
    at, length, before = start, _FIRST_STEP, latents
    while at < end - _DONE:
        here = min(length, end - at)
        low, high = _second_and_third_order(slope, latents, at, here)
        tolerated = torch.maximum(low.abs(), before.abs()).mul(_RELATIVE).clamp(min=_ABSOLUTE)
        error = ((low - high) / tolerated).square().mean().sqrt().item()
        if not isfinite(error):
            raise UpscalingError(Code.NONFINITE, "the network produced NaN or infinity while sampling.")
        growth = 1 + atan((error + 1e-8) ** (-1 / 3) - 1)
        if growth >= _ACCEPTED:
            at, latents, before = at + here, high, low
            on_step(round(steps * (at - start) / (end - start)))
        length *= growth
    return latents


def _orders(evaluations: int) -> list[int]:
    """The orders of the solver steps, whose sum is the number of evaluations."""
    if evaluations % 3 == 0:
        return [3] * (evaluations // 3 - 1) + [2, 1]
    return [3] * (evaluations // 3) + [evaluations % 3]


def _slope(denoise: Denoiser) -> Slope:
    def slope(latents: torch.Tensor, at: float) -> torch.Tensor:
        return (latents - denoise(latents, exp(-at))) / exp(-at)

    return slope


def _along(latents: torch.Tensor, slope: torch.Tensor, at: float, length: float) -> torch.Tensor:
    """The latents after a step along one slope."""
    return latents + slope * (exp(-at - length) - exp(-at))


def _first_order(slope: Slope, latents: torch.Tensor, at: float, length: float) -> torch.Tensor:
    return _along(latents, slope(latents, at), at, length)


def _second_order(slope: Slope, latents: torch.Tensor, at: float, length: float) -> torch.Tensor:
    middle = _first_order(slope, latents, at, length / 2)
    return _along(latents, slope(middle, at + length / 2), at, length)


def _second_and_third_order(
    slope: Slope, latents: torch.Tensor, at: float, length: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A step of order two that looks at its first third, and one of order three that looks at its second as well."""
    third = length / 3
    first = slope(latents, at)
    second = slope(_along(latents, first, at, third), at + third)
    low = _along(latents, first + (second - first) * 1.5, at, length)
    bend = 2 * (expm1(2 * third) / (2 * third) - 1) * exp(-at - 2 * third)
    two_thirds = _along(latents, first, at, 2 * third) - (second - first) * bend
    bend = 1.5 * (expm1(length) / length - 1) * exp(-at - length)
    high = _along(latents, first, at, length) - (slope(two_thirds, at + 2 * third) - first) * bend
    return low, high


def _third_order(slope: Slope, latents: torch.Tensor, at: float, length: float) -> torch.Tensor:
    _, high = _second_and_third_order(slope, latents, at, length)
    return high


_STEPS = {1: _first_order, 2: _second_order, 3: _third_order}
