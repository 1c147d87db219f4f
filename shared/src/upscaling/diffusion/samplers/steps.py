"""What samplers share: their type, their loop over the sigmas, and the steps that add noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import sqrt

import torch

from upscaling.diffusion.noise import NoiseSource

Denoiser = Callable[[torch.Tensor, float], torch.Tensor]
"""Predicts the clean latents, (n, 4, h, w) in fp32, from latents of that shape and the sigma of their noise."""

OnStep = Callable[[int], None]
"""Called after a step with the number of steps done; the last is one less than there are sigmas."""

Sampler = Callable[[Denoiser, torch.Tensor, torch.Tensor, NoiseSource, OnStep], torch.Tensor]
"""Takes a denoiser, noisy latents, descending sigmas that end in 0, noise, and `on_step`; gives clean latents.

Without a step, which is a single sigma, the latents come back as they are.
"""


def steps(sigmas: torch.Tensor, on_step: OnStep) -> Iterator[tuple[float, float]]:
    """Every sigma but the last, with the one after it."""
    for number, pair in enumerate(pairwise([float(sigma) for sigma in sigmas]), 1):
        yield pair
        on_step(number)


def ends(sigmas: torch.Tensor) -> tuple[float, float]:
    """The last sigma above 0 and the first; 0 twice where there is no step."""
    return sigmas[-2:][0].item(), sigmas[0].item()


def ancestral(sigma: float, following: float) -> tuple[float, float]:
    """The sigma to step down to, and that of the noise to add, so that the variance is that of the next sigma."""
    up = min(following, sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
    return sqrt(following**2 - up**2), up


def moved(latents: torch.Tensor, denoised: torch.Tensor, ratio: float) -> torch.Tensor:
    """The latents with their noise multiplied by a ratio: that of the next sigma to this one is Euler's step."""
    return denoised.lerp(latents, ratio)
