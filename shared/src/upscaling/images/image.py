"""A decoded picture as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]
Border = Literal["edge", "wrap"]
"""How a picture continues beyond its border, as a mode of numpy.pad: "wrap" repeats the picture."""

ROWS_AT_A_TIME = 256
"""Rows of a picture that are converted at a time, so that a cancel takes effect and intermediate floats stay small."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Image:
    """A picture in memory, upright, with straight (not premultiplied) alpha."""

    pixels: Pixels
    """(height, width, channels), 1 channel for grey or 3 for red, green, blue; in the full range of the type."""
    alpha: Pixels | None = None
    """(height, width), of the same type as `pixels`; None if the file has no alpha."""
    profile: bytes | None = None
    """The ICC profile of `pixels`; None means sRGB, or grey with the curve of sRGB."""
    resolution: tuple[float, float] | None = None
    """Horizontal and vertical pixels per millimetre; None if the file does not say."""

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def is_grey(self) -> bool:
        return self.pixels.shape[2] == 1

    @property
    def bits(self) -> int:
        """Bits per channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8
