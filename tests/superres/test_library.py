from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.images import Image
from upscaling.superres import library as libraries
from upscaling.superres.library import Library
from upscaling.superres.tiling.geometry import TileSize
from upscaling.superres.upscaler import Upscaler
from upscaling.weights.store import Weights, write

NAMES = ("realesr-animevideov3", "RealESRGAN_x4plus")
MIXED, TWIN = "realesr-general-x4v3", "realesr-general-wdn-x4v3"
STATES = {name: tiny.srvgg(seed=seed) for seed, name in enumerate((*NAMES, MIXED, TWIN))}
THIRD = "RealESRGAN_x4plus_anime_6B"
PICTURE = Image(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))
TILE = TileSize(32, 32)


class Cancelled(BaseException):
    """What Cog raises inside a prediction that is cancelled."""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weights that were loaded, in order."""
    loaded: list[str] = []
    load = weights.load

    def counted(entry: weights.Entry, baked: Path) -> Weights:
        loaded.append(entry.name)
        return load(entry, baked)

    monkeypatch.setattr(weights, "load", counted)
    return loaded


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("UPSCALING_DEVICE", "cpu")
    monkeypatch.setenv("UPSCALING_DTYPE", "bfloat16")
    for name, state in STATES.items():
        write(state, weights.entry(name), f"source of {name}", tmp_path)
    return Library("real-esrgan", baked=tmp_path)


def pixels(library: Library, name: str = NAMES[0], denoise_strength: float | None = None) -> np.ndarray:
    return library.upscaler(name, denoise_strength).upscale(PICTURE, 32, 24, TILE).pixels


def test_nothing_is_loaded_before_it_is_used(library: Library, loads: list[str]) -> None:
    upscaler = library.upscaler(NAMES[0])
    assert loads == []
    upscaler.upscale(PICTURE, 32, 24, TILE)
    assert loads == [NAMES[0]]


def test_each_network_is_loaded_once_for_each_type(library: Library, loads: list[str]) -> None:
    first, second = (library.upscaler(name) for name in NAMES)
    for _ in range(3):
        assert first.load(torch.bfloat16) is library.upscaler(NAMES[0]).load(torch.bfloat16)
        assert second.load(torch.bfloat16).dtype is torch.bfloat16
        assert first.load(torch.float32).dtype is torch.float32
    assert sorted(loads) == sorted([NAMES[0], NAMES[1], NAMES[0]])


@pytest.fixture
def small(library: Library) -> Library:
    """A library of three networks that holds two."""
    write(tiny.srvgg(seed=2), weights.entry(THIRD), f"source of {THIRD}", library._baked)
    return Library("real-esrgan", baked=library._baked, most=2)


def test_two_networks_in_turn_are_loaded_once_each_where_there_is_room_for_two(
    small: Library, loads: list[str]
) -> None:
    for _ in range(3):
        for name in NAMES:
            pixels(small, name)
    assert loads == list(NAMES)


def test_the_network_used_longest_ago_makes_room(small: Library, loads: list[str]) -> None:
    first, second, third = *NAMES, THIRD
    for name in (first, second, first, third, first, second, third):
        pixels(small, name)
    # The second went for the third, the third for the second, the first for the third.
    assert loads == [first, second, third, second, third]


def test_a_network_that_made_room_is_forgotten_but_for_its_source(small: Library) -> None:
    gone = weakref.ref(small.upscaler(NAMES[0]).load(torch.float32))
    for name in (NAMES[1], THIRD):
        small.upscaler(name).load(torch.float32)
    gc.collect()
    assert gone() is None
    assert small.source(NAMES[0]) == f"source of {NAMES[0]}"


def test_one_network_in_two_types_takes_two_places(small: Library, loads: list[str]) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        small.upscaler(NAMES[0]).load(dtype)
    small.upscaler(NAMES[1]).load(torch.float32)
    small.upscaler(NAMES[0]).load(torch.bfloat16)
    assert loads == [NAMES[0], NAMES[0], NAMES[1], NAMES[0]]


def test_a_load_that_fails_makes_no_room(small: Library, loads: list[str], tmp_path: Path) -> None:
    for name in NAMES:
        pixels(small, name)
    (tmp_path / f"{THIRD}.safetensors").write_bytes(b"damaged")
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        pixels(small, THIRD)
    for name in NAMES:
        pixels(small, name)
    assert loads == [*NAMES, THIRD]


def test_networks_do_not_take_each_others_place(library: Library) -> None:
    first, second = (pixels(library, name) for name in NAMES)
    assert not np.array_equal(first, second)
    assert np.array_equal(pixels(library), first)


def test_origin_of_the_weights_is_kept(library: Library) -> None:
    pixels(library)
    assert library.source(NAMES[0]) == f"source of {NAMES[0]}"


def test_denoising_lies_between_a_network_and_its_twin(library: Library) -> None:
    twin = Upscaler(lambda dtype: tiny.network(STATES[TWIN], dtype), torch.bfloat16)
    assert np.array_equal(pixels(library, MIXED, 0), twin.upscale(PICTURE, 32, 24, TILE).pixels)
    assert np.array_equal(pixels(library, MIXED), pixels(library, MIXED, 0.5))
    assert len({pixels(library, MIXED, strength).tobytes() for strength in (0, 0.3, 0.5, 1)}) == 4
    assert library.source(MIXED) == f"source of {MIXED}, source of {TWIN}"
    assert library.source(MIXED, 1) == f"source of {MIXED}"


def test_any_number_of_strengths_opens_each_file_once_and_keeps_one_network(library: Library, loads: list[str]) -> None:
    results = [pixels(library, MIXED, strength) for strength in (0.1, 0.9, 0.1, 0.2, 0.2)]
    assert sorted(loads) == sorted([MIXED, TWIN])
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[3], results[4])
    assert len(library._mixed) == 1


def test_full_strength_needs_no_twin(library: Library, tmp_path: Path, loads: list[str]) -> None:
    (tmp_path / f"{TWIN}.safetensors").unlink()
    assert pixels(library, MIXED, 1).shape == (24, 32, 3)
    assert loads == [MIXED]


def test_a_strength_where_there_is_no_twin_is_refused_before_anything_is_loaded(
    library: Library, loads: list[str]
) -> None:
    with pytest.raises(UpscalingError, match=f"E_INPUT: denoise_strength is 1, and {NAMES[0]} has none"):
        library.upscaler(NAMES[0], 1)
    assert loads == []


@pytest.mark.parametrize(
    "name",
    ["x", "x" * 10**6, TWIN, "004_grayDN_DFWB_s128w8_SwinIR-M_noise15"],
    ids=["x", "long", "twin", "of another model"],
)
def test_unknown_network_is_refused_before_anything_is_loaded(library: Library, loads: list[str], name: str) -> None:
    with pytest.raises(
        UpscalingError, match=f"E_INPUT: there is no network '{name[:80]}'; there are {NAMES[1]}, "
    ) as raised:
        library.upscaler(name)
    assert len(str(raised.value)) < 300
    assert loads == []


def test_a_cancel_between_loading_and_making_room_leaves_the_bound(
    small: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        pixels(small, name)
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(small, "_keep", _raising_cancelled)
        pixels(small, THIRD)
    pixels(small, THIRD)
    assert len(small._networks) == 2


def _raising_cancelled(*_: object) -> None:
    raise Cancelled


@pytest.mark.parametrize(("module", "name"), [(weights, "load"), (libraries, "load")])
def test_cancelled_load_leaves_the_library_whole(
    library: Library, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    def cancelled(*_: object) -> None:
        raise Cancelled

    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(module, name, cancelled)
        pixels(library)
    again = pixels(library)
    assert np.array_equal(again, pixels(Library("real-esrgan", library._baked)))
    assert library.source(NAMES[0]) == f"source of {NAMES[0]}"


def test_damaged_weights_are_told_each_time_until_they_are_whole(library: Library, tmp_path: Path) -> None:
    path = tmp_path / f"{NAMES[0]}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for _ in range(2):
        with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
            pixels(library)
    path.write_bytes(whole)
    assert pixels(library).shape == (24, 32, 3)


def test_of_two_loads_at_once_one_network_is_kept(
    library: Library, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, counted = threading.Barrier(2), weights.load

    def together(entry: weights.Entry, baked: Path) -> Weights:
        both.wait(timeout=20)
        return counted(entry, baked)

    monkeypatch.setattr(weights, "load", together)
    upscaler = library.upscaler(NAMES[0])
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(upscaler.load, [torch.float32] * 2)
    assert first is second is upscaler.load(torch.float32)
    assert loads == [NAMES[0]] * 2
