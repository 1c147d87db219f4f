"""The autoencoder of Stable Diffusion 1.5 on pictures that are too large for it at once: exact, tile by tile.

What it computes at the size of latents, attention among it, is computed whole, and the rest in tiles. A tile with a
margin as wide as its convolutions reach gives what the whole picture does, once its group norms take the statistics of
the whole picture. These are measured norm by norm: all tiles are computed up to the norm, from the last states that
were small enough to be kept whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, isqrt
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from torch.nn import functional

from upscaling.diffusion.crops import LATENT

_MARGIN = 7  # latents: the encoder's tiles depend on 43 pixels around them, the decoder's on 6.25 latents
_MOST_KEPT = 1 << 10  # bytes of states that are kept whole, for a pixel that is computed at once; there may be two such

_Statistics = Mapping[nn.GroupNorm, tuple[torch.Tensor, torch.Tensor]]
"""The mean and the variance that each channel is normalized by."""


@dataclass(frozen=True)
class _Step:
    """Layers up to the next group norm."""

    norm: nn.GroupNorm | None
    """What comes before them."""
    layers: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    """From the normalized states, and those at the start of the block, to the same after them."""
    ends_block: bool = False
    """Whether what they give is all that later steps need."""


@dataclass(frozen=True)
class _Span:
    """The rows or the columns of a tile, in latents: from `start` up to `end`, with a margin, and what is kept."""

    start: int
    kept_start: int
    kept_end: int
    end: int


_Tile = tuple[_Span, _Span]
"""Rows and columns."""


def encoded(pixels: torch.Tensor, vae: AutoencoderKL, most: int) -> torch.Tensor:
    """The latents (1, 4, h, w) of a picture (1, 3, 8h, 8w), as the encoder takes and gives them.

    At most `most` pixels are computed at once. The time is 1.5 times that of the whole picture at once, and up to 6
    times where its states are too large to be kept.
    """
    encoder: Any = vae.encoder  # the layers of diffusers' modules have no types
    *large, last = encoder.down_blocks
    steps = [_plain(encoder.conv_in)]
    for block in large:
        steps += [step for resnet in block.resnets for step in _residual(resnet)]
        steps.append(_plain(block.downsamplers[0]))
    size = pixels.shape[2] // LATENT, pixels.shape[3] // LATENT
    states = _in_tiles(pixels, steps, size, most)
    for resnet in last.resnets:
        states = resnet(states, None)
    states = encoder.conv_norm_out(encoder.mid_block(states))
    assert vae.quant_conv is not None  # other models' autoencoders have none
    return vae.quant_conv(encoder.conv_out(functional.silu(states))).chunk(2, dim=1)[0]


def decoded(latents: torch.Tensor, vae: AutoencoderKL, most: int) -> torch.Tensor:
    """The picture (1, 3, 8h, 8w) of latents (1, 4, h, w), as the decoder takes and gives them.

    At most `most` pixels are computed at once. The time is 1.5 times that of the whole picture at once, and up to 9
    times where its states are too large to be kept.
    """
    decoder: Any = vae.decoder
    first, *large = decoder.up_blocks
    assert vae.post_quant_conv is not None
    states = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    for resnet in first.resnets:
        states = resnet(states, None)
    steps = [_plain(first.upsamplers[0])]
    for block in large:
        steps += [step for resnet in block.resnets for step in _residual(resnet)]
        steps += [_plain(upsampler) for upsampler in block.upsamplers or ()]
    steps.append(_Step(decoder.conv_norm_out, lambda states, start: (decoder.conv_out(functional.silu(states)), start)))
    return _in_tiles(states, steps, (latents.shape[2], latents.shape[3]), most)


def _plain(layer: nn.Module) -> _Step:
    def layers(states: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = layer(states)
        return states, states

    return _Step(None, layers)


def _residual(resnet: Any) -> tuple[_Step, _Step]:
    def first(states: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return resnet.conv1(functional.silu(states, inplace=True)), start

    def second(states: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        added = resnet.conv2(functional.silu(states, inplace=True))
        states = added + (start if resnet.conv_shortcut is None else resnet.conv_shortcut(start))
        return states, states

    return _Step(resnet.norm1, first), _Step(resnet.norm2, second, ends_block=True)


def _in_tiles(states: torch.Tensor, steps: Sequence[_Step], size: tuple[int, int], most: int) -> torch.Tensor:
    """What steps make of the states of a picture; its size is in latents."""
    side = isqrt(most) // LATENT - 2 * _MARGIN
    tiles = list(product(_spans(size[0], side), _spans(size[1], side)))
    statistics: dict[nn.GroupNorm, tuple[torch.Tensor, torch.Tensor]] = {}
    done = 0
    for number, step in enumerate(steps):
        if step.norm is None:
            continue
        statistics[step.norm], count = _measured(
            step.norm, (_made(states, tile, size, steps[done:number], statistics) for tile in tiles)
        )
        if step.ends_block and count * states.itemsize <= _MOST_KEPT * most:
            states = _joined(states, tiles, size, steps[done : number + 1], statistics)
            done = number + 1
    return _joined(states, tiles, size, steps[done:], statistics)


def _joined(
    states: torch.Tensor, tiles: Sequence[_Tile], size: tuple[int, int], steps: Sequence[_Step], statistics: _Statistics
) -> torch.Tensor:
    joined = None
    for tile in tiles:
        made = _made(states, tile, size, steps, statistics)
        scale = made.shape[3] // (tile[1].kept_end - tile[1].kept_start)
        if joined is None:
            joined = torch.empty(
                (1, made.shape[1], size[0] * scale, size[1] * scale),
                dtype=made.dtype, device=made.device, memory_format=torch.channels_last,
            )  # fmt: skip
        rows, columns = (slice(span.kept_start * scale, span.kept_end * scale) for span in tile)
        joined[..., rows, columns] = made
    assert joined is not None
    return joined


def _made(
    states: torch.Tensor, tile: _Tile, size: tuple[int, int], steps: Sequence[_Step], statistics: _Statistics
) -> torch.Tensor:
    """What steps make of a tile, without its margin."""
    scale = states.shape[3] // size[1]
    rows, columns = (slice(span.start * scale, span.end * scale) for span in tile)
    states = start = states[..., rows, columns]
    for step in steps:
        if step.norm is not None:
            states = _normalized(step.norm, states, statistics)
        states, start = step.layers(states, start)
    scale = states.shape[3] // (tile[1].end - tile[1].start)
    rows, columns = (slice((s.kept_start - s.start) * scale, (s.kept_end - s.start) * scale) for s in tile)
    return states[..., rows, columns]


def _measured(layer: nn.GroupNorm, parts: Iterator[torch.Tensor]) -> tuple[tuple[torch.Tensor, torch.Tensor], int]:
    """The mean and variance of each channel's group over all parts of some states, and how many values these have."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        groups = part.float().reshape(layer.num_groups, -1)
        variance, mean = (each.double() for each in torch.var_mean(groups, 1, correction=0))
        count += part.numel()
        total = mean * part.numel() + total
        squares = (variance + mean**2) * part.numel() + squares
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0)
    in_group = layer.num_channels // layer.num_groups
    return (mean.float().repeat_interleave(in_group), variance.float().repeat_interleave(in_group)), count


def _normalized(layer: nn.GroupNorm, states: torch.Tensor, statistics: _Statistics) -> torch.Tensor:
    # By statistics that are given, a batch norm is a group norm.
    return functional.batch_norm(states, *statistics[layer], layer.weight.float(), layer.bias.float(), eps=layer.eps)


def _spans(length: int, most: int) -> list[_Span]:
    """Nearly equal spans that cover a length; their margins end where it does."""
    count = ceil(length / most)
    cuts = [length * i // count for i in range(count + 1)]
    return [_Span(max(start - _MARGIN, 0), start, end, min(end + _MARGIN, length)) for start, end in pairwise(cuts)]
