"""Turns faces upright and cuts them out at 512×512 pixels, where restoration networks expect eyes and mouth."""

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
"""(5, 2): where FFHQ has the landmarks in a picture of 512×512; the values are facexlib's (FaceRestoreHelper)."""

_MARGIN = 2  # pixels that bilinear interpolation may read beyond the crop
# Pixels of the crop: beyond the picture's border its mirror image is blurred by this sigma, fully from this distance.
_BEYOND_BLUR, _BEYOND_FADE = 20.0, 24.0


def align(image: Image, faces: Sequence[Face]) -> tuple[AlignedFace, ...]:
    """The faces cut out of the picture that they were found in; grey becomes three equal channels.

    Beyond the picture's border the crop shows a blur of its mirror image. Faces that give no transform, because their
    landmarks coincide or lie outside the picture, are left out, with a line in the log.
    """
    return tuple(_aligned(image, faces))


def face_transform(landmarks: NDArray[np.float32]) -> Transform | None:
    """From a picture to the crop: the rotation, uniform scale and shift that bring most landmarks to their places.

    The fit is OpenCV's least median of squares, as facexlib's. None where the landmarks fix none.
    """
    found: Any = cv2.estimateAffinePartial2D(landmarks.astype(np.float64), TEMPLATE, method=cv2.LMEDS)[0]
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found[:, :2])) < 1e-12:
        return None
    return np.asarray(found, np.float64)


def scale_of(transform: Transform) -> float:
    """Pixels of the crop per pixel of the picture."""
    return sqrt(abs(float(np.linalg.det(transform[:, :2]))))


def applied(transform: Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) points through a transform."""
    return points @ transform[:, :2].T + transform[:, 2]


def inverse(transform: Transform) -> Transform:
    """The way back."""
    turned: NDArray[np.float64] = np.linalg.inv(transform[:, :2]).astype(np.float64)
    return np.column_stack([turned, -turned @ transform[:, 2]])


def _aligned(image: Image, faces: Sequence[Face]) -> Iterator[AlignedFace]:
    for face in faces:
        transform = face_transform(face.landmarks)
        crop = None if transform is None else _crop(image.pixels, transform)
        if transform is None or crop is None:
            logger.warning("A face at %s is left as it is: its landmarks fit no face.", tuple(map(round, face.box)))
            continue
        yield AlignedFace(face, transform, crop)


def _crop(pixels: Pixels, transform: Transform) -> Pixels | None:
    """The face, or None where nothing of it lies in the picture.

    Only the part of the picture around the face is given to OpenCV, whose pictures have at most 32767 columns. A face
    that is larger than the crop is first reduced by whole numbers, by averaging: else interpolation skips pixels.
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
    """The crop, blurred where `shown` is zero: there networks would take a mirrored eye for one of the face.

    The first `kept` pixels stay, since pasting interpolates between them and those of the picture. FFHQ, which the
    networks were trained on, is filled so too (Karras et al., A Style-Based Generator Architecture, 2019).
    """
    distance = cv2.distanceTransform(1 - shown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip((distance - kept) / _BEYOND_FADE, 0, 1)
    share = share.reshape(*share.shape, *[1] * (crop.ndim - 2))
    blurred = cv2.GaussianBlur(crop, (0, 0), _BEYOND_BLUR)
    return np.rint(crop + share * (blurred.astype(np.float32) - crop))


def _reduced(region: Pixels, step: int) -> Pixels:
    """Averages of step × step pixels; the last row and column are repeated where some are missing."""
    if step == 1:
        return region
    height, width = region.shape[:2]
    padded = np.pad(region, ((0, -height % step), (0, -width % step), (0, 0)), mode="edge")
    size = padded.shape[1] // step, padded.shape[0] // step
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA).astype(region.dtype, copy=False)
