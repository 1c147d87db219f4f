"""RRDBNet (ESRGAN, Real-ESRGAN ×4, ×2 and anime) as stages.

Wang et al., ESRGAN (2018) and Real-ESRGAN (2021); the modules are spandrel's.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from upscaling.runtime.convolution import add_convolution, split
from upscaling.superres.networks.stage import Stage

ARCHITECTURE = "ESRGAN"  # spandrel's name for it

_RESIDUAL_SCALE = 0.2  # the factor of all residuals: β in the paper
_DENSE_BLOCK_HALO = 5  # five 3×3 convolutions in a row
_TAIL_HALO = 2  # one 3×3 convolution at ×2 and three at ×4: 0.5 + 0.75 pixels, rounded up


def stages(module: Any) -> tuple[Stage, ...]:
    """One stage per dense block. A whole block of three dense blocks would need three times the halo."""
    head, trunk, *tail = module.model
    *blocks, trunk_convolution = trunk.sub
    return (
        _head(head, module.shuffle_factor or 1),
        *(stage for index, block in enumerate(blocks) for stage in _block(block, index)),
        Stage(run=trunk_convolution, halo=1, skip="trunk", merge=torch.add),
        Stage(run=nn.Sequential(*tail), halo=_TAIL_HALO, scale=Fraction(module.scale), inner_scale=module.scale),
    )


def rebuild(module: Any) -> None:
    """Replaces the dense blocks, in fp32, by equivalent ones with fewer steps.

    spandrel loads all networks without normalisation, so conv1 to conv4 are a convolution and its activation, and
    conv5 is a single convolution.
    """
    *blocks, _ = module.model[1].sub
    for block in blocks:
        for name in ("RDB1", "RDB2", "RDB3"):
            dense = getattr(block, name)
            if dense.conv1x1 is None:  # not ESRGAN+, which has additional paths
                setattr(block, name, _DenseBlock(dense))


def multiple(module: Any) -> int:
    """Pictures are padded to a multiple of this, because pixel unshuffle needs whole squares."""
    return module.shuffle_factor or 1


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
    """A dense block of ESRGAN that adds its result to the given tile, in place.

    The factor of the residual is part of the weights, and the last convolution is split, so that its newest inputs need
    not be concatenated. On a CPU with AMX, adding and concatenating take half as long as the convolutions.
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
    # In two steps: a single one rounds differently in bf16 in the vectorised part and in the rest of a tile.
    return block.mul_(_RESIDUAL_SCALE).add_(entering)
