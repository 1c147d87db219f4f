"""Tiles that fade into each other: together they cover every pixel, in the order of a chess board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images.samples import noise

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.checkerboard import checkerboard
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.redraw import Picture, opacity, redraw
from upscaling.images import Size

multiples = st.integers(1, 90).map(lambda count: 8 * count)
canvases = st.builds(Size, multiples, multiples)
tiles = st.integers(24, 200)
fades = st.integers(0, 60)


def redrawn(canvas: Picture, crops: Sequence[Crop], change: Callable[[Picture], Picture]) -> Picture:
    canvas = canvas.copy()
    redraw(canvas, crops, lambda pictures, _, __: change(pictures), 4, lambda share: None)
    return canvas


@given(canvases, tiles, fades)
@settings(max_examples=60)
def test_masks_sum_to_one_everywhere(size: Size, largest: int, fade: int) -> None:
    # What each tile adds to the canvas is its mask, less what later tiles cover of it: the sum is that of white tiles.
    crops = checkerboard(size, largest, context=fade, fade=fade)
    black = np.zeros((size.height, size.width, 3), np.uint8)
    assert (redrawn(black, crops, lambda pictures: np.full_like(pictures, 255)) == 255).all()


@given(canvases, tiles, fades, st.integers(0, 40))
@settings(max_examples=60)
def test_what_changes_nothing_leaves_every_pixel(size: Size, largest: int, fade: int, more: int) -> None:
    canvas = noise(size.height, size.width, 3)
    crops = checkerboard(size, largest, context=fade + more, fade=fade)
    assert all(crop.box.size == crop.size for crop in crops)
    assert np.array_equal(redrawn(canvas, crops, lambda pictures: pictures), canvas)


@given(canvases, tiles, st.integers(0, 60))
@settings(max_examples=60)
def test_masks_end_before_their_crops_do(size: Size, largest: int, fade: int) -> None:
    # Otherwise a border would show where the crop ends.
    for crop in checkerboard(size, largest, context=max(fade, 1), fade=fade):
        covered = opacity(crop, size, None)
        edges = [
            (crop.box.left == 0, covered[:, 0]),
            (crop.box.top == 0, covered[0]),
            (crop.box.right == size.width, covered[:, -1]),
            (crop.box.bottom == size.height, covered[-1]),
        ]
        assert not any(edge.any() for is_outer, edge in edges if not is_outer)


@pytest.mark.parametrize("size", [Size(640, 512), Size(648, 520), Size(1000, 128)])
def test_every_tile_has_its_context_as_far_as_the_canvas_goes(size: Size) -> None:
    crops = checkerboard(size, 128, context=64, fade=32)
    columns, rows = -(-size.width // 128), -(-size.height // 128)
    tile = Size(-(-size.width // columns), -(-size.height // rows))
    fields = sorted(product(range(rows), range(columns)), key=lambda field: (sum(field) % 2, *field))
    assert len(crops) == len(fields)
    for crop, (y, x) in zip(crops, fields, strict=True):
        wanted = Box(0, 0, *tile).moved(x * tile.width, y * tile.height).widened(0, size).widened(64, size)
        assert crop.box.left <= wanted.left
        assert crop.box.top <= wanted.top
        assert crop.box.right >= wanted.right
        assert crop.box.bottom >= wanted.bottom
        assert crop.size.width <= tile.width + 128 + 8
        assert crop.size.height <= tile.height + 128 + 8
