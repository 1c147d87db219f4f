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
    """A folder of this process alone, in which at most the last request's files stay."""

    folder: Path

    @classmethod
    def open(cls) -> Workspace:
        """Makes the folder, and lets Python's temporary files land in it.

        Folders that killed processes left beside it are removed.
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
        """Whether the folder is there and can be written to, and its disk has room once the last result is swept."""
        if not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            return False
        return shutil.disk_usage(self.folder).free + self._held() >= _LEAST_ROOM

    def _held(self) -> int:
        """Bytes of files in the folder, of which some may go at any time."""
        held = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    held += (Path(folder) / name).lstat().st_size
        return held

    def begin(self) -> Path:
        """Removes what earlier requests left, and returns a folder for this one's picture and result.

        Cog reads a returned file after `run` has ended and never deletes it, so the next request does.
        Raises E_ENCODE where the folder cannot be used.
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
    """Removes the work folders of processes that have ended: those that nobody holds locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # locked, or not ours to open
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
