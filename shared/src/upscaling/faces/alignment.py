"""Crops faces, upright and at 512×512 pixels, with eyes and mouth where restoration networks expect them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from math import ceil, floor, sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.faces.face import CROP_SIDE, AlignedFace, Face, Transform
from upscaling.images import Image
from upscaling.images.image import Pixels

logger = logging.getLogger(__name__)

TEMPLATE = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043],
     [313.08905, 371.15118]],
)  # fmt: skip
"""(5, 2): the landmarks of FFHQ in pictures of 512×512; the values are facexlib's (FaceRestoreHelper)."""

_MARGIN = 2  # pixels that bilinear interpolation may read beyond the crop
# In pixels of the crop. Outside the picture, its mirror image is blurred by this sigma, fully from this distance on.
_BEYOND_BLUR, _BEYOND_FADE = 20.0, 24.0


def align(image: Image, faces: Sequence[Face]) -> tuple[AlignedFace, ...]:
    """Crops the faces from the picture that they were found in; grey becomes three equal channels.

    Outside the picture, a crop shows a blurred mirror image. Faces whose landmarks coincide, or lie outside the
    picture, are left out, with a warning in the log.
    """
    return tuple(_aligned(image, faces))


def face_transform(landmarks: NDArray[np.float32]) -> Transform | None:
    """The transform from a picture to the crop: the rotation, uniform scale and shift that fit the landmarks best.

    The fit is OpenCV's least median of squares, as in facexlib. None if the landmarks do not determine a transform.
    """
    found: Any = cv2.estimateAffinePartial2D(landmarks.astype(np.float64), TEMPLATE, method=cv2.LMEDS)[0]
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found[:, :2])) < 1e-12:
        return None
    return np.asarray(found, np.float64)


def scale_of(transform: Transform) -> float:
    """Pixels of the crop per pixel of the picture."""
    return sqrt(abs(float(np.linalg.det(transform[:, :2]))))


def applied(transform: Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transforms (n, 2) points."""
    return points @ transform[:, :2].T + transform[:, 2]


def inverse(transform: Transform) -> Transform:
    """The inverse transform."""
    turned: NDArray[np.float64] = np.linalg.inv(transform[:, :2]).astype(np.float64)
    return np.column_stack([turned, -turned @ transform[:, 2]])


def _aligned(image: Image, faces: Sequence[Face]) -> Iterator[AlignedFace]:
    for face in faces:
        transform = face_transform(face.landmarks)
        crop = None if transform is None else _crop(image.pixels, transform)
        if transform is None or crop is None:
            logger.warning("The face at %s is not restored: its landmarks fit no face.", tuple(map(round, face.box)))
            continue
        yield AlignedFace(face, transform, crop)


def _crop(pixels: Pixels, transform: Transform) -> Pixels | None:
    """The crop of a face, or None if no part of it lies in the picture.

    OpenCV gets only the region around the face, because its pictures have at most 32767 columns. A face that is larger
    than the crop is first reduced by a whole number, by averaging. Otherwise, interpolation would skip pixels.
    """
    height, width = pixels.shape[:2]
    step = max(floor(1 / scale_of(transform)), 1)
    corners = np.array([[x, y] for x in (-0.5, CROP_SIDE - 0.5) for y in (-0.5, CROP_SIDE - 0.5)])
    seen = applied(inverse(transform), corners)
    margin = _MARGIN * step
    left, top = (max(floor(low) - margin, 0) for low in seen.min(axis=0))
    right, bottom = (
        min(ceil(high) + margin + 1, size) for high, size in zip(seen.max(axis=0), (width, height), strict=True)
    )
    if left >= right or top >= bottom:
        return None
    region = _reduced(pixels[top:bottom, left:right], step)
    # The reduced pixel u is the average of `step` pixels around left + u·step + (step − 1)/2.
    first = np.array([left, top]) + (step - 1) / 2
    moved = np.column_stack([transform[:, :2] * step, applied(transform, first[None])[0]])
    size = CROP_SIDE, CROP_SIDE
    crop = cv2.warpAffine(region, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    shown = cv2.warpAffine(np.ones(region.shape[:2], np.uint8), moved, size, flags=cv2.INTER_NEAREST)
    if not shown.all():
        crop = _blurred_beyond(crop, shown, 1 + scale_of(transform))
    return np.broadcast_to(crop.astype(pixels.dtype, copy=False).reshape(*size, -1), (*size, 3)).copy()


def _blurred_beyond(crop: NDArray[Any], shown: NDArray[Any], kept: float) -> NDArray[Any]:
    """The crop, blurred where `shown` is zero, so that networks take no mirrored eye for an eye of the face.

    The first `kept` pixels stay sharp, because pasting interpolates between them and the picture. FFHQ, the training
    set of the networks, is padded in the same way (Karras et al., A Style-Based Generator Architecture, 2019).
    """
    distance = cv2.distanceTransform(1 - shown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip((distance - kept) / _BEYOND_FADE, 0, 1)
    share = share.reshape(*share.shape, *[1] * (crop.ndim - 2))
    blurred = cv2.GaussianBlur(crop, (0, 0), _BEYOND_BLUR)
    return np.rint(crop + share * (blurred.astype(np.float32) - crop))


def _reduced(region: Pixels, step: int) -> Pixels:
    """Averages of step × step pixels; the last row and column are repeated to fill the last step."""
    if step == 1:
        return region
    height, width = region.shape[:2]
    padded = np.pad(region, ((0, -height % step), (0, -width % step), (0, 0)), mode="edge")
    size = padded.shape[1] // step, padded.shape[0] // step
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA).astype(region.dtype, copy=False)
