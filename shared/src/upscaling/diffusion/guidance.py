"""A denoiser for the samplers: the UNet with two prompts, guidance and a ControlNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm, sqrt

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from upscaling.diffusion.controlnet import Residuals, embedded, residuals
from upscaling.diffusion.samplers import Denoiser
from upscaling.diffusion.sigmas import timestep

_MOST_REPEATS = 4  # of a conditioning, to make two equally long (ComfyUI)


_NoisePredictor = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From latents, a time and the conditioning of prompts to the noise under each."""


@dataclass(frozen=True)
class Guidance:
    """The conditioning of both prompts, each (1, tokens, width), and the guidance scale."""

    positive: torch.Tensor
    negative: torch.Tensor
    cfg: float
    """The guidance scale. At 1 the negative prompt has no effect and is not computed."""


@dataclass(frozen=True)
class Control:
    """A ControlNet and its hint."""

    network: ControlNetModel
    hint: torch.Tensor
    """(n, 3, 8h, 8w), 0…1: one for each of the latents."""
    strength: float
    """What its residuals are multiplied by; 0 leaves it out."""


def guided(unet: UNet2DConditionModel, guidance: Guidance, control: Control | None = None) -> Denoiser:
    """A denoiser of latents (n, 4, h, w), for n pictures at once.

    Both prompts are given the ControlNet, as in the hosted models and in diffusers without `guess_mode`. The networks
    predict noise in their own type; all else is computed in fp32.
    """
    texts = [text.to(unet.device, unet.dtype) for text in _texts(guidance)]
    predict = _noise_predictor(unet, control)

    @torch.inference_mode()
    def denoise(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        given = (latents / sqrt(sigma**2 + 1)).to(unet.dtype, memory_format=torch.channels_last)
        time = torch.tensor([timestep(sigma)], device=given.device)
        noise = torch.cat([predict(given, time, text) for text in texts]).float()
        if guidance.cfg != 1:
            negative, positive = noise.chunk(2)
            noise = negative + (positive - negative) * guidance.cfg
        return latents - noise * sigma

    return denoise


def _texts(guidance: Guidance) -> list[torch.Tensor]:
    """The conditionings to compute, each (prompts, tokens, width): the negative prompt comes first.

    Two of unequal length are repeated to be equally long, which attention does not notice, or computed apart where
    this would take many repeats.
    """
    if guidance.cfg == 1:
        return [guidance.positive]
    both = [guidance.negative, guidance.positive]
    length = lcm(*(text.shape[1] for text in both))
    repeats = [length // text.shape[1] for text in both]
    if max(repeats) > _MOST_REPEATS:
        return both
    return [torch.cat([text.repeat(1, times, 1) for text, times in zip(both, repeats, strict=True)])]


def _noise_predictor(unet: UNet2DConditionModel, control: Control | None) -> _NoisePredictor:
    added = _residuals(control) if control and control.strength else None

    def predict(latents: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The noise in latents (n, …) under every prompt, (prompts · n, …)."""
        prompts, count = len(text), len(latents)
        latents, text = torch.cat([latents] * prompts), text.repeat_interleave(count, 0)
        down, middle = added(latents, time, text) if added else (None, None)
        return unet(
            latents, time, text,
            down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False,
        )[0]  # fmt: skip

    return predict


def _residuals(control: Control) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Residuals]:
    hint = embedded(control.network, control.hint)

    def scaled(latents: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> Residuals:
        down, middle = residuals(control.network, hint, latents, time, text)
        return Residuals(tuple(state * control.strength for state in down), middle * control.strength)

    return scaled
