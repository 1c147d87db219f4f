"""Colours of a redrawn picture brought back to those that it was made from.

The methods are those that StableSR (Wang et al. 2023) uses: wavelets, and adaptive instance normalization (AdaIN,
Huang and Belongie 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from upscaling.diffusion.picture_blocks import blocks
from upscaling.errors import Code, UpscalingError

Pixels = NDArray[np.uint8]

_DILATIONS = (1, 2, 4, 8, 16)
_HALO = sum(_DILATIONS)  # pixels that a pixel of the blurred picture depends on, on all sides
_SIDE = 256  # of the blocks that pictures are changed in, in pixels
_LEVELS = np.arange(256)
_SMALL = 1e-5 * 255**2  # added to variances; StableSR has 1e-5 for values up to 1


def fix_colours(method: str, redrawn: Pixels, source: Pixels) -> Pixels:
    """A redrawn picture with the colours of its source, both HWC of one size; `method` is none, wavelet or adain.

    Beside the result it takes 6 MB at any size. Raises E_INPUT for another method.
    """
    if method not in COLOUR_FIXES:
        raise UpscalingError(Code.INPUT, f"color_fix is {method!r}; take one of {', '.join(COLOUR_FIXES)}.")
    assert redrawn.shape == source.shape, f"{redrawn.shape} and {source.shape} are not the same size"
    return COLOUR_FIXES[method](redrawn, source)


def _none(redrawn: Pixels, source: Pixels) -> Pixels:
    return redrawn


def _wavelet(redrawn: Pixels, source: Pixels) -> Pixels:
    """The details of the redrawn picture over the low frequencies of its source.

    The low frequencies are what five blurs leave. A blur is linear, so that of the difference is all that is needed;
    blocks with a halo give what the whole picture does.
    """
    fixed = np.empty_like(redrawn)
    for block in blocks(redrawn, _SIDE, _HALO):
        difference = source[block.around].astype(np.float32) - redrawn[block.around]
        for dilation in _DILATIONS:
            difference = _blurred(_blurred(difference, dilation, axis=0), dilation, axis=1)
        fixed[block.place] = _rounded(redrawn[block.place] + difference[block.own])
    return fixed


def _blurred(picture: NDArray[np.floating], dilation: int, axis: int) -> NDArray[np.floating]:
    """A picture blurred by [1 2 1] / 4 along an axis, with gaps between the three pixels; edges are repeated."""
    margins = [(dilation, dilation) if number == axis else (0, 0) for number in range(picture.ndim)]
    padded = np.moveaxis(np.pad(picture, margins, "edge"), axis, 0)
    blurred = (padded[: -2 * dilation] + padded[2 * dilation :]) / 4 + padded[dilation:-dilation] / 2
    return np.moveaxis(blurred, 0, axis)


def _adain(redrawn: Pixels, source: Pixels) -> Pixels:
    """Every channel stretched and moved to the mean and standard deviation that it has in the source."""
    fixed = np.empty_like(redrawn)
    for channel in range(redrawn.shape[2]):
        mean, deviation = _statistics(redrawn[..., channel])
        wanted_mean, wanted_deviation = _statistics(source[..., channel])
        table = _rounded((_LEVELS - mean) / deviation * wanted_deviation + wanted_mean)
        for block in blocks(redrawn, _SIDE):
            fixed[*block.place, channel] = table[redrawn[*block.place, channel]]
    return fixed


def _statistics(channel: Pixels) -> tuple[float, float]:
    """The mean and the standard deviation of a channel, from how often each level occurs."""
    counts = np.zeros(256)
    for block in blocks(channel, _SIDE):
        counts += np.bincount(channel[block.place].ravel(), minlength=256)
    mean = (counts * _LEVELS).sum() / channel.size
    variance = (counts * (_LEVELS - mean) ** 2).sum() / max(channel.size - 1, 1)
    return float(mean), float(np.sqrt(variance + _SMALL))


def _rounded(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


COLOUR_FIXES: Mapping[str, Callable[[Pixels, Pixels], Pixels]] = {"none": _none, "wavelet": _wavelet, "adain": _adain}
