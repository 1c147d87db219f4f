"""A server's processes as Linux shows them: who they are, what they take, and limits put on them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, limits other processes")

_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What some processes take together."""

    resident: int
    """Bytes of memory, pages of shared libraries counted in every process."""
    anonymous: int
    """Bytes of it that no file backs: what the processes themselves have allocated."""
    threads: int
    files: int
    """Open file descriptors."""


def members(leader: int) -> list[int]:
    """The processes of a session, its leader first; none once all have ended."""
    found: list[int] = []
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it may have ended since
            # Behind the name, which may hold anything: state, parent, process group, session.
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(folder.name))
    return sorted(found)


def worker(leader: int) -> int:
    """The process that a server's model runs in."""
    (found,) = (member for member in members(leader) if member != leader)
    return found


def usage(leader: int) -> Usage:
    """What a session's processes take now."""
    fields = [_status(member) for member in members(leader)]
    return Usage(
        resident=sum(each["VmRSS"] for each in fields) * 1024,
        anonymous=sum(each["RssAnon"] for each in fields) * 1024,
        threads=sum(each["Threads"] for each in fields),
        files=sum(sum(1 for _ in (_PROC / str(member) / "fd").iterdir()) for member in members(leader)),
    )


def allocated(process: int) -> int:
    """The bytes of memory that a process has taken, without files."""
    return _status(process)["RssAnon"] * 1024


def address_space(process: int) -> int:
    """The bytes that a process has mapped, which RLIMIT_AS limits."""
    return _status(process)["VmSize"] * 1024


@contextmanager
def limited(process: int, what: int, limit: int) -> Iterator[None]:
    """Holds another process to a limit, one of resource.RLIMIT_*, while the block runs."""
    soft, hard = resource.prlimit(process, what)
    resource.prlimit(process, what, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(process, what, (soft, hard))


def _status(process: int) -> dict[str, int]:
    lines = (_PROC / str(process) / "status").read_text().splitlines()
    values = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return {name: int(values[name][0]) for name in ("VmSize", "VmRSS", "RssAnon", "Threads")}
