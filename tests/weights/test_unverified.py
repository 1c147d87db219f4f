"""Weights whose checksum nobody has published: fetched only where that is allowed, and told."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import Answer, Site, site
from safetensors import safe_open

import tiny
from upscaling import weights
from upscaling.errors import Code, UpscalingError
from upscaling.weights.catalogue import Entry
from upscaling.weights.fetch import fetch
from upscaling.weights.store import file_name

STATE = tiny.srvgg()
# Of the published SwinIR files, those that no source gives a checksum of; `make pin` may have written one down.
UNPUBLISHED = {
    "004_grayDN_DFWB_s128w8_SwinIR-M_noise15",
    "004_grayDN_DFWB_s128w8_SwinIR-M_noise25",
    "004_grayDN_DFWB_s128w8_SwinIR-M_noise50",
    "005_colorDN_DFWB_s128w8_SwinIR-M_noise50",
    "006_CAR_DFWB_s126w7_SwinIR-M_jpeg10",
    "006_CAR_DFWB_s126w7_SwinIR-M_jpeg20",
    "006_CAR_DFWB_s126w7_SwinIR-M_jpeg30",
    "006_CAR_DFWB_s126w7_SwinIR-M_jpeg40",
    "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg30",
}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("UPSCALING_WEIGHTS_MIRROR", raising=False)
    monkeypatch.delenv("UNVERIFIED_WEIGHTS", raising=False)
    with site() as running:
        yield running


@pytest.fixture
def entry(host: Site) -> Entry:
    file = io.BytesIO()
    torch.save({"params": STATE}, file)
    address = host.answer("/tiny.pth", Answer(file.getvalue()))
    return Entry("tiny", ("some-model",), "tiny.pth", (address,), licence="none", fp16_safe=False, origin="this test")


@pytest.mark.parametrize("setting", [None, "", "0", "yes"])
def test_weights_without_a_checksum_are_refused_before_anything_is_asked(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    if setting is not None:
        monkeypatch.setenv("UNVERIFIED_WEIGHTS", setting)
    with pytest.raises(UpscalingError, match=r"checksum of tiny\.pth.*Set UNVERIFIED_WEIGHTS=1") as raised:
        fetch(entry)
    assert raised.value.code is Code.WEIGHTS
    assert host.paths == []


def test_weights_without_a_checksum_are_fetched_where_allowed_and_told(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    state, source = fetch(entry)
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert source == f"{entry.urls[0]} (unverified)"


def test_weights_without_a_checksum_are_kept_and_read_again_without_asking(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    first = weights.load(entry, tmp_path / "baked")
    again = weights.load(entry, tmp_path / "baked")
    assert again.source == first.source
    assert host.paths == ["/tiny.pth"]
    with safe_open(tmp_path / file_name(entry), framework="pt") as file:
        assert "origin_sha256" not in file.metadata()


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


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_weights_without_a_checksum_is_refused_and_not_run(
    host: Site, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    file = io.BytesIO()
    torch.save({"params": Harm(tmp_path / "harmed")}, file)
    host.answer("/tiny.pth", Answer(file.getvalue()))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry)
    assert not (tmp_path / "harmed").exists()


def test_rows_of_swinir_are_unsafe_in_fp16_and_verified_but_for_what_nobody_published() -> None:
    rows = weights.of_model("swinir")
    assert len(rows) == 16
    assert not any(row.fp16_safe for row in rows)
    assert {row.name for row in rows if row.sha256 is None} <= UNPUBLISHED
