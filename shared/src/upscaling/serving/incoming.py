"""Reads the input picture from a data URL, or downloads it.

Cog can do this before `run`, but without limits and without a way to cancel. It also leaves files behind, passes errors
of its libraries to clients, and keeps the last 128 data URLs in Python's cache of parsed URLs.
"""

from __future__ import annotations

import base64
import io
import urllib.parse
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from upscaling.errors import Code, UpscalingError
from upscaling.images import Limits
from upscaling.values import shown

FETCHED_WITHIN = 120.0  # seconds, including redirects
_SILENT_FOR = 10.0  # seconds, as in Cog; a cancel waits at most this long
_MOST_REDIRECTS = 5
_PART = 1 << 18  # bytes that are written at a time


@dataclass(frozen=True)
class Incoming:
    """A data URL or an http(s) URL from the client, not read yet."""

    url: str


@dataclass(frozen=True)
class Stored:
    """A picture in a folder or bucket of the operator, for bulk jobs; clients of a server cannot send one."""

    read: Callable[[], Generator[bytes]]
    """Yields the bytes of the file; raises UpscalingError if it cannot be read."""


def keep_unread(path: Any) -> None:
    """Makes Cog's class of paths pass URLs to `run` as `Incoming`.

    Inputs of other types, such as local paths, are refused by `received`.
    """
    path.validate = Incoming


@contextmanager
def received(given: object, folder: Path, name: str = "image") -> Generator[Path]:
    """The picture of an input, by its name, as a file in `folder`, which is removed at the end of the block.

    Raises E_INPUT if the input is no URL or cannot be downloaded within FETCHED_WITHIN, E_TOO_LARGE for more bytes than
    `Limits.input_bytes`, and E_ENCODE if the disk is full.
    """
    if not isinstance(given, Incoming | Stored):
        # Cog passes other strings, such as local paths, unchanged.
        said = "missing" if given is None else repr(str(given)[:80])
        raise UpscalingError(Code.INPUT, f"{name} is {said}; send the picture as a file, a data URL or an http(s) URL.")
    path = folder / "input"
    most = Limits.from_environment().input_bytes
    try:
        _write(path, _parts(given, name), most)
        yield path
    finally:
        path.unlink(missing_ok=True)
        # The URL parser of Python, which requests uses, keeps the last 128 URLs of any length.
        urllib.parse.clear_cache()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]  not in typeshed


def _parts(given: Incoming | Stored, name: str) -> Generator[bytes]:
    if isinstance(given, Stored):
        return given.read()
    return _from_data_url(given.url, name) if given.url.startswith("data:") else _fetched(given.url)


def _write(path: Path, parts: Generator[bytes], most: int) -> None:
    written = 0
    try:
        with closing(parts), path.open("wb") as file:
            for part in parts:
                written += len(part)
                if written > most:
                    raise UpscalingError(
                        Code.TOO_LARGE,
                        f"the file is larger than {most >> 20} MiB, the limit for input files."
                        " Send a smaller one, or raise UPSCALING_MAX_INPUT_MP.",
                    )
                file.write(part)
    except OSError as error:
        raise UpscalingError(
            Code.ENCODE, f"the picture cannot be written to the server's disk ({error.strerror}). Is it full?"
        ) from error


def _from_data_url(url: str, name: str) -> Generator[bytes]:
    kind, comma, content = url.partition(",")
    if not comma:
        raise UpscalingError(Code.INPUT, f"{name} is {shown(url)}, a data URL without a comma; send the complete URL.")
    try:
        content = urllib.parse.unquote_to_bytes(content)
        yield base64.b64decode(content) if kind.endswith(";base64") else content
    except ValueError as error:
        raise UpscalingError(
            Code.INPUT, f"{name} is a data URL with incomplete or invalid base64 ({error}); send the complete URL."
        ) from error


def _fetched(url: str) -> Generator[bytes]:
    deadline = monotonic() + FETCHED_WITHIN
    address = f"the address {shown(url)}"
    try:
        with _Session() as session:
            adapter = _Adapter(deadline)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            with _answered(session, url, address) as answer:
                yield from answer.iter_content(_PART)
    except requests.Timeout as error:
        raise _unfetched(f"{address} did not answer in time") from error
    except ValueError as error:
        raise _unfetched(f"{address} is not a valid URL") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _unfetched(f"{address} closed the connection too early") from error
    except (OSError, urllib3.exceptions.HTTPError) as error:  # errors of requests are OSErrors
        raise _unfetched(f"{address} cannot be reached, or did not send the whole file in time") from error


def _answered(session: _Session, url: str, address: str) -> requests.Response:
    """The response after at most _MOST_REDIRECTS redirects, with its body unread."""
    for _ in range(_MOST_REDIRECTS + 1):
        answer = session.get(url, stream=True, timeout=_SILENT_FOR, allow_redirects=False)
        location = session.destination(answer)
        if location is None:
            if not answer.ok:
                answer.close()
                raise _unfetched(f"{address} answers with HTTP {answer.status_code}")
            return answer
        answer.close()
        url = urllib.parse.urljoin(url, location)
    raise _unfetched(f"{address} is redirected more than {_MOST_REDIRECTS} times")


def _unfetched(what: str) -> UpscalingError:
    return UpscalingError(Code.INPUT, f"{what}. Check it, or send the picture itself.")


class _Session(requests.Session):
    """Does not follow redirects, because requests reads the whole body of each one, of any length."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def destination(self, answer: requests.Response) -> str | None:
        """The target of a redirect; None for other responses."""
        return super().get_redirect_target(answer)


class _Adapter(HTTPAdapter):
    """Stops reading at a deadline, because the timeout of requests starts again with every byte."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        answer = partial(_Answer, deadline=self._deadline)
        pool.ConnectionCls = type("Connection", (pool.ConnectionCls,), {"response_class": answer})
        return pool


class _Answer(HTTPResponse):
    def __init__(self, connection: socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(connection, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), deadline))


class _Reader(io.RawIOBase):
    def __init__(self, connection: io.RawIOBase, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if monotonic() > self._deadline:
            raise TimeoutError
        return self._connection.readinto(buffer)

    def close(self) -> None:
        self._connection.close()
        super().close()
