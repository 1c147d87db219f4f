"""A denoiser for the samplers: the UNet with two prompts, guidance and a ControlNet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
_NoiseResiduals = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Residuals]
"""From the same to what a ControlNet adds."""


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
    guess_mode: bool = False
    """Whether the negative prompt goes without it, and its finer residuals count less: from a tenth on (diffusers)."""


def guided(unet: UNet2DConditionModel, guidance: Guidance, *controls: Control) -> Denoiser:
    """A denoiser of latents (n, 4, h, w), for n pictures at once; the residuals of several ControlNets add up.

    The networks predict noise in their own type; all else is computed in fp32.
    """
    added = [(_residuals(control), control.guess_mode) for control in controls if control.strength]
    parts = [
        (text.to(unet.device, unet.dtype), _noise_predictor(unet, of_part))
        for text, of_part in _parts(
            guidance,
            of_negative=[residuals for residuals, guess_mode in added if not guess_mode],
            of_positive=[residuals for residuals, _ in added],
        )
    ]

    @torch.inference_mode()
    def denoise(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        given = (latents / sqrt(sigma**2 + 1)).to(unet.dtype, memory_format=torch.channels_last)
        time = torch.tensor([timestep(sigma)], device=given.device)
        noise = torch.cat([predict(given, time, text) for text, predict in parts]).float()
        if guidance.cfg != 1:
            negative, positive = noise.chunk(2)
            noise = negative + (positive - negative) * guidance.cfg
        return latents - noise * sigma

    return denoise


def _parts(
    guidance: Guidance, of_negative: Sequence[_NoiseResiduals], of_positive: Sequence[_NoiseResiduals]
) -> list[tuple[torch.Tensor, Sequence[_NoiseResiduals]]]:
    """The conditionings to compute, each (prompts, tokens, width), and what is added; the negative prompt is first.

    Two of unequal length are repeated to be equally long, which attention does not notice, or computed apart where
    this would take many repeats. They are computed apart too where not the same is added.
    """
    if guidance.cfg == 1:
        return [(guidance.positive, of_positive)]
    both = [guidance.negative, guidance.positive]
    length = lcm(*(text.shape[1] for text in both))
    repeats = [length // text.shape[1] for text in both]
    if max(repeats) > _MOST_REPEATS or len(of_negative) < len(of_positive):
        return list(zip(both, (of_negative, of_positive), strict=True))
    return [(torch.cat([text.repeat(1, times, 1) for text, times in zip(both, repeats, strict=True)]), of_positive)]


def _noise_predictor(unet: UNet2DConditionModel, added: Sequence[_NoiseResiduals]) -> _NoisePredictor:
    def predict(latents: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The noise in latents (n, …) under every prompt, (prompts · n, …)."""
        prompts, count = len(text), len(latents)
        latents, text = torch.cat([latents] * prompts), text.repeat_interleave(count, 0)
        down, middle = _sum(residuals(latents, time, text) for residuals in added) if added else (None, None)
        return unet(
            latents, time, text,
            down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False,
        )[0]  # fmt: skip

    return predict


def _residuals(control: Control) -> _NoiseResiduals:
    hint = embedded(control.network, control.hint)

    def scaled(latents: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> Residuals:
        down, middle = residuals(control.network, hint, latents, time, text)
        *scales, last = _scales(control, len(down) + 1)
        return Residuals(tuple(state * scale for state, scale in zip(down, scales, strict=True)), middle * last)

    return scaled


def _scales(control: Control, count: int) -> list[float]:
    """What each of a ControlNet's residuals is multiplied by, from the finest to the one in the middle."""
    if not control.guess_mode:
        return [control.strength] * count
    return [control.strength * 10 ** (number / (count - 1) - 1) for number in range(count)]


def _sum(residuals: Iterable[Residuals]) -> Residuals:
    first, *others = residuals
    for other in others:
        first = Residuals(
            tuple(one + more for one, more in zip(first.down, other.down, strict=True)), first.middle + other.middle
        )
    return first
