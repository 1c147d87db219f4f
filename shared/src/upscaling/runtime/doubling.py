"""Convolutions of features that are doubled first, computed before the doubling.

Doubling repeats each pixel, so of the 3×3 pixels that a convolution sees only 2×2 differ. Each of the four pixels that
one becomes has its own 2×2 weights, the sums of those that meet the same pixel: 16 products instead of 36.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import nn


class DoublingConvolution(nn.Module):
    """A layer that doubles: each pixel repeated, then a convolution."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's Upsample of CodeFormer or RestoreFormer, or diffusers' Upsample2D, in fp32."""
        super().__init__()
        self.convolution = before_doubling(like.conv, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """From (n, channels, height, width) to twice the height and width."""
        return doubled(self.convolution(features))


def before_doubling(convolution: nn.Conv2d, padding: int = 0) -> nn.Conv2d:
    """The 2×2 convolution that gives what `doubled` puts in its places; of one of 3×3 with a bias, in fp32.

    Its input has a border of one pixel, or a padding of zeros.
    """
    # Rows of three weights, of the first and the second of two equal pixels: [weights of one pixel, of the next one].
    sums = convolution.weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    weight = torch.einsum("oikl,rak,cbl->rcoiab", convolution.weight, sums, sums).flatten(0, 2)
    assert convolution.bias is not None
    with torch.device("meta"):
        result = nn.Conv2d(convolution.in_channels, len(weight), 2, padding=padding)
    result.weight = nn.Parameter(weight, requires_grad=False)
    result.bias = nn.Parameter(convolution.bias.repeat(4), requires_grad=False)
    return result


def doubled(results: torch.Tensor) -> torch.Tensor:
    """From results for each of four pixels, (n, 4 × channels, h + 1, w + 1), to (n, channels, 2h, 2w)."""
    count, channels, height, width = results.shape
    whole = torch.empty(
        (count, channels // 4, 2 * (height - 1), 2 * (width - 1)),
        dtype=results.dtype,
        device=results.device,
        memory_format=torch.channels_last,
    )
    for places, values in _places(whole, results):
        places.copy_(values)
    return whole


def add_doubled(sums: torch.Tensor, results: torch.Tensor) -> None:
    """Adds what `doubled` gives to `sums`, in place."""
    for places, values in _places(sums, results):
        places.add_(values)


def _places(whole: torch.Tensor, results: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    count, channels, height, width = whole.shape
    height, width = height // 2, width // 2
    each = results.view(count, 2, 2, channels, height + 1, width + 1)
    for row, column in product((0, 1), (0, 1)):
        values = each[:, row, column, :, row : row + height, column : column + width]
        yield whole[:, :, row::2, column::2], values
