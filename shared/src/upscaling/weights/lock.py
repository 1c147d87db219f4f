"""A lock on a folder, so that only one of several processes downloads the same weights."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL = 0.2  # seconds between attempts to get the lock


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Creates a folder and holds a lock on it; removes the folder afterwards if it is empty.

    The system releases the lock if the process ends. Raises OSError if the folder cannot be created.
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
            logger.info("Another process is downloading %s; waiting for it.", folder.stem)
        waits = True
        _pause()


def _pause() -> None:
    time.sleep(_POLL)  # unlike a blocking lock, a cancel can interrupt this


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks. If two processes damage each other's download, the checksum detects it.
        return True
    return True


def _is_still(folder: Path, handle: int) -> bool:
    """Whether a folder is the one that was opened: the process that had the lock may have renamed it."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
