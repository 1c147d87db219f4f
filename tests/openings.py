"""Which files of some folders are opened, by any process, as the kernel tells it (inotify, Linux only)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_IN_OPEN = 0x20  # linux/inotify.h
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_ROOM = 1 << 16  # bytes, for hundreds of events


@dataclass(frozen=True)
class Openings:
    """The openings since the last look."""

    _descriptor: int

    def since(self) -> set[str]:
        """The names of the files that were opened since this was last asked."""
        found: set[str] = set()
        while True:
            try:
                events = os.read(self._descriptor, _ROOM)
            except BlockingIOError:
                return found
            offset = 0
            while offset < len(events):
                _, _, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size + length
                name = events[offset - length : offset].rstrip(b"\0").decode()
                found |= {name} - {""}  # the folder itself has none


@contextmanager
def watching(*folders: Path) -> Iterator[Openings]:
    """Notes every opening of a file in the folders until the block ends."""
    kernel = ctypes.CDLL(None, use_errno=True)
    descriptor = kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for folder in folders:
            if kernel.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN) < 0:
                raise OSError(ctypes.get_errno(), "inotify cannot watch", str(folder))
        yield Openings(descriptor)
    finally:
        os.close(descriptor)
