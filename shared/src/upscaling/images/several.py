"""Detects files with several pictures by their structure: libvips reads some of them as single pictures."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.gif import frames
from upscaling.images.mapped import Mapping, number
from upscaling.images.parts import boxes, png_chunks

_CHUNKS_READ = 100_000  # a bound on what is walked through, far above any real file's
_ANIMATED_WEBP = 2  # a bit of VP8X's flags


def animation(name: str, pages: int | None = None) -> UpscalingError:
    """The error for a file of more than one picture."""
    count = f" with {pages} pictures" if pages else ""
    return UpscalingError(
        Code.FORMAT, f"this is an animated or multi-page {name}{count}; send its pages as single pictures."
    )


def refuse_several(data: Mapping, name: str) -> None:
    """Refuses an animation with E_FORMAT; damage passes, the decoder reports it."""
    test = {"PNG": _is_animated_png, "GIF": _is_animated_gif, "WebP": _is_animated_webp, "AVIF": _is_sequence}.get(name)
    try:
        several = test is not None and test(data)
    except struct.error:
        return
    if several:
        raise animation(name)


def _is_animated_png(data: Mapping) -> bool:
    # APNG: the acTL chunk stands before the first IDAT (https://www.w3.org/TR/png-3/).
    for index, chunk in enumerate(png_chunks(data)):
        if index == _CHUNKS_READ:
            raise UpscalingError(
                Code.FORMAT, f"this PNG has more than {_CHUNKS_READ:,} parts before its pixels; save it anew."
            )
        if chunk.kind in (b"acTL", b"IDAT"):
            return chunk.kind == b"acTL"
    return False


def _is_animated_gif(data: Mapping) -> bool:
    return len(frames(data)) > 1


def _is_animated_webp(data: Mapping) -> bool:
    return data[12:16] == b"VP8X" and bool(number(data, 20, "B") & _ANIMATED_WEBP)


def _is_sequence(data: Mapping) -> bool:
    length = min(number(data, 0, ">I"), 4096)
    if b"avis" in (data[at : at + 4] for at in range(8, length, 4)):
        return True
    return any(box.kind == b"moov" for box in boxes(data))
