"""Downloads one published file over HTTP, continues interrupted downloads, and verifies the result."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest
from http import HTTPStatus
from pathlib import Path

import requests

from upscaling.weights.catalogue import File
from upscaling.weights.trusted import trusted

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10  # seconds
_READ_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 16  # bytes in memory at a time; at most this many are lost if the process is killed
_OTHER_RANGE, _NO_SUCH_RANGE = HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


class ContentError(Exception):
    """The downloaded content is not the expected one; the message contains no URL and no path."""


@dataclass(frozen=True)
class Address:
    """The URL of a file, and how messages and logs show it: without credentials."""

    url: str
    shown: str


@dataclass(frozen=True)
class _Begun:
    """The state of an unfinished download, which is kept in a file beside it."""

    source: str
    etag: str | None
    size: int | None
    """Bytes of the whole file; None if the server does not say."""


def download(file: File, address: Address, folder: Path) -> str:
    """Downloads a file into a folder and returns its source as shown in messages.

    A file that is complete is not downloaded again. A partial file is continued if the server says that it has not
    changed (RFC 9110, If-Range); otherwise the download starts again. Raises ContentError if the size or checksum
    differs from the catalogue, requests.RequestException if the server does not send the file, and OSError if it
    cannot be written.
    """
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = _begun(path)
    from_before = begun is not None and path.stat().st_size == begun.size
    if begun is None or not from_before:
        begun, from_before = trusted(lambda: _receive(file, address, path))
    if file.sha256 is None or digest(path) == file.sha256:
        return begun.source
    discard(path)
    if from_before:  # the part that an earlier process left may be the cause
        return download(file, address, folder)
    raise ContentError("the checksum of the download differs from the catalogue")


def discard(path: Path) -> None:
    """Removes a downloaded file, complete or not, so that the next download starts again."""
    _beside(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The SHA-256 of a file, which is read in chunks."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _receive(file: File, address: Address, path: Path) -> tuple[_Begun, bool]:
    """Downloads the missing part of a file; returns the state of the download and whether it was continued."""
    begun = _begun(path)
    headers = {"Accept-Encoding": "identity"}
    had = path.stat().st_size if begun and begun.etag else 0
    if begun and begun.etag and had:
        headers |= {"Range": f"bytes={had}-", "If-Range": begun.etag}
    timeout = _CONNECT_TIMEOUT, _READ_TIMEOUT
    with requests.get(address.url, headers=headers, stream=True, timeout=timeout) as response:
        continued = had > 0 and response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        if had and not continued and response.status_code in (_OTHER_RANGE, _NO_SUCH_RANGE):
            discard(path)
            return _receive(file, address, path)
        response.raise_for_status()
        begun = _announced(response, address)
        if file.size is not None and begun.size not in (None, file.size):
            raise ContentError(f"the download has {begun.size} bytes instead of {file.size}")
        logger.info(
            "Downloading %s from %s%s", file.path, address.shown, f", starting at byte {had}" if continued else ""
        )
        if not continued:
            discard(path)
        _beside(path).write_text(json.dumps(asdict(begun)))
        begun = replace(begun, size=_append(response, path, at_most=file.size))
    _beside(path).write_text(json.dumps(asdict(begun)))
    return begun, continued


def _announced(response: requests.Response, address: Address) -> _Begun:
    """What the headers of a response say about the whole file."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
    etag = response.headers.get("ETag")
    # Weak ETags do not guarantee equal bytes, and If-Range does not accept them.
    etag = None if etag is None or etag.startswith("W/") else etag
    return _Begun(address.shown, etag, int(whole) if whole.isdecimal() else None)


def _append(response: requests.Response, path: Path, at_most: int | None) -> int:
    """Appends the body of a response to a file, and returns the size of the file."""
    with path.open("ab") as target:
        for chunk in response.iter_content(_CHUNK):
            target.write(chunk)
            if at_most is not None and target.tell() > at_most:
                raise ContentError(f"the download has more than {at_most} bytes")
        return target.tell()


def _begun(path: Path) -> _Begun | None:
    """The state that an earlier download left, in this or another process; None if there is nothing to continue."""
    if not path.exists():
        return None
    try:
        return _Begun(**json.loads(_beside(path).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.begun")
