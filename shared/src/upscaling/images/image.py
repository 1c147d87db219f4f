"""A decoded picture as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]

ROWS_AT_A_TIME = 256
"""How many rows of a whole picture are worked on at once: a cancel takes effect between, and floats stay few."""


class Size(NamedTuple):
    """How large a picture is, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Image:
    """A picture in memory, upright, with straight (not premultiplied) alpha."""

    pixels: Pixels
    """(height, width, channels); 1 channel is grey, 3 are red, green, blue; full range of the type."""
    alpha: Pixels | None = None
    """(height, width), of the same type as `pixels`; None where the source had none."""
    profile: bytes | None = None
    """The ICC profile that `pixels` are in; None means sRGB, or its grey."""
    resolution: tuple[float, float] | None = None
    """Pixels per millimetre across and down, as the source said; None where it said nothing."""

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
