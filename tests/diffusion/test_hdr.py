"""Exposure fusion, against OpenCV's on whole pictures."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.diffusion import hdr
from upscaling.diffusion.hdr import fused
from upscaling.diffusion.redraw import Picture


def noise(height: int, width: int, seed: int = 0) -> Picture:
    """Colourful noise on a slope from dark to bright; no pixel is white, black or grey."""
    random = np.random.default_rng(seed)
    slope = np.linspace(40, 190, width)[None, :, None]
    picture = np.clip(random.normal(0, 15, (height, width, 3)) + slope, 5, 235).astype(np.uint8)
    picture[..., 0] |= 8
    picture[..., 1] &= 255 - 8
    return picture


def of_opencv(picture: Picture, amount: float) -> np.ndarray:
    exposures = [cv2.convertScaleAbs(picture, alpha=1 + amount * brighter) for brighter in hdr._BRIGHTER]
    return np.clip(cv2.createMergeMertens().process(exposures) * 255, 0, 255)


def difference(picture: Picture, other: np.ndarray) -> float:
    return float(np.abs(picture.astype(np.float64) - other).max())


@pytest.mark.parametrize("size", [(300, 90), (129, 64), (41, 200), (7, 9), (2, 3)])
@pytest.mark.parametrize("amount", [0.3, 1])
def test_the_result_is_that_of_opencv_rounded(size: tuple[int, int], amount: float) -> None:
    picture = noise(*size)
    assert difference(fused(picture, amount), of_opencv(picture, amount)) <= 0.51


def test_hdr_of_0_is_the_picture() -> None:
    picture = noise(20, 30)
    assert np.array_equal(fused(picture, 0), picture)


def test_details_of_dark_and_bright_parts_get_more_contrast() -> None:
    random = np.random.default_rng(0)
    dark = (np.array([40, 30, 25]) * random.uniform(0.8, 1.2, (64, 64, 1))).astype(np.uint8)
    assert fused(dark, 1).std() > 1.2 * dark.std()


@given(height=st.integers(1, 200), width=st.integers(1, 200), amount=st.floats(0, 1), side=st.sampled_from([8, 64]))
@settings(max_examples=25)
def test_blocks_give_what_the_whole_does(height: int, width: int, amount: float, side: int) -> None:
    picture = noise(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdr, "_SIDE", side)
        in_blocks = fused(picture, amount)
        patch.setattr(hdr, "_SIDE", 1 << 20)
        whole = fused(picture, amount)
    assert difference(in_blocks, whole) <= 1
    assert (in_blocks != whole).mean() < 1e-3


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (250, 180, 10), (3, 2, 1)])
@pytest.mark.parametrize("amount", [0.2, 1])
def test_a_flat_picture_stays_as_it_is(colour: tuple[int, int, int], amount: float) -> None:
    picture = np.full((70, 50, 3), colour, np.uint8)
    assert difference(fused(picture, amount), picture) <= 1


def test_white_around_a_subject_stays_white() -> None:
    picture = np.full((256, 256, 3), 255, np.uint8)
    picture[112:144, 112:144] = noise(32, 32)
    assert fused(picture, 1)[:40].min() >= 250


def test_grey_pictures_stay_grey_and_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdr, "_FLAT", 1e-12)
    picture = noise(60, 70)[..., :1].repeat(3, 2)
    result = fused(picture, 1)
    assert (result == result[..., :1]).all()
    assert difference(result, picture) > 5
    assert difference(result[..., 0], of_opencv(np.ascontiguousarray(picture[..., 0]), 1)) <= 1


def test_the_picture_is_not_changed() -> None:
    picture = noise(40, 50)
    before = picture.copy()
    fused(picture, 1)
    assert np.array_equal(picture, before)


def peak(height: int, width: int) -> int:
    picture = noise(height, width)
    tracemalloc.start()
    fused(picture, 1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize(("small", "large"), [((1000, 320), (3000, 320)), ((320, 1000), (320, 3000))])
def test_memory_grows_by_two_pictures_for_each(small: tuple[int, int], large: tuple[int, int]) -> None:
    assert peak(*large) - peak(*small) < 2 * (noise(*large).nbytes - noise(*small).nbytes)
