"""Finds files that an image must not contain: pickles, secrets, and caches of build tools."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

_ELF = b"\x7fELF"
_READ = 1 << 20  # bytes; a larger file is no secret
_PICKLES = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle"}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # of protocol 2 or later
_STOP = b"."  # ends a pickle
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # before its archives; tensors follow the pickles
_ZIP = b"PK\x03\x04"  # torch puts data.pkl into one, numpy.savez arrays
# The header of an array of objects, which numpy pickles.
_OBJECTS = re.compile(rb"\x93NUMPY.{4,6}\{[^}]*'\|O\d?'", re.DOTALL)
_PACKAGES = re.compile(r"(^|/)(site|dist)-packages/")
# The grammars of lib2to3 come with Python, and test data with packages; nothing of ours opens them.
_OTHERS_PICKLES = re.compile(r"(^|/)(site|dist)-packages/.*/tests?/|(^|/)lib2to3/(Pattern)?Grammar[\w.]*\.pickle$")
_CACHES = re.compile(
    # Cog leaves the folder of uv, but nothing that uv downloaded or built.
    r"(^|/)\.cache/(pip|torch|huggingface|ccache)/|(^|/)\.cache/uv/(archive|wheels|simple)-v\d+/"
    r"|(^|/)pip/(http|selfcheck|wheels)/|(^|/)\.ccache/"
    r"|(^|/)\.triton/cache/|(^|/)torchinductor|(^|/)\.nv/ComputeCache/"
)
_SECRET_NAMES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|\.git-credentials|\.npmrc|id_(rsa|dsa|ecdsa|ed25519))$"
    r"|(^|/)\.(aws|kube|docker|ssh|git)/|(^|/)\.config/gcloud/|^run/secrets/"
)
# Keys and tokens as GitHub, AWS, Hugging Face, Replicate and others write them.
_SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(gh[opusr]_\w{36}|github_pat_\w{60,}|AKIA[0-9A-Z]{16}|hf_[A-Za-z]{34}|r8_\w{37}|pypi-\w{50,})"
)


def problems(archive: IO[bytes]) -> Iterator[str]:
    """One sentence for each file that must not be in an exported image, which is a tar stream."""
    with tarfile.open(fileobj=archive, mode="r|") as members:
        for member in members:
            opened = members.extractfile(member) if member.isfile() else None
            if opened is None:
                continue
            path = str(PurePosixPath(member.name))
            begin = opened.read(_READ)
            end = _last_byte(opened, begin) if _PICKLE.match(begin) else b""
            for kind in kinds(path, begin, end, member.size):
                yield f"/{path} is {kind}."


def _last_byte(opened: IO[bytes], begin: bytes) -> bytes:
    while chunk := opened.read(_READ):
        begin = chunk
    return begin[-1:]


def kinds(path: str, begin: bytes, end: bytes, size: int) -> Iterator[str]:
    """Which of these a file is, by its path without the leading slash, first bytes, last byte and size in bytes."""
    if _CACHES.search(path):
        yield "part of a cache"
    if _is_pickle(path, begin, end) and not _OTHERS_PICKLES.search(path):
        yield "a pickle"
    # Packages have keys in their tests and tables that look like tokens; programs contain the first line of a key.
    exempt = _PACKAGES.search(path) or begin.startswith(_ELF)
    if not exempt and (_SECRET_NAMES.search(path) or (size <= _READ and _SECRETS.search(begin))):
        yield "a secret"


def _is_pickle(path: str, begin: bytes, end: bytes) -> bool:
    """Whether a file is a pickle or contains one, by its content. Python's own .pth files are text."""
    named = PurePosixPath(path).suffix in _PICKLES
    if begin.startswith(_ZIP):
        return named or b"/data.pkl" in begin or _OBJECTS.search(begin) is not None
    whole = named or end == _STOP or begin.startswith(_OLD_TORCH)
    return (whole and _PICKLE.match(begin) is not None) or _OBJECTS.match(begin) is not None


def holds_secret(text: str) -> bool:
    """Whether an environment variable or a build step contains a key or a token."""
    return _SECRETS.search(text.encode()) is not None
