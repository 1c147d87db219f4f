"""The regions that are redrawn one after the other: tiles of the grid, then patches over its seams.

The geometry is that of Ultimate SD Upscale as ComfyUI runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import ceil

from upscaling.diffusion.boxes import Box, nearest_multiple
from upscaling.images import Size


class Order(StrEnum):
    """In which order the tiles of the grid are redrawn."""

    LINEAR = "Linear"
    """Row by row."""
    CHESS = "Chess"
    """The white fields of a chess board row by row, then the black ones."""
    NONE = "None"
    """No tile is redrawn; a seam fix may still run."""


class SeamFix(StrEnum):
    """What is redrawn over the seams of the grid."""

    NONE = "None"
    BAND_PASS = "Band Pass"
    """A band along every seam, as long as the canvas."""
    HALF_TILE = "Half Tile"
    """A tile over every border between two tiles."""
    INTERSECTIONS = "Half Tile + Intersections"
    """After these, a tile over every corner of four tiles."""


class Gradient(StrEnum):
    """How a patch's mask rises from 0 to 255 and falls again."""

    SOLID = "solid"
    DOWN = "down"
    """A tent from the top edge to the bottom edge."""
    ACROSS = "across"
    """A tent from the left edge to the right edge."""
    BAND_DOWN = "band down"
    BAND_ACROSS = "band across"
    """The same tents, drawn on 256 × 256 pixels and resized: a level or two away."""
    RADIAL = "radial"
    """From the centre to the corners; still 74 in the middle of a side."""


@dataclass(frozen=True)
class Patch:
    """A region that is redrawn in one go."""

    block: Box
    """Where the mask is drawn; it may reach over the canvas's edges."""
    gradient: Gradient
    blur: int
    """Radius that Pillow blurs the mask with, in pixels."""
    padding: int
    """Pixels around the mask that are denoised as context."""
    size: Size
    """The size that the region is sampled at where sizes are uniform."""


@dataclass(frozen=True)
class Grid:
    """A canvas in tiles, those on the right and at the bottom cut by its edges; they do not overlap."""

    canvas: Size
    tile: Size

    @property
    def columns(self) -> int:
        return ceil(self.canvas.width / self.tile.width)

    @property
    def rows(self) -> int:
        return ceil(self.canvas.height / self.tile.height)

    def tiles(self, order: Order) -> list[tuple[int, int]]:
        """The column and row of every tile, in the order they are redrawn in."""
        by_row = [(x, y) for y in range(self.rows) for x in range(self.columns)]
        match order:
            case Order.LINEAR:
                return by_row
            case Order.CHESS:
                return sorted(by_row, key=lambda tile: sum(tile) % 2)  # a stable sort: each colour stays row by row
            case Order.NONE:
                return []

    def corner(self, x: int, y: int) -> tuple[int, int]:
        """Where a tile starts."""
        return x * self.tile.width, y * self.tile.height


def redraw_patches(grid: Grid, order: Order, padding: int, blur: int) -> list[Patch]:
    """A patch for every tile of the grid."""
    # The published script draws masks with inclusive ends, so they are a pixel larger than the tile.
    width, height = grid.tile.width + 1, grid.tile.height + 1
    size = Size(*(nearest_multiple(side + padding) for side in grid.tile))
    return [
        Patch(Box(0, 0, width, height).moved(*grid.corner(x, y)), Gradient.SOLID, blur, padding, size)
        for x, y in grid.tiles(order)
    ]


def seam_patches(grid: Grid, mode: SeamFix, width: int, padding: int, blur: int) -> list[Patch]:
    """The patches over the seams of a grid; `width` is that of Band Pass's bands, which are not blurred."""
    match mode:
        case SeamFix.NONE:
            return []
        case SeamFix.BAND_PASS:
            return _bands(grid, width, padding) if width else []
        case SeamFix.HALF_TILE:
            return _half_tiles(grid, padding, blur)
        case SeamFix.INTERSECTIONS:
            return _half_tiles(grid, padding, blur) + _intersections(grid, blur)


def _bands(grid: Grid, width: int, padding: int) -> list[Patch]:
    canvas, sampled = grid.canvas, width + 2 * padding
    upright = Box(0, 0, width, canvas.height).moved(-(width // 2), 0)
    level = Box(0, 0, canvas.width, width).moved(0, -(width // 2))
    return [
        Patch(upright.moved(x * grid.tile.width, 0), Gradient.BAND_ACROSS, 0, padding, Size(sampled, canvas.height))
        for x in range(1, grid.columns)
    ] + [
        Patch(level.moved(0, y * grid.tile.height), Gradient.BAND_DOWN, 0, padding, Size(canvas.width, sampled))
        for y in range(1, grid.rows)
    ]


def _half_tiles(grid: Grid, padding: int, blur: int) -> list[Patch]:
    block = Box(0, 0, *grid.tile)
    below, beside = block.moved(0, grid.tile.height // 2), block.moved(grid.tile.width // 2, 0)
    return [
        Patch(below.moved(*grid.corner(x, y)), Gradient.DOWN, blur, padding, grid.tile)
        for y, x in product(range(grid.rows - 1), range(grid.columns))
    ] + [
        Patch(beside.moved(*grid.corner(x, y)), Gradient.ACROSS, blur, padding, grid.tile)
        for y, x in product(range(grid.rows), range(grid.columns - 1))
    ]


def _intersections(grid: Grid, blur: int) -> list[Patch]:
    block = Box(0, 0, *grid.tile).moved(grid.tile.width // 2, grid.tile.height // 2)
    return [
        Patch(block.moved(*grid.corner(x, y)), Gradient.RADIAL, blur, 0, grid.tile)
        for y, x in product(range(grid.rows - 1), range(grid.columns - 1))
    ]
