"""Which part of the canvas a patch is made from, and the size that it is sampled at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from upscaling.diffusion.boxes import Box
from upscaling.diffusion.masks import drawn
from upscaling.diffusion.patches import Patch
from upscaling.errors import Code, UpscalingError
from upscaling.images import Size

LATENT = 8  # pixels a side that one latent stands for
LARGEST_SAMPLE = 18_000_000
"""Pixels that a crop may be sampled at: 4096 × 4096 and some padding. Memory and time grow faster than they do."""


@dataclass(frozen=True)
class Crop:
    """A patch on its canvas."""

    patch: Patch
    box: Box
    """The part of the canvas that is cut out, redrawn and laid back."""
    size: Size
    """What it is resized to for sampling; multiples of 8."""


def check_sampled(crops: Sequence[Crop]) -> None:
    """Raises E_TOO_LARGE for crops that are sampled at more than the largest sample."""
    for size in {crop.size for crop in crops}:
        if size.width * size.height > LARGEST_SAMPLE:
            raise UpscalingError(
                Code.TOO_LARGE,
                f"a tile would be redrawn at {size.width}×{size.height} pixels,"
                f" {size.width * size.height / 1e6:.1f} megapixels; the limit is {LARGEST_SAMPLE / 1e6:g}."
                " Take smaller tiles, bands or paddings.",
            )


def crop(patch: Patch, canvas: Size, *, uniform: bool) -> Crop:
    """A patch's padded region, grown to the shape that it is sampled in, as far as the canvas goes.

    With `uniform`, the shape is that of the patch's own size, which the region is then resized to. Without, the
    region is widened to multiples of 8 and sampled as it is.
    """
    padded = _padded(patch, canvas)
    if not uniform:
        return _in_latents(patch, padded, canvas)
    width, height = padded.size
    aspect = patch.size.width / patch.size.height
    target = Size(width, round(width / aspect)) if width / height > aspect else Size(round(height * aspect), height)
    # ComfyUI cuts a rim off sizes that are no multiple of 8 and stretches what is left; here they are resized.
    size = Size(*(max(side // LATENT, 1) * LATENT for side in patch.size))
    return Crop(patch, _grown(padded, target, canvas), size)


def crop_with_context(patch: Patch, canvas: Size) -> Crop:
    """A patch with exactly its padding, widened to multiples of 8 and sampled as it is, as far as the canvas goes."""
    return _in_latents(patch, drawn(patch, canvas).widened(patch.padding, canvas), canvas)


def _in_latents(patch: Patch, padded: Box, canvas: Size) -> Crop:
    size = Size(*(ceil(side / LATENT) * LATENT for side in padded.size))
    return Crop(patch, _grown(padded, size, canvas), size)


def _padded(patch: Patch, canvas: Size) -> Box:
    box = drawn(patch, canvas).widened(patch.padding, canvas)
    # The published code takes back the pixel by which masks of tiles are too large, and does so for all masks.
    right = box.right - 1 if box.right < canvas.width and box.size.width > 1 else box.right
    bottom = box.bottom - 1 if box.bottom < canvas.height and box.size.height > 1 else box.bottom
    return Box(box.left, box.top, right, bottom)


def _grown(box: Box, target: Size, canvas: Size) -> Box:
    left, right = _grown_side(box.left, box.right, target.width, canvas.width)
    top, bottom = _grown_side(box.top, box.bottom, target.height, canvas.height)
    return Box(left, top, right, bottom)


def _grown_side(start: int, end: int, target: int, limit: int) -> tuple[int, int]:
    """The end moves by half of what is missing, the start by the rest, the end again by what is still missing."""
    end = min(end + (target - (end - start)) // 2, limit)
    start = max(start - (target - (end - start)), 0)
    return start, min(end + (target - (end - start)), limit)
