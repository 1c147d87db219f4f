"""Runs a network on a picture of any size, with bounded memory and without changing a value."""

from upscaling.superres.tiling.geometry import AUTOMATIC, TileSize, check_tile_size, tile_size
from upscaling.superres.tiling.plan import Plan, bounded, padded, repeating
from upscaling.superres.tiling.stream import stream

__all__ = [
    "AUTOMATIC",
    "Plan",
    "TileSize",
    "bounded",
    "check_tile_size",
    "padded",
    "repeating",
    "stream",
    "tile_size",
]
