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
# A pickle of protocol 2 or later, or the zip archive that torch puts one into. Python's own .pth files are text.
_PICKLED = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")
_PACKAGES = re.compile(r"(^|/)(site|dist)-packages/")
_TEST_DATA = re.compile(r"(^|/)(site|dist)-packages/.*/tests?/")
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
            path = str(PurePosixPath(member.name))
            if not member.isfile():
                continue
            opened = members.extractfile(member)
            begin = opened.read(_READ) if opened is not None else b""
            for kind in kinds(path, begin, member.size):
                yield f"/{path} is {kind}."


def kinds(path: str, begin: bytes, size: int) -> Iterator[str]:
    """Which of these a file is, by its path without the leading slash, its first bytes and its size in bytes."""
    if _CACHES.search(path):
        yield "part of a cache"
    if PurePosixPath(path).suffix in _PICKLES and _PICKLED.match(begin) and not _TEST_DATA.search(path):
        yield "a pickle"
    # Packages have keys in their tests and tables that look like tokens; programs contain the first line of a key.
    exempt = _PACKAGES.search(path) or begin.startswith(_ELF)
    if not exempt and (_SECRET_NAMES.search(path) or (size <= _READ and _SECRETS.search(begin))):
        yield "a secret"


def holds_secret(text: str) -> bool:
    """Whether an environment variable or a build step contains a key or a token."""
    return _SECRETS.search(text.encode()) is not None
