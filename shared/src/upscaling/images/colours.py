"""Colour spaces given as numbers instead of an ICC profile: gAMA, cHRM and cICP in PNG, nclx in AVIF."""

from __future__ import annotations

import struct
from itertools import takewhile

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping, number
from upscaling.images.parts import boxes, png_chunks

_BT709, _UNSPECIFIED, _P3 = 1, 2, 12  # ITU-T H.273, table 2: primaries
_LIKE_SRGB = {1, 2, 6, 13}  # table 3: transfer characteristics; 2 is unspecified, 13 is sRGB
_SRGB_GAMMA, _SRGB_CHROMATICITIES = 45_455, (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_TOLERANCE = 500  # in 1/100,000; writers round differently


def is_display_p3(data: Mapping, name: str) -> bool:
    """Whether the numbers in the file mean Display P3; False for sRGB, for a file with a profile and for no numbers.

    Raises E_FORMAT for other colour spaces.
    """
    try:
        codes = _of_png(data) if name == "PNG" else _of_avif(data) if name == "AVIF" else None
    except struct.error:
        return False  # the decoder reports the damage
    if codes is None:
        return False
    primaries, transfer = codes
    if transfer in _LIKE_SRGB and primaries in (_BT709, _UNSPECIFIED):
        return False
    if transfer in _LIKE_SRGB and primaries == _P3:
        return True
    raise _other(name, f"primaries {primaries} and transfer {transfer} (ITU-T H.273)")


def _other(name: str, what: str) -> UpscalingError:
    return UpscalingError(
        Code.FORMAT, f"this {name} has {what} and no colour profile, which is not supported; save it as sRGB."
    )


def _of_png(data: Mapping) -> tuple[int, int] | None:
    chunks = {chunk.kind: chunk.at for chunk in takewhile(lambda chunk: chunk.kind != b"IDAT", png_chunks(data))}
    if b"iCCP" in chunks:
        return None
    if b"cICP" in chunks:
        primaries, transfer, matrix, is_full = (number(data, chunks[b"cICP"] + index, "B") for index in range(4))
        if matrix or is_full != 1:
            raise _other("PNG", "YCbCr or narrow-range samples, as in video (cICP),")
        return primaries, transfer
    if b"sRGB" in chunks:
        return None
    if b"gAMA" in chunks:
        gamma = number(data, chunks[b"gAMA"], ">I")
        if gamma and abs(gamma - _SRGB_GAMMA) > _TOLERANCE:
            raise _other("PNG", f"a gamma of {gamma / 100_000:g}")
    if b"cHRM" in chunks:
        points = [number(data, chunks[b"cHRM"] + 4 * index, ">I") for index in range(8)]
        if any(abs(ours - theirs) > _TOLERANCE for ours, theirs in zip(points, _SRGB_CHROMATICITIES, strict=True)):
            raise _other("PNG", "primaries that are not sRGB's (cHRM)")
    return None


def _of_avif(data: Mapping) -> tuple[int, int] | None:
    meta = next((box for box in boxes(data) if box.kind == b"meta"), None)
    if meta is None:
        return None
    found = data.find(b"colrnclx", meta.start, meta.end)
    if found < 0 or any(data.find(profile, meta.start, meta.end) >= 0 for profile in (b"colrprof", b"colrrICC")):
        return None
    return number(data, found + 8, ">H"), number(data, found + 10, ">H")
