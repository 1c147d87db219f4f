"""Converts pictures to 8-bit RGB for the networks, and back to their own channels and depth."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from upscaling.diffusion.redraw import Picture
from upscaling.images import Image, Rows, Size, in_grey
from upscaling.images.grey import LUMA
from upscaling.images.image import ROWS_AT_A_TIME, Pixels
from upscaling.runtime.memory import memory_errors_coded

_Level = TypeVar("_Level", np.uint8, np.uint16, np.uint8 | np.uint16)

_STEP = 257  # of 16 bits, for one of 8: 65535 / 255


def in_rgb(image: Image) -> Picture:
    """A picture's colours, (height, width, 3): 16 bits are rounded, grey is the same in all three.

    Where the picture is 8 bit RGB these are its own pixels, not a copy.
    """
    if image.bits == 8 and not image.is_grey:
        return image.pixels.astype(np.uint8, copy=False)
    picture = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, ROWS_AT_A_TIME):
        rows = image.pixels[top : top + ROWS_AT_A_TIME]
        picture[top : top + len(rows)] = _in_8_bit(rows)
    return picture


def rows_of(image: Image) -> Rows:
    """The rows of a picture, some at a time."""
    for top in range(0, image.height, ROWS_AT_A_TIME):
        rows = slice(top, top + ROWS_AT_A_TIME)
        yield image.pixels[rows], None if image.alpha is None else image.alpha[rows]


def in_mask(image: Image) -> Pillow.Image:
    """A picture as a mask: its luma in 8 bit, without alpha. Raises E_MEMORY."""
    with memory_errors_coded("the picture mask"):
        grey = image if image.is_grey else in_grey(image)
        return Pillow.fromarray(_in_8_bit(grey.pixels)[..., 0])


def continued(picture: NDArray[_Level], size: Size) -> NDArray[_Level]:
    """A picture, a mask or an alpha, (height, width, …), with its last column and row repeated up to a size."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    more = ((0, size.height - height), (0, size.width - width), (0, 0))[: picture.ndim]
    return np.pad(picture, more, "edge")


def as_it_was(picture: Picture, source: Image, alpha: Pixels | None) -> Rows:
    """The rows of a picture, (height, width, 3), in the channels and the depth of another, with an alpha of its size.

    Grey is the luma; 16 bits are the picture's 8, stretched.
    """
    for top in range(0, len(picture), ROWS_AT_A_TIME):
        rows = picture[top : top + ROWS_AT_A_TIME]
        if source.is_grey:
            rows = np.rint(rows @ np.array(LUMA, np.float32)).astype(np.uint8)[..., None]
        if source.bits == 16:
            rows = rows.astype(np.uint16) * np.uint16(_STEP)
        yield rows, None if alpha is None else alpha[top : top + ROWS_AT_A_TIME]


def _in_8_bit(rows: Pixels) -> Pixels:
    if rows.dtype == np.uint8:
        return rows
    return ((rows.astype(np.uint32) + _STEP // 2) // _STEP).astype(np.uint8)
