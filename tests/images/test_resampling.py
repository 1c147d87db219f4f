"""Resampling is Pillow's Lanczos, and the bands it comes in do not show."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from upscaling.images import image
from upscaling.images.image import Pixels
from upscaling.images.resampling import resample, resized
from upscaling.images.rows import collect

Size = tuple[int, int]  # height, width

SIZES = [
    ((20, 30), (40, 60)), ((20, 30), (50, 75)), ((20, 30), (31, 17)), ((97, 61), (13, 40)), ((64, 64), (65, 63)),
    ((300, 5), (1, 5)), ((1000, 3), (1, 1)), ((2, 1000), (3, 1)), ((1, 1), (1000, 2)), ((1, 1), (3, 700)),
    ((3, 2), (200, 131)), ((130, 129), (128, 129)), ((129, 130), (129, 260)),
]  # fmt: skip


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8) -> Pixels:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def in_bands(pixels: Pixels, cuts: list[int]) -> Iterator[Pixels]:
    edges = sorted({0, len(pixels), *cuts})
    for top, bottom in pairwise(edges):
        yield pixels[top:bottom]


def resampled(pixels: Pixels, target: Size, cuts: list[int] | None = None) -> Pixels:
    bands = list(resample(in_bands(pixels, cuts or []), pixels.shape[:2], target))
    assert all(len(band) for band in bands)
    return np.concatenate(bands)


def reference(pixels: NDArray[Any], target: Size) -> NDArray[np.float32]:
    """Pillow's result in floating point, channel by channel."""
    channels = [
        PIL.Image.fromarray(pixels[..., channel].astype(np.float32)).resize(
            (target[1], target[0]), PIL.Image.Resampling.LANCZOS
        )
        for channel in range(pixels.shape[2])
    ]
    return np.dstack([np.asarray(channel) for channel in channels])


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_result_is_pillows_in_floating_point_rounded(source: Size, target: Size) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = noise(*source, dtype=dtype)
        result = resampled(pixels, target)
        full = np.iinfo(dtype).max
        assert result.dtype == dtype
        assert result.shape == (*target, 3)
        # Half a step of rounding, and float32 sums.
        assert np.abs(result - np.clip(reference(pixels, target), 0, full)).max() <= 0.5 + full * 1e-5


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_result_is_pillows_in_8_bit_but_for_one_step(source: Size, target: Size) -> None:
    # Where both directions overshoot, Pillow clips twice: a picture of moderate contrast keeps that out.
    pixels = (noise(*source) // 4 + 96).astype(np.uint8)
    pillow = PIL.Image.fromarray(pixels).resize((target[1], target[0]), PIL.Image.Resampling.LANCZOS)
    assert np.abs(resampled(pixels, target).astype(int) - np.asarray(pillow)).max() <= 1


@settings(max_examples=60)
@given(
    source=st.tuples(st.integers(1, 150), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 300), st.integers(1, 90)),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    data=st.data(),
)
def test_the_bands_never_change_a_byte(
    source: Size, target: Size, channels: int, dtype: Any, data: st.DataObject
) -> None:
    pixels = noise(*source, channels, dtype)
    cuts = data.draw(st.lists(st.integers(0, source[0]), max_size=6))
    whole = resampled(pixels, target)
    assert whole.shape == (*target, channels)
    assert np.array_equal(resampled(pixels, target, cuts), whole)
    assert np.array_equal(resampled(pixels, target, list(range(source[0]))), whole)


@given(
    source=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    target=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    value=st.integers(0, 65_535),
)
def test_a_flat_colour_stays_that_colour(source: Size, target: Size, value: int) -> None:
    for dtype in (np.uint8, np.uint16):
        colour = dtype(value >> 8 if dtype is np.uint8 else value)
        assert (resampled(np.full((*source, 1), colour), target) == colour).all()


def centre(pixels: Pixels) -> NDArray[np.float64]:
    """The centre of mass, in shares of the height and width."""
    mass = pixels[..., 0].astype(float)
    y, x = ((np.arange(length) + 0.5) / length for length in mass.shape)
    return np.array([mass.sum(axis=1) @ y, mass.sum(axis=0) @ x]) / mass.sum()


@pytest.mark.parametrize("target", [(120, 160), (150, 200), (60, 80), (45, 60), (24, 32), (61, 83)])
def test_the_picture_does_not_shift(target: Size) -> None:
    y, x = np.mgrid[0:60, 0:80]
    blob = np.exp(-((y - 25.3) ** 2 + (x - 44.8) ** 2) / (2 * 5.0**2)) * 60_000
    pixels = np.rint(blob).astype(np.uint16)[..., None]
    shift = (centre(resampled(pixels, target)) - centre(pixels)) * (60, 80)
    assert np.abs(shift).max() < 0.01


def test_the_same_size_passes_through_untouched() -> None:
    bands = [noise(3, 9), noise(5, 9)]
    passed = list(resample(iter(bands), (8, 9), (8, 9)))
    assert [band is given for band, given in zip(passed, bands, strict=True)] == [True, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_overshoot_is_clipped_and_never_wraps(dtype: Any) -> None:
    full = int(np.iinfo(dtype).max)
    pixels = np.zeros((16, 16, 1), dtype)
    pixels[:, 8:] = full
    result = resampled(pixels, (64, 64)).astype(int)
    assert (result[:, :24] < full * 0.05).all()
    assert (result[:, 40:] > full * 0.95).all()


def test_rows_come_out_as_soon_as_they_can() -> None:
    taken: list[int] = []

    def bands() -> Iterator[Pixels]:
        for top in range(0, 4000, 10):
            taken.append(top)
            yield noise(10, 4)

    produced = resample(bands(), (4000, 4), (8000, 8))
    first = next(produced)
    # The first block of rows needs half as many of the input, and the reach of the filter.
    assert len(first) > 0
    assert taken[-1] < len(first)
    assert len(first) + sum(len(band) for band in produced) == 8000


def test_reducing_tall_pictures_holds_a_few_rows_only() -> None:
    def bands() -> Iterator[Pixels]:
        for _ in range(200):
            yield np.full((100, 64, 3), 7, np.uint8)

    tracemalloc.start()
    reduced = np.concatenate(list(resample(bands(), (20_000, 64), (64, 64))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reduced == 7).all()
    assert peak < 12e6  # bytes; the rows that one block of results reads are 15 MB as fp32


def test_enlarging_low_pictures_holds_a_few_rows_only() -> None:
    tracemalloc.start()
    rows = sum(len(band) for band in resample(iter([noise(60, 64)]), (60, 64), (30_000, 64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 30_000
    assert peak < 6e6  # bytes; all rows as fp32 are 23 MB


@pytest.mark.parametrize("target", [(40, 60), (7, 9), (300, 301), (600, 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_pictures_are_resized_with_their_alpha_and_hidden_colours_do_not_show(target: Size, dtype: Any) -> None:
    pixels, alpha = noise(300, 301, dtype=dtype), noise(300, 301, 1, dtype)[..., 0]
    alpha[100:200] = 0
    repainted = pixels.copy()
    repainted[100:200] = 5
    size = image.Size(target[1], target[0])
    first, second = (
        collect(picture, size, resized(picture, size))
        for picture in (image.Image(pixels, alpha), image.Image(repainted, alpha))
    )
    assert (first.pixels == second.pixels).all()
    assert first.alpha is not None
    assert (first.alpha == resampled(alpha[..., None], target)[..., 0]).all()
    opaque = image.Image(pixels)
    assert (collect(opaque, size, resized(opaque, size)).pixels == resampled(pixels, target)).all()
