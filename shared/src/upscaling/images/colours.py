"""Colours that a file names by numbers instead of a profile: PNG's gAMA, cHRM and cICP, AVIF's nclx."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from upscaling.errors import Code, UpscalingError
from upscaling.images.mapped import Mapping, number

_BT709, _UNSAID, _P3 = 1, 2, 12  # ITU-T H.273, table 2: primaries
_LIKE_SRGB = {1, 2, 6, 13}  # table 3: transfer characteristics; 2 is unspecified, 13 sRGB itself
_SRGB_GAMMA, _SRGB_CHROMATICITIES = 45_455, (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_NEAR = 500  # of 100,000: as writers round
_CHUNKS_READ = 100_000


def is_display_p3(data: Mapping, name: str) -> bool:
    """Whether the file says Display P3 by numbers; False where it says sRGB, has a profile or says nothing.

    Raises E_FORMAT for any other colours.
    """
    try:
        codes = _of_png(data) if name == "PNG" else _of_avif(data) if name == "AVIF" else None
    except struct.error:
        return False  # the decoder reports the damage
    if codes is None:
        return False
    primaries, transfer = codes
    if transfer in _LIKE_SRGB and primaries in (_BT709, _UNSAID):
        return False
    if transfer in _LIKE_SRGB and primaries == _P3:
        return True
    raise _other(name, f"primaries {primaries} and transfer {transfer} (ITU-T H.273)")


def _other(name: str, what: str) -> UpscalingError:
    return UpscalingError(
        Code.FORMAT, f"this {name} has {what} and no colour profile, which are not read; save it as sRGB."
    )


def _of_png(data: Mapping) -> tuple[int, int] | None:
    chunks = dict(_png_chunks(data))
    if b"iCCP" in chunks:
        return None
    if b"cICP" in chunks:
        primaries, transfer, matrix, is_full = (number(data, chunks[b"cICP"] + index, "B") for index in range(4))
        if matrix or is_full != 1:
            raise _other("PNG", "samples of video, YCbCr or of narrow range (cICP),")
        return primaries, transfer
    if b"sRGB" in chunks:
        return None
    if b"gAMA" in chunks:
        gamma = number(data, chunks[b"gAMA"], ">I")
        if gamma and abs(gamma - _SRGB_GAMMA) > _NEAR:
            raise _other("PNG", f"a gamma of {gamma / 100_000:g}")
    if b"cHRM" in chunks:
        points = [number(data, chunks[b"cHRM"] + 4 * index, ">I") for index in range(8)]
        if any(abs(ours - theirs) > _NEAR for ours, theirs in zip(points, _SRGB_CHROMATICITIES, strict=True)):
            raise _other("PNG", "primaries that are not sRGB's (cHRM)")
    return None


def _png_chunks(data: Mapping) -> Iterator[tuple[bytes, int]]:
    """The kind of each chunk before the pixels, and where its content is."""
    at = 8
    for _ in range(_CHUNKS_READ):
        kind = data[at + 4 : at + 8]
        if kind in (b"", b"IDAT"):
            return
        yield kind, at + 8
        at += 12 + number(data, at, ">I")


def _of_avif(data: Mapping) -> tuple[int, int] | None:
    at = 0
    for _ in range(_CHUNKS_READ):
        length = number(data, at, ">I")
        end = at + length
        if data[at + 4 : at + 8] == b"meta":
            found = data.find(b"colrnclx", at, end)
            if found < 0 or data.find(b"colrprof", at, end) >= 0 or data.find(b"colrrICC", at, end) >= 0:
                return None
            return number(data, found + 8, ">H"), number(data, found + 10, ">H")
        if length < 8:
            return None
        at = end
    return None
