"""What is known of a face, step by step, as values.

All coordinates count pixels from the centre of the first one, x to the right and y down, as OpenCV does. A picture
enlarged from w to W pixels therefore has at X what the smaller one has at (X + ½)·w/W − ½.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import Pixels

Transform = NDArray[np.float64]
"""(2, 3): takes (x, y, 1) of a picture to (x, y) of a crop."""
Mask = NDArray[np.float32]
"""(512, 512), 0–1: how much of the restored face is seen at each pixel of the crop."""

CROP_SIDE = 512
"""Width and height of an aligned face, in pixels: what all restoration networks take."""


@dataclass(frozen=True)
class Face:
    """A face as it was detected."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom, in pixels of the picture; may reach beyond it."""
    score: float
    """How sure the detector is, 0–1."""
    landmarks: NDArray[np.float32]
    """(5, 2): x and y of the left eye, right eye, nose and the left and right corners of the mouth, as seen."""

    @property
    def size(self) -> float:
        """The longer side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class AlignedFace:
    """A face turned upright, cut out and brought to the size that networks take."""

    face: Face
    transform: Transform
    """From the picture to the crop."""
    crop: Pixels
    """(512, 512, 3), red, green, blue, of the picture's type."""


@dataclass(frozen=True)
class RestoredFace:
    """A face ready to be pasted."""

    face: Face
    transform: Transform
    """From the picture, before it was enlarged, to the crop."""
    restored: Pixels
    """(side, side, 3), of the picture's type; side is 512, or more where the restored face was enlarged."""
    mask: Mask
