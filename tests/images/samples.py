"""Pictures as arrays, and files of every kind made from them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
import pyvips
from numpy.typing import NDArray

from upscaling.images import Image, Limits
from upscaling.images.image import Pixels

TURNED = range(1, 9)  # EXIF orientations
LIMITS = Limits()

Read = Callable[[bytes], Image]


def scene(height: int = 24, width: int = 32, channels: int = 3, bits: int = 8) -> Pixels:
    """A smooth picture without any symmetry, that uses the whole range."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = [x / max(width - 1, 1), y / max(height - 1, 1), (x + 2 * y) / max(width + 2 * height - 3, 1)]
    values = np.dstack([*ramps, 1 - ramps[2]])[..., :channels]
    return np.rint(values * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def noise(height: int, width: int, channels: int, bits: int = 8, seed: int = 0) -> Pixels:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels), dtype)


def pillow(pixels: Pixels) -> PIL.Image.Image:
    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def file_of(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow makes of it."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def vips(pixels: Pixels) -> Any:
    height, width, bands = pixels.shape
    image = pyvips.Image.new_from_memory(
        pixels.tobytes(), width, height, bands, "uchar" if pixels.dtype == np.uint8 else "ushort"
    )
    names = ("b-w", "srgb") if pixels.dtype == np.uint8 else ("grey16", "rgb16")
    return image.copy(interpretation=names[bands > 2])


def turned(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a file holds of an upright picture: row 0 and column 0 stand where EXIF's table says."""
    stored = upright
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return np.ascontiguousarray(stored.swapaxes(0, 1) if orientation >= 5 else stored)


def exif(tags: dict[int, Any]) -> bytes:
    data = PIL.Image.Exif()
    data.update(tags)
    return data.tobytes()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The PNG with one more chunk, right after its header."""
    return png[:33] + png_chunk(kind, data) + png[33:]


def tiff(
    samples: NDArray[Any],
    photometric: int,
    extra: Sequence[int] = (),
    form: int = 1,
    subfile: int = 0,
    more: dict[int, tuple[int, int, bytes]] | None = None,
    following: int = 0,
) -> bytes:
    """An uncompressed TIFF of one strip.

    extra are the ExtraSamples, form is the SampleFormat, more are entries as (type, number of values, bytes), which
    replace others, following is the offset of the next directory.
    """
    height, width, bands = samples.shape
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    data += bytes(len(data) % 2)
    tags = {
        254: [subfile], 256: [width], 257: [height], 258: [samples.itemsize * 8] * bands, 259: [1],
        262: [photometric], 273: [8], 277: [bands], 278: [height], 279: [samples.nbytes], 284: [1],
        338: list(extra), 339: [form] * bands,
    }  # fmt: skip
    longs = {tag: (4, len(values), struct.pack(f"<{len(values)}I", *values)) for tag, values in tags.items() if values}
    entries, overflow = b"", b""
    every = sorted((longs | (more or {})).items())
    overflow_at = 8 + len(data) + 2 + 12 * len(every) + 4
    for tag, (kind, count, packed) in every:
        value = packed.ljust(4, b"\0")
        if len(packed) > 4:
            value, overflow = struct.pack("<I", overflow_at + len(overflow)), overflow + packed
        entries += struct.pack("<HHI", tag, kind, count) + value
    directory = struct.pack("<H", len(every)) + entries + struct.pack("<I", following)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + overflow


def rgb_profile(name: str = "p3") -> bytes:
    return bytes(pyvips.Operation.call("profile_load", name))


def grey_profile(gamma: float = 1.0) -> bytes:
    """A profile of grey with a gamma curve."""
    return _profile(b"GRAY", b"XYZ ", b"mntr", b"kTRC", struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256)))


def cyan_profile() -> bytes:
    """A profile of CMYK in which no ink but cyan can be seen, and that is black."""
    straight = bytes(range(256))
    papers = bytes([255, 128, 128] * 8 + [0, 128, 128] * 8)  # Lab at the 2⁴ corners, cyan slowest
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + straight * 4 + papers + straight * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", b"A2B0", table)


def _profile(space: bytes, connection: bytes, device: bytes, tag: bytes, data: bytes) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04, 6.1 and 6.2)."""
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)  # D50
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = [(b"desc", text), (b"wtpt", white), (tag, data + bytes(-len(data) % 4))]
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content
    start = struct.pack(">I4xI4s4s4s12x4s", 128 + len(table + body), 0x02400000, device, space, connection, b"acsp")
    illuminant = bytes(68 - len(start)) + struct.pack(">3i", 63190, 65536, 54061)
    return (start + illuminant).ljust(128, b"\0") + table + body
