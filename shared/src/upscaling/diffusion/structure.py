"""Hints of a picture's structure for ControlNets: edges and lines, white on black.

They are what controlnet-aux 0.0.10 makes of a picture at its own size: `CannyDetector` and `LineartStandardDetector`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from upscaling.diffusion.redraw import Picture

_CANNY = (100, 200)  # gradients from which on an edge goes on, and begins
_SIGMA = 6.0  # pixels
_LEAST, _LEAST_MEDIAN, _LEVEL = 8, 16, 127  # of 255


def canny(picture: Picture) -> Picture:
    """The edges of a picture (Canny 1986), both (height, width, 3), RGB; black or white."""
    return _in_colour(cv2.Canny(picture, *_CANNY))


def lineart(picture: Picture) -> Picture:
    """The lines of a picture, both (height, width, 3), RGB: what is darker than its surroundings in all channels."""
    values = picture.astype(np.float32)
    darker = np.clip((cv2.GaussianBlur(values, (0, 0), _SIGMA) - values).min(2), 0, 255)
    lines = darker[darker > _LEAST]
    median = max(_LEAST_MEDIAN, np.median(lines)) if lines.size else _LEAST_MEDIAN
    return _in_colour((darker / median * _LEVEL).clip(0, 255).astype(np.uint8))


def _in_colour(grey: np.ndarray) -> Picture:
    return np.repeat(grey[..., None], 3, 2)


STRUCTURES: Mapping[str, Callable[[Picture], Picture]] = {"canny": canny, "lineart": lineart}
