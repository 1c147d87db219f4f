"""RRDBNet (ESRGAN, Real-ESRGAN ×4, ×2 and anime) as stages.

Wang et al., ESRGAN (2018) and Real-ESRGAN (2021); the modules are spandrel's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import nn

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
        Stage(run=nn.Sequential(*tail), halo=_TAIL_HALO, scale=Fraction(model.scale)),
    )


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
    yield Stage(run=_dense(block.RDB1), halo=_DENSE_BLOCK_HALO, saves=saves)
    yield Stage(run=_dense(block.RDB2), halo=_DENSE_BLOCK_HALO)
    yield Stage(run=_dense(block.RDB3), halo=_DENSE_BLOCK_HALO, skip=name, merge=_residual)


def _dense(block: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A dense block that appends each convolution's features to those before, and rounds once less at its end."""
    if block.conv1x1 is not None:  # ESRGAN+ has more paths
        return block
    *growing, last = block.conv1, block.conv2, block.conv3, block.conv4, block.conv5

    def run(tile: torch.Tensor) -> torch.Tensor:
        features = tile
        for convolution in growing:
            features = torch.cat((features, convolution(features)), dim=1)
        return _residual(last(features), tile)

    return run


def _residual(block: torch.Tensor, entering: torch.Tensor) -> torch.Tensor:
    # Not in one step: in bf16 the vectorised part of it rounds otherwise than the rest of a tile.
    return block.mul_(_RESIDUAL_SCALE).add_(entering)
