"""DPM-Solver++ for the stochastic differential equation: every step adds noise of a Brownian motion over sigma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import expm1, log, sqrt

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, ancestral, ends, moved, steps

_Past = Sequence[tuple[torch.Tensor, float]]
"""What earlier steps denoised, and their length in log sigma; the latest comes first."""


def dpmpp_sde(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """Two evaluations a step, the second in its middle."""
    noise_between = noise.brownian(*ends(sigmas))
    for sigma, following in steps(sigmas, on_step):
        denoised = denoise(latents, sigma)
        if following == 0:
            latents = denoised
        else:
            middle = sqrt(sigma * following)
            down, up = ancestral(sigma, middle)
            trial = moved(latents, denoised, down / sigma) + noise_between(sigma, middle) * up
            down, up = ancestral(sigma, following)
            latents = moved(latents, denoise(trial, middle), down / sigma) + noise_between(sigma, following) * up
    return latents


def dpmpp_2m_sde(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """One evaluation a step, and the slope from the last denoised latents to these (the midpoint method)."""
    return _multistep(denoise, latents, sigmas, noise, on_step, _slope_of_two)


def dpmpp_3m_sde(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """One evaluation a step, and slope and bend of the last three denoised latents (k-diffusion's own)."""
    return _multistep(denoise, latents, sigmas, noise, on_step, _curve_of_three)


def _multistep(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep,
    correction: Callable[[torch.Tensor, float, _Past], torch.Tensor | float],
) -> torch.Tensor:  # fmt: skip
    noise_between = noise.brownian(*ends(sigmas))
    past: _Past = []
    for sigma, following in steps(sigmas, on_step):
        denoised = denoise(latents, sigma)
        if following == 0:
            latents = denoised
        else:
            length = log(sigma / following)
            ratio = (following / sigma) ** 2
            latents = moved(latents, denoised, ratio) + correction(denoised, length, past)
            latents = latents + noise_between(sigma, following) * (following * sqrt(1 - ratio))
            past = [(denoised, length), *past[:1]]
    return latents


def _slope_of_two(denoised: torch.Tensor, length: float, past: _Past) -> torch.Tensor | float:
    if not past:
        return 0.0
    [(earlier, length_before)] = past[:1]
    return (denoised - earlier) * (-expm1(-2 * length) / 2 * length / length_before)


def _curve_of_three(denoised: torch.Tensor, length: float, past: _Past) -> torch.Tensor | float:
    """The correction of order two or three; the phi functions are those of exponential integrators at -2 length."""
    phi_2 = expm1(-2 * length) / (2 * length) + 1
    phi_3 = phi_2 / (2 * length) - 0.5
    match past:
        case [(one_ago, length_1), (two_ago, length_2)]:
            ratio_1, ratio_2 = length_1 / length, length_2 / length
            slope, slope_before = (denoised - one_ago) / ratio_1, (one_ago - two_ago) / ratio_2
            bend = (slope - slope_before) / (ratio_1 + ratio_2)
            return (slope + bend * ratio_1) * phi_2 - bend * phi_3
        case [(one_ago, length_1)]:
            return (denoised - one_ago) * (phi_2 * length / length_1)
        case _:
            return 0.0
