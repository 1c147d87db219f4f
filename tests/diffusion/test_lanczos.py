"""Lanczos on tensors: the bytes of Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion import plain
from diffusion.test_redraw import changed, crops, noise, one_by_one, redrawn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from upscaling.diffusion.lanczos import resized
from upscaling.diffusion.redraw import Picture, redraw
from upscaling.images import Size

sides = st.integers(1, 150)


def assert_pillows(picture: Picture, size: tuple[int, int]) -> None:
    expected = plain.resized(Image.fromarray(picture), size)
    assert np.array_equal(resized(torch.tensor(picture), Size(*size)).numpy(), np.asarray(expected))


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 9))
@settings(max_examples=100)
def test_every_size_becomes_every_other_as_in_pillow(size: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    picture = noise(size, seed)
    assert_pillows(picture, target)
    # Black and white pixels alone overshoot the most, and are clipped after each pass.
    assert_pillows(np.where(picture < 128, 0, 255).astype(np.uint8), target)


@pytest.mark.parametrize(("size", "target"), [((576, 576), (544, 544)), ((544, 544), (576, 576)), ((1, 1), (9, 7))])
def test_tiles_become_what_they_are_sampled_at_as_in_pillow(size: tuple[int, int], target: tuple[int, int]) -> None:
    assert_pillows(noise(size), target)


def test_a_picture_of_that_size_is_not_computed() -> None:
    picture = torch.tensor(noise((8, 5)))
    assert torch.equal(resized(picture, Size(8, 5)), picture)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_same_bytes() -> None:
    s, canvas = plain.Settings(seam_fix="Half Tile"), noise((230, 190))
    expected = redrawn(canvas, s)
    batch, made = one_by_one(changed), crops(s, Size(230, 190))
    redraw(canvas, made, batch, 3, lambda share: None, None, torch.device("cuda"))
    assert np.array_equal(canvas, expected)
