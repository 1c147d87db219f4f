"""Weights whose checksum nobody has published: fetched only where that is allowed, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import Harm, entry_of, published, saved
from loopback import Answer, Site, site

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights import Entry, File, ensure
from upscaling.weights.fetch import fetch

STATE = tiny.srvgg()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("UPSCALING_WEIGHTS_MIRROR", raising=False)
    monkeypatch.delenv("UNVERIFIED_WEIGHTS", raising=False)
    with site() as running:
        yield running


@pytest.fixture
def entry(host: Site) -> Entry:
    host.answer("/tiny.pth", Answer(saved({"params": STATE})))
    return entry_of(host, File("tiny.pth"))


@pytest.mark.parametrize("setting", [None, "", "0", "yes"])
def test_weights_without_a_checksum_are_refused_before_anything_is_asked(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str | None
) -> None:
    if setting is not None:
        monkeypatch.setenv("UNVERIFIED_WEIGHTS", setting)
    with pytest.raises(UpscalingError, match=r"published for tiny\.pth.*Set UNVERIFIED_WEIGHTS=1") as raised:
        fetch(entry, tmp_path)
    assert raised.value.code is Code.WEIGHTS
    assert host.paths == []


def test_weights_without_a_checksum_are_fetched_where_allowed_and_told(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    for _ in range(2):
        loaded = weights.load(entry, tmp_path / "baked")
        assert loaded.source == f"{host.url}/tiny.pth (unverified)"
        assert all(torch.equal(loaded.state[name], STATE[name]) for name in STATE)
    assert host.paths == ["/tiny.pth"]
    assert json.loads((tmp_path / "tiny" / "manifest.json").read_text())["published"] == {"tiny.pth": None}


def test_one_file_without_a_checksum_makes_its_set_unverifiable(host: Site, entry: Entry) -> None:
    with_another = replace(entry, files=(published("known.json", b"{}"), *entry.files))
    with pytest.raises(UpscalingError, match=r"published for tiny\.pth, so"):
        ensure(with_another)
    assert host.paths == []


def test_weights_from_before_a_checksum_was_known_are_refused(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    ensure(entry)
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: the weights tiny are damaged .* download them again"):
        ensure(replace(entry, files=(published("tiny.pth", b"known"),)))


def test_weights_without_a_checksum_in_the_cache_need_leave_and_baked_ones_do_not(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    cached = weights.load(entry, tmp_path / "baked")
    monkeypatch.delenv("UNVERIFIED_WEIGHTS")
    with pytest.raises(UpscalingError, match=r"^E_WEIGHTS: .*Set UNVERIFIED_WEIGHTS=1"):
        weights.load(entry, tmp_path / "baked")
    (tmp_path / "cache").rename(tmp_path / "baked")
    assert weights.load(entry, tmp_path / "baked").source == cached.source
    assert host.paths == ["/tiny.pth"]


def test_code_in_weights_without_a_checksum_is_refused_and_not_run(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    host.answer("/tiny.pth", Answer(saved({"params": Harm(tmp_path / "harmed")})))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry, tmp_path / "cache")
    assert not (tmp_path / "harmed").exists()
