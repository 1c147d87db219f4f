"""A picture fused from darker and brighter exposures of itself (Mertens et al. 2007)."""

from __future__ import annotations

import cv2
import numpy as np

from upscaling.diffusion.redraw import Picture

_DARKER_AND_BRIGHTER = (-0.9, -0.7, -0.45, -0.25, 0, 0.2, 0.4, 0.6, 0.8)


def fused(picture: Picture, hdr: float) -> Picture:
    """A picture (height, width, 3), RGB, with the details of its dark and bright parts brought out.

    `hdr` is 0 to 1; 0 changes nothing.
    """
    if hdr == 0:
        return picture
    exposures = [cv2.convertScaleAbs(picture, alpha=1 + hdr * each) for each in _DARKER_AND_BRIGHTER]
    return np.clip(np.rint(cv2.createMergeMertens().process(exposures) * 255), 0, 255).astype(np.uint8)
