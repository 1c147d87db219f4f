"""Detects PNGs whose header claims more pixels than their data can hold, before they are decoded."""

from __future__ import annotations

import struct
from itertools import islice

from upscaling.images.mapped import Mapping, damaged
from upscaling.images.parts import png_chunks

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
_MOST_EXPANDED = 1032  # bytes that deflate makes of one, at most (zlib.net/zlib_tech.html)
_CHUNKS_READ = 1_000_000  # a bound on what is walked through, far above any real file's


def refuse_claims(data: Mapping) -> None:
    """Raises E_DECODE where the pixels cannot be in the file; other damage the decoder reports."""
    try:
        width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
        claimed = height * (width * bits * _CHANNELS.get(colours, 0) // 8)
        held = _compressed_bytes(data, enough=claimed // _MOST_EXPANDED)
    except struct.error:
        return
    if held * _MOST_EXPANDED < claimed:
        raise damaged(f"it claims {width}×{height} pixels, and holds {held} bytes of them")


def _compressed_bytes(data: Mapping, enough: int) -> int:
    """How many bytes the IDAT chunks hold; counting ends at `enough`."""
    held = 0
    for chunk in islice(png_chunks(data), _CHUNKS_READ):
        if held > enough or chunk.kind == b"IEND":
            break
        if chunk.kind == b"IDAT":
            held += min(chunk.length, len(data) - chunk.at)
    return held
