"""Prevents fringes from hidden colours, and keeps fully transparent and opaque areas exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import ROWS_AT_A_TIME, Border, Image, Pixels

_Floats = NDArray[np.float32]

# Pixels of the repetition on each side that colours are also taken from. 85 is 1010101 in binary: the edge of the
# picture lies inside a block on every level of the pyramid, so colours cross it.
_MARGINS: dict[Border, int] = {"edge": 0, "wrap": 85}
_TAKE_MODES: dict[Border, Literal["clip", "wrap"]] = {"edge": "clip", "wrap": "wrap"}


def is_flat(alpha: Pixels) -> bool:
    """Whether every value of the (height, width) alpha is the same."""
    return bool((alpha == alpha[0, 0]).all())


def fill_hidden(pixels: Pixels, alpha: Pixels, border: Border = "edge") -> Pixels:
    """Replaces the colours under zero alpha by the colours of visible pixels nearby.

    pixels is (height, width, channels), alpha is (height, width). Visible pixels keep their values. If nothing is
    visible, all pixels become 0.
    """
    if not (alpha == 0).any():
        return pixels
    if not alpha.any():
        return np.zeros_like(pixels)
    height, width = alpha.shape
    margin = _MARGINS[border]
    around = ((margin, margin), (margin, margin))
    filled = np.pad(pixels, (*around, (0, 0)), mode=border)
    _fill(filled, np.pad(alpha, around, mode=border))
    return filled[margin : margin + height, margin : margin + width]


def without_hidden_colours(image: Image) -> Image:
    """The picture with `fill_hidden` applied, if it has alpha."""
    return image if image.alpha is None else replace(image, pixels=fill_hidden(image.pixels, image.alpha))


def _fill(pixels: Pixels, alpha: Pixels) -> None:
    """Push-pull interpolation in place, with alpha as weight (Gortler et al., The Lumigraph, 1996)."""
    # The full-size level is not converted to floats, which need four times the memory of the picture.
    colour, weight = _halve(pixels, alpha)
    levels: list[tuple[_Floats, _Floats]] = []
    while weight.size > 1:
        levels.append((colour, weight))
        colour, weight = _halve(colour, weight)
    coarse = colour
    for finer, finer_weight in reversed(levels):
        coarse = np.where(finer_weight[..., None] > 0, finer, _doubled(coarse, finer_weight.shape))
    for top in range(0, len(pixels), ROWS_AT_A_TIME):
        end = top + ROWS_AT_A_TIME
        part, hidden = pixels[top:end], alpha[top:end] == 0
        part[hidden] = np.rint(_doubled(coarse[top // 2 : end // 2], hidden.shape)[hidden]).astype(pixels.dtype)


def restore_solid(rows: Pixels, alpha: Pixels, first_row: int, scale: int, border: Border = "edge") -> Pixels:
    """Sets rows of enlarged alpha to exactly 0 or full where the input is fully transparent or opaque.

    rows is (rows, width × scale) and begins at row first_row of the enlarged alpha, which is negative above a repeating
    picture. A pixel is set if the 3×3 pixels around it in the input are all 0 or all full.
    """
    sources = np.arange(first_row, first_row + len(rows)) // scale
    top, bottom = sources[0], sources[-1]
    around = np.take(alpha, range(top - 1, bottom + 2), axis=0, mode=_TAKE_MODES[border])
    around = np.pad(around, ((0, 0), (1, 1)), mode=border)
    full = np.iinfo(alpha.dtype).max
    rows = rows.copy()
    for value in (0, full):
        solid = _neighbourhood_all(around == value)[sources - top]
        rows[solid.repeat(scale, axis=1)] = value
    return rows


def _halve(colour: Any, weight: Any) -> tuple[_Floats, _Floats]:
    """The weighted mean and the mean weight of each block of 2×2 pixels."""
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
    """Whether a pixel and its eight neighbours are all set, for all but the outermost rows and columns."""
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
