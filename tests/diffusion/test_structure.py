"""Structure hints, against controlnet-aux's formulas written out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

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


@pytest.mark.parametrize("height", [96, 600])  # one band, and three
def test_lines_are_those_of_controlnet_aux(height: int) -> None:
    picture = drawing(height)
    assert np.array_equal(lineart(picture)[..., 0], of_controlnet_aux(picture))


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
def test_hints_have_the_size_of_the_picture_and_three_channels(name: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    hint = STRUCTURES[name](picture)
    assert hint.shape == picture.shape and hint.dtype == np.uint8
    assert (hint == hint[..., :1]).all()


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
