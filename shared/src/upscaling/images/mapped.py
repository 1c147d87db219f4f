"""A file mapped into memory: only the parts that are used are read."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from upscaling.errors import Code, UpscalingError

MEGABYTE = 1_000_000

Mapping = mmap.mmap
"""Its bytes can be overwritten: the file stays as it is."""


def mapped(path: Path) -> Mapping:
    """The file's bytes. Raises E_DECODE for an empty file, OSError where it cannot be opened."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise UpscalingError(Code.DECODE, "the file is empty (0 bytes). Send a whole picture.")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def damaged(what: str) -> UpscalingError:
    """The error for a file that is not whole."""
    return UpscalingError(Code.DECODE, f"the file is damaged or truncated ({what}). Send a whole file.")


def number(data: Mapping, at: int, layout: str) -> int:
    """The number at an offset, as `struct` has it; raises struct.error where the file ends before."""
    if at + struct.calcsize(layout) > len(data):
        raise struct.error(f"offset {at} is outside the file")
    return int(struct.unpack_from(layout, data, at)[0])
