"""A value that is not finite in the fast type: the whole picture is computed again in fp32, at any tile size."""

from __future__ import annotations

import handmade
import numpy as np
import pytest
import torch
from superres.test_upscaler import BF16, FP32, LARGE, STATES, every_network, network, noise, of_random_weights

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

TILES = [LARGE, TileSize(24, 24), TileSize(9, 30)]
every_tile = pytest.mark.parametrize("tile", TILES, ids=str)


def poisoned(healthy: Network, value: float, struck: int) -> Network:
    """The network with one value spoiled in the result of one call of a stage, counted from 0."""
    calls = 0

    def poison(run: handmade.Run) -> handmade.Run:
        def poisoned_run(tile: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            result = run(tile).clone()
            if calls == struck:
                result[..., result.shape[2] // 2, result.shape[3] // 2] = value
            calls += 1
            return result

        return poisoned_run

    for index in range(len(healthy.stages)):
        healthy = handmade.with_run(healthy, index, poison)
    return healthy


@every_tile
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@every_network
def test_nan_or_infinity_in_any_call_gives_the_bytes_of_fp32(name: str, value: float, tile: TileSize) -> None:
    given, size = Image(noise(40, 26)), (26 * 3, 40 * 3)
    expected = of_random_weights(name, FP32).upscale(given, *size, LARGE).pixels
    healthy = Progress()
    of_random_weights(name, BF16).upscale(given, *size, tile, healthy)
    for struck in range(0, healthy.figures["tiles"], 5):
        spoiled = {FP32: network(name, FP32), BF16: poisoned(network(name, BF16), value, struck)}
        progress = Progress()
        result = Upscaler(spoiled.__getitem__, BF16).upscale(given, *size, tile, progress)
        assert np.array_equal(result.pixels, expected), f"call {struck}"
        assert (progress.figures["retries"], progress.figures["dtype"]) == (1, "float32")
        assert progress.share == 1.0


@every_tile
@every_network
def test_values_beyond_fp16_give_the_bytes_of_fp32(name: str, tile: TileSize) -> None:
    weights = [key for key in handmade.vivid(STATES[name]) if key.endswith("weight")]
    first, last = weights[0], weights[-1] if name != "srvgg" else max(weights, key=lambda key: int(key.split(".")[1]))
    # Features a million times as large, brought back by the last convolution: only their biases are too small.
    state = {key: value if not key.endswith("bias") else value * 0 for key, value in STATES[name].items()}
    state[first] = state[first] * 1e6
    state[last] = state[last] / 1e6
    given, size = Image(noise(40, 26)), (26 * 3, 40 * 3)
    expected = Upscaler(lambda dtype: tiny.network(state, dtype), FP32).upscale(given, *size, LARGE)
    progress = Progress()
    result = Upscaler(lambda dtype: tiny.network(state, dtype), torch.float16).upscale(given, *size, tile, progress)
    assert progress.figures["retries"] == 1
    assert np.array_equal(result.pixels, expected.pixels)


@every_network
def test_a_value_that_is_not_finite_in_fp32_either_is_a_coded_error(name: str) -> None:
    spoiled = {dtype: poisoned(network(name, dtype), float("nan"), 0) for dtype in (FP32, BF16)}
    with pytest.raises(UpscalingError, match="in fp32 too") as raised:
        Upscaler(spoiled.__getitem__, BF16).upscale(Image(noise(40, 26)), 60, 80, LARGE)
    assert raised.value.code is Code.NONFINITE


def test_a_network_that_was_loaded_in_fp32_is_not_run_in_it_again() -> None:
    asked: list[torch.dtype] = []
    spoiled = poisoned(network("srvgg", FP32), float("nan"), 0)

    def load(dtype: torch.dtype) -> Network:
        asked.append(dtype)
        return spoiled

    with pytest.raises(UpscalingError, match="E_NONFINITE"):
        Upscaler(load, torch.float16).upscale(Image(noise(40, 26)), 60, 80, LARGE)
    assert set(asked) == {torch.float16}
