"""Structure hints, against controlnet-aux's formulas written out."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.diffusion import structure
from upscaling.diffusion.redraw import Picture
from upscaling.diffusion.structure import STRUCTURES, canny, lineart


def drawing(height: int = 96, width: int = 130) -> Picture:
    """Dark and bright lines on a slope, with some noise."""
    picture = np.linspace(90, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    picture[height // 3 : height // 3 + 3, 10:-10] -= (80, 60, 90)
    picture[10:-10, width // 2 : width // 2 + 2] += 50
    picture += np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def of_controlnet_aux(picture: Picture) -> np.ndarray:
    """LineartStandardDetector at the picture's own size, in one go."""
    values = picture.astype(np.float32)
    darker = np.min(cv2.GaussianBlur(values, (0, 0), 6.0) - values, axis=2).clip(0, 255)
    darker /= max(16, np.median(darker[darker > 8]))
    return (darker * 127).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 130), (600, 130), (50, 1100)])  # one block, two and three
def test_lines_are_those_of_controlnet_aux(size: tuple[int, int]) -> None:
    picture = drawing(*size)
    difference = lineart(picture)[..., 0].astype(int) - of_controlnet_aux(picture)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


@pytest.mark.parametrize("name", STRUCTURES)
def test_blocks_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = drawing()
    whole = STRUCTURES[name](picture)
    monkeypatch.setattr(structure, "_SIDE", 40)
    assert np.array_equal(STRUCTURES[name](picture), whole)


def test_the_median_of_lines_is_that_of_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "_SIDE", 65)
    picture = drawing()
    picture[:, :65] = 255 - (255 - picture[:, :65]) // 3  # lines there are three times as faint
    assert np.abs(lineart(picture)[..., 0].astype(int) - of_controlnet_aux(picture)).max() <= 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000), st.floats(0, 3))
@settings(max_examples=30)
def test_edges_go_on_through_blocks_as_in_opencv(height: int, width: int, seed: int, blur: float) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if blur > 0.3:
        picture = np.clip(cv2.GaussianBlur(picture, (0, 0), blur).astype(int) * 3 - 256, 0, 255).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "_SIDE", 16)
        assert np.array_equal(canny(picture)[..., 0], cv2.Canny(picture, 100, 200))


def test_an_edge_that_winds_through_all_blocks_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "_SIDE", 16)
    picture = np.zeros((120, 120, 3), np.uint8)
    for row in range(8, 112, 8):  # a snake of weak edges, that begins at a strong one
        picture[row : row + 4, 8:112] = 30
        picture[row : row + 12, (104 if row % 16 else 8) : (108 if row % 16 else 12)] = 30
    assert not canny(picture).any()
    picture[8:12, 8:12] = 90
    assert np.array_equal(canny(picture)[..., 0], cv2.Canny(picture, 100, 200))
    assert canny(picture)[100:].any()


@pytest.mark.parametrize("name", STRUCTURES)
def test_memory_is_that_of_the_hint_and_a_block(name: str) -> None:
    def peak(width: int) -> int:
        picture = drawing(600, width)
        tracemalloc.start()
        hint = STRUCTURES[name](picture)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - hint.nbytes

    assert peak(4000) < 1.1 * peak(1200)


def test_lines_are_the_dark_ones() -> None:
    lines = lineart(drawing())[..., 0]
    assert lines[32:35, 20:50].mean() > 100
    assert lines[50:60, 65:67].max() == 0
    assert np.median(lines) < 30


def test_edges_are_those_of_opencv() -> None:
    picture = drawing()
    edges = canny(picture)
    assert np.array_equal(edges[..., 0], cv2.Canny(picture, 100, 200))
    assert set(np.unique(edges)) == {0, 255}
    assert edges[30:37, 20:50].max(0).min() == 255


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (48, 31)])
def test_hints_have_the_size_of_the_picture_and_are_grey(name: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    hint = STRUCTURES[name](picture)
    assert hint.shape == (*size, 1)
    assert hint.dtype == np.uint8


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_picture_has_no_structure(name: str, level: int) -> None:
    assert not STRUCTURES[name](np.full((40, 50, 3), level, np.uint8)).any()


def test_a_canvas_is_not_changed() -> None:
    picture = drawing()
    before = picture.copy()
    for hint in STRUCTURES.values():
        hint(picture)
    assert np.array_equal(picture, before)
