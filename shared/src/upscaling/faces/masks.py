"""The mask with which a restored face is pasted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.faces.face import CROP_SIDE, Mask
from upscaling.faces.parsing import Part, Parts
from upscaling.images.image import Pixels

# As in facexlib: networks for faces restore clothes badly.
_LEFT_ALONE = (Part.BACKGROUND, Part.HAT, Part.NECKLACE, Part.NECK, Part.CLOTH)
_BLUR = 11.0  # pixels, sigma, applied twice, as in facexlib
_BORDER = 25  # pixels on each side of the crop that are not pasted, before the blur, as in CodeFormer
_BORDER_BLUR = 8.0  # pixels, sigma; OpenCV's value for CodeFormer's kernel of 51
_DIFFERENCE_BLUR = 5.0  # pixels, sigma
# Differences in 1/255: up to the first they come from rounding, from the second on from the network.
_UNCHANGED, _CHANGED = 0.5, 2.0


def paste_mask(parts: Parts, crop: Pixels, restored: Pixels, strength: float = 1.0) -> Mask:
    """The mask of a face, from its parts and from what the network changed.

    It has soft edges and is zero at the border of the crop. It is also zero where the network changed nothing, because
    the enlarged picture is better there than the crop. crop and restored are (512, 512, 3) of the same type; strength
    is 0–1, from the face that is not restored to the restored one.
    """
    return np.minimum(_face(parts), _inner()) * _changed(crop, restored) * np.float32(strength)


def _face(parts: Parts) -> Mask:
    """The face without neck, clothes and hat, blurred as in facexlib."""
    mask = np.isin(parts, _LEFT_ALONE, invert=True).astype(np.float32)
    return _blurred(_blurred(mask, _BLUR), _BLUR)


def _inner() -> Mask:
    """One inside, falling to zero at the border: hair that reaches the border would end in a straight line."""
    mask = np.zeros((CROP_SIDE, CROP_SIDE), np.float32)
    mask[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    mask = _blurred(mask, _BORDER_BLUR)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return mask


def _changed(crop: Pixels, restored: Pixels) -> Mask:
    """Zero where the network changed nothing, one where it made a visible change."""
    levels = np.iinfo(crop.dtype).max / 255
    difference = np.abs(restored.astype(np.float32) - crop.astype(np.float32)).max(axis=2) / levels
    smooth = _blurred(difference, _DIFFERENCE_BLUR)
    return np.clip((smooth - _UNCHANGED) / (_CHANGED - _UNCHANGED), 0, 1)


def _blurred(mask: NDArray[np.float32], sigma: float) -> Mask:
    side = 2 * round(4 * sigma) + 1
    return cv2.GaussianBlur(mask, (side, side), sigma).astype(np.float32, copy=False)
