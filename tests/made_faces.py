"""Faces at places that tests choose."""

from __future__ import annotations

import numpy as np

from upscaling.faces.alignment import TEMPLATE
from upscaling.faces.face import CROP_SIDE, Face


def face_at(centre: tuple[float, float], size: float, angle: float = 0.0) -> Face:
    """A face whose landmarks fit the template exactly, with a crop of `size` pixels around a centre."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size / CROP_SIDE
    landmarks = (TEMPLATE - (CROP_SIDE - 1) / 2) @ turn.T + centre
    x, y = centre
    half = size / 2
    return Face((x - half, y - half, x + half, y + half), 0.99, landmarks.astype(np.float32))
