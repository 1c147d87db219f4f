"""ControlNet (Zhang et al. 2023) as one denoising step uses it, over diffusers' network.

The network's layers are called one by one: as a whole, it would embed the hint anew at every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel


class Residuals(NamedTuple):
    """What a ControlNet adds to the UNet's states: one for every skip connection, and one in the middle."""

    down: tuple[torch.Tensor, ...]
    middle: torch.Tensor


@torch.inference_mode()
def embedded(network: ControlNetModel, hint: torch.Tensor) -> torch.Tensor:
    """A hint, (n, 3, 8h, 8w) and 0…1, as the network's first states (n, width, h, w); the same at all steps."""
    embedding = network.controlnet_cond_embedding
    return embedding(hint.to(network.device, network.dtype, memory_format=torch.channels_last))


def residuals(
    network: ControlNetModel, hint: torch.Tensor, latents: torch.Tensor, time: torch.Tensor, text: torch.Tensor
) -> Residuals:
    """The residuals of latents (n, 4, h, w), at a time (1), under a text (n, tokens, width).

    The hint is embedded. Where there are more latents than hints, they are in groups of as many as hints.
    """
    moment = network.time_embedding(network.time_proj(time).to(latents.dtype))
    states = network.conv_in(latents) + torch.cat([hint] * (len(latents) // len(hint)))
    skipped = [states]
    for block in network.down_blocks:
        texts = {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
        states, more = block(hidden_states=states, temb=moment, **texts)
        skipped += more
    states = network.mid_block(states, moment, encoder_hidden_states=text)
    down = tuple(convolution(skip) for convolution, skip in zip(network.controlnet_down_blocks, skipped, strict=True))
    return Residuals(down, network.get_submodule("controlnet_mid_block")(states))
