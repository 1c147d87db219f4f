"""Hides unused metadata from libvips, which would read all of it before the first pixel."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import MEGABYTE, Mapping, number

MOST = 8 * MEGABYTE
"""Bytes of a colour profile or of EXIF that are read: above those of any real picture."""

_XMP_IN_WEBP = 4  # a bit of VP8X's flags
_CHUNKS_READ = 100_000


def refuse_large(what: str, size: int) -> None:
    """Refuses a used part above MOST bytes with E_TOO_LARGE."""
    if size > MOST:
        raise UpscalingError(
            Code.TOO_LARGE,
            f"the picture's {what} is {size / MEGABYTE:.1f} MB; at most {MOST // MEGABYTE} MB are read. Remove it.",
        )


def hide_in_webp(data: Mapping) -> None:
    """Takes XMP out of what a WebP announces; refuses a large profile or EXIF with E_TOO_LARGE."""
    if data[12:16] != b"VP8X" or len(data) < 30:
        return
    data[20] &= ~_XMP_IN_WEBP & 0xFF
    at = 12
    try:
        for _ in range(_CHUNKS_READ):
            kind, size = data[at : at + 4], number(data, at + 4, "<I")
            if kind in (b"ICCP", b"EXIF"):
                refuse_large("colour profile" if kind == b"ICCP" else "EXIF", size)
            at += 8 + size + size % 2
    except struct.error:
        return  # the end
