"""Pictures block by block, for what depends on the pixels around a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Part = tuple[slice, slice]
"""Rows and columns."""


class Block(NamedTuple):
    """A block of a picture, and what is around it."""

    place: Part
    """The block in the picture."""
    around: Part
    """The same with its halo, as far as the picture goes."""
    own: Part
    """The block within `around`."""


def blocks(picture: NDArray[np.uint8], side: int, halo: int = 0) -> Iterator[Block]:
    """Blocks of at most `side` rows and columns that cover a picture, (height, width, …), row by row."""
    for place_rows, around_rows, own_rows in _spans(picture.shape[0], side, halo):
        for place, around, own in _spans(picture.shape[1], side, halo):
            yield Block((place_rows, place), (around_rows, around), (own_rows, own))


def _spans(length: int, side: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, side):
        begin, end = max(start - halo, 0), min(start + side, length)
        yield slice(start, end), slice(begin, min(end + halo, length)), slice(start - begin, end - begin)
