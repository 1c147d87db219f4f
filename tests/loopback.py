"""A web site on loopback that answers what a test wants and remembers what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

T = TypeVar("T")
_STALLS_FOR = 60  # seconds at most


def until(condition: Callable[[], T], within: float = 20) -> T:
    """The first true value of `condition`; fails after so many seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(0.01)
    return value


@dataclass(frozen=True)
class Answer:
    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stalls_after: int | None = None
    """Bytes of the body, after which no more comes until the site closes."""
    breaks_after: int | None = None
    """Bytes of the body, after which the connection closes."""


@dataclass(frozen=True)
class Site:
    port: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """By path, in the order they are given; the last is given again and again."""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body of every request."""
    ranges: list[str | None] = field(default_factory=list)
    """The header Range of every request. It is heeded where the answer has an ETag and If-Range names it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, path: str, *answers: Answer) -> str:
        """Sets what a path answers, and returns its URL."""
        self.answers[path] = list(answers)
        return self.url + path

    def next_answer(self, path: str) -> Answer:
        waiting = self.answers.get(path, [Answer(status=404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def site() -> Iterator[Site]:
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = running.next_answer(self.path)
            running.asked.append((self.path, body))
            running.ranges.append(self.headers.get("Range"))
            content, etag = answer.content, answer.headers.get("ETag")
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            if start and etag is not None and self.headers.get("If-Range") == etag:
                content = content[start:]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(answer.content) - 1}/{len(answer.content)}")
            else:
                self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content[: answer.stalls_after or answer.breaks_after])
            if answer.stalls_after is not None:
                closing.wait(timeout=_STALLS_FOR)

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Site(server.server_port)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield running
        finally:
            closing.set()
            server.shutdown()
