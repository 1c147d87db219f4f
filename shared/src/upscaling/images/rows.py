"""Pictures as consecutive bands of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from upscaling.errors import Code, UpscalingError
from upscaling.images.image import Image, Pixels, Size

Rows = Iterator[tuple[Pixels, Pixels | None]]
"""Consecutive rows of colour, (rows, width, channels), and of alpha, (rows, width) or None."""


def with_alpha(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Rows of colour, (rows, width, channels), and of alpha, (rows, width), as the channels of one array."""
    return pixels if alpha is None else np.dstack([pixels, alpha])


def recut(bands: Iterator[Pixels], rows: int) -> Iterator[Pixels]:
    """Yields the same rows in bands of `rows`; the last band may be shorter."""
    held: list[Pixels] = []
    missing = rows
    for band in bands:
        rest = band
        while len(rest) >= missing:
            yield np.concatenate([*held, rest[:missing]])
            held, rest, missing = [], rest[missing:], rows
        if len(rest):
            held.append(rest.copy())
            missing -= len(rest)
        del band, rest  # frees their memory while the next band is computed
    if held:
        yield np.concatenate(held)


def collect(image: Image, size: Size, rows: Rows) -> Image:
    """Joins rows to a picture of a size, with the channels, profile and resolution of `image`.

    Raises MemoryError if it does not fit into memory, and E_ENCODE if rows are missing.
    """
    pixels: Pixels = np.empty((size.height, size.width, image.pixels.shape[2]), image.pixels.dtype)
    alpha: Pixels | None = None if image.alpha is None else np.empty((size.height, size.width), image.alpha.dtype)
    top = 0
    for colour_rows, alpha_rows in rows:
        bottom = top + len(colour_rows)
        pixels[top:bottom] = colour_rows
        if alpha is not None and alpha_rows is not None:
            alpha[top:bottom] = alpha_rows
        top = bottom
    if top != size.height:
        raise UpscalingError(Code.ENCODE, f"{size.height - top} of {size.height} rows are missing; please report this.")
    return Image(pixels, alpha, image.profile, image.resolution)
