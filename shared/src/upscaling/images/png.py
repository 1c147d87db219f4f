"""Writes a PNG as a stream: rows are taken as they are computed, and blocks of rows are deflated in parallel.

The result is a single zlib stream that every decoder reads. Each block ends with a full flush, so it can be deflated
independently of the others (RFC 1950 and 1951; PNG third edition, W3C 2025).
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from upscaling.errors import Code, UpscalingError
from upscaling.images.image import Image, Pixels
from upscaling.images.rows import recut

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels → PNG's colour type
_AVERAGE = 3  # the filter that compresses enlarged photographs best, if all rows have the same
# Of 0–3 in ISA-L. Files are about 5 % larger than with zlib's level 6 and a filter per row; it is many times as fast.
_LEVEL = 1
_BLOCK = 1 << 20  # bytes of rows in a block
_ZLIB_HEADER = b"\x78\x01"  # deflate, 32 KiB window, fastest level
_LAST_BLOCK = b"\x03\x00"  # an empty block with the final bit set
_ADLER_BASE = 65_521
_POLL = 0.001  # seconds
_WORKERS = os.cpu_count() or 1


@dataclass(frozen=True)
class PngHeader:
    """The properties of a PNG that are written before its first row."""

    width: int
    height: int
    channels: int
    """1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha."""
    bits: int
    """8 or 16."""
    profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    """Horizontal and vertical pixels per millimetre."""

    @classmethod
    def of(cls, image: Image, width: int, height: int) -> PngHeader:
        """The header of a picture with the properties of `image`, at another size."""
        channels = image.pixels.shape[2] + (image.alpha is not None)
        return cls(width, height, channels, image.bits, image.profile, image.resolution)


def start_threads() -> None:
    """Starts the deflating threads, so that none of them starts during a prediction and receives its cancel.

    On Python 3.11 a new thread has the identity of its parent for a moment.
    """
    all_started = Barrier(_WORKERS + 1)
    for _ in range(_WORKERS):
        _pool().submit(all_started.wait)
    all_started.wait()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="png")


def write_png(path: Path, header: PngHeader, bands: Iterator[Pixels]) -> None:
    """Writes consecutive row bands, (rows, width, channels), to `path`; a file that cannot be finished is removed.

    Raises E_ENCODE if the file cannot be written, and any error that `bands` raises.
    """
    finished = False
    with _coded_errors():
        file = path.open("wb")
    try:
        _write(file, _SIGNATURE + _chunks_before_rows(header))
        _write_rows(file, header, bands)
        _write(file, _chunk(b"IEND", b""))
        with _coded_errors():
            file.close()
        finished = True
    finally:
        if not finished:
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                file.close()  # fails again on a full disk


def _write_rows(file: BinaryIO, header: PngHeader, bands: Iterator[Pixels]) -> None:
    waiting: deque[Future[_Deflated]] = deque()
    adler = 1  # the Adler-32 of no bytes
    above = np.zeros((1, header.width, header.channels), np.uint8 if header.bits == 8 else np.uint16)
    rows_left = header.height
    _write(file, _chunk(b"IDAT", _ZLIB_HEADER))
    # Blocks of a fixed size, so that the file does not depend on the sizes of the bands.
    for block in recut(bands, max(_BLOCK // (header.width * header.channels * header.bits // 8), 1)):
        rows_left -= len(block)
        waiting.append(_pool().submit(_deflate, block, above))
        above = block[-1:].copy()
        del block  # frees its memory while the next band is computed
        while len(waiting) > 2 * _WORKERS or (waiting and waiting[0].done()):
            adler = _write_block(file, _result(waiting.popleft()), adler)
    while waiting:
        adler = _write_block(file, _result(waiting.popleft()), adler)
    if rows_left:
        raise UpscalingError(Code.ENCODE, f"{rows_left} of {header.height} rows are missing; please report this.")
    _write(file, _chunk(b"IDAT", _LAST_BLOCK + struct.pack(">I", adler)))


@contextmanager
def _coded_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UpscalingError(
            Code.ENCODE, f"the png file could not be written ({error.strerror}). Is the disk full?"
        ) from error


def _write(file: BinaryIO, data: bytes) -> None:
    with _coded_errors():
        file.write(data)


@dataclass(frozen=True)
class _Deflated:
    data: bytes
    adler: int
    length: int
    """Bytes before compression."""


def _deflate(rows: Pixels, above: Pixels) -> _Deflated:
    filtered = _filtered(rows, above)
    deflater = isal_zlib.compressobj(level=_LEVEL, wbits=-15)
    data = deflater.compress(filtered.data) + deflater.flush(isal_zlib.Z_FULL_FLUSH)
    return _Deflated(data, isal_zlib.adler32(filtered.data), filtered.nbytes)


def _filtered(rows: Pixels, above: Pixels) -> NDArray[np.uint8]:
    """Rows as PNG stores them: the number of the filter, then each byte minus the mean of its left and upper ones."""
    height, _, channels = rows.shape
    pixel = channels * rows.itemsize
    # PNG samples are big-endian.
    joined = np.concatenate([above, rows]).astype(rows.dtype.newbyteorder(">"), copy=False)
    raw = joined.view(np.uint8).reshape(height + 1, -1)
    up, current = raw[:-1], raw[1:]
    left = np.zeros_like(current)
    left[:, pixel:] = current[:, :-pixel]
    filtered = np.empty((height, raw.shape[1] + 1), np.uint8)
    filtered[:, 0] = _AVERAGE
    # The mean, rounded down, without leaving 8 bit.
    np.subtract(current, (left & up) + ((left ^ up) >> 1), out=filtered[:, 1:])
    return filtered


def _result(future: Future[_Deflated]) -> _Deflated:
    # future.result() waits on a lock, which a cancel could leave in a broken state.
    while not future.done():
        sleep(_POLL)
    return future.result()


def _write_block(file: BinaryIO, block: _Deflated, adler: int) -> int:
    _write(file, _chunk(b"IDAT", block.data))
    return _joined_adler(adler, block.adler, block.length)


def _joined_adler(first: int, second: int, second_length: int) -> int:
    """The Adler-32 of two byte strings in a row, from the Adler-32 of each (follows from RFC 1950, section 8.2)."""
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + second_length * ((first & 0xFFFF) - 1)
    return high % _ADLER_BASE << 16 | low % _ADLER_BASE


def _chunks_before_rows(header: PngHeader) -> bytes:
    chunks = _chunk(
        b"IHDR",
        struct.pack(">IIBBBBB", header.width, header.height, header.bits, _COLOUR_TYPES[header.channels], 0, 0, 0),
    )
    if header.profile is not None:
        chunks += _chunk(b"iCCP", b"icc\0\0" + isal_zlib.compress(header.profile))
    if header.resolution is not None:
        across, down = (round(per_millimetre * 1000) for per_millimetre in header.resolution)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))  # 1: the unit is the metre
    return chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(name)))
