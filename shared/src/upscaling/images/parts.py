"""The parts that files are made of: PNG's chunks, and the boxes of AVIF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from upscaling.images.mapped import Mapping, number

_BOXES_READ = 100_000  # a bound on what is walked through, far above any real file's


class Chunk(NamedTuple):
    """A chunk of a PNG (https://www.w3.org/TR/png-3/)."""

    kind: bytes
    at: int
    """Where its content begins."""
    length: int
    """Bytes of content that it announces."""


class Box(NamedTuple):
    """A box at the top of an AVIF (ISO/IEC 14496-12)."""

    kind: bytes
    start: int
    end: int


def png_chunks(data: Mapping) -> Iterator[Chunk]:
    """Yields the chunks of a PNG in their order, to the end of the file."""
    at = 8
    while kind := data[at + 4 : at + 8]:
        length = number(data, at, ">I")
        yield Chunk(kind, at + 8, length)
        at += 12 + length


def boxes(data: Mapping) -> Iterator[Box]:
    """Yields the boxes up to one whose length is not given. Raises struct.error at the end of the file."""
    at = 0
    for _ in range(_BOXES_READ):
        length = number(data, at, ">I")
        yield Box(data[at + 4 : at + 8], at, at + length)
        if length < 8:
            return
        at += length
