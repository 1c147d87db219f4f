"""Which patches may be redrawn at the same time and still give what one after the other gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from upscaling.diffusion.crops import Crop


def waves(crops: Sequence[Crop]) -> list[list[Crop]]:
    """The crops in groups, to be redrawn group by group; within a group no two meet.

    Each crop comes in the first group after all earlier crops that it meets, so every crop sees the same pixels as
    if they were redrawn in the order given. Padding makes diagonal neighbours meet, so the white fields of a chess
    board are no group as a whole: a row of them is, beside the black row before it.
    """
    groups: list[int] = []
    for number, crop in enumerate(crops):
        before = (groups[i] for i in range(number) if crops[i].box.meets(crop.box))
        groups.append(max(before, default=-1) + 1)
    return [[crops[i] for i in range(len(crops)) if groups[i] == group] for group in range(max(groups, default=-1) + 1)]


def batches(crops: Sequence[Crop], largest: int) -> list[list[Crop]]:
    """The waves cut to batches of one sampling size, of at most `largest` crops."""
    cut: list[list[Crop]] = []
    for wave in waves(crops):
        for _, same in groupby(sorted(wave, key=lambda crop: crop.size), key=lambda crop: crop.size):
            alike = list(same)
            cut += [alike[i : i + largest] for i in range(0, len(alike), largest)]
    return cut
