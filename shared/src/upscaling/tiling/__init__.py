"""Runs a network over a picture of any size in bounded memory, without changing a value."""

from upscaling.tiling.geometry import AUTOMATIC, TileSize, tile_size
from upscaling.tiling.stream import Tally, stream, total_work

__all__ = ["AUTOMATIC", "Tally", "TileSize", "stream", "tile_size", "total_work"]
