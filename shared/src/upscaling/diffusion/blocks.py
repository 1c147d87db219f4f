"""Faster blocks for diffusers' networks, which compute the same.

diffusers' ResNet block divides its result by 1, and neither adds nor activates in place. These are passes over memory,
which a CPU with fast convolutions notices. Its networks embed the time anew at each step.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn import functional

from upscaling.diffusion.sigmas import TABLE
from upscaling.runtime import convolution, linear, winograd
from upscaling.runtime.doubling import DoublingConvolution
from upscaling.runtime.replacing import replace_layers

_ROWS = 1024  # of a feed-forward layer at once


def prepare(network: nn.Module) -> None:
    """Replaces the blocks of a UNet, a ControlNet or an autoencoder; it must be on its device and in its final type.

    If oneDNN supports the type, it computes all convolutions and linear layers, with weights that are packed once.
    These are no longer in the network's state dict.
    """
    some = next(network.parameters())
    is_onednns = convolution.are_onednns(some.dtype, some.device)
    del some  # each weight is freed when its layer is replaced
    if isinstance(network, UNet2DConditionModel | ControlNetModel):
        _embed_times(network)
    replace_layers(network, lambda layer: Residual(layer) if isinstance(layer, ResnetBlock2D) else None)
    # A UNet enlarges to odd sizes too.
    if is_onednns and isinstance(network, AutoencoderKL):
        replace_layers(network, lambda layer: _doubling(layer) if isinstance(layer, Upsample2D) else None)
    winograd.prepare(network)
    if is_onednns:
        replace_layers(network, lambda layer: RowByRow(layer) if isinstance(layer, FeedForward) else None)
        linear.prepare(network)
        convolution.prepare(network)


@torch.no_grad()
def _embed_times(network: UNet2DConditionModel | ControlNetModel) -> None:
    """Embeds all times at once: 2.6 MB in 16 bit."""
    times = torch.arange(len(TABLE), device=network.device)
    table = network.time_embedding(network.time_proj(times).to(network.dtype))
    network.add_module("time_proj", nn.Embedding(*table.shape, _weight=table, _freeze=True))
    network.add_module("time_embedding", _Embedded())


class _Embedded(nn.Module):
    """The place of an embedding of times that are embedded already; diffusers calls it with a condition, None."""

    def forward(self, times: torch.Tensor, _: None = None) -> torch.Tensor:
        return times


def _doubling(upsampling: Upsample2D) -> DoublingConvolution:
    some = next(upsampling.parameters())
    made = DoublingConvolution(deepcopy(upsampling).float())
    made.to(dtype=some.dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportUnknownMemberType]  torch does not declare it
    return made


class Residual(nn.Module):
    """diffusers' ResnetBlock2D as Stable Diffusion 1.5 has it: states (n, channels, h, w), and an embedded time."""

    def __init__(self, block: ResnetBlock2D) -> None:
        """Takes over the layers of a block."""
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.time_emb_proj, self.conv_shortcut = block.time_emb_proj, block.conv_shortcut

    def forward(self, states: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """The states with what the layers add; `temb`, as diffusers calls it, is (n, width)."""
        changed = self.conv1(_activated(self.norm1(states)))
        if self.time_emb_proj is not None and temb is not None:
            changed += self.time_emb_proj(functional.silu(temb))[:, :, None, None]
        changed = _activated(self.norm2(changed))
        kept = states if self.conv_shortcut is None else self.conv_shortcut(states)
        # oneDNN's own addition fails on states of one pixel.
        return self.conv2(changed).add_(kept)


class RowByRow(nn.Module):
    """diffusers' FeedForward on a CPU, some rows at a time: (n, rows, width).

    In between, a row is eight times as wide. All rows of a 512 × 512 tile would take more than the 32 MB that glibc can
    keep for reuse, so that the system would give new memory at each call.
    """

    def __init__(self, whole: FeedForward) -> None:
        """Takes over the layers; those of a denoiser that is run drop nothing out."""
        super().__init__()
        self.layers = nn.Sequential(*(layer for layer in whole.net if not isinstance(layer, nn.Dropout)))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The states that follow; each of the n has the same bits as alone."""
        result = torch.empty_like(states)
        for each, following in zip(states, result, strict=True):
            for first in range(0, len(each), _ROWS):
                rows = slice(first, first + _ROWS)
                following[rows] = self.layers(each[rows])
        return result


def _activated(states: torch.Tensor) -> torch.Tensor:
    return functional.silu(states, inplace=True)
