"""A seamless result continues with itself on all sides, as if every convolution padded circularly."""

from __future__ import annotations

from dataclasses import replace

import handmade
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from superres.test_upscaler import BF16, FP32, LARGE, STATES, every_network, network, noise, of_random_weights
from superres.tiling.untiled import whole

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image
from upscaling.images.image import Pixels
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

PERIODS = 5  # the picture this often in a row has one whose borders are too far away to be felt
TILES = [LARGE, TileSize(11, 40), TileSize(9, 7)]


def seamless(name: str, dtype: torch.dtype = FP32) -> Upscaler:
    return replace(of_random_weights(name, dtype), border="wrap")


def upscaled(upscaler: Upscaler, pixels: Pixels, times: float, tile: TileSize = TILES[1]) -> Pixels:
    height, width = (round(side * times) for side in pixels.shape[:2])
    return upscaler.upscale(Image(pixels), width, height, tile).pixels


def steps(result: Pixels, other: Pixels) -> int:
    return int(np.abs(result.astype(int) - other.astype(int)).max())


@every_network
def test_the_result_is_that_of_the_middle_one_of_many_copies(name: str) -> None:
    pixels, scale = noise(14, 18), network(name, FP32).scale
    copies = torch.from_numpy(np.tile(pixels, (PERIODS, PERIODS, 1))).permute(2, 0, 1)[None] / 255
    result = whole(handmade.vivid(STATES[name]), copies)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    height, width = 14 * scale, 18 * scale
    middle = result[2 * height : 3 * height, 2 * width : 3 * width]
    # Half a level is what rounding takes, and values on the edge of it may fall either way.
    assert np.abs(upscaled(seamless(name), pixels, scale) - middle).max() < 0.501


@every_network
@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_rolling_the_picture_rolls_the_result(name: str, dtype: torch.dtype, tile: TileSize) -> None:
    pixels, scale = noise(26, 34), network(name, FP32).scale
    expected = upscaled(seamless(name, dtype), pixels, scale, LARGE)
    for down, across in ((2, 0), (0, 4), (12, 20), (-6, 32)):
        rolled = np.roll(pixels, (down, across), axis=(0, 1))
        result = upscaled(seamless(name, dtype), rolled, scale, tile)
        assert np.array_equal(result, np.roll(expected, (down * scale, across * scale), axis=(0, 1)))


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 50))
def test_any_picture_rolled_by_any_amount_rolls_the_result(
    height: int, width: int, down: int, across: int, side: int
) -> None:
    pixels = noise(height, width)
    expected = upscaled(seamless("srvgg"), pixels, 4, LARGE)
    result = upscaled(seamless("srvgg"), np.roll(pixels, (down, across), axis=(0, 1)), 4, TileSize(side, side))
    assert np.array_equal(result, np.roll(expected, (down * 4, across * 4), axis=(0, 1)))


@pytest.mark.parametrize("times", [1, 2, 3, 5, 0.5])
def test_rolling_rolls_the_result_at_other_sizes_too(times: float) -> None:
    pixels = noise(24, 32)
    expected = upscaled(seamless("rrdb ×4"), pixels, times)
    for down, across in ((2, 0), (0, 6), (8, 30)):
        result = upscaled(seamless("rrdb ×4"), np.roll(pixels, (down, across), axis=(0, 1)), times)
        rolled = np.roll(expected, (round(down * times), round(across * times)), axis=(0, 1))
        # The weights of the resampling are those of other places, equal but for roundings.
        assert steps(result, rolled) <= 1


def test_the_network_of_times_two_rolls_by_whole_squares_only() -> None:
    pixels = noise(20, 24)
    expected = upscaled(seamless("rrdb ×2"), pixels, 2)
    even, odd = (upscaled(seamless("rrdb ×2"), np.roll(pixels, k, axis=1), 2) for k in (2, 1))
    assert np.array_equal(even, np.roll(expected, 4, axis=1))
    assert not np.array_equal(odd, np.roll(expected, 2, axis=1))


def test_a_second_pass_is_seamless_too() -> None:
    pixels, twice = noise(10, 12), replace(seamless("srvgg"), passes=2)
    expected = upscaled(twice, pixels, 16, LARGE)
    assert np.array_equal(expected, upscaled(seamless("srvgg"), upscaled(seamless("srvgg"), pixels, 4), 4))
    result = upscaled(twice, np.roll(pixels, (3, 7), axis=(0, 1)), 16, TileSize(9, 8))
    assert np.array_equal(result, np.roll(expected, (48, 112), axis=(0, 1)))


def test_alpha_rolls_with_the_picture() -> None:
    # What is hidden is filled by a pyramid, whose blocks do not roll: nothing is here.
    pixels, alpha = noise(24, 28), np.maximum(noise(24, 28, 1)[::-1, :, 0], 1)
    alpha[5:14, 9:20], alpha[:6, :8], alpha[-6:, -9:] = 255, 128, 128
    expected = seamless("srvgg").upscale(Image(pixels, alpha), 112, 96, LARGE)
    rolled = Image(*(np.roll(plane, (9, 13), axis=(0, 1)) for plane in (pixels, alpha)))
    result = seamless("srvgg").upscale(rolled, 112, 96, TILES[1])
    assert expected.alpha is not None
    assert np.array_equal(result.alpha, np.roll(expected.alpha, (36, 52), axis=(0, 1)))
    assert np.array_equal(result.pixels, np.roll(expected.pixels, (36, 52), axis=(0, 1)))


def test_a_picture_with_borders_is_another_one_near_them_only() -> None:
    pixels = noise(60, 60)
    bordered, repeating = (upscaled(chosen, pixels, 4) for chosen in (of_random_weights("srvgg"), seamless("srvgg")))
    assert steps(bordered[:8], repeating[:8]) > 10
    assert np.array_equal(bordered[100:140, 100:140], repeating[100:140, 100:140])


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
def test_a_size_that_the_network_would_pad_is_an_input_error(size: tuple[int, int]) -> None:
    with pytest.raises(UpscalingError, match=rf"{size[1]}×{size[0]} pixels.*multiples of 2") as raised:
        upscaled(seamless("rrdb ×2"), noise(*size), 2)
    assert raised.value.code is Code.INPUT


@every_network
def test_progress_ends_at_exactly_one(name: str) -> None:
    shares: list[float] = []
    progress = Progress(shares.append)
    seamless(name).upscale(Image(noise(20, 22)), 70, 61, TILES[2], progress)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert progress.figures["tiles"] == len(shares)
