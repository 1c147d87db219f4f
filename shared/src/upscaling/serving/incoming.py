"""Reads the input picture from a data URL, or downloads it.

Cog would read both itself before `run`: without bounds, past a cancel, into files that stay, failing in its libraries'
words, and with the last 128 data URLs kept by Python's cache of split URLs.
"""

from __future__ import annotations

import base64
import io
import urllib.parse
from collections.abc import Generator
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

FETCHED_WITHIN = 120.0  # seconds, redirects included
_SILENT_FOR = 10.0  # seconds, as Cog's own; the longest that a cancel can wait
_MOST_REDIRECTS = 5
_PART = 1 << 18  # bytes written at a time


@dataclass(frozen=True)
class Incoming:
    """A data URL or an http(s) address as the caller sent it: nothing of it has been read."""

    url: str


def keep_unread(path: Any) -> None:
    """From now on Cog's class of paths hands URLs on to `run` as `Incoming`.

    What Cog then gives `run` in another type, local paths among them, is no `Incoming` and refused below.
    """
    path.validate = Incoming


@contextmanager
def received(image: object, folder: Path) -> Generator[Path]:
    """The picture as a file in `folder`, while the block runs.

    Raises E_INPUT for what is no URL or cannot be fetched within FETCHED_WITHIN, E_TOO_LARGE for more bytes than
    `Limits.input_bytes`, E_ENCODE where the disk has no room.
    """
    if not isinstance(image, Incoming):
        # Cog hands over strings that are neither http nor data URLs as they are, local paths included.
        raise UpscalingError(
            Code.INPUT, f"image is {str(image)[:80]!r}; send the picture as a file, a data URL or an http(s) URL."
        )
    path = folder / "input"
    most = Limits.from_environment().input_bytes
    try:
        _write(path, _from_data_url(image.url) if image.url.startswith("data:") else _fetched(image.url), most)
        yield path
    finally:
        path.unlink(missing_ok=True)
        # What requests splits URLs with keeps the last 128, whatever their length.
        urllib.parse.clear_cache()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]  not in typeshed


def _write(path: Path, parts: Generator[bytes], most: int) -> None:
    written = 0
    try:
        with closing(parts), path.open("wb") as file:
            for part in parts:
                written += len(part)
                if written > most:
                    raise UpscalingError(
                        Code.TOO_LARGE,
                        f"the file is larger than {most >> 20} MiB, the most for a picture within the limit."
                        " Send a smaller one, or raise UPSCALING_MAX_INPUT_MP.",
                    )
                file.write(part)
    except OSError as error:
        raise UpscalingError(
            Code.ENCODE, f"the picture cannot be kept on the server ({error.strerror}). Is its disk full?"
        ) from error


def _from_data_url(url: str) -> Generator[bytes]:
    kind, comma, content = url.partition(",")
    if not comma:
        raise UpscalingError(Code.INPUT, f"image is {shown(url)}, a data URL without a comma; send a whole one.")
    try:
        content = urllib.parse.unquote_to_bytes(content)
        yield base64.b64decode(content) if kind.endswith(";base64") else content
    except ValueError as error:
        raise UpscalingError(
            Code.INPUT, f"image is a data URL whose base64 is cut off or damaged ({error}). Send a whole one."
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
        raise _unfetched(f"{address} is none that can be fetched from") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _unfetched(f"{address} broke off") from error
    except (OSError, urllib3.exceptions.HTTPError) as error:  # those of requests are of the first kind
        raise _unfetched(f"{address} cannot be reached, or did not send all of it in time") from error


def _answered(session: _Session, url: str, address: str) -> requests.Response:
    """The answer, its body unread, behind at most _MOST_REDIRECTS."""
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
    """Follows no redirect: requests reads the body of each whole, however long, even where it is not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def destination(self, answer: requests.Response) -> str | None:
        """Where an answer redirects to; None where it does not."""
        return super().get_redirect_target(answer)


class _Adapter(HTTPAdapter):
    """Reads nothing after the deadline, however slowly it comes: the timeouts of requests begin anew with each byte."""

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
