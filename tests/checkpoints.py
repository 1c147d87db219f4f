"""Checkpoints and entries that tests of the weights share."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from loopback import Site

from upscaling.weights import Entry, File


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def saved(checkpoint: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file, **options)
    return file.getvalue()


def published(path: str, content: bytes) -> File:
    return File(path, len(content), sha256(content).hexdigest())


def entry_of(site: Site, *files: File, folders: tuple[str, ...] = ("",)) -> Entry:
    """An entry of files that are on a site, below one or several folders."""
    return Entry("tiny", "none", "this test", sources=tuple(site.url + folder for folder in folders), files=files)
