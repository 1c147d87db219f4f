"""Colours of a redrawn picture brought back to those that it was made from.

The methods are those that StableSR (Wang et al. 2023) uses: wavelets, and adaptive instance normalization (AdaIN,
Huang and Belongie 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.masks import blended
from upscaling.diffusion.picture_blocks import Block, blocks
from upscaling.diffusion.redraw import size_of, stretched
from upscaling.errors import Code, UpscalingError

Pixels = NDArray[np.uint8]

Counted = Callable[[Block], NDArray[np.bool_]]
"""Which pixels of a block say what colours a picture has."""
FixedBlock = Callable[[Block], Pixels]
"""A block of a picture with its colours fixed."""

_DILATIONS = (1, 2, 4, 8, 16)
_HALO = sum(_DILATIONS)  # pixels that a pixel of the blurred picture depends on, on all sides
_SIDE = 256  # of the blocks that pictures are changed in, in pixels
_LEVELS = np.arange(256)
_SMALL = 1e-5 * 255**2  # added to variances; StableSR has 1e-5 for values up to 1


def fix_colours(
    method: str,
    redrawn: Pixels,
    source: Pixels,
    only: Pillow.Image | None = None,
    alpha: NDArray[np.unsignedinteger] | None = None,
) -> Pixels:
    """A redrawn picture with the colours of its source, both HWC of one size; `method` is none, wavelet or adain.

    Where `only`, a mask that is stretched over the picture, is darker, colours are moved less. Where it is black and
    where `alpha`, HW, is 0, pixels do not count for `adain`. Beside the result it takes 10 MB at any size. Raises
    E_INPUT for another method.
    """
    if method not in COLOUR_FIXES:
        raise UpscalingError(Code.INPUT, f"color_fix is {method!r}; take one of {', '.join(COLOUR_FIXES)}.")
    assert redrawn.shape == source.shape, f"{redrawn.shape} and {source.shape} are not the same size"
    method_of_blocks = COLOUR_FIXES[method]
    if method_of_blocks is None:
        return redrawn
    size = size_of(redrawn)

    def opacity(block: Block) -> Pixels:
        rows, columns = block.place
        box = Box(columns.start, rows.start, columns.stop, rows.stop)
        return np.full(box.size[::-1], 255, np.uint8) if only is None else stretched(only, size, box)

    def counted(block: Block) -> NDArray[np.bool_]:
        visible = opacity(block) > 0
        return visible if alpha is None else visible & (alpha[block.place] > 0)

    fixed_block = method_of_blocks(redrawn, source, counted)
    fixed = np.empty_like(redrawn)
    for block in blocks(redrawn, _SIDE, _HALO):
        fixed[block.place] = blended(redrawn[block.place], fixed_block(block), opacity(block))
    return fixed


def _wavelet(redrawn: Pixels, source: Pixels, counted: Counted) -> FixedBlock:
    """The details of the redrawn picture over the low frequencies of its source.

    The low frequencies are what five blurs leave. A blur is linear, so that of the difference is all that is needed;
    blocks with a halo give what the whole picture does.
    """

    def fixed_block(block: Block) -> Pixels:
        difference = source[block.around].astype(np.float32) - redrawn[block.around]
        for dilation in _DILATIONS:
            difference = _blurred(_blurred(difference, dilation, axis=0), dilation, axis=1)
        return _rounded(redrawn[block.place] + difference[block.own])

    return fixed_block


def _blurred(picture: NDArray[np.floating], dilation: int, axis: int) -> NDArray[np.floating]:
    """A picture blurred by [1 2 1] / 4 along an axis, with gaps between the three pixels; edges are repeated."""
    margins = [(dilation, dilation) if number == axis else (0, 0) for number in range(picture.ndim)]
    padded = np.moveaxis(np.pad(picture, margins, "edge"), axis, 0)
    blurred = (padded[: -2 * dilation] + padded[2 * dilation :]) / 4 + padded[dilation:-dilation] / 2
    return np.moveaxis(blurred, 0, axis)


def _adain(redrawn: Pixels, source: Pixels, counted: Counted) -> FixedBlock:
    """Every channel stretched and moved to the mean and standard deviation that it has in the source."""
    tables: list[Pixels] = []
    for own, wanted in zip(_counts(redrawn, counted), _counts(source, counted), strict=True):
        (mean, deviation), (wanted_mean, wanted_deviation) = _statistics(own), _statistics(wanted)
        tables.append(_rounded((_LEVELS - mean) / deviation * wanted_deviation + wanted_mean))

    def fixed_block(block: Block) -> Pixels:
        pixels = redrawn[block.place]
        return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)], axis=-1)

    return fixed_block


def _counts(picture: Pixels, counted: Counted) -> NDArray[np.int64]:
    """How often each level occurs in each channel, (channels, 256)."""
    counts = np.zeros((picture.shape[2], 256), np.int64)
    for block in blocks(picture, _SIDE):
        pixels = picture[block.place][counted(block)]
        for channel, own in enumerate(counts):
            own += np.bincount(pixels[:, channel], minlength=256)
    return counts


def _statistics(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The mean and the standard deviation of a channel, from how often each level occurs."""
    size = counts.sum()
    mean = (counts * _LEVELS).sum() / max(size, 1)
    variance = (counts * (_LEVELS - mean) ** 2).sum() / max(size - 1, 1)
    return float(mean), float(np.sqrt(variance + _SMALL))


def _rounded(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


COLOUR_FIXES: Mapping[str, Callable[[Pixels, Pixels, Counted], FixedBlock] | None] = {
    "none": None,
    "wavelet": _wavelet,
    "adain": _adain,
}
