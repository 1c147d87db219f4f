"""What ControlNets are shown of crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.redraw import Picture, size_of
from upscaling.images import Size

Shown = Callable[[Picture, Sequence[Crop]], Picture]
"""From the pictures that are redrawn, (n, height, width, 3), and their crops to what a ControlNet is shown of each."""


def parts_of(picture: NDArray[np.uint8], canvas: Size) -> Shown:
    """Shows the parts of a picture of any size, which is stretched over the canvas; in colour or grey, HWC."""

    def shown(_: Picture, crops: Sequence[Crop]) -> Picture:
        parts = np.stack([hint_of(crop, canvas, picture) for crop in crops])
        return np.broadcast_to(parts, (*parts.shape[:3], 3))

    return shown


def as_they_are(pictures: Picture, _: Sequence[Crop]) -> Picture:
    """Shows what is redrawn."""
    return pictures


def hint_of(crop: Crop, canvas: Size, hint: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop's part of the hint, at the size that the crop is sampled at; the hint is HWC, of any size.

    Each pixel is the one of the hint that its centre lies in, as torch's `nearest-exact` chooses.
    """
    box = hint_box(crop.box, canvas, size_of(hint))
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
