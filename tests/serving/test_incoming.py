"""What callers send for a picture: read within bounds, told in our words, and nothing of it kept."""

from __future__ import annotations

import base64
import gzip
import socket
import threading
import time
import urllib.parse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from loopback import Answer, Site, site

from upscaling.errors import Code, UpscalingError
from upscaling.images import Limits
from upscaling.serving import incoming
from upscaling.serving.incoming import Incoming, Stored, keep_unread, received


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    with site() as running:
        yield running


def content(image: object, folder: Path) -> bytes:
    with received(image, folder) as path:
        return path.read_bytes()


def refusal(image: object, folder: Path) -> UpscalingError:
    with pytest.raises(UpscalingError) as raised:
        content(image, folder)
    assert list(folder.iterdir()) == []
    assert str(folder) not in raised.value.message
    return raised.value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("data:image/png;base64,aGVs%62G8%3D", b"hello"),
        ("data:;base64,aGVs\nbG8=", b"hello"),
        ("data:,a%20b", b"a b"),
        ("data:image/png;base64,", b""),
    ],
)
def test_data_urls_are_read(tmp_path: Path, url: str, expected: bytes) -> None:
    assert content(Incoming(url), tmp_path) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:;base64,a", "data:;base64,aGVsbG8"])
def test_broken_data_urls_are_told(tmp_path: Path, url: str) -> None:
    error = refusal(Incoming(url), tmp_path)
    assert error.code is Code.INPUT
    assert "send the complete URL." in error.message


def test_stored_pictures_are_read_in_parts(tmp_path: Path) -> None:
    assert content(Stored(lambda: (part for part in (b"hel", b"lo"))), tmp_path) == b"hello"
    assert list(tmp_path.iterdir()) == []


def test_stored_pictures_that_cannot_be_read_leave_nothing(tmp_path: Path) -> None:
    def read() -> Generator[bytes]:
        yield b"begun"
        raise UpscalingError(Code.ENCODE, "the bucket is away.")

    assert refusal(Stored(read), tmp_path).code is Code.ENCODE


def test_nothing_of_a_data_url_is_kept(tmp_path: Path) -> None:
    class Downloaded(type(Path())):
        """Stands in for cog.Path."""

        @classmethod
        def validate(cls, value: str) -> None:
            urllib.parse.urlparse(value)

    keep_unread(Downloaded)
    urllib.parse.clear_cache()
    content(Downloaded.validate("data:;base64," + base64.b64encode(bytes(1000)).decode()), tmp_path)
    assert urllib.parse.urlsplit.cache_info().currsize == 0


def test_urls_are_not_kept_in_the_cache_of_the_parser(tmp_path: Path, elsewhere: Site) -> None:
    url = elsewhere.answer("/x?" + "y" * 1000, Answer(b"picture"))
    assert content(Incoming(url), tmp_path) == b"picture"
    refusal(Incoming(f"http://[{'y' * 1000}"), tmp_path)
    assert urllib.parse.urlsplit.cache_info().currsize == 0


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "file:///etc/passwd", "../x", "", Path("/etc/passwd"), PurePosixPath("/x"), None, 5, b"x"]
)
def test_anything_else_is_refused(tmp_path: Path, image: object) -> None:
    error = refusal(image, tmp_path)
    assert error.code is Code.INPUT
    assert error.message.endswith("; send the picture as a file, a data URL or an http(s) URL.")


def test_refusal_quotes_only_the_beginning_of_a_long_path(tmp_path: Path) -> None:
    assert len(str(refusal("x" * 1000, tmp_path))) < 200


def test_redirects_are_followed(tmp_path: Path, elsewhere: Site) -> None:
    elsewhere.answer("/a", Answer(status=302, headers={"Location": "b"}, content=b"moved"))
    elsewhere.answer("/b", Answer(b"picture"))
    assert content(Incoming(f"{elsewhere.url}/a"), tmp_path) == b"picture"
    assert elsewhere.paths == ["/a", "/b"]


