"""A PNG whose header claims more pixels than its data can hold is known before it is decoded."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping, number

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
        raise UpscalingError(
            Code.DECODE,
            f"the file is damaged or truncated (it claims {width}×{height} pixels, and holds {held} bytes of them)."
            " Send a whole file.",
        )


def _compressed_bytes(data: Mapping, enough: int) -> int:
    """How many bytes the IDAT chunks hold; counting ends at `enough`."""
    at, held = 8, 0
    for _ in range(_CHUNKS_READ):
        kind = data[at + 4 : at + 8]
        if held > enough or kind in (b"", b"IEND"):
            break
        length = number(data, at, ">I")
        if kind == b"IDAT":
            held += min(length, len(data) - at)
        at += 12 + length
    return held
