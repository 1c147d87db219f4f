"""Lanczos resampling to an exact size, band by band.

Pixel centres, support and weights are those of Pillow's `Resampling.LANCZOS` (three lobes, widened by
the factor when reducing, normalised at the borders); sums are float32 and rounded once, at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import Pixels

_LOBES = 3.0
_BLOCK = 64  # output rows or columns that are computed as one matrix product

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Block:
    """A run of output positions: the inputs from `first` on that they read, and their weights."""

    first: int
    weights: _Floats
    """(outputs, inputs)."""

    @property
    def end(self) -> int:
        return self.first + self.weights.shape[1]


def resample(bands: Iterator[Pixels], source: tuple[int, int], target: tuple[int, int]) -> Iterator[Pixels]:
    """Yields the picture at the target size as consecutive row bands.

    bands are consecutive rows, (rows, width, channels); source and target are (height, width).
    """
    if source == target:
        yield from bands
        return
    across = _blocks(source[1], target[1])
    down = deque(_blocks(source[0], target[0]))
    held: _Floats | None = None
    top = 0  # the input row that `held` begins with
    for band in bands:
        dtype = band.dtype
        narrowed = _resample_columns(band, across)
        held = narrowed if held is None else np.concatenate([held, narrowed])
        del band, narrowed  # this frame stays alive while the rows are encoded
        arrived = top + len(held)
        while down and down[0].end <= arrived:
            block = down.popleft()
            rows = np.tensordot(block.weights, held[block.first - top : block.end - top], axes=1)
            yield _rounded(rows, dtype)
        needed = min(down[0].first if down else arrived, arrived)
        held, top = held[needed - top :].copy(), needed


def _resample_columns(band: Pixels, blocks: list[_Block]) -> _Floats:
    # Channels in front of columns make one large matrix product of each block.
    rows = np.ascontiguousarray(band.transpose(0, 2, 1), np.float32)
    narrowed = [rows[:, :, block.first : block.end] @ block.weights.T for block in blocks]
    return np.ascontiguousarray(np.concatenate(narrowed, axis=2).transpose(0, 2, 1))


def _blocks(source: int, target: int) -> list[_Block]:
    return [_block(source, target, start, min(start + _BLOCK, target)) for start in range(0, target, _BLOCK)]


def _block(source: int, target: int, start: int, end: int) -> _Block:
    factor = source / target
    widening = max(factor, 1.0)
    reach = _LOBES * widening
    centres = (np.arange(start, end) + 0.5) * factor
    first = max(int(centres[0] - reach), 0)
    last = min(int(centres[-1] + reach) + 1, source)
    distance = (np.arange(first, last) + 0.5 - centres[:, None]) / widening
    weights = np.where(np.abs(distance) < _LOBES, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0)
    return _Block(first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _rounded(rows: _Floats, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    return np.clip(np.rint(rows), 0, np.iinfo(dtype).max).astype(dtype)
