"""Which patches may be redrawn at the same time and still give what one after the other gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from upscaling.diffusion.crops import Crop


def waves(crops: Sequence[Crop]) -> list[list[Crop]]:
    """The crops in groups, to be redrawn group by group; within a group no two meet.

    Each crop comes in the first group after all earlier crops that it meets, so every crop sees the same pixels as
    if they were redrawn in the order given. Padding makes diagonal neighbours meet, so the white fields of a chess
    board are no group as a whole: a row of them is, beside the black row before it. The time it takes grows with the
    number of tiles of a grid, not with its square.
    """
    # The edges of all crops cut the canvas into cells: two crops meet if they have a cell in common.
    columns = _numbered(edge for crop in crops for edge in (crop.box.left, crop.box.right))
    rows = _numbered(edge for crop in crops for edge in (crop.box.top, crop.box.bottom))
    latest = np.full((len(rows), len(columns)), -1)  # the group that redraws a cell last
    groups: list[list[Crop]] = []
    for crop in crops:
        box = crop.box
        cells = latest[rows[box.top] : rows[box.bottom], columns[box.left] : columns[box.right]]
        group = int(cells.max()) + 1
        cells[:] = group
        if group == len(groups):
            groups.append([])
        groups[group].append(crop)
    return groups


def batches(crops: Sequence[Crop], largest: int) -> list[list[Crop]]:
    """The waves cut to batches of one sampling size, of at most `largest` crops."""
    cut: list[list[Crop]] = []
    for wave in waves(crops):
        for _, same in groupby(sorted(wave, key=lambda crop: crop.size), key=lambda crop: crop.size):
            alike = list(same)
            cut += [alike[i : i + largest] for i in range(0, len(alike), largest)]
    return cut


def _numbered(edges: Iterable[int]) -> dict[int, int]:
    """The place of each edge among all."""
    return {edge: place for place, edge in enumerate(sorted(set(edges)))}
