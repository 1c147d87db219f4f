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
_LEAST_FREE = 1 << 20  # bytes


@dataclass(frozen=True)
class Workspace:
    """A folder of this process, which holds at most the files of the last request."""

    folder: Path

    @classmethod
    def open(cls) -> Workspace:
        """Creates the folder and makes Python put temporary files there.

        Removes the folders of killed processes.
        """
        _sweep(Path(tempfile.gettempdir()))
        # Locked before it gets its final name, by which other processes find folders to remove.
        unlocked = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}"))
        with suppress(OSError):  # a file system without locks, where no folders are removed either
            # Never closed: the lock shows that this process is alive. systemd-tmpfiles respects it too.
            fcntl.flock(os.open(unlocked, os.O_RDONLY), fcntl.LOCK_EX)
        folder = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix("new-")))
        tempfile.tempdir = str(folder)
        return cls(folder)

    def is_usable(self) -> bool:
        """Whether the folder exists, is writable, and has free space once the last result is removed."""
        if not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            return False
        return shutil.disk_usage(self.folder).free + self._held() >= _LEAST_FREE

    def _held(self) -> int:
        """Bytes of the files in the folder, some of which may disappear while they are counted."""
        held = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    held += (Path(folder) / name).lstat().st_size
        return held

    def begin(self) -> Path:
        """Removes the files of earlier requests, and returns a folder for this request.

        Cog reads the result after `run` has ended and does not delete it, so the next request deletes it.
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
                Code.ENCODE, f"the server's work folder cannot be used ({error.strerror}); restart the server."
            ) from error


def _sweep(parent: Path) -> None:
    """Removes the work folders of processes that have ended, which are not locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # locked by a running process, or of another user
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
