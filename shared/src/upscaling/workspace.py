"""The private folder that a server's downloads and results live in."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A folder of this process alone, in which at most the last request's files stay."""

    folder: Path

    @classmethod
    def open(cls) -> Workspace:
        """Makes the folder, and lets Python's temporary files, so also Cog's downloads, land in it."""
        folder = Path(tempfile.mkdtemp(prefix="upscaling-"))
        tempfile.tempdir = str(folder)
        return cls(folder)

    def begin(self, *inputs: object) -> Path:
        """Removes what earlier requests left, keeps this one's inputs, and returns a folder for its result.

        Cog reads a returned file after `run` has ended and never deletes it, so the next request does.
        """
        for leftover in self.folder.iterdir():
            if leftover in inputs:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        return Path(tempfile.mkdtemp(dir=self.folder))
