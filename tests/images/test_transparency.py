"""Hidden colours do not matter, and clear or opaque areas stay exactly that."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from images.samples import noise
from numpy.typing import NDArray

from upscaling.images.image import Border, Pixels
from upscaling.images.transparency import fill_hidden, is_flat, restore_solid

SIDES = st.integers(1, 13)
DTYPES = st.sampled_from([np.uint8, np.uint16])
SCALES = st.integers(1, 4)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Pixels, Pixels]:
    """Any pixels, and an alpha that often hides or shows all."""
    height, width, channels, dtype = draw(SIDES), draw(SIDES), draw(st.sampled_from([1, 3])), draw(DTYPES)
    full = int(np.iinfo(dtype).max)
    levels = draw(st.lists(st.sampled_from([0, 1, full // 2, full]), min_size=1, max_size=3))
    pixels = draw(arrays(dtype, (height, width, channels)))
    alpha = draw(arrays(dtype, (height, width), elements=st.sampled_from(levels)))
    return pixels, alpha


@given(picture=pictures(), data=st.data())
def test_hidden_colours_never_matter(picture: tuple[Pixels, Pixels], data: st.DataObject) -> None:
    pixels, alpha = picture
    others = data.draw(arrays(pixels.dtype, pixels.shape))
    changed = np.where(alpha[..., None] == 0, others, pixels)
    assert np.array_equal(fill_hidden(pixels, alpha), fill_hidden(changed, alpha))


@given(picture=pictures())
def test_visible_pixels_keep_their_colours(picture: tuple[Pixels, Pixels]) -> None:
    pixels, alpha = picture
    before = pixels.copy()
    filled = fill_hidden(pixels, alpha)
    assert filled.dtype == pixels.dtype
    assert filled.shape == pixels.shape
    assert np.array_equal(filled[alpha > 0], pixels[alpha > 0])
    assert np.array_equal(pixels, before)


@given(picture=pictures())
def test_filled_colours_lie_between_the_visible_ones(picture: tuple[Pixels, Pixels]) -> None:
    pixels, alpha = picture
    filled = fill_hidden(pixels, alpha)
    if not (alpha > 0).any():
        assert not filled.any()
        return
    visible = pixels[alpha > 0]
    assert (filled >= visible.min(axis=0)).all()
    assert (filled <= visible.max(axis=0)).all()


def test_a_single_visible_pixel_fills_everything() -> None:
    for height, width in ((1, 1), (1, 2), (2, 1), (7, 9), (64, 33)):
        pixels = noise(height, width, 3)
        alpha = np.zeros((height, width), np.uint8)
        alpha[height // 2, width // 3] = 1
        assert (fill_hidden(pixels, alpha) == pixels[height // 2, width // 3]).all()


def test_the_colours_come_from_nearby() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 48:] = 200
    alpha = np.full((32, 64), 255, np.uint8)
    alpha[:, 10:54] = 0
    filled = fill_hidden(pixels, alpha)
    assert (filled[:, :16] == 0).all()
    assert (filled[:, 48:] == 200).all()


def test_the_most_visible_neighbour_counts_most() -> None:
    pixels = np.array([[[0], [100]], [[77], [77]]], np.uint8)
    alpha = np.array([[64, 192], [0, 0]], np.uint8)
    assert (fill_hidden(pixels, alpha)[1] == 75).all()


@pytest.mark.parametrize("visible", [0.5, 0.01])
def test_filling_takes_a_few_copies_of_the_picture_however_much_is_hidden(visible: float) -> None:
    pixels, alpha = noise(1500, 1500, 3), np.zeros((1500, 1500), np.uint8)
    alpha[: round(1500 * visible)] = 255
    tracemalloc.start()
    try:
        fill_hidden(pixels, alpha)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * alpha.size  # bytes


@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_value_everywhere_is_flat(value: int) -> None:
    alpha = np.full((5, 7), value, np.uint8)
    assert is_flat(alpha)
    assert is_flat(alpha[:1, :1])
    for y, x in ((0, 0), (4, 6), (2, 3)):
        uneven = alpha.copy()
        uneven[y, x] = 128
        assert not is_flat(uneven)


def solid_by_definition(alpha: Pixels, value: int, border: Border) -> NDArray[Any]:
    """Pixels whose neighbours, and they themselves, all have the value; one by one."""
    height, width = alpha.shape
    solid = np.zeros(alpha.shape, bool)
    around = np.pad(alpha, 1, mode=border)
    for y in range(height):
        for x in range(width):
            solid[y, x] = (around[y : y + 3, x : x + 3] == value).all()
    return solid


@given(picture=pictures(), scale=SCALES, border=st.sampled_from(["edge", "wrap"]), data=st.data())
def test_solid_areas_become_exact_and_nothing_else_changes(
    picture: tuple[Pixels, Pixels], scale: int, border: Border, data: st.DataObject
) -> None:
    alpha = picture[1]
    height, width = alpha.shape
    full = np.iinfo(alpha.dtype).max
    enlarged = noise(height * scale, width * scale, 1, alpha.dtype.itemsize * 8)[..., 0]
    expected = enlarged.copy()
    for value in (0, int(full)):
        expected[np.kron(solid_by_definition(alpha, value, border), np.ones((scale, scale), bool))] = value
    rows = height * scale
    cuts = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows)))})
    bands = [restore_solid(enlarged[top:end], alpha, top, scale, border) for top, end in pairwise(cuts)]
    assert np.array_equal(np.concatenate(bands), expected)


def test_rows_of_the_repetition_above_and_below_are_those_of_the_picture() -> None:
    alpha = np.array([[0, 0, 0], [0, 0, 255], [255, 255, 255], [255, 255, 255]], np.uint8)
    enlarged = noise(8, 6, 1)[..., 0]
    restored = restore_solid(enlarged, alpha, 0, 2, "wrap")
    repeated = restore_solid(np.concatenate([enlarged[-3:], enlarged, enlarged[:2]]), alpha, -3, 2, "wrap")
    assert np.array_equal(repeated, np.concatenate([restored[-3:], restored, restored[:2]]))


def test_a_repeating_picture_is_filled_from_across_its_edges() -> None:
    pixels, alpha = np.zeros((8, 40, 3), np.uint8), np.zeros((8, 40), np.uint8)
    pixels[:, 20:], alpha[:, 20:] = 200, 255
    pixels[:, 16:20], alpha[:, 16:20] = 80, 255
    assert (fill_hidden(pixels, alpha)[:, :2] < 200).all()
    assert (fill_hidden(pixels, alpha, "wrap")[:, :2] == 200).all()


def test_restoring_leaves_its_input_alone() -> None:
    enlarged = noise(8, 8, 1)[..., 0]
    before = enlarged.copy()
    restored = restore_solid(enlarged, np.zeros((4, 4), np.uint8), 0, 2)
    assert not restored.any()
    assert np.array_equal(enlarged, before)
