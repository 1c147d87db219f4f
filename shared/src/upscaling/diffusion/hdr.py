"""A picture fused from darker and brighter exposures of itself: exposure fusion (Mertens et al. 2007).

Weights and pyramids are those of OpenCV's `MergeMertens`, which holds all levels of all exposures. Here the finest
levels are computed block by block, and only the coarser ones are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import log2
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.diffusion.picture_blocks import Part, blocks
from upscaling.diffusion.redraw import Picture

_Values = NDArray[np.float32]
_Exposure = tuple[_Values, _Values]
"""Values, (height, width, 3) and 0–1, and their weights, (height, width); over all exposures these add up to 1."""

# How much brighter the exposures are than the picture, for an hdr of 1 (TileUpscalerV2, Apache-2.0).
_BRIGHTER = (-0.9, -0.7, -0.45, -0.25, 0.0, 0.2, 0.4, 0.6, 0.8)
_FINE = 3  # levels that are computed in blocks
_SIDE, _HALO = 256, 32  # pixels, multiples of 2 ** _FINE; a block depends on 30 pixels around it
_FLAT = 1e-6  # weight of the picture itself where all weights are 0; those of a difference of 1 in 255 are above 1e-5


def fused(picture: Picture, hdr: float) -> Picture:
    """A picture (height, width, 3), RGB, with more contrast in its dark and bright parts.

    `hdr`, 0 to 1, says how far the exposures are apart; 0 changes nothing. Beside the result it takes about as much
    memory as the picture, and 10 MB for a block.
    """
    if hdr == 0:
        return picture
    height, width = picture.shape[:2]
    levels = int(log2(min(height, width)))
    fine = min(_FINE, levels)
    is_grey = all((part == part[..., :1]).all() for part in (picture[b.place] for b in blocks(picture, _SIDE)))
    coarse = [_empty(-(-height >> fine), -(-width >> fine)) for _ in _BRIGHTER]
    for block in blocks(picture, _SIDE, _HALO):
        own, place = _at(block.own, fine), _at(block.place, fine)
        for wholes, parts in zip(coarse, _exposures(picture[block.around], hdr, is_grey), strict=True):
            for whole, part in zip(wholes, parts, strict=True):
                whole[place] = _pyramid(part, fine)[fine][own]
    base = _merged(coarse, levels - fine)
    del coarse
    result = np.empty_like(picture)
    for block in blocks(picture, _SIDE, _HALO):
        merged = _merged(_exposures(picture[block.around], hdr, is_grey), fine, base[_at(block.around, fine)])
        result[block.place] = np.clip(np.rint(merged[block.own] * 255), 0, 255)
    return result


def _empty(height: int, width: int) -> _Exposure:
    return np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)


def _at(part: Part, level: int) -> Part:
    """A part of the picture as a part of a level of its pyramid."""
    rows, columns = (slice(side.start >> level, -(-side.stop >> level)) for side in part)
    return rows, columns


def _exposures(picture: Picture, hdr: float, is_grey: bool) -> Iterator[_Exposure]:
    exposures = [cv2.convertScaleAbs(picture, alpha=1 + hdr * brighter) for brighter in _BRIGHTER]
    weights = [_weights(_values(exposure), is_grey) for exposure in exposures]
    # OpenCV gives all exposures the same weight in flat parts, where it turns white grey.
    weights[_BRIGHTER.index(0)] += np.float32(_FLAT)
    total = np.sum(weights, axis=0)
    for exposure, weight in zip(exposures, weights, strict=True):
        yield _values(exposure), weight / total


def _values(picture: NDArray[np.generic]) -> _Values:
    return picture.astype(np.float32) / np.float32(255)


def _weights(values: _Values, is_grey: bool) -> _Values:
    """Contrast times saturation, before they are normalized; grey pictures have no saturation."""
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
    contrast = cast(_Values, np.abs(cv2.Laplacian(grey, cv2.CV_32F)))
    if is_grey:
        return contrast
    channels = [values[..., channel] for channel in range(3)]
    mean = sum(channels) / np.float32(3)
    return contrast * np.sqrt(sum((channel - mean) ** 2 for channel in channels))


def _merged(exposures: Iterable[_Exposure], depth: int, base: _Values | None = None) -> _Values:
    """Exposures merged, by pyramids of a depth; `base` is the merged last level, where that is known."""
    sums: list[_Values] = []
    for values, weights in exposures:
        details = _pyramid(values, depth)
        for level in range(depth):
            details[level] -= _enlarged(details[level + 1], details[level])
        weighted: list[_Values] = [
            each * weight[..., None] for each, weight in zip(details, _pyramid(weights, depth), strict=True)
        ]
        sums = [np.add(total, each) for total, each in zip(sums, weighted, strict=True)] if sums else weighted
    merged = sums[depth] if base is None else base
    for level in reversed(range(depth)):
        merged = sums[level] + _enlarged(merged, sums[level])
    return merged


def _pyramid(values: _Values, depth: int) -> list[_Values]:
    """The values and `depth` times half of their size (Burt and Adelson 1983)."""
    levels = [values]
    for _ in range(depth):
        levels.append(cast(_Values, cv2.pyrDown(levels[-1])))
    return levels


def _enlarged(values: _Values, like: _Values) -> _Values:
    return cast(_Values, cv2.pyrUp(values, dstsize=like.shape[1::-1]))
