"""Samplers of two evaluations a step: a trial step, then one along a better slope."""

from __future__ import annotations

from math import sqrt

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, ancestral, moved, steps


def heun(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """The mean of the slopes at both ends of a step (Karras et al. 2022, algorithm 2, without churn)."""
    for sigma, following in steps(sigmas, on_step):
        denoised = denoise(latents, sigma)
        trial = moved(latents, denoised, following / sigma)
        if following > 0:
            slope = (latents - denoised) / sigma
            slope_there = (trial - denoise(trial, following)) / following
            latents = latents + (slope + slope_there) * ((following - sigma) / 2)
        else:
            latents = trial
    return latents


def dpm_2(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """The slope in the middle of a step (DPM-Solver-2, Lu et al. 2022, as k-diffusion has it)."""
    for sigma, following in steps(sigmas, on_step):
        latents = _midpoint_step(denoise, latents, sigma, following)
    return latents


def dpm_2_ancestral(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """The same steps, below the next sigma, and noise up to it."""
    for sigma, following in steps(sigmas, on_step):
        down, up = ancestral(sigma, following)
        latents = _midpoint_step(denoise, latents, sigma, down)
        if following > 0:
            latents = latents + noise.draw() * up
    return latents


def _midpoint_step(denoise: Denoiser, latents: torch.Tensor, sigma: float, following: float) -> torch.Tensor:
    denoised = denoise(latents, sigma)
    if following == 0:
        return denoised
    middle = sqrt(sigma * following)
    trial = moved(latents, denoised, middle / sigma)
    return latents + (trial - denoise(trial, middle)) * ((following - sigma) / middle)
