"""One process at a time in a folder: of several that want the same weights, one fetches them."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL = 0.2  # seconds between looks at a lock that another process has


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Makes a folder and holds its lock, which the system frees where the process ends; removes it if it is empty.

    Raises OSError where it cannot be made.
    """
    waits = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            if _locked(handle) and _is_still(folder, handle):
                try:
                    yield
                    return
                finally:
                    with suppress(OSError):  # it is not empty, or has been renamed
                        folder.rmdir()
        finally:
            os.close(handle)
        if not waits:
            logger.info("Another process fetches %s; waiting for it.", folder.stem)
        waits = True
        _pause()


def _pause() -> None:
    time.sleep(_POLL)  # a poll, which a cancel can end


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (
        OSError
    ):  # a file system without locks: two at the same moment then spoil each other's part, which is noticed
        return True
    return True


def _is_still(folder: Path, handle: int) -> bool:
    """Whether a folder is the one that was opened: who had the lock before may have renamed it."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
