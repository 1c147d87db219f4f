from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from image_files import holds_secret, problems

# In parts, so that nobody who searches this repository for secrets finds any.
KEY = "-----BEGIN " + "RSA PRIVATE KEY-----\nMII"
TOKEN = "ghp_" + "a1B2" * 9


def archive(files: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as members:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("src/link.pkl")
        link.type, link.linkname = tarfile.SYMTYPE, "/nowhere"
        members.addfile(link)
    file.seek(0)
    return file


def found(path: str, content: bytes = b"x") -> list[str]:
    return list(problems(archive({path: content})))


def saved(save: Callable[..., None], *what: Any, **how: Any) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    save(file, *what, **how)
    return file.getvalue()


def checkpoint(file: io.BytesIO, zipped: bool) -> None:
    torch.save({"weight": torch.zeros(2)}, file, _use_new_zipfile_serialization=zipped)


OBJECTS = np.array([{}, None], dtype=object)
PICKLES = {
    **{f"protocol {protocol}": pickle.dumps([1], protocol=protocol) for protocol in (2, 3, 4, 5)},
    "larger than what is searched": pickle.dumps(b"x" * (1 << 21)),
    "torch": saved(checkpoint, True),
    "torch before 1.6": saved(checkpoint, False),
    "array of objects": saved(np.save, OBJECTS),
    "archive with an array of objects": saved(np.savez, numbers=np.zeros(2), objects=OBJECTS),
}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("path", ["src/weights/a.pth", "src/weights/renamed", "usr/lib/site-packages/pkg/c.dat"])
def test_a_pickle_is_found_whatever_its_name(path: str, content: bytes) -> None:
    assert found(path, content) == [f"/{path} is a pickle."]


@pytest.mark.parametrize(
    "path",
    [
        "root/.cache/pip/http-v2/1/2",
        "root/.cache/uv/wheels-v5/index/a",
        "root/.cache/uv/archive-v0/a/b.py",
        "home/me/.cache/torch/kernels/a",
        "tmp/torchinductor_root/a.so",
        "root/.triton/cache/a.cubin",
        "root/.nv/ComputeCache/index",
    ],
)
def test_a_cache_is_found(path: str) -> None:
    assert found(path) == [f"/{path} is part of a cache."]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("src/.env", b"A=1"),
        ("root/.netrc", b""),
        ("root/.ssh/known_hosts", b""),
        ("src/.git/config", b""),
        ("root/.docker/config.json", b"{}"),
        ("run/secrets/token", b"x"),
        ("src/key.txt", KEY.encode()),
        ("etc/profile.d/login.sh", f"export TOKEN={TOKEN}".encode()),
    ],
)
def test_a_secret_is_found(path: str, content: bytes) -> None:
    assert found(path, content) == [f"/{path} is a secret."]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("src/run.py", b"import torch"),
        ("src/weights/a/model.safetensors", b"\x80\x04"),
        ("usr/lib/python3/site-packages/distutils-precedence.pth", b"import os"),
        ("usr/lib/python3/site-packages/numpy/_core/tests/data/astype_copy.pkl", b"\x80\x02]"),
        ("usr/lib/python3/site-packages/numpy/lib/tests/data/py2-objarr.npy", PICKLES["array of objects"]),
        ("usr/lib/python3.11/lib2to3/Grammar3.11.4.final.0.pickle", PICKLES["protocol 5"]),
        ("usr/lib/python3.11/lib2to3/PatternGrammar3.11.4.final.0.pickle", PICKLES["protocol 5"]),
        ("src/weights/numbers.npy", saved(np.save, np.zeros(2))),
        ("src/weights/numbers.npz", saved(np.savez, zeros=np.zeros(2))),
        ("usr/lib/x86_64-linux-gnu/tables.dat", b"\x80\x04 but no end"),
        ("usr/lib/python3/site-packages/future/backports/test/key.pem", KEY.encode()),
        ("usr/lib/udev/hwdb.bin", b"KSLPHHRH"),
        ("usr/share/pip/notes", b"x"),
        ("etc/ssl/certs/ca.pem", b"-----BEGIN CERTIFICATE-----"),
        ("root/.cache/uv/interpreter-v4/a/b.msgpack", b"x"),
        ("usr/lib/x86_64-linux-gnu/libssh2.so.1.0.1", b"\x7fELF" + KEY.encode()),
    ],
)
def test_what_belongs_into_an_image_is_left_alone(path: str, content: bytes) -> None:
    assert found(path, content) == []


def test_large_files_are_read_to_their_begin_only() -> None:
    large = b"\0" * (3 << 20)
    files = {"src/a.safetensors": large + KEY.encode(), "src/b.pt": b"\x80\x02" + large}
    assert list(problems(archive(files))) == ["/src/b.pt is a pickle."]


def test_tokens_in_the_environment_are_found() -> None:
    assert holds_secret(f"TOKEN={TOKEN}")
    assert not holds_secret("PATH=/usr/bin")
