"""A buffer for the rows of a feature map that are still needed."""

from __future__ import annotations

from collections import deque

import torch

from upscaling.superres.tiling.geometry import Span


class RowBuffer:
    """A window that moves down a feature map: bands are added at the bottom, used rows are dropped at the top."""

    def __init__(self, start: int = 0) -> None:
        self._bands: deque[torch.Tensor] = deque()
        self._start = start
        self.end = start
        """The first row that has not arrived yet."""

    def append(self, band: torch.Tensor) -> None:
        """Adds the next rows, (1, channels, rows, width)."""
        self._bands.append(band)
        self.end += band.shape[2]

    def drop_before(self, row: int) -> None:
        """Forgets all rows above `row`."""
        while self._bands and self._start + self._bands[0].shape[2] <= row:
            self._start += self._bands.popleft().shape[2]
        if self._bands and self._start < row:
            # A view would keep the whole band alive.
            self._bands[0] = _contiguous(self._bands[0][:, :, row - self._start :])
            self._start = row

    def window(self, rows: Span, columns: Span) -> torch.Tensor:
        """A tile of rows that are all here, as memory of its own; beyond the width the columns begin again."""
        parts: list[torch.Tensor] = []
        top = self._start
        for band in self._bands:
            bottom = top + band.shape[2]
            if top < rows.end and bottom > rows.start:
                inside = slice(max(rows.start - top, 0), min(rows.end, bottom) - top)
                parts.append(_columns(band[:, :, inside], columns))
            top = bottom
        return _contiguous(parts[0] if len(parts) == 1 else torch.cat(parts, dim=2))


def _columns(rows: torch.Tensor, columns: Span) -> torch.Tensor:
    width = rows.shape[3]
    if columns.start >= 0 and columns.end <= width:
        return rows[:, :, :, columns.start : columns.end]
    return rows[:, :, :, torch.arange(columns.start, columns.end, device=rows.device) % width]


def _contiguous(part: torch.Tensor) -> torch.Tensor:
    return part.clone(memory_format=torch.channels_last)
