"""The factors by which an upscaling network would enlarge a picture to the size of the canvas."""

from __future__ import annotations

from math import ceil

from upscaling.diffusion.boxes import nearest_multiple
from upscaling.images import Size


def scale_steps(picture: Size, canvas: Size) -> list[int]:
    """The factors, each 2, 3 or 4, whose product is at least the enlargement; none where it does not grow.

    A side that is the picture's, rounded to a multiple of 8, does not count as larger: no one asked for it. Ultimate SD
    Upscale's rule, except that it compares the longest sides, while here a size may have another shape, and that a
    factor it cannot split (10, 13, 14, 15) is raised to the next one that splits, where it gets a step of zero.
    """
    grown = [side / own for side, own in zip(canvas, picture, strict=True) if side != nearest_multiple(own)]
    factor = ceil(max(grown, default=1))
    while (steps := _split(factor)) is None:
        factor += 1
    return steps


def _split(factor: int) -> list[int] | None:
    if factor == 1:
        return []
    step = next((step for step in (4, 3, 2) if factor % step == 0), None)
    rest = None if step is None else _split(factor // step)
    return None if step is None or rest is None else [step, *rest]
