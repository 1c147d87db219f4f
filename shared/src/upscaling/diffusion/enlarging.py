"""The picture at the size that it is redrawn at."""

from __future__ import annotations

from upscaling.diffusion.scale_steps import scale_steps
from upscaling.images import Image, Size, collect
from upscaling.images.resampling import resized
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler


def enlarged(image: Image, size: Size, upscaler: Upscaler | None, tile: TileSize, progress: Progress) -> Image:
    """The picture at exactly a size: by the network and Lanczos, or by Lanczos alone if it has none or does not grow.

    Raises E_MEMORY and E_NONFINITE.
    """
    if upscaler is not None and scale_steps(Size(image.width, image.height), size):
        # ComfyUI runs the network once, however many steps there are, and resizes what it gives.
        return upscaler.upscale(image, size.width, size.height, tile, progress)
    return collect(image, size, resized(image, size))
