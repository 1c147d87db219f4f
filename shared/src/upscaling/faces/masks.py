"""How much of a restored face is seen at each pixel when it is pasted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.faces.face import CROP_SIDE, Mask
from upscaling.faces.parsing import Part, Parts
from upscaling.images.image import Pixels

# What facexlib leaves as it is: clothes look wrong where networks for faces paint them.
_LEFT_ALONE = (Part.BACKGROUND, Part.HAT, Part.NECKLACE, Part.NECK, Part.CLOTH)
_BLUR = 11.0  # pixels, sigma, applied twice: as facexlib
_BORDER = 25  # pixels of the crop that are left as they are, on each side, before the blur; as CodeFormer
_BORDER_BLUR = 8.0  # pixels, sigma; the values of OpenCV for CodeFormer's kernel of 51
_DIFFERENCE_BLUR = 5.0  # pixels, sigma
# Differences in 1/255: below the first is what rounding does, from the second on is what a network does.
_UNCHANGED, _CHANGED = 0.5, 2.0


def paste_mask(parts: Parts, crop: Pixels, restored: Pixels, strength: float = 1.0) -> Mask:
    """The mask of a face from its parts and what the network made of it.

    It is soft, is zero at the border of the crop, and is zero where the network changed nothing: there the enlarged
    picture is better than the crop. crop and restored are (512, 512, 3) of one type; strength is 0–1 and
    blends with the face that is not restored.
    """
    return np.minimum(_face(parts), _inner()) * _changed(crop, restored) * np.float32(strength)


def _face(parts: Parts) -> Mask:
    """The face without neck, clothes and hat, blurred; by how facexlib does it."""
    mask = np.isin(parts, _LEFT_ALONE, invert=True).astype(np.float32)
    return _blurred(_blurred(mask, _BLUR), _BLUR)


def _inner() -> Mask:
    """One in the middle, falling to zero at the border: hair often reaches it, and would be cut in a line."""
    mask = np.zeros((CROP_SIDE, CROP_SIDE), np.float32)
    mask[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    mask = _blurred(mask, _BORDER_BLUR)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return mask


def _changed(crop: Pixels, restored: Pixels) -> Mask:
    """Zero where a network gave back what it got, one where it did anything that can be seen."""
    levels = np.iinfo(crop.dtype).max / 255
    difference = np.abs(restored.astype(np.float32) - crop.astype(np.float32)).max(axis=2) / levels
    smooth = _blurred(difference, _DIFFERENCE_BLUR)
    return np.clip((smooth - _UNCHANGED) / (_CHANGED - _UNCHANGED), 0, 1)


def _blurred(mask: NDArray[np.float32], sigma: float) -> Mask:
    side = 2 * round(4 * sigma) + 1
    return cv2.GaussianBlur(mask, (side, side), sigma).astype(np.float32, copy=False)
