"""Colour fixes, against their formulas written out for a whole picture."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.nn import functional

from upscaling.diffusion import colour_fix
from upscaling.diffusion.colour_fix import COLOUR_FIXES, Pixels, fix_colours
from upscaling.errors import Code, UpscalingError


def picture(height: int, width: int, seed: int, mean: float = 120, spread: float = 30) -> Pixels:
    """Noise on a slope."""
    random = np.random.default_rng(seed)
    slope = np.linspace(-spread, spread, height)[:, None, None]
    return np.clip(random.normal(mean, spread, (height, width, 3)) + slope, 0, 255).astype(np.uint8)


def tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).double().permute(2, 0, 1)[None]


def low_frequencies(pixels: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor([1.0, 2, 1], dtype=torch.float64)
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    for dilation in (1, 2, 4, 8, 16):
        padded = functional.pad(pixels, (dilation,) * 4, mode="replicate")
        pixels = functional.conv2d(padded, kernel, dilation=dilation, groups=3)
    return pixels


@pytest.mark.parametrize("size", [(700, 41), (256, 256), (20, 1100), (1, 1), (287, 5)])
def test_wavelet_keeps_details_and_takes_the_low_frequencies_of_the_source(size: tuple[int, int]) -> None:
    redrawn, source = picture(*size, seed=1), picture(*size, seed=2, mean=90)
    details = tensor(redrawn) - low_frequencies(tensor(redrawn))
    expected = (details + low_frequencies(tensor(source))).clamp(0, 255)
    assert (tensor(fix_colours("wavelet", redrawn, source)) - expected).abs().max() <= 0.5 + 1e-3


def test_adain_gives_every_channel_the_mean_and_deviation_of_the_source() -> None:
    redrawn, source = picture(300, 200, seed=1), picture(300, 200, seed=2, mean=90, spread=20)
    c, s = tensor(redrawn) / 255, tensor(source) / 255
    deviations = [torch.sqrt(x.var((2, 3), keepdim=True) + 1e-5) for x in (c, s)]
    expected = (c - c.mean((2, 3), keepdim=True)) / deviations[0] * deviations[1] + s.mean((2, 3), keepdim=True)
    found = fix_colours("adain", redrawn, source)
    assert (tensor(found) - expected.clamp(0, 1) * 255).abs().max() <= 0.5 + 1e-6
    assert np.abs(found.mean((0, 1)) - source.mean((0, 1))).max() < 1


@pytest.mark.parametrize("method", COLOUR_FIXES)
def test_a_picture_with_its_own_colours_stays_as_it_is(method: str) -> None:
    redrawn = picture(300, 50, seed=1)
    assert np.array_equal(fix_colours(method, redrawn, redrawn.copy()), redrawn)


def test_none_changes_nothing() -> None:
    redrawn = picture(30, 50, seed=1)
    assert np.array_equal(fix_colours("none", redrawn, picture(30, 50, seed=2)), redrawn)


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_a_tint_is_taken_back(method: str) -> None:
    source = picture(200, 200, seed=1)
    tinted = np.clip(source + np.array([12, -7, 0]), 0, 255).astype(np.uint8)
    found = fix_colours(method, tinted, source)
    assert np.abs(found.mean((0, 1)) - source.mean((0, 1))).max() < 0.5


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_a_flat_picture_takes_the_level_of_its_source(method: str) -> None:
    flat, source = np.full((50, 40, 3), 10, np.uint8), np.full((50, 40, 3), 200, np.uint8)
    assert np.array_equal(fix_colours(method, flat, source), source)


def test_pixels_that_are_clear_or_kept_do_not_count_for_adain() -> None:
    redrawn, source = picture(300, 700, seed=1), picture(300, 700, seed=2, mean=90, spread=20)
    expected = fix_colours("adain", redrawn[:, :400], source[:, :400])
    alpha = np.full((300, 700), 65535, np.uint16)
    alpha[:, 400:] = 0
    assert np.array_equal(fix_colours("adain", redrawn, source, alpha=alpha)[:, :400], expected)
    only = Pillow.new("L", (7, 3), 255)
    only.paste(0, (4, 0, 7, 3))
    found = fix_colours("adain", redrawn, source, only)
    assert np.abs(found[:, :300].astype(int) - expected[:, :300]).max() <= 2  # a pixel of the mask fades
    assert np.array_equal(found[:, 500:], redrawn[:, 500:])


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_colours_are_moved_by_the_opacity_of_the_mask(method: str) -> None:
    redrawn, source = np.full((64, 64, 3), 180, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    levels = [fix_colours(method, redrawn, source, Pillow.new("L", (1, 1), opacity)) for opacity in (0, 51, 204, 255)]
    assert [np.unique(level).tolist() for level in levels] == [[180], [164], [116], [100]]


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_no_pixel_counts_and_nothing_fails(method: str) -> None:
    redrawn, source = picture(20, 30, seed=1), picture(20, 30, seed=2)
    assert np.array_equal(fix_colours(method, redrawn, source, Pillow.new("L", (1, 1))), redrawn)
    assert fix_colours(method, redrawn, source, alpha=np.zeros((20, 30), np.uint8)).shape == redrawn.shape


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_blocks_give_what_the_whole_picture_gives(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    redrawn, source = picture(600, 531, seed=1), picture(600, 531, seed=2)
    monkeypatch.setattr(colour_fix, "_SIDE", 10_000)
    whole = fix_colours(method, redrawn, source)
    for side in (256, 100):
        monkeypatch.setattr(colour_fix, "_SIDE", side)
        assert np.array_equal(fix_colours(method, redrawn, source), whole)


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_memory_beside_the_result_is_the_same_at_any_size(method: str) -> None:
    def peak(height: int, width: int) -> int:
        redrawn, source = picture(height, width, seed=1), picture(height, width, seed=2)
        tracemalloc.start()
        fix_colours(method, redrawn, source)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - redrawn.nbytes

    block = peak(600, 600)
    assert block < 10_000_000
    assert peak(3000, 600) < 1.1 * block
    assert peak(600, 3000) < 1.1 * block


def test_other_methods_are_named() -> None:
    with pytest.raises(UpscalingError, match=r"'lab'.*none, wavelet, adain") as caught:
        fix_colours("lab", picture(2, 2, 1), picture(2, 2, 2))
    assert caught.value.code is Code.INPUT
