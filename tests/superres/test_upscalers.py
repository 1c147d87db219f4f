from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from upscaling import weights
from upscaling.errors import UpscalingError
from upscaling.images import Image
from upscaling.runtime.cache import ModelCache
from upscaling.runtime.progress import Progress
from upscaling.superres import upscalers as module_of_upscalers
from upscaling.superres.networks import Network
from upscaling.superres.tiling.geometry import TileSize
from upscaling.superres.upscaler import Upscaler
from upscaling.superres.upscalers import Upscalers
from upscaling.weights.store import Weights, write

NAMES = ("realesr-animevideov3", "RealESRGAN_x4plus")
MIXED, TWIN = "realesr-general-x4v3", "realesr-general-wdn-x4v3"
STATES = {name: tiny.srvgg(seed=seed) for seed, name in enumerate((*NAMES, MIXED, TWIN))}
CPU = torch.device("cpu")
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
def upscalers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscalers:
    monkeypatch.setenv("UPSCALING_DTYPE", "bfloat16")
    for name, state in STATES.items():
        write(state, weights.entry(name), f"source of {name}", tmp_path)
    return Upscalers("real-esrgan", tmp_path, CPU)


def pixels(upscalers: Upscalers, name: str = NAMES[0], denoise_strength: float | None = None) -> np.ndarray:
    return upscalers.get(name, denoise_strength).upscale(PICTURE, 32, 24, TILE).pixels


def test_nothing_is_loaded_before_it_is_used(upscalers: Upscalers, loads: list[str]) -> None:
    upscaler = upscalers.get(NAMES[0])
    assert loads == []
    upscaler.upscale(PICTURE, 32, 24, TILE)
    assert loads == [NAMES[0]]


def test_each_network_is_loaded_once_for_each_type(upscalers: Upscalers, loads: list[str]) -> None:
    first, second = (upscalers.get(name) for name in NAMES)
    for _ in range(3):
        assert first.load(torch.bfloat16) is upscalers.get(NAMES[0]).load(torch.bfloat16)
        assert second.load(torch.bfloat16).dtype is torch.bfloat16
        assert first.load(torch.float32).dtype is torch.float32
    assert sorted(loads) == sorted([NAMES[0], NAMES[1], NAMES[0]])


def test_networks_do_not_take_each_others_place(upscalers: Upscalers) -> None:
    first, second = (pixels(upscalers, name) for name in NAMES)
    assert not np.array_equal(first, second)
    assert np.array_equal(pixels(upscalers), first)


def source(upscalers: Upscalers, name: str, denoise_strength: float | None = None) -> object:
    """What the metrics say about where the weights of a request came from."""
    progress = Progress()
    upscalers.get(name, denoise_strength).upscale(PICTURE, 32, 24, TILE, progress)
    return progress.figures["weights"]


def test_the_source_of_the_weights_is_told_for_every_request(upscalers: Upscalers) -> None:
    for _ in range(2):
        for name in NAMES:
            assert source(upscalers, name) == f"source of {name}"


def test_denoising_lies_between_a_network_and_its_twin(upscalers: Upscalers) -> None:
    twin = Upscaler(lambda dtype: tiny.network(STATES[TWIN], dtype), torch.bfloat16)
    assert np.array_equal(pixels(upscalers, MIXED, 0), twin.upscale(PICTURE, 32, 24, TILE).pixels)
    assert np.array_equal(pixels(upscalers, MIXED), pixels(upscalers, MIXED, 0.5))
    assert len({pixels(upscalers, MIXED, strength).tobytes() for strength in (0, 0.3, 0.5, 1)}) == 4
    assert source(upscalers, MIXED) == f"source of {MIXED}, source of {TWIN}"
    assert source(upscalers, MIXED, 1) == f"source of {MIXED}"


def test_any_number_of_strengths_opens_each_file_once(upscalers: Upscalers, loads: list[str]) -> None:
    results = [pixels(upscalers, MIXED, strength) for strength in (0.1, 0.9, 0.1, 0.2, 0.2)]
    assert sorted(loads) == sorted([MIXED, TWIN])
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[3], results[4])


def test_full_strength_needs_no_twin(upscalers: Upscalers, tmp_path: Path, loads: list[str]) -> None:
    shutil.rmtree(tmp_path / TWIN)
    assert pixels(upscalers, MIXED, 1).shape == (24, 32, 3)
    assert loads == [MIXED]


def test_a_strength_where_there_is_no_twin_is_refused_before_anything_is_loaded(
    upscalers: Upscalers, loads: list[str]
) -> None:
    with pytest.raises(UpscalingError, match=f"E_INPUT: denoise_strength is 1, but {NAMES[0]} has no such setting"):
        upscalers.get(NAMES[0], 1)
    assert loads == []


@pytest.mark.parametrize(
    "name",
    ["x", "x" * 10**6, TWIN, "004_grayDN_DFWB_s128w8_SwinIR-M_noise15"],
    ids=["x", "long", "twin", "of another model"],
)
def test_unknown_network_is_refused_before_anything_is_loaded(
    upscalers: Upscalers, loads: list[str], name: str
) -> None:
    with pytest.raises(
        UpscalingError, match=f"E_INPUT: there is no network '{name[:80]}'; there are {NAMES[1]}, "
    ) as raised:
        upscalers.get(name)
    assert len(str(raised.value)) < 300
    assert loads == []


@pytest.mark.parametrize(("module", "name"), [(weights, "load"), (module_of_upscalers, "load")])
def test_cancelled_load_leaves_the_rest_whole(
    upscalers: Upscalers, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    def cancelled(*_: object) -> None:
        raise Cancelled

    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(module, name, cancelled)
        pixels(upscalers)
    again = pixels(upscalers)
    assert np.array_equal(again, pixels(replace(upscalers, cache=ModelCache(0))))
    assert source(upscalers, NAMES[0]) == f"source of {NAMES[0]}"


def test_damaged_weights_are_told_each_time_until_they_are_whole(upscalers: Upscalers, tmp_path: Path) -> None:
    path = tmp_path / NAMES[0] / f"{NAMES[0]}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for _ in range(2):
        with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
            pixels(upscalers)
    path.write_bytes(whole)
    assert pixels(upscalers).shape == (24, 32, 3)


def test_two_requests_at_once_load_a_network_once(upscalers: Upscalers, loads: list[str]) -> None:
    both = threading.Barrier(2)

    def loaded(upscaler: Upscaler) -> Network:
        both.wait(timeout=20)
        return upscaler.load(torch.float32)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(loaded, [upscalers.get(NAMES[0])] * 2)
    assert first is second
    assert loads == [NAMES[0]]


def test_networks_that_do_not_fit_together_make_room(upscalers: Upscalers, loads: list[str]) -> None:
    room = max(upscalers.get(name).load(torch.bfloat16).nbytes for name in NAMES)
    assert room > 0
    loads.clear()
    small = replace(upscalers, cache=ModelCache(room))
    for name in (*NAMES, NAMES[0]):
        pixels(small, name)
    assert loads == [*NAMES, NAMES[0]]
