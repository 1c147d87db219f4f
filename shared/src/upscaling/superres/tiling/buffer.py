"""Feature maps as patches, and a buffer for the rows that are still needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from upscaling.superres.tiling.geometry import Span


@dataclass(frozen=True)
class Patch:
    """A part of a feature map, as the tile that computed it left it in memory."""

    rows: Span
    columns: Span
    values: torch.Tensor
    """(1, channels, rows, columns)."""


Band = tuple[Patch, ...]
"""Patches that together cover consecutive rows over the whole width. Joining them would take another copy."""


class RowBuffer:
    """A window that moves down a feature map: bands are added at the bottom, used rows are dropped at the top."""

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
        """Forgets all rows above `row`."""
        self._patches = [_below(patch, row) for patch in self._patches if patch.rows.end > row]

    def window(self, rows: Span, columns: Span) -> torch.Tensor:
        """A tile of rows that are all here, as memory of its own; beyond the width the columns begin again."""
        like = self._patches[0].values
        shape = (1, like.shape[1], len(rows), len(columns))
        tile = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
        for shift in range(columns.start // self._width * self._width, columns.end, self._width):
            for patch in self._patches:
                _copy(patch, shift, tile, rows, columns)
        return tile

    def view(self, rows: Span, columns: Span) -> torch.Tensor:
        """The same to read only: without a copy where one patch holds it all."""
        for patch in self._patches:
            if patch.columns.contains(columns) and patch.rows.contains(rows):
                return patch.values[:, :, rows.within(patch.rows), columns.within(patch.columns)]
        return self.window(rows, columns)


def joined(band: Band) -> torch.Tensor:
    """The band in one piece, (1, channels, rows, width)."""
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
    # A view would keep the whole patch alive.
    values = patch.values[:, :, rows.within(patch.rows)].clone(memory_format=torch.channels_last)
    return Patch(rows, patch.columns, values)


def _copy(patch: Patch, shift: int, tile: torch.Tensor, rows: Span, columns: Span) -> None:
    """Copies what the patch, moved right by `shift`, has of a tile."""
    left, right = max(patch.columns.start + shift, columns.start), min(patch.columns.end + shift, columns.end)
    if left >= right:
        return
    top, bottom = max(patch.rows.start, rows.start), min(patch.rows.end, rows.end)
    if top >= bottom:
        return
    across, down = Span(left, right), Span(top, bottom)
    source = patch.values[:, :, down.within(patch.rows), Span(left - shift, right - shift).within(patch.columns)]
    tile[:, :, down.within(rows), across.within(columns)] = source
