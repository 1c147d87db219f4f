"""Parts of a canvas that fit themselves to what is around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from upscaling.diffusion.crops import LATENT, Crop
from upscaling.diffusion.noise import NoiseSource, noise_source
from upscaling.diffusion.redraw import opacity
from upscaling.diffusion.samplers import Denoiser
from upscaling.images import Size


@dataclass(frozen=True)
class Surroundings:
    """What is around the crops of a canvas."""

    canvas: Size
    """Multiples of 8. Its noise is drawn as a whole, so that neighbours agree where they overlap."""
    only: Image.Image | None
    """What is redrawn of the canvas, see `redraw`."""

    def mask(self, crops: Sequence[Crop], device: torch.device) -> torch.Tensor:
        """How much of the latents of crops of one size is redrawn, (n, 1, h, w), 0–1; the rest stays."""
        masks = np.stack([opacity(crop, self.canvas, self.only) for crop in crops])
        return avg_pool2d(torch.tensor(masks)[:, None] / 255, LATENT).to(device)

    def noise(self, seed: int, crops: Sequence[Crop], device: torch.device) -> NoiseSource:
        """The noise of crops that are sampled at their own size."""
        whole = noise_source(seed, (self.canvas.height // LATENT, self.canvas.width // LATENT), device)
        return replace(whole, windows=[_window(crop) for crop in crops])


def _window(crop: Crop) -> tuple[slice, slice]:
    top, left = crop.box.top // LATENT, crop.box.left // LATENT
    return slice(top, top + crop.size.height // LATENT), slice(left, left + crop.size.width // LATENT)


def inpainted(denoise: Denoiser, latents: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> Denoiser:
    """A denoiser that redraws where a mask, (n, 1, h, w), is 1; where it is 0, it always gives the latents.

    At every step the networks see the latents there, under as much of the same noise as all else has (Lugmayr et al.
    2022, RePaint, as ComfyUI and diffusers do it without an inpainting network).
    """

    def within(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        seen = torch.lerp(latents + noise * sigma, noisy, mask)
        return torch.lerp(latents, denoise(seen, sigma), mask)

    return within
