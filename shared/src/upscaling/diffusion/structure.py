"""Hints of a picture's structure for ControlNets: edges and lines, white on black.

They are what controlnet-aux 0.0.10 makes of a picture at its own size: `CannyDetector` and `LineartStandardDetector`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from upscaling.diffusion.bands import bands
from upscaling.diffusion.redraw import Picture

_CANNY = (100, 200)  # gradients from which on an edge goes on, and begins
_SIGMA = 6.0  # pixels
_HALO = 24  # rows that OpenCV's kernel of this sigma reaches
_BAND = 256  # rows at a time
_LEAST, _LEAST_MEDIAN, _LEVEL = 8, 16, 127  # of 255


def canny(picture: Picture) -> Picture:
    """The edges of a picture (Canny 1986), both (height, width, 3), RGB; black or white."""
    return _in_colour(cv2.Canny(picture, *_CANNY))


def lineart(picture: Picture) -> Picture:
    """The lines of a picture, both (height, width, 3), RGB: what is darker than its surroundings in all channels.

    Lines are as bright as they are dark, with their median at 127.
    """
    lines = np.concatenate([rows[rows > _LEAST] for rows in _darkness(picture)])
    median = max(_LEAST_MEDIAN, np.median(lines)) if lines.size else _LEAST_MEDIAN
    return _in_colour(np.concatenate([(rows / median * _LEVEL).clip(0, 255).astype(np.uint8)
                                      for rows in _darkness(picture)]))  # fmt: skip


def _darkness(picture: Picture) -> Iterator[NDArray[np.float32]]:
    """How much darker than its surroundings each pixel is, 0–255; in bands of rows."""
    for rows, own in bands(len(picture), _BAND, _HALO):
        values = picture[rows].astype(np.float32)
        yield (cv2.GaussianBlur(values, (0, 0), _SIGMA) - values).min(2)[own].clip(0, 255)


def _in_colour(grey: MatLike) -> Picture:
    return cast(Picture, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


STRUCTURES: Mapping[str, Callable[[Picture], Picture]] = {"canny": canny, "lineart": lineart}
