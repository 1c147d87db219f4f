from __future__ import annotations

import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import store
from upscaling.weights.catalogue import wheel
from upscaling.weights.store import file_name, write

ENTRY = weights.entry("realesr-animevideov3")
STATE = tiny.srvgg()
FILE = file_name(ENTRY)


class Cancelled(BaseException):
    """What Cog raises inside a prediction that is cancelled."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were fetched, from nowhere."""
    fetched: list[str] = []

    def fetch(entry: weights.Entry) -> tuple[tiny.StateDict, str]:
        fetched.append(entry.name)
        return STATE, "fetched"

    monkeypatch.setattr(store, "fetch", fetch)
    return fetched


def failure(folder: Path) -> str:
    with pytest.raises(UpscalingError) as raised:
        weights.load(ENTRY, folder)
    assert raised.value.code is Code.WEIGHTS
    return raised.value.message


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    assert write(STATE, ENTRY, "here", tmp_path) == tmp_path / FILE
    loaded = weights.load(ENTRY, tmp_path)
    assert loaded.source == "here"
    assert loaded.state.keys() == STATE.keys()
    assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)


def test_baked_comes_before_cache_comes_before_fetch(tmp_path: Path, cache: Path, fetches: list[str]) -> None:
    baked = tmp_path / "baked"
    assert weights.load(ENTRY, baked).source == "fetched"
    assert fetches == [ENTRY.name]
    assert weights.load(ENTRY, baked).source == "fetched"
    assert fetches == [ENTRY.name]
    write(STATE, ENTRY, "cached", cache)
    assert weights.load(ENTRY, baked).source == "cached"
    write(STATE, ENTRY, "baked", baked)
    assert weights.load(ENTRY, baked).source == "baked"
    assert fetches == [ENTRY.name]


def test_cache_is_the_users_own_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", "/somewhere")
    assert store.cache_folder() == Path("/somewhere")
    monkeypatch.setenv("UPSCALING_CACHE", "")
    assert store.cache_folder().is_relative_to(Path.home())


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write(STATE, ENTRY, "here", tmp_path)
    content = path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    for position in [*range(8), *range(8, header_end, 7), *range(header_end, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        try:
            loaded = weights.load(ENTRY, tmp_path)
        except UpscalingError as error:
            assert error.code is Code.WEIGHTS
        else:
            # The words about the file's origin may change; the values may not.
            assert position < header_end
            assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)


def test_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = write(STATE, ENTRY, "here", tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert failure(tmp_path) == (
        f"the weights file {FILE} is damaged (its content does not match its checksum). Remove it and fetch it again."
    )


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = write(STATE, ENTRY, "here", tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert "is damaged" in failure(tmp_path)


def test_file_without_an_origin_is_refused(tmp_path: Path) -> None:
    store.save_file(STATE, tmp_path / FILE, {"sha256": store._digest(STATE)})
    assert "is damaged" in failure(tmp_path)


@pytest.mark.parametrize("kept", [wheel().sha256, ENTRY.sha256], ids=["wheel's", "official, as older versions wrote"])
def test_weights_from_the_wheel_name_the_wheels_checksum(tmp_path: Path, kept: str) -> None:
    path = write(STATE, ENTRY, wheel().source, tmp_path)
    with store.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["origin_sha256"] == wheel().sha256
    store.save_file(STATE, path, metadata | {"origin_sha256": kept})
    assert weights.load(ENTRY, tmp_path).source == wheel().source


def test_the_wheels_checksum_is_refused_for_another_source(tmp_path: Path) -> None:
    path = write(STATE, ENTRY, "elsewhere", tmp_path)
    metadata = {"source": "elsewhere", "sha256": store._digest(STATE), "origin_sha256": wheel().sha256}
    store.save_file(STATE, path, metadata)
    assert "another network" in failure(tmp_path)


def test_file_can_be_read_by_other_users(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = write(STATE, ENTRY, "here", tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [OSError("no space"), SafetensorError("no space"), Cancelled()])
def test_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write(STATE, ENTRY, "before", tmp_path)

    def half(_state: tiny.StateDict, path: Path, _metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(store, "save_file", half)
    with pytest.raises(Cancelled if isinstance(error, Cancelled) else UpscalingError):
        write(tiny.srvgg(seed=1), ENTRY, "after", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert weights.load(ENTRY, tmp_path).source == "before"


def test_what_a_killed_writer_left_is_never_read_and_removed_once_nobody_writes_it(
    tmp_path: Path, cache: Path, fetches: list[str]
) -> None:
    abandoned, young = (cache / f"{ENTRY.name}.{token}.tmp" for token in ("0123abcd", "4567cdef"))
    others = cache / "RealESRGAN_x2plus.0123abcd.tmp"
    cache.mkdir()
    for unfinished in (abandoned, young, others):
        unfinished.write_bytes(b"half")
    for unfinished in (abandoned, others):
        os.utime(unfinished, (0, 0))
    assert weights.load(ENTRY, tmp_path).source == "fetched"
    assert {path.name for path in cache.iterdir()} == {FILE, young.name, others.name}


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UpscalingError) as raised:
            write(STATE, ENTRY, "here", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.code is Code.WEIGHTS
    assert raised.value.message.startswith(f"the weights file {FILE} cannot be written (")
    assert str(tmp_path) not in raised.value.message
    assert f"{tmp_path / FILE} cannot be written: " in caplog.text
    assert raised.value.message.endswith("Name a writable folder in UPSCALING_CACHE.")
    assert list(tmp_path.iterdir()) == []


def test_cache_that_is_a_file_is_told(cache: Path, tmp_path: Path, fetches: list[str]) -> None:
    cache.write_bytes(b"")
    message = failure(tmp_path)
    assert "cannot be written" in message
    assert str(tmp_path) not in message


def test_file_that_cannot_be_opened_is_told_without_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).mkdir()
    message = failure(tmp_path)
    assert message.startswith(f"the weights file {FILE} ")
    assert str(tmp_path) not in message
    assert f"{tmp_path / FILE} cannot be read: " in caplog.text


def test_folder_that_may_not_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    assert failure(tmp_path) == (
        f"the weights file {FILE} cannot be read (Permission denied). Let the server's user read it, or remove it."
    )


def test_credentials_that_an_older_version_kept_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write(STATE, ENTRY, "https://us3r:pa55@host/a.pth?key=t0ken", tmp_path)
    assert weights.load(ENTRY, tmp_path).source == "https://host/a.pth"
    assert [secret for secret in ("us3r", "pa55", "t0ken") if secret in caplog.text] == []


def test_two_writers_at_once_both_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, save = threading.Barrier(2), store.save_file

    def save_together(state: tiny.StateDict, path: Path, metadata: dict[str, str]) -> None:
        save(state, path, metadata)
        both.wait(timeout=20)

    monkeypatch.setattr(store, "save_file", save_together)
    with ThreadPoolExecutor(2) as writers:
        written = [writers.submit(write, STATE, ENTRY, "here", tmp_path) for _ in range(2)]
        assert [path.result(timeout=20) for path in written] == [tmp_path / FILE] * 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_cancelled_fetch_leaves_the_cache_whole(
    tmp_path: Path, cache: Path, fetches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(_entry: weights.Entry) -> tuple[tiny.StateDict, str]:
        raise Cancelled

    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(store, "fetch", cancelled)
        weights.load(ENTRY, tmp_path)
    assert not cache.exists() or not any(cache.iterdir())
    assert weights.load(ENTRY, tmp_path).source == "fetched"
