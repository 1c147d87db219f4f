"""Checks that a GIF has one frame, and that the frame fills the canvas."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.limits import Limits
from upscaling.images.mapped import Mapping, number

# The first byte of a block gives its kind (GIF89a, sections 20 and 23 to 26).
_FRAME, _EXTENSION = 0x2C, 0x21


def frames(data: Mapping) -> list[tuple[int, ...]]:
    """Left, top, width and height of the first frames, at most two; raises struct.error if the file ends too early."""
    found: list[tuple[int, ...]] = []
    at = 13 + _colours(number(data, 10, "B"))
    while len(found) < 2 and (kind := number(data, at, "B")) in (_EXTENSION, _FRAME):
        if kind == _FRAME:
            found.append(struct.unpack("<4H", data[at + 1 : at + 9]))
            at += 11 + _colours(number(data, at + 9, "B"))
        else:
            at += 2
        while length := number(data, at, "B"):
            at += 1 + length
        at += 1
    return found


def check_canvas(data: Mapping, limits: Limits) -> None:
    """Raises E_TOO_LARGE for a canvas above the limit, and E_FORMAT for a canvas that the frame does not fill.

    libvips guesses the size of some of these pictures, and leaves the rest of the canvas black.
    """
    try:
        width, height = number(data, 6, "<H"), number(data, 8, "<H")
        limits.check_input(width, height)
        found = frames(data)
    except struct.error:
        return  # the decoder reports the damage
    if found and found[0] != (0, 0, width, height):
        left, top, *size = found[0]
        raise UpscalingError(
            Code.FORMAT,
            f"this GIF has a canvas of {width}×{height}, and its picture of {size[0]}×{size[1]} at {left}, {top} does"
            " not fill it, which is not supported; save it as PNG.",
        )


def _colours(flags: int) -> int:
    """The size of a colour table in bytes, from the flags before it."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
