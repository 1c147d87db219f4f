"""The chunks of a PNG and the boxes of an AVIF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from upscaling.images.mapped import Mapping, number

_MOST_BOXES = 100_000  # far more than any real file has


class Chunk(NamedTuple):
    """A chunk of a PNG (https://www.w3.org/TR/png-3/)."""

    kind: bytes
    at: int
    """The offset of its content."""
    length: int
    """Bytes of its content, as the chunk says; the file may be shorter."""


class Box(NamedTuple):
    """A box at the top level of an AVIF (ISO/IEC 14496-12)."""

    kind: bytes
    start: int
    end: int


def png_chunks(data: Mapping) -> Iterator[Chunk]:
    """Yields the chunks of a PNG in order, up to the end of the file."""
    at = 8
    while kind := data[at + 4 : at + 8]:
        length = number(data, at, ">I")
        yield Chunk(kind, at + 8, length)
        at += 12 + length


def boxes(data: Mapping) -> Iterator[Box]:
    """Yields the boxes up to the first one without a length; raises struct.error at the end of the file."""
    at = 0
    for _ in range(_MOST_BOXES):
        length = number(data, at, ">I")
        yield Box(data[at + 4 : at + 8], at, at + length)
        if length < 8:
            return
        at += length
