"""What libjpeg warns of in a JPEG: which of it means that pixels are missing."""

from __future__ import annotations

import re
import struct

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping, number

_SCAN = 0xDA  # the marker of the first compressed data
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

# libjpeg's own words; bytes too many before the end of the file (0xd9) harm nothing.
_DAMAGE = re.compile(
    r"(premature end|bad huffman code|bad arithmetic code|found marker|extraneous bytes before marker 0x(?!d9))[^\n]*",
    re.IGNORECASE,
)


def fill_gaps(data: Mapping) -> None:
    """Makes stray bytes between a JPEG's headers the fill bytes that its standard allows there.

    libjpeg tells the first of its warnings only, and the one for them would hide all others.
    """
    at = 2
    try:
        while (marker := data.find(b"\xff", at)) >= 0:
            data[at:marker] = b"\xff" * (marker - at)
            while (kind := number(data, marker, "B")) == 0xFF:
                marker += 1
            if kind == 0:
                data[marker : marker + 1] = b"\xff"
                at = marker
            elif kind == _SCAN:
                return
            else:
                at = marker + 1 + (0 if kind in _WITHOUT_LENGTH else number(data, marker + 1, ">H"))
    except struct.error:
        return  # the decoder reports the damage


def refuse_missing_pixels(warnings: str) -> None:
    """Raises E_DECODE where a warning of libjpeg means damaged pixels."""
    if found := _DAMAGE.search(warnings):
        raise UpscalingError(Code.DECODE, f"the file is damaged or truncated ({found[0]}). Send a whole file.")
