"""The pictures that are enlarged: photographs in the public domain, of any size asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CAT = Path(__file__).parent.parent / "samples" / "cat.jpg"
_PHOTO = "astronaut.png"  # 512×512, by NASA; ships inside scikit-image


def photo(width: int, height: int) -> NDArray[np.uint8]:
    """A photograph in BGR: cut to its middle where it is larger, resampled where it is smaller."""
    picture = _astronaut()
    factor = max(width / picture.shape[1], height / picture.shape[0])
    if factor > 1:
        size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def write_photo(path: Path, width: int, height: int) -> Path:
    """The photograph as a file of the kind that the name says."""
    if not cv2.imwrite(str(path), photo(width, height)):
        raise OSError(f"OpenCV could not write {path}")
    return path


def _astronaut() -> NDArray[np.uint8]:
    # Found, not imported: scikit-image's import takes seconds.
    package = find_spec("skimage")
    assert package is not None and package.origin is not None
    return cv2.imread(str(Path(package.origin).parent / "data" / _PHOTO), cv2.IMREAD_COLOR).astype(np.uint8)  # pyright: ignore[reportOptionalMemberAccess]
