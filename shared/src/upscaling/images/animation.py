"""Detects files with several pictures by their structure, because libvips reads some of them as single pictures."""

from __future__ import annotations

import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.gif import frames
from upscaling.images.mapped import Mapping, number
from upscaling.images.parts import boxes, png_chunks

_MOST_CHUNKS = 100_000  # far more than any real file has
_ANIMATED_WEBP = 2  # a bit of VP8X's flags


def animation_error(name: str, pages: int | None = None) -> UpscalingError:
    """The error for a file with more than one picture."""
    count = f" with {pages} pictures" if pages else ""
    return UpscalingError(Code.FORMAT, f"this is an animated or multi-page {name}{count}; send a single picture.")


def refuse_animation(data: Mapping, name: str) -> None:
    """Raises E_FORMAT for an animation; the decoder reports damage."""
    test = {"PNG": _is_animated_png, "GIF": _is_animated_gif, "WebP": _is_animated_webp, "AVIF": _is_sequence}.get(name)
    try:
        several = test is not None and test(data)
    except struct.error:
        return
    if several:
        raise animation_error(name)


def _is_animated_png(data: Mapping) -> bool:
    # The acTL chunk of an APNG comes before the first IDAT chunk (https://www.w3.org/TR/png-3/).
    for index, chunk in enumerate(png_chunks(data)):
        if index == _MOST_CHUNKS:
            raise UpscalingError(
                Code.FORMAT, f"this PNG has more than {_MOST_CHUNKS:,} chunks before its pixels; save it again."
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
