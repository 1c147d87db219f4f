"""A picture in colour as a grey one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from images.samples import noise, rgb_profile, scene

from upscaling.images import Image, in_grey


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_is_what_opencv_makes_of_it(bits: int) -> None:
    pixels = noise(300, 40, 3, bits)  # more rows than are taken at a time
    grey = in_grey(Image(pixels)).pixels
    assert grey.dtype == pixels.dtype
    assert grey.shape == (300, 40, 1)
    expected = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert np.abs(grey[..., 0].astype(int) - expected).max() <= 1  # OpenCV counts in integers


@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_of_equal_channels_keep_their_values(bits: int) -> None:
    full = 2**bits - 1
    ramp = np.linspace(0, full, 256).astype(np.uint8 if bits == 8 else np.uint16)
    grey = in_grey(Image(ramp.reshape(16, 16, 1).repeat(3, axis=2)))
    assert np.array_equal(grey.pixels.ravel(), ramp)


def test_alpha_and_resolution_stay() -> None:
    alpha = noise(6, 8, 1)[..., 0]
    grey = in_grey(Image(scene(6, 8), alpha, resolution=(11.8, 11.8)))
    assert grey.alpha is alpha
    assert grey.resolution == (11.8, 11.8)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_profile_is_applied_and_not_kept(bits: int) -> None:
    # Where P3 has its red, sRGB has a stronger one: what it cannot hold is cut off.
    pixels = scene(300, 32, bits=bits)
    with_profile = in_grey(Image(pixels, profile=rgb_profile("p3")))
    without = in_grey(Image(pixels))
    assert with_profile.profile is None
    assert with_profile.pixels.dtype == pixels.dtype
    difference = np.abs(with_profile.pixels.astype(int) - without.pixels) / (2**bits - 1)
    assert 0.01 < difference.max() < 0.2


def test_a_profile_of_srgb_changes_next_to_nothing() -> None:
    pixels = noise(30, 40, 3)
    with_profile, without = in_grey(Image(pixels, profile=rgb_profile("srgb"))), in_grey(Image(pixels))
    assert np.abs(with_profile.pixels.astype(int) - without.pixels).max() <= 1
