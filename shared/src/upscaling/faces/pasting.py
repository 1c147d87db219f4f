"""Pastes restored faces onto the rows of the enlarged picture as they are computed.

Coordinates are those of `face`. Each pixel is computed from its own position only, so the result does not depend on the
height of the bands. Larger faces are pasted first, so that a smaller face in front of a larger one is seen whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaling.faces.alignment import applied, inverse, scale_of
from upscaling.faces.face import CROP_SIDE, Mask, RestoredFace, Transform
from upscaling.images.grey import LUMA
from upscaling.images.image import ROWS_AT_A_TIME, Pixels, Size
from upscaling.images.rows import Rows

_DENSITY = 2  # pixels of a face per pixel of the enlarged picture along each axis, at most


def paste(rows: Rows, faces: Sequence[RestoredFace], source: Size, target: Size) -> Rows:
    """Yields the rows of the enlarged picture with the faces pasted onto them.

    rows are bands of any height, from the top to the bottom, of colour and of alpha; alpha is not changed. source is
    the size of the picture that the faces were found in, target the size of the enlarged picture. On grey rows, the
    luma of the faces is pasted. Bands are copied before they are changed.
    """
    placed = [_placed(face, source, target) for face in sorted(faces, key=_order)]
    top = 0
    for colour, alpha in rows:
        bottom = top + len(colour)
        met = [face for face in placed if face.top < bottom and face.bottom > top]
        if met:
            colour = colour.copy()
            for start in range(0, len(colour), ROWS_AT_A_TIME):
                for face in met:
                    _blend(colour[start : start + ROWS_AT_A_TIME], top + start, face)
        placed = [face for face in placed if face.bottom > bottom]
        yield colour, alpha
        top = bottom
        del colour, alpha  # this frame stays alive while the next band is made


@dataclass(frozen=True)
class _Placed:
    """A face and its place in the enlarged picture."""

    transform: Transform
    """From the enlarged picture to `pixels`."""
    pixels: Pixels
    mask: Mask
    """Of the same size as `pixels`."""
    left: int
    top: int
    right: int
    bottom: int


def _order(face: RestoredFace) -> tuple[float, tuple[float, ...]]:
    """Larger faces first; faces of the same size always in the same order."""
    return scale_of(face.transform), face.face.box


def _placed(face: RestoredFace, source: Size, target: Size) -> _Placed:
    enlarged = np.array([target.width / source.width, target.height / source.height])
    # From the enlarged picture to the small one, and from there to the crop.
    shift = (1 / enlarged - 1) / 2
    transform = np.column_stack([face.transform[:, :2] / enlarged, applied(face.transform, shift[None])[0]])
    # A face with many more pixels than its place is reduced, because interpolation would skip pixels. It keeps two
    # pixels per pixel of the picture, because interpolation from fewer is soft.
    wanted = min(len(face.restored), max(ceil(_DENSITY * CROP_SIDE / scale_of(transform)), 2))
    restored, mask = _resized(face.restored, wanted), _resized(face.mask, wanted)
    ratio = wanted / CROP_SIDE
    transform = transform * ratio
    transform[:, 2] += (ratio - 1) / 2
    corners = np.array([[x, y] for x in (0.0, wanted - 1) for y in (0.0, wanted - 1)])
    reached = applied(inverse(transform), corners)
    left, top = (max(floor(low), 0) for low in reached.min(axis=0))
    right, bottom = (
        min(ceil(high) + 1, size) for high, size in zip(reached.max(axis=0), (target.width, target.height), strict=True)
    )
    return _Placed(transform, restored, mask, left, top, right, bottom)


def _resized(picture: NDArray[Any], side: int) -> NDArray[Any]:
    if len(picture) == side:
        return picture
    way = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LINEAR
    return cv2.resize(picture, (side, side), interpolation=way)


def _blend(rows: Pixels, top: int, face: _Placed) -> None:
    """Pastes a face onto rows, (rows, width, channels), which start at row `top` of the picture."""
    first, end = max(face.top, top), min(face.bottom, top + len(rows))
    if first >= end or face.left >= face.right:
        return
    (a, b, c), (d, e, f) = face.transform
    columns, lines = np.arange(face.left, face.right)[None], np.arange(first, end)[:, None]
    x, y = a * columns + (b * lines + c), d * columns + (e * lines + f)
    last = len(face.mask) - 1
    line, column = np.nonzero((x >= 0) & (x <= last) & (y >= 0) & (y <= last))
    x, y = x[line, column], y[line, column]
    weight = _interpolated(face.mask[..., None], x, y)
    seen = weight[:, 0] > 0
    line, column, weight = line[seen] + first - top, column[seen] + face.left, weight[seen]
    restored = _interpolated(face.pixels, x[seen], y[seen])
    if rows.shape[2] == 1:
        # Not a matrix product, whose sums depend on the number of rows.
        restored = sum(restored[:, [channel]] * np.float32(share) for channel, share in enumerate(LUMA))
    behind = rows[line, column].astype(np.float32)
    rows[line, column] = np.rint(behind + weight * (restored - behind)).astype(rows.dtype)


def _interpolated(picture: Pixels | Mask, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """Values of a picture, (side, side, channels), between its pixels: (n, channels), float32."""
    side = len(picture)
    left, upper = np.minimum(x.astype(np.int64), side - 2), np.minimum(y.astype(np.int64), side - 2)
    across = (x - left)[:, None].astype(np.float32)
    down = (y - upper)[:, None].astype(np.float32)
    flat: NDArray[Any] = picture.reshape(side * side, -1)
    corner = upper * side + left

    def at(offset: int) -> NDArray[np.float32]:
        return flat[corner + offset].astype(np.float32)

    above = at(0) + across * (at(1) - at(0))
    below = at(side) + across * (at(side + 1) - at(side))
    return above + down * (below - above)
