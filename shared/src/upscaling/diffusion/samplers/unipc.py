"""UniPC (Zhao et al. 2023, arXiv 2302.04867): a predictor, and a corrector that needs no evaluation of its own.

The paper's variance-preserving variables differ from these latents by a factor alone, so its steps are taken here as
they are: in its formulas, x / alpha is the latents, -log sigma is lambda, and the network predicts the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import expm1, log

import numpy as np
import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.euler import euler
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, moved, steps

_ORDER = 3
_END = 0.001  # the sigma that stands for 0, whose logarithm is not finite


def uni_pc(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """UniPC with B(h) = h; one evaluation a step."""
    return _unipc(denoise, latents, sigmas, noise, on_step, lambda h: h)


def uni_pc_bh2(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """UniPC with B(h) = e^h - 1; one evaluation a step."""
    return _unipc(denoise, latents, sigmas, noise, on_step, expm1)


def _unipc(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep,
    b: Callable[[float], float],
) -> torch.Tensor:  # fmt: skip
    count = len(sigmas) - 1
    if count < 2:
        return euler(denoise, latents, sigmas, noise, on_step)  # there is nothing to predict from
    ends = torch.cat([sigmas[:-1], sigmas.new_tensor([_END])])
    past = [(denoise(latents, ends[0].item()), ends[0].item())]  # the latest comes first
    for number, (sigma, following) in enumerate(steps(ends, on_step), 1):
        order = min(number, _ORDER, count + 1 - number)
        h = log(following / sigma)
        (denoised, _), *earlier = past[:order]
        distances = [log(before / sigma) / h for _, before in earlier]
        slopes = [(there - denoised) / distance for (there, _), distance in zip(earlier, distances, strict=True)]
        start = moved(latents, denoised, following / sigma)
        latents = start - b(h) * _sum(_weights(distances, h, b(h)), slopes)
        if number < count:
            found = denoise(latents, following)
            latents = start - b(h) * _sum(_weights([*distances, 1.0], h, b(h)), [*slopes, found - denoised])
            past = [(found, following), *past[: _ORDER - 1]]
    return latents


def _sum(weights: Sequence[float], tensors: Sequence[torch.Tensor]) -> torch.Tensor | float:
    return sum((weight * tensor for weight, tensor in zip(weights, tensors, strict=True)), 0.0)


def _weights(distances: Sequence[float], h: float, b: float) -> list[float]:
    """The weights that make the step exact for polynomials (the paper's equation 5); a single one weighs a half."""
    if len(distances) <= 1:
        return [0.5] * len(distances)
    phi, factorial = expm1(h) / h - 1, 1
    wanted: list[float] = []
    for power in range(1, len(distances) + 1):
        wanted.append(phi * factorial / b)
        factorial *= power + 1
        phi = phi / h - 1 / factorial
    return np.linalg.solve(np.vander(distances, increasing=True).T, wanted).tolist()
