"""Properties of a TIFF that libvips does not report, read from the first directory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping, damaged, number
from upscaling.images.metadata import refuse_large
from upscaling.images.several import animation

_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _RESOLUTIONS, _DNG_VERSION = 254, 258, 259, 262, (282, 283), 50706
_WIDTH, _COLOUR_MAP = 256, 320
_LOOKED_AT = (_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _DNG_VERSION)
_PROFILE, _HIDDEN = 34675, 65000  # the second is free for private use
# What libtiff needs for pixels: the baseline's and its compressions' tags, tiles, samples; and the profile.
_USED = {
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 292, 293, 296, 317, 320, 322, 323, 324,
    325, 332, 338, 339, 347, 529, 530, 531, 532, _PROFILE, 50674,
}  # fmt: skip
_PREVIEW = 1  # a bit of the subfile type
_PALETTE, _YCBCR, _CIELAB = 3, 6, 8  # photometric interpretations
_OLD_JPEG, _JPEG = 6, 7  # compressions
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # types that libtiff takes for one
_SHORT, _RATIONAL = 3, 5  # the types of a palette and of a resolution
_DEPTHS = (1, 2, 4, 8, 16, 32)  # bits; that 32 are too many, the decoder says
_ENTRIES_READ = 4096  # as libtiff
_RAW = b"CR"  # Canon's mark behind the header


@dataclass(frozen=True)
class _Entry:
    at: int
    tag: int
    kind: int
    count: int


@dataclass(frozen=True)
class _Layout:
    """How a directory is laid out: a count of entries, the entries, the offset of the next directory."""

    order: str
    count: str
    offset: str

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return struct.calcsize(self.offset)

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag, type, number of values, and the values or, where they are longer, their offset."""
        return 4 + 2 * self.width


def check_tiff(data: Mapping) -> None:
    """Refuses with E_FORMAT what libvips fails at or gives a wrong picture of; makes libvips read the rest.

    Raises E_DECODE for an empty directory; other damage passes: libvips reports it.
    """
    try:
        layout = _layout(data)
        entries = list(_entries(data, layout))
        trait = _misread(data, layout, entries)
        if not entries and trait is None:
            # libtiff calls it a failed allocation.
            raise damaged("its directory is empty")
        several = _has_another_page(data, layout, entries)
        if trait is None:
            _hide_unused(data, layout, entries)
    except struct.error:
        return
    if trait:
        raise UpscalingError(Code.FORMAT, f"this TIFF {trait}, which is not read; save it as RGB or grey.")
    if several:
        raise animation("TIFF")


def _layout(data: Mapping) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    small = _Layout(order, order + "H", order + "I")
    return _Layout(order, order + "Q", order + "Q") if b"+" in data[:4] else small


def _entries(data: Mapping, layout: _Layout) -> Iterator[_Entry]:
    directory = number(data, layout.width, layout.offset)
    for index in range(min(number(data, directory, layout.count), _ENTRIES_READ)):
        at = directory + struct.calcsize(layout.count) + index * layout.entry
        tag, kind = (number(data, at + field, layout.order + "H") for field in (0, 2))
        number(data, at + 4 + layout.width, layout.offset)  # is within the file
        yield _Entry(at, tag, kind, number(data, at + 4, layout.offset))


def _misread(data: Mapping, layout: _Layout, entries: list[_Entry]) -> str | None:
    """What about this TIFF makes libvips fail or give a wrong picture, in words; else None."""
    tags = _tags(data, layout, entries)
    if data[8:10] == _RAW or _DNG_VERSION in tags:
        return "is a camera raw file"
    if tags.get(_SUBFILE_TYPE, 0) & _PREVIEW:
        return "begins with a preview, as camera raw files do"
    if tags.get(_COMPRESSION) == _OLD_JPEG:
        return "holds JPEG in its outdated form"
    if tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION) != _JPEG:
        return "holds YCbCr samples outside JPEG"
    if tags.get(_BITS, 1) not in _DEPTHS:
        return f"holds samples of {tags[_BITS]} bit"
    if tags.get(_PHOTOMETRIC) == _CIELAB and tags.get(_BITS) == 8:
        return "holds Lab samples of 8 bit"
    if tags.get(_PHOTOMETRIC) == _PALETTE and not _has_colour_map(data, layout, entries, tags.get(_BITS, 1)):
        return "has a palette of 16 bit or no whole one"
    return None


def _has_colour_map(data: Mapping, layout: _Layout, entries: list[_Entry], bits: int) -> bool:
    colours = next((entry for entry in entries if entry.tag == _COLOUR_MAP), None)
    if colours is None or bits > 8 or colours.kind != _SHORT or colours.count != 3 * 2**bits:
        return False
    return number(data, colours.at + 4 + layout.width, layout.offset) + 2 * colours.count <= len(data)


def _has_another_page(data: Mapping, layout: _Layout, entries: list[_Entry]) -> bool:
    if all(entry.tag != _WIDTH for entry in entries):
        return False  # no directory, and the decoder says so
    return number(data, entries[-1].at + layout.entry, layout.offset) != 0


def _tags(data: Mapping, layout: _Layout, entries: list[_Entry]) -> dict[int, int]:
    """The first value of each of the tags that are looked at; of a tag that stands twice the first counts."""
    tags: dict[int, int] = {}
    for entry in entries:
        if entry.tag in _LOOKED_AT and entry.kind in _INTEGERS:
            of_one, values = layout.order + _INTEGERS[entry.kind], entry.at + 4 + layout.width
            if entry.count * struct.calcsize(of_one) > layout.width:
                values = number(data, values, layout.offset)
            tags.setdefault(entry.tag, number(data, values, of_one))
    return tags


def _hide_unused(data: Mapping, layout: _Layout, entries: list[_Entry]) -> None:
    """Makes entries that are not used, and resolutions that libtiff may refuse the picture for, a byte each."""
    for entry in entries:
        # Only other types hold negative numbers and NaN.
        bad_resolution = entry.tag in _RESOLUTIONS and entry.kind != _RATIONAL
        if entry.tag not in _USED or bad_resolution:
            hidden = struct.pack(f"{layout.order}HH{layout.offset[1]}", _HIDDEN, 1, 1) + bytes(layout.width)
            data[entry.at : entry.at + layout.entry] = hidden
        elif entry.tag == _PROFILE:
            refuse_large("colour profile", entry.count)
