"""Tile sizes, and how spans are cut into pieces and tiles with a halo."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import torch

from upscaling.errors import Code, UpscalingError

AUTOMATIC = 0
SMALLEST_TILE = 32  # pixels; below this a tile is mostly halo
LARGEST_TILE = 2048  # pixels


@dataclass(frozen=True)
class TileSize:
    """The largest tile, without its halo, and the height of a band, in pixels of the network's input."""

    width: int
    height: int
    band: int = 0
    """Rows that a stage cuts into tiles at a time; 0 means the height of a tile."""

    @property
    def rows(self) -> int:
        """The rows of a band."""
        return self.band or self.height


# Stages with feature maps up to this factor larger inside are as fast with tiles of full size.
_FREE_INNER_SCALE = 2

# Measured fastest on a CPU, because such tiles stay in its caches. Not measured yet on a GPU.
_AUTOMATIC_TILES = {"cpu": 192, "cuda": 1024}  # pixels per side
# Bands are as wide as the picture, so wide pictures get lower bands. In fp32 with 64 channels: 128 and 512 MiB.
_BAND_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 21}


def side_for(inner_scale: int, side: int) -> int:
    """The side of a tile for a stage with larger feature maps inside; not reduced below SMALLEST_TILE.

    With x4plus on a CPU with AMX, half the side makes the last stage, which works at four times the size, twice as
    fast.
    """
    return max(side * _FREE_INNER_SCALE // max(inner_scale, _FREE_INNER_SCALE), min(side, SMALLEST_TILE))


def check_tile_size(requested: int) -> None:
    """Raises E_INPUT unless the side is 0, which is automatic, or 32–2048 pixels."""
    if requested != AUTOMATIC and not SMALLEST_TILE <= requested <= LARGEST_TILE:
        raise UpscalingError(
            Code.INPUT,
            f"tile_size is {requested}; take 0 for automatic, or {SMALLEST_TILE} to {LARGEST_TILE} pixels.",
        )


def tile_size(requested: int, device: torch.device, picture_width: int) -> TileSize:
    """The tile size for a requested side, 0 for automatic or 32–2048 pixels, and for the width of the picture.

    Raises E_INPUT for other sides.
    """
    check_tile_size(requested)
    side = requested or _AUTOMATIC_TILES[device.type]
    band = max(_BAND_PIXELS[device.type] // picture_width, SMALLEST_TILE)
    return TileSize(side, min(side, band), band)


@dataclass(frozen=True)
class Span:
    """Rows or columns from `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def widened(self, halo: int, limits: Span) -> Span:
        """The span with its halo, cut off at the limits."""
        return Span(max(self.start - halo, limits.start), min(self.end + halo, limits.end))

    def scaled(self, factor: Fraction) -> Span:
        """The same span of a map that is larger by a factor; start and end must become whole numbers."""
        return Span(int(self.start * factor), int(self.end * factor))

    def contains(self, other: Span) -> bool:
        """Whether the other span is inside this one."""
        return self.start <= other.start and other.end <= self.end

    def within(self, other: Span) -> slice:
        """This span as a slice, relative to the start of another."""
        return slice(self.start - other.start, self.end - other.start)


def pieces(span: Span, largest: int, align: int = 1) -> list[Span]:
    """Cuts the span into as few pieces as possible, of nearly equal length and at most `largest`.

    Cuts are at multiples of `align`. A piece is longer than `largest` only if `align` is.
    """
    first, last = span.start // align, -(-span.end // align)
    count = -(-(last - first) // max(largest // align, 1))
    cuts = [first + (last - first) * i // count for i in range(count + 1)]
    return [Span(max(a * align, span.start), min(b * align, span.end)) for a, b in pairwise(cuts)]


@dataclass(frozen=True)
class Window:
    """A tile along one axis: the part that is read, and the part that is kept of the result."""

    taken: Span
    kept: Span


def windows(span: Span, halo: int, limits: Span, largest: int, align: int = 1) -> list[Window]:
    """Cuts the span into tiles. Each one reads the halo around the part that it keeps, within the limits.

    All tiles read the same length, because libraries need milliseconds to prepare for each new size of tile: the last
    tile is moved back instead of being cut smaller. Tiles begin at multiples of `align`, as do limits and halos. A tile
    keeps more than `largest` only at the limits, where it has no halo, or if `align` is larger.
    """
    taken = span.widened(halo, limits)
    inner = len(taken) - 2 * halo
    count = -(-inner // max(largest // align * align, align))
    if count <= 1:
        return [Window(taken, span)]
    step = -(-inner // (count * align)) * align
    size = step + 2 * halo
    count = -(-inner // step)
    starts = [*(taken.start + step * i for i in range(count - 1)), taken.end - size]
    cuts = [span.start, *(taken.start + step * i + halo for i in range(1, count)), span.end]
    return [Window(Span(a, a + size), Span(*kept)) for a, kept in zip(starts, pairwise(cuts), strict=True)]
