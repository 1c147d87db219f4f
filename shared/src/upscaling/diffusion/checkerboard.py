"""Tiles that fade into each other, redrawn as on a chess board: white fields first, then black ones between them."""

from __future__ import annotations

from math import ceil

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.crops import Crop, crop_with_context
from upscaling.diffusion.patches import Gradient, Grid, Order, Patch
from upscaling.images import Size

_BLUR_REACH = 3  # pixels per pixel of radius that Pillow's blur reaches to each side
_BLUR_EDGE = 3  # pixels beyond that


def tile_of(canvas: Size, largest: int) -> Size:
    """The size of equal tiles that cover a canvas, with sides of at most `largest` pixels."""
    return Size(*(ceil(side / ceil(side / largest)) for side in canvas))


def checkerboard(canvas: Size, largest: int, context: int, fade: int) -> list[Crop]:
    """Equal tiles with sides of at most `largest` pixels, each with `context` pixels on all sides.

    A tile's mask is white over all of the tile and falls to black within `fade` pixels around it, so the white masks
    cover the canvas, and no border of a tile shows. `fade` is at most `context`.
    """
    tile = tile_of(canvas, largest)
    grid = Grid(canvas, tile)
    blur = max((fade // 2 - _BLUR_EDGE) // _BLUR_REACH, 0)
    margin = blur * _BLUR_REACH + _BLUR_EDGE if blur else 0
    block = Box(-margin, -margin, tile.width + margin, tile.height + margin)
    patches = (
        Patch(block.moved(*grid.corner(x, y)), Gradient.SOLID, blur, context - margin, tile)
        for x, y in grid.tiles(Order.CHESS)
    )
    return [crop_with_context(patch, canvas) for patch in patches]
