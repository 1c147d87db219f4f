"""RRDBNet (ESRGAN, Real-ESRGAN ×4, ×2 and anime) as stages.

Wang et al., ESRGAN (2018) and Real-ESRGAN (2021); the modules are spandrel's.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from upscaling.superres.networks.convolution import add_convolution, split
from upscaling.superres.networks.stage import Stage

ARCHITECTURE = "ESRGAN"  # spandrel's name for it

_RESIDUAL_SCALE = 0.2  # the factor on every residual, in the paper (β) and in the published networks
_DENSE_BLOCK_HALO = 5  # five 3×3 convolutions in a row
_TAIL_HALO = 2  # one 3×3 convolution at twice the size and three at four times: 0.5 + 0.75, rounded up


def stages(model: Any) -> tuple[Stage, ...]:
    """One stage per dense block: a whole block of three would need three times the halo."""
    head, trunk, *tail = model.model
    *blocks, trunk_convolution = trunk.sub
    return (
        _head(head, model.shuffle_factor or 1),
        *(stage for index, block in enumerate(blocks) for stage in _block(block, index)),
        Stage(run=trunk_convolution, halo=1, skip="trunk", merge=torch.add),
        Stage(run=nn.Sequential(*tail), halo=_TAIL_HALO, scale=Fraction(model.scale), inner_scale=model.scale),
    )


def rebuild(model: Any) -> None:
    """Replaces the dense blocks, in fp32, by ones that do the same in fewer steps."""
    *blocks, _ = model.model[1].sub
    for block in blocks:
        for name in ("RDB1", "RDB2", "RDB3"):
            dense = getattr(block, name)
            if dense.conv1x1 is None:  # ESRGAN+ has more paths
                setattr(block, name, _DenseBlock(dense))


def multiple(model: Any) -> int:
    """The size that a picture is padded to: pixel unshuffle takes whole squares only."""
    return model.shuffle_factor or 1


def _head(convolution: Any, shuffle: int) -> Stage:
    if shuffle == 1:
        return Stage(run=convolution, halo=1)
    return Stage(
        run=nn.Sequential(nn.PixelUnshuffle(shuffle), convolution),
        halo=shuffle,
        scale=Fraction(1, shuffle),
        align=shuffle,
    )


def _block(block: Any, index: int) -> Iterator[Stage]:
    name = f"block {index}"
    saves = ("trunk", name) if index == 0 else (name,)
    yield Stage(run=block.RDB1, halo=_DENSE_BLOCK_HALO, saves=saves)
    yield Stage(run=block.RDB2, halo=_DENSE_BLOCK_HALO)
    yield Stage(run=block.RDB3, halo=_DENSE_BLOCK_HALO, skip=name, merge=_residual)


class _DenseBlock(nn.Module):
    """A dense block of ESRGAN that adds what it computes to the tile it is given.

    The factor of the residual lies in the weights, and the last convolution takes the newest features from where
    they are: adding and concatenating take as long as half of the sums, where a CPU has AMX.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.growing = nn.ModuleList((block.conv1, block.conv2, block.conv3))
        self.newest = block.conv4
        (last,) = block.conv5
        last.weight.mul_(_RESIDUAL_SCALE)
        last.bias.mul_(_RESIDUAL_SCALE)
        self.last_of_grown, self.last_of_newest = split(last, block.conv4[0].in_channels)

    def forward(self, tile: torch.Tensor) -> torch.Tensor:
        features = tile
        for convolution in self.growing:
            features = torch.cat((features, convolution(features)), dim=1)
        newest = self.newest(features)
        add_convolution(tile, self.last_of_grown, features)
        add_convolution(tile, self.last_of_newest, newest)
        return tile


def _residual(block: torch.Tensor, entering: torch.Tensor) -> torch.Tensor:
    # Not in one step: in bf16 the vectorised part of it rounds otherwise than the rest of a tile.
    return block.mul_(_RESIDUAL_SCALE).add_(entering)
