"""How pictures are cut: sizes, near-equal pieces, and pieces widened by a halo."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from upscaling.errors import Code, UpscalingError

AUTOMATIC = 0
SMALLEST_TILE = 32  # pixels; below this a tile is mostly halo
LARGEST_TILE = 2048  # pixels


@dataclass(frozen=True)
class TileSize:
    """The largest tile, without its halo, in pixels of the network's input."""

    width: int
    height: int


# Measured fastest: on a CPU the tile that stays in its caches. On a GPU, not measured yet, one that fills it.
_AUTOMATIC_TILES = {"cpu": TileSize(width=256, height=128), "cuda": TileSize(width=1024, height=512)}
# Bands are as wide as the picture, so a wide one gets lower ones: of 64 channels in fp32, 128 MiB.
_BAND_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 23}


def tile_size(requested: int, device: torch.device, picture_width: int) -> TileSize:
    """The tile that a caller asked for: 0 is automatic, else the side of a square; all in pixels.

    Raises E_INPUT outside 0 and 32–2048.
    """
    if requested == AUTOMATIC:
        fastest = _AUTOMATIC_TILES[device.type]
        rows = max(_BAND_PIXELS[device.type] // picture_width, SMALLEST_TILE)
        return TileSize(fastest.width, min(fastest.height, rows))
    if not SMALLEST_TILE <= requested <= LARGEST_TILE:
        raise UpscalingError(
            Code.INPUT,
            f"tile_size is {requested}; take 0 for automatic, or {SMALLEST_TILE} to {LARGEST_TILE} pixels.",
        )
    return TileSize(requested, requested)


@dataclass(frozen=True)
class Span:
    """Rows or columns from `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def widened(self, halo: int, limits: Span) -> Span:
        """The span with its halo, as far as the limits go."""
        return Span(max(self.start - halo, limits.start), min(self.end + halo, limits.end))

    def within(self, other: Span) -> slice:
        """Where this span lies, counted from the start of another."""
        return slice(self.start - other.start, self.end - other.start)


def pieces(span: Span, largest: int, align: int = 1) -> list[Span]:
    """The span cut into the fewest near-equal pieces of at most `largest`.

    Cuts lie at multiples of `align`; a piece is longer than `largest` only where `align` is.
    """
    first, last = span.start // align, -(-span.end // align)
    count = -(-(last - first) // max(largest // align, 1))
    cuts = [first + (last - first) * i // count for i in range(count + 1)]
    return [Span(max(a * align, span.start), min(b * align, span.end)) for a, b in pairwise(cuts)]
