"""The mask that comes with a picture: it is redrawn where the mask is white, and only enlarged where it is black."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.masks import blended
from upscaling.diffusion.pictures import continued
from upscaling.diffusion.redraw import Picture, size_of, stretched
from upscaling.images import Size
from upscaling.images.image import ROWS_AT_A_TIME


def continued_mask(only: Image.Image | None, size: Size, extent: Size) -> Image.Image | None:
    """A mask that, stretched over a canvas with continued edges, lies where it lies over the picture."""
    if only is None or size == extent:
        return only
    return Image.fromarray(continued(np.asarray(only.resize(size, Image.Resampling.BILINEAR)), extent))


def faded(only: Image.Image | None, opacity: int) -> Image.Image | None:
    """A mask at a share of its opacity, 0–255."""
    if opacity == 255:
        return only
    whole = Image.new("L", (1, 1), 255) if only is None else only
    return whole.point([round(level * opacity / 255) for level in range(256)])


def over_source(only: Image.Image | None, changed: Picture, source: Picture) -> Picture:
    """A changed picture laid over its source by a mask; the changed one is written to."""
    if only is None or changed is source:
        return changed
    for rows in _bands(source):
        opacity = stretched(only, size_of(source), rows)
        changed[rows.slices] = blended(source[rows.slices], changed[rows.slices], opacity)
    return changed


def _bands(picture: Picture) -> Iterator[Box]:
    height, width = picture.shape[:2]
    for top in range(0, height, ROWS_AT_A_TIME):
        yield Box(0, top, width, min(top + ROWS_AT_A_TIME, height))
