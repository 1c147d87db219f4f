"""Runs a network over a picture of any size in bounded memory, without changing a value."""

from upscaling.superres.tiling.geometry import AUTOMATIC, TileSize, tile_size
from upscaling.superres.tiling.plan import Plan, bounded, repeating
from upscaling.superres.tiling.stream import Tally, stream

__all__ = ["AUTOMATIC", "Plan", "Tally", "TileSize", "bounded", "repeating", "stream", "tile_size"]
