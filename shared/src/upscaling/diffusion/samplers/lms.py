"""The linear multistep sampler."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch

from upscaling.diffusion.noise import NoiseSource
from upscaling.diffusion.samplers.steps import Denoiser, OnStep, steps

_ORDER = 4  # slopes


def lms(
    denoise: Denoiser, latents: torch.Tensor, sigmas: torch.Tensor, noise: NoiseSource, on_step: OnStep
) -> torch.Tensor:
    """Steps along the polynomial through the last four slopes (Adams and Bashforth's, at uneven distances)."""
    slopes: list[torch.Tensor] = []
    nodes: list[float] = []
    for sigma, following in steps(sigmas, on_step):
        nodes = [*nodes[1 - _ORDER :], sigma]
        slopes = [*slopes[1 - _ORDER :], (latents - denoise(latents, sigma)) / sigma]
        for number, slope in enumerate(slopes):
            latents = latents + slope * _weight(nodes, number, following)
    return latents


def _weight(nodes: Sequence[float], number: int, end: float) -> float:
    """The integral of a node's Lagrange polynomial from the last node to an end.

    The polynomial is at most a cubic, for which two Gauss points are exact.
    """
    others = [node for other, node in enumerate(nodes) if other != number]
    middle, half = (nodes[-1] + end) / 2, (end - nodes[-1]) / 2
    points = middle - half / sqrt(3), middle + half / sqrt(3)
    return half * sum(prod((point - node) / (nodes[number] - node) for node in others) for point in points)
