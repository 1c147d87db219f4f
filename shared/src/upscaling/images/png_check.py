"""Detects PNGs with more pixels in their header than their data can contain, before they are decoded."""

from __future__ import annotations

import struct
from itertools import islice

from upscaling.images.mapped import Mapping, damaged
from upscaling.images.parts import png_chunks

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
_HIGHEST_RATIO = 1032  # of compression with deflate (zlib.net/zlib_tech.html)
_MOST_CHUNKS = 1_000_000  # far more than any real file has


def check_png(data: Mapping) -> None:
    """Raises E_DECODE if the data is too short for the size in the header; the decoder reports other damage."""
    try:
        width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
        claimed = height * (width * bits * _CHANNELS.get(colours, 0) // 8)
        held = _compressed_bytes(data, enough=claimed // _HIGHEST_RATIO)
    except struct.error:
        return
    if held * _HIGHEST_RATIO < claimed:
        raise damaged(f"it claims {width}×{height} pixels and has only {held} bytes of data")


def _compressed_bytes(data: Mapping, enough: int) -> int:
    """Bytes in the IDAT chunks; counting stops above `enough`."""
    held = 0
    for chunk in islice(png_chunks(data), _MOST_CHUNKS):
        if held > enough or chunk.kind == b"IEND":
            break
        if chunk.kind == b"IDAT":
            held += min(chunk.length, len(data) - chunk.at)
    return held
