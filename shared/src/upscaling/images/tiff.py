"""What libvips does not say about a TIFF, read from the file's first directory."""

from __future__ import annotations

import struct
from typing import BinaryIO

_TAGS = _SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_PREVIEW = 1  # a bit of the subfile type
_YCBCR, _CIELAB = 6, 8  # photometric interpretations
_JPEG = 7  # a compression
_INTEGERS = {3: "H", 4: "I"}  # SHORT and LONG
_DEPTHS = (1, 2, 4, 8, 16, 32)  # bits; that 32 are too many, the decoder says
_ENTRIES_READ = 4096  # as libtiff


def misread(file: BinaryIO) -> str | None:
    """What about this TIFF makes libvips fail or give a wrong picture, in words; else None."""
    try:
        tags = _tags(file)
    except (struct.error, OverflowError):
        return None  # libvips reports the damage
    if tags.get(_SUBFILE_TYPE, 0) & _PREVIEW:
        return "begins with a preview, as camera raw files do"
    if tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION) != _JPEG:
        return "holds YCbCr samples outside JPEG"
    if tags.get(_BITS, 1) not in _DEPTHS:
        return f"holds samples of {tags[_BITS]} bit"
    if tags.get(_PHOTOMETRIC) == _CIELAB and tags.get(_BITS) == 8:
        return "holds Lab samples of 8 bit"
    return None


def _tags(file: BinaryIO) -> dict[int, int]:
    """The first value of each of the tags above."""
    file.seek(0)
    head = file.read(4)
    order = "<" if head[:2] == b"II" else ">"
    # An entry is tag, type, number of values, and the values or, where they are longer, their offset.
    at, count, offset = (8, order + "Q", order + "Q") if b"+" in head else (4, order + "H", order + "I")
    width = struct.calcsize(offset)
    directory = _number(file, at, offset)
    tags: dict[int, int] = {}
    for index in range(min(_number(file, directory, count), _ENTRIES_READ)):
        entry = directory + struct.calcsize(count) + index * (4 + 2 * width)
        tag, kind = _number(file, entry, order + "H"), _number(file, entry + 2, order + "H")
        if tag in _TAGS and kind in _INTEGERS:
            layout, values = order + _INTEGERS[kind], entry + 4 + width
            if _number(file, entry + 4, offset) * struct.calcsize(layout) > width:
                values = _number(file, values, offset)
            tags[tag] = _number(file, values, layout)
    return tags


def _number(file: BinaryIO, at: int, layout: str) -> int:
    file.seek(at)
    return int(struct.unpack(layout, file.read(struct.calcsize(layout)))[0])
