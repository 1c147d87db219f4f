"""The private folder for a server's downloads and results."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscaling.errors import Code, UpscalingError

_PREFIX = "upscaling-work-"
_LEAST_ROOM = 1 << 20  # bytes


@dataclass(frozen=True)
class Workspace:
    """A folder of this process, which holds at most the files of the last request."""

    folder: Path

    @classmethod
    def open(cls) -> Workspace:
        """Creates the folder, and makes it the place of Python's temporary files.

        Removes the folders of killed processes.
        """
        _sweep(Path(tempfile.gettempdir()))
        # Locked before it has the name by which others look for folders to sweep.
        unlocked = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}"))
        with suppress(OSError):  # a file system without locks, where nothing is swept either
            # Never closed: the lock says that this process lives. systemd's cleaner of /tmp heeds it too.
            fcntl.flock(os.open(unlocked, os.O_RDONLY), fcntl.LOCK_EX)
        folder = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix("new-")))
        tempfile.tempdir = str(folder)
        return cls(folder)

    def is_usable(self) -> bool:
        """Whether the folder exists and is writable, and the disk has room once the last result is removed."""
        if not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            return False
        return shutil.disk_usage(self.folder).free + self._held() >= _LEAST_ROOM

    def _held(self) -> int:
        """Bytes of the files in the folder; files may disappear meanwhile."""
        held = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    held += (Path(folder) / name).lstat().st_size
        return held

    def begin(self) -> Path:
        """Removes the files of earlier requests, and returns a folder for this request.

        Cog reads a returned file after `run` has ended and never deletes it, so the next request does.
        Raises E_ENCODE if the folder cannot be used.
        """
        try:
            for leftover in self.folder.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
            return Path(tempfile.mkdtemp(dir=self.folder))
        except OSError as error:
            raise UpscalingError(
                Code.ENCODE, f"the server's work folder cannot be used ({error.strerror}); the server needs a restart."
            ) from error


def _sweep(parent: Path) -> None:
    """Removes the work folders of processes that have ended: those without a lock."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # locked, or not ours to open
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
