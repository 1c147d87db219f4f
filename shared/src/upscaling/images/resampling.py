"""Lanczos resampling to an exact size, band by band.

Pixel centres, support and weights are those of Pillow's `Resampling.LANCZOS`: three lobes, widened by the factor when
reducing, normalised at the borders. Sums are float32 and rounded once, at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import ROWS_AT_A_TIME, Image, Pixels, Size
from upscaling.images.rows import Rows, recut
from upscaling.images.transparency import fill_hidden

_LOBES = 3.0
_BLOCK = 64  # rows or columns per matrix product, of the input or the output, whichever has more

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Block:
    """A run of output positions: the first input position that they read, with the margin, and their weights."""

    first: int
    weights: _Floats
    """(outputs, inputs)."""

    @property
    def end(self) -> int:
        return self.first + self.weights.shape[1]


def needed_margin(source: int, target: int) -> int:
    """How many more rows or columns of a repeating picture are needed on each side for an exact result."""
    return 0 if source == target else ceil(_LOBES * max(source / target, 1.0))


def resample(
    bands: Iterator[Pixels], source: tuple[int, int], target: tuple[int, int], margins: tuple[int, int] = (0, 0)
) -> Iterator[Pixels]:
    """Yields the picture at the target size as consecutive row bands.

    bands are consecutive rows, (rows, width, channels). source and target are (height, width). margins are the rows
    and columns that the bands have beyond the source on each side.
    """
    if source == target:
        yield from bands
        return
    across = _blocks(source[1], target[1], margins[1])
    waiting = deque(_blocks(source[0], target[0], margins[0]))
    begun: deque[tuple[_Block, _Floats]] = deque()
    top = 0
    # Bands of a fixed size, so that the order of the sums does not depend on the sizes of the given ones.
    for band in recut(bands, _BLOCK):
        dtype = band.dtype
        rows = _resample_columns(band, across)
        del band  # frees its memory while the rows are encoded
        bottom = top + len(rows)
        for block, sums in begun:
            _add(sums, block, rows, top)
        while begun and begun[0][0].end <= bottom:
            yield _rounded(begun.popleft()[1], dtype)
        # One block at a time: at a large factor these rows belong to so many blocks that their sums need much memory.
        while waiting and waiting[0].first < bottom:
            block = waiting.popleft()
            sums = np.zeros((len(block.weights), *rows.shape[1:]), np.float32)
            _add(sums, block, rows, top)
            if block.end <= bottom:
                yield _rounded(sums, dtype)
            else:
                begun.append((block, sums))
        top = bottom


def resized(image: Image, size: Size) -> Rows:
    """Yields the rows of a picture at a size; colours under zero alpha do not affect the result."""
    source, target = (image.height, image.width), (size.height, size.width)
    if image.alpha is None:
        for rows in resample(_bands(image.pixels), source, target):
            yield rows, None
        return
    colour = resample(_bands(fill_hidden(image.pixels, image.alpha)), source, target)
    alpha = resample(_bands(image.alpha[..., None]), source, target)
    for rows, covers in zip(colour, alpha, strict=True):
        yield rows, covers[..., 0]


def _bands(pixels: Pixels) -> Iterator[Pixels]:
    return (pixels[top : top + ROWS_AT_A_TIME] for top in range(0, len(pixels), ROWS_AT_A_TIME))


def _add(sums: _Floats, block: _Block, rows: _Floats, top: int) -> None:
    """Adds the contribution of the rows from `top` on to the sums of a block."""
    first, end = max(block.first, top), min(block.end, top + len(rows))
    weights = block.weights[:, first - block.first : end - block.first]
    sums += np.tensordot(weights, rows[first - top : end - top], axes=1)


def _resample_columns(band: Pixels, blocks: list[_Block]) -> _Floats:
    # With channels before columns, each block is one large matrix product.
    rows = np.ascontiguousarray(band.transpose(0, 2, 1), np.float32)
    narrowed = [rows[:, :, block.first : block.end] @ block.weights.T for block in blocks]
    return np.ascontiguousarray(np.concatenate(narrowed, axis=2).transpose(0, 2, 1))


def _blocks(source: int, target: int, margin: int) -> list[_Block]:
    # When reducing, an output position reads many inputs. Fewer outputs keep the matrix small.
    outputs = max(_BLOCK * target // max(source, target), 1)
    starts = range(0, target, outputs)
    return [_block(source, target, margin, start, min(start + outputs, target)) for start in starts]


def _block(source: int, target: int, margin: int, start: int, end: int) -> _Block:
    factor = source / target
    widening = max(factor, 1.0)
    reach = _LOBES * widening
    centres = (np.arange(start, end) + 0.5) * factor
    first = max(floor(float(centres[0]) - reach), -margin)
    last = min(floor(float(centres[-1]) + reach) + 1, source + margin)
    distance: NDArray[np.float64] = (np.arange(first, last) + 0.5 - centres[:, None]) / widening
    weights = np.where(np.abs(distance) < _LOBES, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0)
    return _Block(first + margin, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _rounded(rows: _Floats, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    return np.clip(np.rint(rows), 0, np.iinfo(dtype).max).astype(dtype)
