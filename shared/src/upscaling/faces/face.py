"""What is known of a face after each step, as values.

Coordinates are in pixels from the centre of the first pixel, x to the right and y down, as in OpenCV. If a picture is
enlarged from w to W pixels, X in the large one is therefore (X + ½)·w/W − ½ in the small one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upscaling.images.image import Pixels

Transform = NDArray[np.float64]
"""(2, 3): the matrix from (x, y, 1) in a picture to (x, y) in a crop."""
Mask = NDArray[np.float32]
"""(512, 512), 0–1: the share of the restored face at each pixel of the crop."""

CROP_SIDE = 512
"""Width and height of an aligned face in pixels, the input size of all restoration networks."""


@dataclass(frozen=True)
class Face:
    """A detected face."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom, in pixels of the picture; may extend beyond it."""
    score: float
    """The confidence of the detector, 0–1."""
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
    """A face cropped from the picture, upright and at the size that networks take."""

    face: Face
    transform: Transform
    """From the picture to the crop."""
    crop: Pixels
    """(512, 512, 3), RGB, of the picture's type."""


@dataclass(frozen=True)
class RestoredFace:
    """A face ready to be pasted."""

    face: Face
    transform: Transform
    """From the picture that the face was found in to the crop."""
    restored: Pixels
    """(side, side, 3), RGB, of the picture's type; side is 512, or more if the restored face was enlarged."""
    mask: Mask
