"""How pictures are cut: sizes, near-equal pieces, and pieces widened by a halo."""

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
    """The largest tile, without its halo, and how many rows are in work at once; in pixels of the network's input."""

    width: int
    height: int
    band: int = 0
    """Rows of the picture that a stage takes before it is cut to tiles; 0 is the height of a tile."""

    @property
    def rows(self) -> int:
        """The rows of a band."""
        return self.band or self.height


# Feature maps that are this much larger than the tile are still as fast with the whole of it.
_FREE_INNER_SCALE = 2

# Measured fastest: on a CPU the tile that stays in its caches. On a GPU, not measured yet, one that fills it.
_AUTOMATIC_TILES = {"cpu": 192, "cuda": 1024}  # pixels a side
# Bands are as wide as the picture, so a wide one gets lower ones: of 64 channels in fp32, 128 and 512 MiB.
_BAND_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 21}


def side_for(inner_scale: int, side: int) -> int:
    """The side of a tile for a stage with larger feature maps inside, whose memory grows with their area.

    Never below SMALLEST_TILE for that reason. For x4plus on a CPU with AMX, half the side makes the stage at four
    times the size twice as fast.
    """
    return max(side * _FREE_INNER_SCALE // max(inner_scale, _FREE_INNER_SCALE), min(side, SMALLEST_TILE))


def check_tile_size(requested: int) -> None:
    """Raises E_INPUT outside 0, which is automatic, and 32–2048 pixels."""
    if requested != AUTOMATIC and not SMALLEST_TILE <= requested <= LARGEST_TILE:
        raise UpscalingError(
            Code.INPUT,
            f"tile_size is {requested}; take 0 for automatic, or {SMALLEST_TILE} to {LARGEST_TILE} pixels.",
        )


def tile_size(requested: int, device: torch.device, picture_width: int) -> TileSize:
    """The tile that a caller asked for: 0 is automatic, else the side of a square; all in pixels.

    Raises E_INPUT outside 0 and 32–2048.
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
        """The span with its halo, as far as the limits go."""
        return Span(max(self.start - halo, limits.start), min(self.end + halo, limits.end))

    def scaled(self, factor: Fraction) -> Span:
        """The same part of a map that is larger by a factor; start and end must come out whole."""
        return Span(int(self.start * factor), int(self.end * factor))

    def contains(self, other: Span) -> bool:
        """Whether the other span lies in this one."""
        return self.start <= other.start and other.end <= self.end

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


@dataclass(frozen=True)
class Window:
    """A tile along one direction: what is read, and what of it is kept."""

    taken: Span
    kept: Span


def windows(span: Span, halo: int, limits: Span, largest: int, align: int = 1) -> list[Window]:
    """Tiles that keep the whole span between them, each reading the halo around what it keeps, within the limits.

    All read equally many, since every size of tile costs the CPU's libraries milliseconds to prepare for: at the
    end of the span a tile is moved back, not cut smaller. Tiles begin at multiples of `align`, as do the limits
    and halos; one keeps more than `largest` at the limits, where it has no halo, or where `align` is more.
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
