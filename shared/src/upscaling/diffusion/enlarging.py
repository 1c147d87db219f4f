"""The picture at the size that it is redrawn at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from upscaling.diffusion.scale_steps import scale_steps
from upscaling.images import Image, Rows, Size, collect
from upscaling.images.image import Pixels
from upscaling.images.resampling import resample
from upscaling.images.transparency import fill_hidden
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler


def enlarged(image: Image, size: Size, upscaler: Upscaler, tile: TileSize, progress: Progress) -> Image:
    """The picture at exactly a size: by the network and Lanczos, or by Lanczos alone where it does not grow.

    Raises E_MEMORY and E_NONFINITE.
    """
    if scale_steps(Size(image.width, image.height), size):
        # ComfyUI runs the network once, however many steps there are, and resizes what it gives.
        return upscaler.upscale(image, size.width, size.height, tile, progress)
    return collect(image, size, _resized(image, size))


def without_hidden_colours(image: Image) -> Image:
    """The picture with the colours under zero alpha replaced by those nearby."""
    return image if image.alpha is None else replace(image, pixels=fill_hidden(image.pixels, image.alpha))


def _resized(image: Image, size: Size) -> Rows:
    """The rows of the picture as Lanczos resizes it, with its alpha."""
    colour = _resized_plane(image.pixels, size)
    if image.alpha is None:
        return ((rows, None) for rows in colour)
    # Both are cut alike: they are resized by the same sizes.
    alpha = _resized_plane(image.alpha[..., None], size)
    return ((rows, hidden[..., 0]) for rows, hidden in zip(colour, alpha, strict=True))


def _resized_plane(plane: Pixels, size: Size) -> Iterator[Pixels]:
    return resample(iter([plane]), (plane.shape[0], plane.shape[1]), (size.height, size.width))
