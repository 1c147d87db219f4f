"""Runs a network over a picture of any size in bounded memory, without changing a value."""

from upscaling.tiling.geometry import AUTOMATIC, TileSize, tile_size
from upscaling.tiling.plan import Plan, bounded, repeating
from upscaling.tiling.stream import Tally, stream

__all__ = ["AUTOMATIC", "Plan", "Tally", "TileSize", "bounded", "repeating", "stream", "tile_size"]
