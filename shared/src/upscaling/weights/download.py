"""One published file over HTTP, continued where an earlier download of it was cut off, and verified."""

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
_PIECE = 1 << 16  # bytes in memory at a time, and lost where the process is killed
_OTHER_RANGE, _NO_SUCH_RANGE = HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


class ContentError(Exception):
    """What came is not what was asked for; the message holds no address and no path."""


@dataclass(frozen=True)
class Address:
    """Where a file can be had, and how messages and logs name that: without credentials."""

    url: str
    shown: str


@dataclass(frozen=True)
class _Begun:
    """What is known of a file that is being downloaded; kept beside it for the next process."""

    source: str
    etag: str | None
    size: int | None
    """Bytes of the whole file; None where the server does not say."""


def download(file: File, address: Address, folder: Path) -> str:
    """Puts a file into a folder and returns where it came from, as it is shown.

    A file that is there whole is not asked for again. One that is there in part is continued where the server
    says that it has not changed (RFC 9110, If-Range), and begun anew otherwise. Raises ContentError where what came
    has not the size or checksum of the catalogue, requests.RequestException where the server does not give it, and
    OSError where it cannot be written.
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
    if from_before:  # only in part from this download: what an earlier process left may be the cause
        return download(file, address, folder)
    raise ContentError("what came has not the checksum of the catalogue")


def discard(path: Path) -> None:
    """Removes a downloaded file, whole or not, so that the next download begins anew."""
    _beside(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _receive(file: File, address: Address, path: Path) -> tuple[_Begun, bool]:
    """Downloads what is missing of a file; returns what is known of it then, and whether it was continued."""
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
            raise ContentError(f"what came has {begun.size} bytes, not {file.size}")
        logger.info("Fetching %s from %s%s", file.path, address.shown, f", from byte {had} on" if continued else "")
        if not continued:
            discard(path)
        _beside(path).write_text(json.dumps(asdict(begun)))
        begun = replace(begun, size=_append(response, path, at_most=file.size))
    _beside(path).write_text(json.dumps(asdict(begun)))
    return begun, continued


def _announced(response: requests.Response, address: Address) -> _Begun:
    """What the headers of an answer say of the whole file."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
    etag = response.headers.get("ETag")
    # A weak one does not promise equal bytes, and If-Range takes none.
    etag = None if etag is None or etag.startswith("W/") else etag
    return _Begun(address.shown, etag, int(whole) if whole.isdecimal() else None)


def _append(response: requests.Response, path: Path, at_most: int | None) -> int:
    """Writes the body of an answer to the end of a file, and returns the size of the file then."""
    with path.open("ab") as target:
        for piece in response.iter_content(_PIECE):
            target.write(piece)
            if at_most is not None and target.tell() > at_most:
                raise ContentError(f"what came has more than {at_most} bytes")
        return target.tell()


def _begun(path: Path) -> _Begun | None:
    """What an earlier download left, here or in another process; None where there is nothing to go on with."""
    if not path.exists():
        return None
    try:
        return _Begun(**json.loads(_beside(path).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.begun")
