"""Checks that a GIF has one frame, which fills its canvas."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.limits import Limits
from upscaling.images.mapped import Mapping, number

# GIF89a, sections 20 and 23 to 26: what a block is says its first byte.
_FRAME, _EXTENSION = 0x2C, 0x21


def frames(data: Mapping) -> list[tuple[int, ...]]:
    """Left, top, width and height of its frames, two at most. Raises struct.error where the file ends before."""
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
    """Refuses a canvas above the limit with E_TOO_LARGE, one that its frame does not fill with E_FORMAT.

    libvips guesses the size of some of those, and leaves black what the frame does not cover.
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
            f"this GIF's canvas is {width}×{height} and its picture, {size[0]}×{size[1]} at {left}, {top}, does not"
            " fill it, which is not read; save it as PNG.",
        )


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
