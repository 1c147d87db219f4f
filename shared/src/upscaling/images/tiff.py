"""Reads properties of a TIFF that libvips does not report from its first directory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from upscaling.errors import Code, UpscalingError
from upscaling.images.animation import animation_error
from upscaling.images.mapped import Mapping, damaged, number
from upscaling.images.metadata import refuse_large

_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _RESOLUTIONS, _DNG_VERSION = 254, 258, 259, 262, (282, 283), 50706
_WIDTH, _COLOUR_MAP = 256, 320
_TAGS_READ = (_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _DNG_VERSION)
_PROFILE, _HIDDEN = 34675, 65000  # 65000 is for private use
# Tags that libtiff needs to decode pixels (baseline, compression, tiles, sample format), and the profile.
_USED = {
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 292, 293, 296, 317, 320, 322, 323, 324,
    325, 332, 338, 339, 347, 529, 530, 531, 532, _PROFILE, 50674,
}  # fmt: skip
_PREVIEW = 1  # a bit of the subfile type
_PALETTE, _YCBCR, _CIELAB = 3, 6, 8  # photometric interpretations
_OLD_JPEG, _JPEG = 6, 7  # compressions
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # types that libtiff reads as integers
_SHORT, _RATIONAL = 3, 5  # the types of a palette and of a resolution
_DEPTHS = (1, 2, 4, 8, 16, 32)  # bits; `decode` refuses 32
_MOST_ENTRIES = 4096  # as in libtiff
_RAW = b"CR"  # follows the header in Canon's raw files


@dataclass(frozen=True)
class _Entry:
    at: int
    tag: int
    kind: int
    count: int


@dataclass(frozen=True)
class _Layout:
    """The number formats of a directory: the count of entries, the entries, the offset of the next directory."""

    order: str
    count: str
    offset: str

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return struct.calcsize(self.offset)

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag, type, number of values, and the values or, if they do not fit, their offset."""
        return 4 + 2 * self.width


def check_tiff(data: Mapping) -> None:
    """Hides tags that are not used, and refuses pictures that libvips cannot read or reads wrongly with E_FORMAT.

    Raises E_DECODE for an empty directory. libvips reports other damage.
    """
    try:
        layout = _layout(data)
        entries = list(_entries(data, layout))
        trait = _misread(data, layout, entries)
        if not entries and trait is None:
            # libtiff would report a failed allocation.
            raise damaged("its directory is empty")
        several = _has_another_page(data, layout, entries)
        if trait is None:
            _hide_unused(data, layout, entries)
    except struct.error:
        return
    if trait:
        raise UpscalingError(Code.FORMAT, f"this TIFF {trait}, which is not supported; save it as RGB or grey.")
    if several:
        raise animation_error("TIFF")


def _layout(data: Mapping) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    small = _Layout(order, order + "H", order + "I")
    return _Layout(order, order + "Q", order + "Q") if b"+" in data[:4] else small


def _entries(data: Mapping, layout: _Layout) -> Iterator[_Entry]:
    directory = number(data, layout.width, layout.offset)
    for index in range(min(number(data, directory, layout.count), _MOST_ENTRIES)):
        at = directory + struct.calcsize(layout.count) + index * layout.entry
        tag, kind = (number(data, at + field, layout.order + "H") for field in (0, 2))
        number(data, at + 4 + layout.width, layout.offset)  # checks that the entry is within the file
        yield _Entry(at, tag, kind, number(data, at + 4, layout.offset))


def _misread(data: Mapping, layout: _Layout, entries: list[_Entry]) -> str | None:
    """The property of this TIFF that libvips cannot read or reads wrongly, in words; None if there is none."""
    tags = _tags(data, layout, entries)
    if data[8:10] == _RAW or _DNG_VERSION in tags:
        return "is a camera raw file"
    if tags.get(_SUBFILE_TYPE, 0) & _PREVIEW:
        return "begins with a preview, as camera raw files do"
    if tags.get(_COMPRESSION) == _OLD_JPEG:
        return "uses the outdated form of JPEG compression"
    if tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION) != _JPEG:
        return "has YCbCr samples without JPEG compression"
    if tags.get(_BITS, 1) not in _DEPTHS:
        return f"has samples of {tags[_BITS]} bit"
    if tags.get(_PHOTOMETRIC) == _CIELAB and tags.get(_BITS) == 8:
        return "has Lab samples of 8 bit"
    if tags.get(_PHOTOMETRIC) == _PALETTE and not _has_colour_map(data, layout, entries, tags.get(_BITS, 1)):
        return "has a palette of 16 bit or an incomplete one"
    return None


def _has_colour_map(data: Mapping, layout: _Layout, entries: list[_Entry], bits: int) -> bool:
    colours = next((entry for entry in entries if entry.tag == _COLOUR_MAP), None)
    if colours is None or bits > 8 or colours.kind != _SHORT or colours.count != 3 * 2**bits:
        return False
    return number(data, colours.at + 4 + layout.width, layout.offset) + 2 * colours.count <= len(data)


def _has_another_page(data: Mapping, layout: _Layout, entries: list[_Entry]) -> bool:
    if all(entry.tag != _WIDTH for entry in entries):
        return False  # not a directory; the decoder reports it
    return number(data, entries[-1].at + layout.entry, layout.offset) != 0


def _tags(data: Mapping, layout: _Layout, entries: list[_Entry]) -> dict[int, int]:
    """The first value of each tag in _TAGS_READ; if a tag occurs twice, the first one counts."""
    tags: dict[int, int] = {}
    for entry in entries:
        if entry.tag in _TAGS_READ and entry.kind in _INTEGERS:
            one_value, values = layout.order + _INTEGERS[entry.kind], entry.at + 4 + layout.width
            if entry.count * struct.calcsize(one_value) > layout.width:
                values = number(data, values, layout.offset)
            tags.setdefault(entry.tag, number(data, values, one_value))
    return tags


def _hide_unused(data: Mapping, layout: _Layout, entries: list[_Entry]) -> None:
    """Replaces unused entries, and resolutions that libtiff may refuse, by a private tag of one byte."""
    for entry in entries:
        # A rational cannot be negative or NaN; the other types can.
        bad_resolution = entry.tag in _RESOLUTIONS and entry.kind != _RATIONAL
        if entry.tag not in _USED or bad_resolution:
            hidden = struct.pack(f"{layout.order}HH{layout.offset[1]}", _HIDDEN, 1, 1) + bytes(layout.width)
            data[entry.at : entry.at + layout.entry] = hidden
        elif entry.tag == _PROFILE:
            refuse_large("colour profile", entry.count)
