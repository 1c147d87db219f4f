"""Feature maps as patches, and a buffer for the rows that are still needed."""

from __future__ import annotations

from collections.abc import Iterable
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


Band = tuple[Patch, ...]
"""Patches that cover consecutive rows over the whole width. They are not joined, which would need a copy."""


class RowBuffer:
    """A window that moves down a feature map: bands are appended at the bottom, used rows are dropped at the top."""

    def __init__(self, width: int, start: int = 0) -> None:
        self._width = width
        self._patches: list[Patch] = []
        self.end = start
        """The first row that has not arrived yet."""

    def append(self, band: Band) -> None:
        """Adds the next rows."""
        self._patches.extend(band)
        self.end = max(patch.rows.end for patch in band)

    def drop_before(self, row: int) -> None:
        """Drops all rows above `row`."""
        self._patches = [_below(patch, row) for patch in self._patches if patch.rows.end > row]

    def window(self, rows: Span, columns: Span) -> torch.Tensor:
        """A copy of a part of the rows; columns beyond the width start again at the other side."""
        like = self._patches[0].values
        shape = (1, like.shape[1], len(rows), len(columns))
        tile = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
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
    """The patches of a band, joined to (1, channels, rows, width)."""
    rows, columns = _hull(patch.rows for patch in band), _hull(patch.columns for patch in band)
    buffer = RowBuffer(columns.end, rows.start)
    buffer.append(band)
    return buffer.view(rows, columns)


def _hull(spans: Iterable[Span]) -> Span:
    starts, ends = zip(*((span.start, span.end) for span in spans), strict=True)
    return Span(min(starts), max(ends))


def _below(patch: Patch, row: int) -> Patch:
    if patch.rows.start >= row:
        return patch
    rows = Span(row, patch.rows.end)
    # A copy, because a view would keep the whole patch in memory.
    values = patch.values[:, :, rows.within(patch.rows)].clone(memory_format=torch.channels_last)
    return Patch(rows, patch.columns, values)


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
