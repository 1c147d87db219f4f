"""Pictures block by block, for what depends on the pixels around a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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


def blocks(height: int, width: int, side: int, halo: int = 0) -> Iterator[Block]:
    """Blocks of at most `side` rows and columns that cover a picture, row by row."""
    for rows in _spans(height, side, halo):
        for columns in _spans(width, side, halo):
            place, around, own = zip(rows, columns, strict=True)
            yield Block(place, around, own)


def _spans(length: int, side: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, side):
        begin, end = max(start - halo, 0), min(start + side, length)
        yield slice(start, end), slice(begin, min(end + halo, length)), slice(start - begin, end - begin)
