from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.weights.catalogue import Entry, wheel

MODELS = ("real-esrgan", "swinir")
SHA256 = re.compile(r"[0-9a-f]{64}")
ENTRIES = {entry.name: entry for model in MODELS for entry in weights.of_model(model)}


@pytest.fixture(params=ENTRIES)
def entry(request: pytest.FixtureRequest) -> Entry:
    return ENTRIES[request.param]


def test_every_row_is_complete(entry: Entry) -> None:
    assert weights.entry(entry.name) == entry
    assert entry.licence
    assert entry.origin
    assert (entry.bytes is None) == (entry.sha256 is None)
    assert entry.bytes is None or entry.bytes > 1_000_000
    assert entry.channels in (1, 3)
    assert isinstance(entry.fp16_safe, bool)
    assert set(entry.models) <= set(MODELS)


def test_sources_are_https_and_name_the_file(entry: Entry) -> None:
    assert entry.urls
    for url in entry.urls:
        parts = urlsplit(url)
        assert (parts.scheme, parts.query, parts.fragment) == ("https", "", "")
        assert parts.path.endswith(f"/{entry.file}")


def test_hub_sources_are_pinned_to_a_commit(entry: Entry) -> None:
    hub = [url for url in entry.urls if urlsplit(url).hostname == "huggingface.co"]
    assert all(re.search(r"/resolve/[0-9a-f]{40}/", url) for url in hub)


def test_hashes_are_sha256(entry: Entry) -> None:
    assert entry.sha256 is None or SHA256.fullmatch(entry.sha256)
    assert SHA256.fullmatch(wheel().sha256)


def test_no_two_rows_share_a_file_or_a_hash() -> None:
    assert len({entry.file for entry in ENTRIES.values()}) == len(ENTRIES)
    hashes = [entry.sha256 for entry in ENTRIES.values() if entry.sha256 is not None]
    assert len(set(hashes)) == len(hashes)


def test_twins_are_rows_of_the_same_models(entry: Entry) -> None:
    if entry.twin is not None:
        twin = weights.entry(entry.twin)
        assert (twin.models, twin.twin, twin.fp16_safe) == (entry.models, None, entry.fp16_safe)


def test_rows_are_found_by_model() -> None:
    assert [entry.name for entry in weights.of_model("real-esrgan")] == [
        "RealESRGAN_x4plus",
        "RealESRGAN_x2plus",
        "RealESRGAN_x4plus_anime_6B",
        "realesr-general-x4v3",
        "realesr-general-wdn-x4v3",
        "realesr-animevideov3",
    ]
    assert weights.of_model("no-such-model") == ()


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UpscalingError, match=r"E_INPUT: there is no network 'x'; there are RealESRGAN_x4plus, "):
        weights.entry("x")
