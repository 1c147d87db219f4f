"""Parts of a picture that stay while the rest is redrawn."""

from __future__ import annotations

import torch

from upscaling.diffusion.samplers import Denoiser


def inpainted(denoise: Denoiser, latents: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> Denoiser:
    """A denoiser that redraws where a mask, (n, 1, h, w), is 1; where it is 0, it always gives the latents.

    At every step the networks see the latents there, under as much of the same noise as all else has (Lugmayr et al.
    2022, RePaint, as ComfyUI and diffusers do it without an inpainting network).
    """

    def within(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        seen = torch.lerp(latents + noise * sigma, noisy, mask)
        return torch.lerp(latents, denoise(seen, sigma), mask)

    return within
