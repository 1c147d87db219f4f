"""Denoisers that need no network, for the arithmetic of samplers and of redraws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from upscaling.diffusion import img2img, inpainting
from upscaling.diffusion.crops import LATENT
from upscaling.diffusion.noise import NoiseSource, noise_source
from upscaling.diffusion.vae import SCALE, decoded, encoded


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


class Lossless:
    """An autoencoder whose latents are the pixels themselves, and a denoiser that knows the latents without noise.

    Its latents have 192 channels: the pixels of 8 × 8 in three colours. A redraw with both gives what it was given.
    """

    device, dtype = torch.device("cpu"), torch.float32
    channels = 3 * LATENT**2

    def __init__(self) -> None:
        self._encoded: list[torch.Tensor] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Has every redraw use them, with noise of as many channels."""
        for module in (img2img, inpainting):
            monkeypatch.setattr(module, "noise_source", partial(noise_source, channels=self.channels))
        monkeypatch.setattr(img2img, "guided", self.guided)
        monkeypatch.setattr(img2img, "encoded", lambda pixels, *_: encoded(pixels, cast("AutoencoderKL", self)))
        monkeypatch.setattr(img2img, "decoded", lambda latents, *_: decoded(latents, cast("AutoencoderKL", self)))

    def guided(self, *_: object) -> Callable[[torch.Tensor, float], torch.Tensor]:
        """A denoiser of the pictures that were encoded since the last one."""
        clean = torch.cat(self._encoded) * SCALE
        self._encoded.clear()
        return lambda noisy, sigma: clean.expand_as(noisy)

    def encoder(self, pictures: torch.Tensor) -> torch.Tensor:
        self._encoded.append(pixel_unshuffle(pictures, LATENT))
        return self._encoded[-1]

    def quant_conv(self, mean: torch.Tensor) -> torch.Tensor:
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)

    def post_quant_conv(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def decoder(self, latents: torch.Tensor) -> torch.Tensor:
        return pixel_shuffle(latents, LATENT)
