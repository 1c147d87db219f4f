"""Samplers of one evaluation a step that look at nothing but that step."""

from __future__ import annotations

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, ancestral, moved, steps


def euler(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """Euler's steps (Karras et al. 2022, algorithm 2, without churn); DDIM takes the same ones."""
    for sigma, following in steps(sigmas, on_step):
        latents = moved(latents, denoise(latents, sigma), following / sigma)
    return latents


def euler_ancestral(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """Euler's steps below the next sigma, and noise up to it."""
    for sigma, following in steps(sigmas, on_step):
        down, up = ancestral(sigma, following)
        latents = moved(latents, denoise(latents, sigma), down / sigma)
        if following > 0:
            latents = latents + noise.draw() * up
    return latents


def lcm(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """All noise is taken out at every step, and new noise added (latent consistency models, Luo et al. 2023)."""
    for sigma, following in steps(sigmas, on_step):
        latents = denoise(latents, sigma)
        if following > 0:
            latents = latents + noise.draw() * following
    return latents
