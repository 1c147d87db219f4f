"""Detects JPEGs with missing pixels, for which libjpeg gives only warnings or nothing."""

from __future__ import annotations

import re
import struct

from upscaling.images.mapped import Mapping, damaged, number

# The second bytes of markers (ITU-T T.81, table B.1).
_END, _SCAN, _JFIF = 0xD9, 0xDA, 0xE0
_PROGRESSIVE, _SEQUENTIAL = {0xC2, 0xCA}, {0xC0, 0xC1, 0xC9}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed zeros and restart markers belong to the scan
_ALL_COEFFICIENTS = b"\x00\x3f\x00"
_MOST_SEGMENTS = 10_000  # far more than any real file has

# Warnings of libjpeg that mean damaged pixels. Extra bytes before the end of the image (0xd9) are harmless.
_DAMAGE = re.compile(
    r"(premature end|bad huffman code|bad arithmetic code|found marker|extraneous bytes before marker 0x(?!d9))[^\n]*",
    re.IGNORECASE,
)


def repair_harmless_errors(data: Mapping) -> None:
    """Repairs errors that libjpeg only warns about: it reports its first warning only, which must be of real damage.

    Stray bytes between segments become fill bytes, which the standard allows there. The revision of JFIF and the
    parameters of sequential scans get the values that libjpeg assumes. The repairs change the mapping, not the file.
    Raises E_DECODE if scans are missing, which libjpeg does not report, and for more than 10,000 segments.
    """
    scans, at = _Scans(), 2
    try:
        for _ in range(_MOST_SEGMENTS):
            kind, body = _next_marker(data, at)
            if kind is None or kind == _END:
                break
            if kind in _WITHOUT_LENGTH:
                at = body
                continue
            at = body + number(data, body, ">H")
            segment = data[body + 2 : at]
            if kind == _JFIF and segment.startswith(b"JFIF\0") and len(segment) > 5:
                data[body + 7] = 1
            elif kind in _PROGRESSIVE | _SEQUENTIAL:
                scans = _Scans(kind, segment)
            elif kind == _SCAN:
                if scans.kind in _SEQUENTIAL and at <= len(data):
                    data[at - 3 : at] = _ALL_COEFFICIENTS
                    segment = segment[:-3] + _ALL_COEFFICIENTS
                scans.add(segment)
                after = _AFTER_SCAN.search(data, at)
                at = after.start() if after else len(data)
        else:
            raise damaged(f"it has more than {_MOST_SEGMENTS:,} segments")
    except struct.error:
        return  # the decoder reports the damage
    if kind == _END and scans.are_missing():
        raise damaged("scans are missing")


def refuse_missing_pixels(warnings: str) -> None:
    """Raises E_DECODE if one of the warnings of libjpeg means damaged pixels."""
    if found := _DAMAGE.search(warnings):
        raise damaged(found[0])


def _next_marker(data: Mapping, at: int) -> tuple[int | None, int]:
    """The second byte of the next marker, or None at the end of the file, and where its segment begins."""
    found = _MARKER.search(data, at)
    if found is None:
        return None, at
    data[at : found.end() - 1] = b"\xff" * (found.end() - 1 - at)
    return found[0][-1], found.end()


class _Scans:
    """The coefficients that the scans of a frame contain, and their lowest bits so far (T.81, B.2.2, B.2.3)."""

    def __init__(self, kind: int = 0, frame: bytes = b"") -> None:
        self.kind = kind
        components = frame[6 : 6 + 3 * frame[5] : 3] if len(frame) > 5 else b""
        self._lowest_bits = {component: [-1] * 64 for component in components}

    def add(self, scan: bytes) -> None:
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            return
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        for component in scan[1 : 1 + 2 * count : 2]:
            if component in self._lowest_bits:
                for coefficient in range(first, min(last, 63) + 1):
                    self._lowest_bits[component][coefficient] = bits & 15

    def are_missing(self) -> bool:
        return any(any(lowest) for lowest in self._lowest_bits.values())
