"""Keeps alpha clean: no fringes from hidden colours, no haze in clear or opaque areas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import Pixels

_Floats = NDArray[np.float32]


def is_flat(alpha: Pixels) -> bool:
    """Whether every value of the (height, width) alpha is the same."""
    return bool((alpha == alpha[0, 0]).all())


def fill_hidden(pixels: Pixels, alpha: Pixels) -> Pixels:
    """The picture with the colours under zero alpha replaced by those of visible pixels nearby.

    pixels is (height, width, channels), alpha (height, width). Visible pixels keep their values;
    where nothing is visible, everything becomes 0. The filling is the pyramid of push-pull
    interpolation (Gortler et al., The Lumigraph, 1996) with alpha as weight.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    if hidden.all():
        return np.zeros_like(pixels)
    # The full-size level is never held as floats: it would be four times the picture.
    colour, weight = _halve(pixels, alpha)
    levels: list[tuple[_Floats, _Floats]] = []
    while weight.size > 1:
        levels.append((colour, weight))
        colour, weight = _halve(colour, weight)
    coarse = colour
    for finer, finer_weight in reversed(levels):
        coarse = np.where(finer_weight[..., None] > 0, finer, _doubled(coarse, finer_weight.shape))
    filled = pixels.copy()
    rows, columns = np.nonzero(hidden)
    filled[rows, columns] = np.rint(coarse[rows // 2, columns // 2]).astype(pixels.dtype)
    return filled


def restore_solid(rows: Pixels, alpha: Pixels, first_row: int, scale: int) -> Pixels:
    """Rows of enlarged alpha, exact again where the input was clear or opaque.

    rows is (rows × scale, width × scale), the enlargement of alpha's rows from first_row on.
    A pixel counts as solid where its 3×3 neighbourhood in the input is all 0 or all full.
    """
    last_row = first_row + rows.shape[0] // scale
    top, bottom = max(first_row - 1, 0), min(last_row + 1, alpha.shape[0])
    kept = slice(first_row - top, last_row - top)
    around = alpha[top:bottom]
    full = np.iinfo(alpha.dtype).max
    rows = rows.copy()
    for value in (0, full):
        solid = _neighbourhood_all(around == value)[kept]
        rows[solid.repeat(scale, axis=0).repeat(scale, axis=1)] = value
    return rows


def _halve(colour: Any, weight: Any) -> tuple[_Floats, _Floats]:
    """Weighted means of 2×2 blocks, and the mean weight of each."""
    height, width = weight.shape
    total = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)
    weighted = np.zeros((*total.shape, colour.shape[2]), np.float32)
    for y in (0, 1):
        for x in (0, 1):
            part = weight[y::2, x::2].astype(np.float32)
            rows, columns = part.shape
            total[:rows, :columns] += part
            weighted[:rows, :columns] += colour[y::2, x::2] * part[..., None]
    np.divide(weighted, total[..., None], out=weighted, where=total[..., None] > 0)
    return weighted, total / np.float32(4)


def _doubled(coarse: _Floats, shape: tuple[int, ...]) -> _Floats:
    return coarse.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _neighbourhood_all(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a pixel and its neighbours, as far as they are in the picture, are all set."""
    padded = np.pad(mask, 1, constant_values=True)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
