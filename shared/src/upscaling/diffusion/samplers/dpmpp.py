"""DPM-Solver++ (Lu et al. 2022): steps towards the denoised latents, exact where these do not change."""

from __future__ import annotations

from math import log, sqrt

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, ancestral, moved, steps


def dpmpp_2s_ancestral(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """Two evaluations a step, the second in its middle; then noise up to the next sigma."""
    for sigma, following in steps(sigmas, on_step):
        down, up = ancestral(sigma, following)
        denoised = denoise(latents, sigma)
        if down > 0:
            middle = sqrt(sigma * down)
            denoised = denoise(moved(latents, denoised, middle / sigma), middle)
        latents = moved(latents, denoised, down / sigma)
        if following > 0:
            latents = latents + noise.draw() * up
    return latents


def dpmpp_2m(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """One evaluation a step; the denoised latents are extrapolated from the last two."""
    earlier: tuple[torch.Tensor, float] | None = None
    for sigma, following in steps(sigmas, on_step):
        denoised = denoise(latents, sigma)
        target = denoised
        if earlier is not None and following > 0:
            there, length_before = earlier
            target = denoised + (denoised - there) * (log(sigma / following) / length_before / 2)
        latents = moved(latents, target, following / sigma)
        if following > 0:
            earlier = denoised, log(sigma / following)
    return latents
