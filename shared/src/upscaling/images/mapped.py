"""A file mapped into memory, so that only the parts that are used are read."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from upscaling.errors import Code, UpscalingError

MEGABYTE = 1_000_000

Mapping = mmap.mmap
"""Bytes can be overwritten in memory; the file does not change."""


def mapped(path: Path) -> Mapping:
    """The bytes of a file; raises E_DECODE for an empty file and OSError if it cannot be opened."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise UpscalingError(Code.DECODE, "the file is empty (0 bytes). Send a whole picture.")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def damaged(what: str) -> UpscalingError:
    """The error for a damaged or truncated file."""
    return UpscalingError(Code.DECODE, f"the file is damaged or truncated ({what}). Send a whole file.")


def number(data: Mapping, at: int, layout: str) -> int:
    """The number at an offset, in a format of `struct`; raises struct.error if the file ends too early."""
    if at + struct.calcsize(layout) > len(data):
        raise struct.error(f"offset {at} is outside the file")
    return int(struct.unpack_from(layout, data, at)[0])
