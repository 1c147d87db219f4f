"""The part of a ControlNet's hint that belongs to a crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.images import Size


def hint_of(crop: Crop, canvas: Size, hint: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop's part of the hint, at the size that the crop is sampled at; the hint is HWC, of any size.

    Each pixel is the one of the hint that its centre lies in, as torch's `nearest-exact` chooses.
    """
    box = hint_box(crop.box, canvas, Size(hint.shape[1], hint.shape[0]))
    part = hint[box.slices]
    rows, columns = _nearest(box.size.height, crop.size.height), _nearest(box.size.width, crop.size.width)
    return part[rows][:, columns]


def hint_box(box: Box, canvas: Size, hint: Size) -> Box:
    """The part of a hint that belongs to a part of the canvas: every pixel that it touches."""
    return Box(
        box.left * hint.width // canvas.width,
        box.top * hint.height // canvas.height,
        -(-box.right * hint.width // canvas.width),
        -(-box.bottom * hint.height // canvas.height),
    )


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    return (2 * np.arange(target, dtype=np.intp) + 1) * source // (2 * target)
