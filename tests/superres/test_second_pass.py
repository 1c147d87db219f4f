"""A second pass: the network runs on its own result where that is smaller than the target."""

from __future__ import annotations

from dataclasses import replace

import handmade
import numpy as np
import pytest
import torch
from superres.test_upscaler import FP32, LARGE, TILE, every_network, network, noise, of_random_weights

from upscaling.images import Image
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler


def twice(name: str) -> Upscaler:
    return replace(of_random_weights(name), passes=2)


def sides(image: Image, times: int) -> tuple[int, int]:
    return image.width * times, image.height * times


@every_network
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_two_passes_are_the_result_sent_again(name: str, dtype: type[np.unsignedinteger], channels: int) -> None:
    given, scale, once = Image(noise(11, 13, channels, dtype)), network(name, FP32).scale, of_random_weights(name)
    expected = once.upscale(once.upscale(given, *sides(given, scale), TILE), *sides(given, scale**2), TILE)
    for tile in (LARGE, TILE, TileSize(9, 5)):
        assert np.array_equal(twice(name).upscale(given, *sides(given, scale**2), tile).pixels, expected.pixels)


@every_network
def test_what_is_not_reached_or_overshot_is_resampled(name: str) -> None:
    given, scale, once = Image(noise(12, 14)), network(name, FP32).scale, of_random_weights(name)
    first = once.upscale(given, *sides(given, scale), TILE)
    for width, height in (sides(given, scale + 1), sides(given, scale**2 + 1), (14 * scale + 5, 12 * scale + 1)):
        expected = once.upscale(first, width, height, TILE)
        assert np.array_equal(twice(name).upscale(given, width, height, TILE).pixels, expected.pixels)


@pytest.mark.parametrize("size", [(57, 48), (56, 49), (10_000, 1), (56, 48)], ids=str)
def test_a_result_below_the_target_in_one_direction_only_is_enough(size: tuple[int, int]) -> None:
    # Else a narrow result could take an amount of work that its size does not tell.
    one, two = Progress(), Progress()
    of_random_weights("srvgg").upscale(Image(noise(12, 14)), *size, TILE, one)
    twice("srvgg").upscale(Image(noise(12, 14)), *size, TILE, two)
    assert two.figures["tiles"] == one.figures["tiles"]


@every_network
def test_up_to_the_networks_factor_there_is_one_pass(name: str) -> None:
    given, scale = Image(noise(12, 14)), network(name, FP32).scale
    for times in range(1, scale + 1):
        one, two = Progress(), Progress()
        expected = of_random_weights(name).upscale(given, *sides(given, times), TILE, one)
        assert np.array_equal(twice(name).upscale(given, *sides(given, times), TILE, two).pixels, expected.pixels)
        assert two.figures["tiles"] == one.figures["tiles"]


def test_alpha_takes_both_passes_and_stays_exact_where_it_is_solid() -> None:
    alpha = np.zeros((20, 24), np.uint8)
    alpha[5:15, 6:18] = 255
    result = twice("srvgg").upscale(Image(noise(20, 24), alpha), 384, 320, TILE)
    assert result.alpha is not None
    assert (result.alpha[6 * 16 : 14 * 16, 7 * 16 : 17 * 16] == 255).all()
    assert not result.alpha[: 4 * 16].any()
    assert result.alpha.shape == (320, 384)


@every_network
def test_progress_ends_at_exactly_one(name: str) -> None:
    shares: list[float] = []
    given = Image(noise(16, 15), alpha=noise(16, 15, 1)[..., 0])
    progress = Progress(shares.append)
    twice(name).upscale(given, 15 * 16, 16 * 16, TILE, progress)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert progress.figures["tiles"] == len(shares)


def test_bands_of_the_second_pass_are_lower_as_they_are_wider() -> None:
    tiles: list[torch.Size] = []
    watched = handmade.with_run(
        handmade.enlarging(4), 0, lambda run: lambda tile: tiles.append(tile.shape) or run(tile)
    )
    Upscaler(lambda _: watched, FP32, passes=2).upscale(Image(noise(256, 16)), 256, 4096, TileSize(256, 128))
    tallest = {of: max(height for _, _, height, width in tiles if width == of) for of in (16, 64)}
    assert tallest[64] == 128 // 4 + 2  # a halo above and below
    assert tallest[16] >= 128


def test_a_network_that_enlarges_nothing_runs_once() -> None:
    one, two = Progress(), Progress()
    for passes, progress in ((1, one), (2, two)):
        Upscaler(lambda _: handmade.enlarging(1), FP32, passes).upscale(Image(noise(12, 14)), 28, 24, TILE, progress)
    assert two.figures["tiles"] == one.figures["tiles"]


def test_progress_of_one_that_serves_two_pictures_adds_up_to_one() -> None:
    shares: list[float] = []
    whole = Progress(shares.append)
    for height, part in zip((12, 20), whole.split(12, 20), strict=True):
        of_random_weights("srvgg").upscale(Image(noise(height, 14)), 56, 4 * height, TILE, part)
        assert shares[-1] == {12: 12 / 32, 20: 1.0}[height]
    assert shares == sorted(set(shares))
    assert whole.figures["tiles"] == len(shares)
