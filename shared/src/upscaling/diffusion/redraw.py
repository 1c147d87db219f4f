"""Redraws a canvas part by part.

The canvas is held once and changed in place; each crop sees what was redrawn before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.lanczos import resized
from upscaling.diffusion.masks import blend, mask
from upscaling.diffusion.waves import batches
from upscaling.images import Size
from upscaling.images.image import ROWS_AT_A_TIME

Picture = NDArray[np.uint8]
"""Height, width, and red, green and blue; 0–255."""

_CPU = torch.device("cpu")


def size_of(picture: Picture) -> Size:
    return Size(picture.shape[1], picture.shape[0])


class RedrawBatch(Protocol):
    """Redraws pictures of one size that do not depend on each other."""

    def __call__(self, pictures: Picture, crops: Sequence[Crop], reach: Callable[[float], None], /) -> Picture:
        """The pictures redrawn, (n, height, width, 3), RGB; the crops say which they are, one for each.

        `reach` may be called with the share of this work that is done, 0–1.
        """
        ...


def redraw(
    canvas: Picture,
    crops: Sequence[Crop],
    redraw_batch: RedrawBatch,
    largest_batch: int,
    reach: Callable[[float], None],
    only: Image.Image | None = None,
    device: torch.device = _CPU,
) -> int:
    """Redraws the crops on a canvas, (height, width, 3), in place; returns how many were redrawn.

    Crops that meet are redrawn in the order given and the others together, in batches of at most `largest_batch`:
    the result does not depend on it. `only`, grey and of any size, is stretched over the canvas: black is left as it
    is, white is redrawn; crops that are all black are left out. `reach` is called with the share that is done. Crops
    are resized and blended on `device`, which does not change the bytes; the canvas stays in the host's memory.
    """
    size = size_of(canvas)
    needed = [crop for crop in crops if only is None or opacity(crop, size, only).any()]
    total = sum(_pixels(crop) for crop in needed)
    done = 0
    for batch in batches(needed, largest_batch):
        weight = sum(_pixels(crop) for crop in batch)

        def reach_within(share: float, done: int = done, weight: int = weight) -> None:
            reach((done + share * weight) / total)

        # Handed on in the host's memory, so that what redraws them need not know the device: a tile is a megabyte.
        pictures = np.stack(
            [resized(torch.tensor(canvas[crop.box.slices], device=device), crop.size).cpu().numpy() for crop in batch]
        )
        for crop, picture in zip(batch, redraw_batch(pictures, batch, reach_within), strict=True):
            new = resized(torch.tensor(picture, device=device), crop.box.size)
            _lay_over(canvas[crop.box.slices], new, opacity(crop, size, only))
        done += weight
        reach(done / total)
    return len(needed)


def _pixels(crop: Crop) -> int:
    return crop.size.width * crop.size.height


def _lay_over(part: Picture, new: torch.Tensor, over: NDArray[np.uint8]) -> None:
    """Blends a part of a canvas, in place, with what it becomes, on the device of that."""
    for top in range(0, len(part), ROWS_AT_A_TIME):
        rows = slice(top, top + ROWS_AT_A_TIME)
        below, opacity = (torch.tensor(values[rows], device=new.device) for values in (part, over))
        part[rows] = blend(below, new[rows], opacity).cpu().numpy()


def stretched(only: Image.Image, canvas: Size, box: Box) -> NDArray[np.uint8]:
    """The part of a mask that belongs to a part of the canvas, once it is stretched over the canvas."""
    across, down = only.width / canvas.width, only.height / canvas.height
    area = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    # Pillow reads beyond the area what is there: the parts are those of the whole mask, resized.
    return np.asarray(only.resize(box.size, Image.Resampling.BILINEAR, area))


def opacity(crop: Crop, canvas: Size, only: Image.Image | None) -> NDArray[np.uint8]:
    """How much of the redrawn crop is laid over the canvas, (height, width)."""
    own = mask(crop.patch, crop.box, canvas)
    if only is None:
        return own
    part = stretched(only, canvas, crop.box)
    product = np.multiply(own, part, dtype=np.uint16)
    product += 127
    product //= 255
    return product.astype(np.uint8)
