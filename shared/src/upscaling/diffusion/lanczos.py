"""Lanczos on any device, to the bit as Pillow 12 computes it.

Pillow rounds its weights to 22 bits, sums in whole numbers, and rounds to 8 bit after each of two passes. Sums of such
products are exact in fp64, in whatever order a device adds them. The width is resized before the height. Pillow 13
begins with the height where that shrinks much more than the width (its pull request 9549), and then some values differ
by rounding.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from upscaling.images import Size

_REACH = 3.0  # source pixels to each side at no change of size: Lanczos of three lobes
_BITS = 22  # of a weight, after the point
_ROWS = 32  # that are computed at once: the weights of more rows have more zeros, and fewer rows need more calls


def resized(picture: torch.Tensor, size: Size) -> torch.Tensor:
    """A picture, (height, width, channels), 8 bit, at a size, on its device: Pillow's LANCZOS along one axis each."""
    return _rows_resized(_rows_resized(picture.transpose(0, 1), size.width).transpose(0, 1), size.height)


def _rows_resized(picture: torch.Tensor, target: int) -> torch.Tensor:
    """A picture with another number of rows."""
    source = len(picture)
    if source == target:
        return picture
    rows = picture.reshape(source, -1)
    made = rows.new_empty((target, rows.shape[1]))
    for begin, first, weights in _weights(source, target, rows.device):
        seen = rows[first : first + weights.shape[1]]
        sums = weights @ seen.double()
        made[begin : begin + len(weights)] = sums.add_(0.5).clamp_(0, 255)  # then truncated
    return made.reshape(target, *picture.shape[1:])


@lru_cache(maxsize=8)
def _weights(source: int, target: int, device: torch.device) -> list[tuple[int, int, torch.Tensor]]:
    """The first row made, the first row seen, and the weights (rows made, rows seen), for every few rows; fp64."""
    ratio = source / target
    stretch = max(ratio, 1.0)
    centres = (np.arange(target) + 0.5) * ratio
    firsts = np.maximum(centres - _REACH * stretch + 0.5, 0).astype(int)
    ends = np.minimum(centres + _REACH * stretch + 0.5, source).astype(int)
    blocks: list[tuple[int, int, torch.Tensor]] = []
    for begin in range(0, target, _ROWS):
        block = slice(begin, begin + _ROWS)
        first, end = int(firsts[block][0]), int(ends[block][-1])
        seen = np.arange(first, end)
        places = (seen - centres[block, None] + 0.5) / stretch
        inside = (seen >= firsts[block, None]) & (seen < ends[block, None]) & (np.abs(places) < _REACH)
        weights = np.where(inside, np.sinc(places) * np.sinc(places / _REACH), 0.0)
        weights /= weights.cumsum(axis=1)[:, -1:]  # summed from left to right, as Pillow does
        rounded = np.trunc(weights * 2.0**_BITS + np.copysign(0.5, weights))
        blocks.append((begin, first, torch.tensor(rounded * 2.0**-_BITS, device=device)))
    return blocks