def test_redirects_without_end_are_told(tmp_path: Path, elsewhere: Site) -> None:
    url = elsewhere.answer("/a", Answer(status=302, headers={"Location": "/a"}))
    assert "is redirected more than 5 times" in refusal(Incoming(url), tmp_path).message


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(status=404), "answers with HTTP 404"),
        (Answer(status=500), "answers with HTTP 500"),
        (Answer(status=302, headers={"Location": "ftp://127.0.0.1/x"}), "is not a valid URL"),
        (
            Answer(b"no gzip", headers={"Content-Encoding": "gzip"}),
            "cannot be reached, or did not send the whole file in time",
        ),
    ],
    ids=["absent", "broken", "elsewhere", "garbled"],
)
def test_answers_that_are_no_picture_are_told(tmp_path: Path, elsewhere: Site, answer: Answer, told: str) -> None:
    error = refusal(Incoming(elsewhere.answer("/x", answer)), tmp_path)
    assert error.code is Code.INPUT
    assert f"/x' {told}. Check it" in error.message


@pytest.mark.parametrize(
    "url",
    ["https://", "http://", "http://[x/", "http:///x", "http://a..b/", "http://x:y/", "http://x\0y/",
     f"http://{'x' * 70}.com/", "https://127.0.0.1:1/x", "http://127.0.0.1:99999/"],
)  # fmt: skip
def test_addresses_that_lead_nowhere_are_told(tmp_path: Path, url: str) -> None:
    error = refusal(Incoming(url), tmp_path)
    assert error.code is Code.INPUT
    assert error.message.endswith("Check it, or send the picture itself.")
    assert "Error" not in error.message


@contextmanager
def sending(*parts: bytes, again: bytes = b"", pause: float = 0, stays: bool = False) -> Iterator[str]:
    """A server that sends the parts, then one more again and again until the caller hangs up."""

    def send() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            try:
                for part in parts:
                    connection.sendall(part)
                while again and not closing.wait(pause):
                    connection.sendall(again)
                if stays:
                    closing.wait(20)
            except OSError:
                pass  # the caller has hung up

    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        finally:
            closing.set()
            thread.join(timeout=20)


@pytest.mark.parametrize("header", [b"", b"Content-Encoding: gzip\r\n"], ids=["plain", "compressed"])
def test_endless_answers_are_cut_at_the_longest_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    monkeypatch.setenv("UPSCALING_MAX_INPUT_MP", "0.001")
    again = gzip.compress(bytes(1 << 24)) if header else bytes(1 << 20)
    with sending(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n", again=again) as url:
        error = refusal(Incoming(url), tmp_path)
    assert error.code is Code.TOO_LARGE
    assert "the file is larger than 16 MiB" in error.message


def test_bodies_of_redirects_are_not_read(tmp_path: Path, elsewhere: Site) -> None:
    target = elsewhere.answer("/x", Answer(b"picture"))
    moved = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode()
    with sending(moved, again=bytes(1 << 20)) as url:
        assert content(Incoming(url), tmp_path) == b"picture"


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["nothing", "header", "body"]
)
@pytest.mark.parametrize("again", [b"", b"x"], ids=["silent", "drop by drop"])
def test_slow_answers_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes, again: bytes) -> None:
    monkeypatch.setattr(incoming, "FETCHED_WITHIN", 0.3)
    monkeypatch.setattr(incoming, "_SILENT_FOR", 0.3)
    with sending(begun, again=again, pause=0.02, stays=True) as url:
        began = time.monotonic()
        assert " in time. Check it" in refusal(Incoming(url), tmp_path).message
        assert time.monotonic() - began < 5


def test_answers_that_break_off_are_told(tmp_path: Path) -> None:
    with sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx") as url:
        assert "closed the connection too early" in refusal(Incoming(url), tmp_path).message


def test_limit_of_a_file_is_that_of_the_largest_picture() -> None:
    assert Limits(input_megapixels=200).input_bytes == 1_600_000_000 + (16 << 20)


def test_folder_that_is_gone_is_told_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=r"E_ENCODE: the picture cannot be written") as raised:
        content(Incoming("data:,x"), tmp_path / "gone")
    assert str(tmp_path) not in str(raised.value)
