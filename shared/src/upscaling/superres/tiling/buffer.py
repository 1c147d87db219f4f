"""Feature maps as patches, and a buffer for the rows that are still needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from upscaling.superres.tiling.geometry import Span


@dataclass(frozen=True)
class Patch:
    """A part of a feature map, as computed from one tile."""

    rows: Span
    columns: Span
    values: torch.Tensor
    """(1, channels, rows, columns)."""


@dataclass(frozen=True)
class Band:
    """Consecutive rows of a feature map, as patches. They are not joined, which would need a copy."""

    rows: Span
    columns: Span
    patches: Iterator[Patch]
    """Computed one at a time, as they are taken."""


class RowBuffer:
    """A window that moves down a feature map: bands are appended at the bottom, used rows are dropped at the top."""

    def __init__(self, width: int, start: int = 0) -> None:
        self._width = width
        self._patches: list[Patch] = []
        self.end = start
        """The first row that has not arrived yet."""

    def append(self, patch: Patch) -> None:
        """Adds a part of the next rows."""
        self._patches.append(patch)
        self.end = max(self.end, patch.rows.end)

    def drop_before(self, row: int) -> None:
        """Drops all rows above `row`."""
        cut = [patch for patch in self._patches if patch.rows.start < row < patch.rows.end]
        kept = [patch for patch in self._patches if patch.rows.start >= row]
        if cut:
            # A copy, because views would keep whole patches in memory.
            rows, columns = Span(row, max(patch.rows.end for patch in cut)), Span(0, self._width)
            kept.insert(0, Patch(rows, columns, self.window(rows, columns)))
        self._patches = kept

    def window(self, rows: Span, columns: Span) -> torch.Tensor:
        """A copy of a part of the rows; columns beyond the width start again at the other side."""
        tile = _empty(self._patches[0].values, rows, columns)
        for shift in range(columns.start // self._width * self._width, columns.end, self._width):
            for patch in self._patches:
                _copy(patch, shift, tile, rows, columns)
        return tile

    def view(self, rows: Span, columns: Span) -> torch.Tensor:
        """The same for reading only: not a copy if one patch contains all of it."""
        for patch in self._patches:
            if patch.columns.contains(columns) and patch.rows.contains(rows):
                return patch.values[:, :, rows.within(patch.rows), columns.within(patch.columns)]
        return self.window(rows, columns)


def joined(band: Band) -> torch.Tensor:
    """The patches of a band, joined to (1, channels, rows, columns)."""
    whole: torch.Tensor | None = None
    for patch in band.patches:
        if patch.rows == band.rows and patch.columns == band.columns:
            whole = patch.values
            continue
        if whole is None:
            whole = _empty(patch.values, band.rows, band.columns)
        _copy(patch, 0, whole, band.rows, band.columns)
    assert whole is not None
    return whole


def _empty(like: torch.Tensor, rows: Span, columns: Span) -> torch.Tensor:
    shape = (1, like.shape[1], len(rows), len(columns))
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _copy(patch: Patch, shift: int, tile: torch.Tensor, rows: Span, columns: Span) -> None:
    """Copies the part of a tile that the patch, moved right by `shift`, contains."""
    left, right = max(patch.columns.start + shift, columns.start), min(patch.columns.end + shift, columns.end)
    if left >= right:
        return
    top, bottom = max(patch.rows.start, rows.start), min(patch.rows.end, rows.end)
    if top >= bottom:
        return
    across, down = Span(left, right), Span(top, bottom)
    source = patch.values[:, :, down.within(patch.rows), Span(left - shift, right - shift).within(patch.columns)]
    tile[:, :, down.within(rows), across.within(columns)] = source
