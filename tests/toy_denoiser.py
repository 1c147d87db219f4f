"""A denoiser that needs no network, for the arithmetic of samplers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from upscaling.diffusion.noise import NoiseSource, noise_source


def toy(latents: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
    """Bends as a network does, with the latents and with sigma."""
    return 0.9 * torch.tanh(latents / (sigma**2 + 1)) + 0.1 * torch.sin(2 * latents + sigma)


def source(seed: int = 7, size: tuple[int, int] = (6, 5)) -> NoiseSource:
    return noise_source(seed, size, torch.device("cpu"))


def counted(denoise: Callable[[torch.Tensor, float], torch.Tensor]) -> tuple[Callable[..., torch.Tensor], list[float]]:
    """A denoiser, and the sigmas that it was called with."""
    called: list[float] = []

    def count(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        called.append(sigma)
        return denoise(latents, sigma)

    return count, called
