"""Hides unused metadata from libvips, which otherwise reads all of it before the first pixel."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import MEGABYTE, Mapping, number

LARGEST = 8 * MEGABYTE
"""The largest colour profile or EXIF that is read, in bytes; real pictures have less."""

_XMP_IN_WEBP = 4  # a bit of VP8X's flags
_MOST_CHUNKS = 100_000  # far more than any real file has


def refuse_large(what: str, size: int) -> None:
    """Raises E_TOO_LARGE for metadata above LARGEST bytes; `what` names it in the message."""
    if size > LARGEST:
        raise UpscalingError(
            Code.TOO_LARGE,
            f"the {what} of the picture is {size / MEGABYTE:.1f} MB; the limit is {LARGEST // MEGABYTE} MB. Remove it.",
        )


def hide_in_webp(data: Mapping) -> None:
    """Hides the XMP of a WebP; raises E_TOO_LARGE for a large profile or EXIF."""
    if data[12:16] != b"VP8X" or len(data) < 30:
        return
    data[20] &= ~_XMP_IN_WEBP & 0xFF
    at = 12
    try:
        for _ in range(_MOST_CHUNKS):
            kind, size = data[at : at + 4], number(data, at + 4, "<I")
            if kind in (b"ICCP", b"EXIF"):
                refuse_large("colour profile" if kind == b"ICCP" else "EXIF", size)
            at += 8 + size + size % 2
    except struct.error:
        return  # the end of the file
