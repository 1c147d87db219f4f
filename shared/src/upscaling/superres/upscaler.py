"""Upscales a picture to any size, with its alpha, depth and profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from upscaling.images import Image, Rows, Size, collect
from upscaling.images.image import Border, Pixels
from upscaling.images.transparency import fill_hidden, is_flat
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.memory import memory_errors_coded
from upscaling.runtime.progress import Progress
from upscaling.superres.enlargement import Enlargement
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize


@dataclass(frozen=True)
class Upscaler:
    """One network for any number of pictures, also at the same time."""

    load: Callable[[torch.dtype], Network]
    """Loads the network in a type or a wider one. It is called for every picture, so it should keep the network."""
    dtype: torch.dtype
    """The fast type, for 8 bit pictures. 16 bit needs fp32: bf16 has 8 significant bits, fp16 has 11."""
    passes: int = 1
    """How often the network may run. It runs again on its result only if both sides are smaller than the target."""
    border: Border = "edge"
    """With "wrap", results can be repeated without seams."""

    def dtype_for(self, image: Image) -> torch.dtype:
        """The type that a picture is computed in."""
        return torch.float32 if image.bits == 16 else self.dtype

    def upscale(self, image: Image, width: int, height: int, tile: TileSize, progress: Progress | None = None) -> Image:
        """The picture at exactly width × height pixels; raises the same errors as `attempts`."""
        size = Size(width, height)
        with memory_errors_coded(f"a result of {width}×{height} pixels"):
            attempts = self.attempts(image, size, tile, progress or Progress())
            return first_finite(attempts, partial(collect, image, size))

    def attempts(self, image: Image, size: Size, tile: TileSize, progress: Progress) -> Iterator[Rows]:
        """Yields the result as rows, computed in the fast type and then, if that is another type, in fp32.

        The second one is for `first_finite`: if a value is not finite, all rows are computed again, because a result
        in mixed types would depend on the tiles. The network enlarges by its own factor, and Lanczos resamples to the
        size. Alpha is enlarged by the same network, unless it is flat or the network does not enlarge. Colours under
        zero alpha do not affect the result. The rows raise E_MEMORY and E_NONFINITE, and E_INPUT for a seamless
        picture with a size that the network would have to pad.
        """
        fast = self.dtype_for(image)
        yield self._rows(image, size, tile, progress, fast)
        if self.load(fast).dtype is not torch.float32:
            progress.count("retries")
            yield self._rows(image, size, tile, progress, torch.float32)

    def _rows(self, image: Image, size: Size, tile: TileSize, progress: Progress, dtype: torch.dtype) -> Rows:
        """Yields the result, computed in one type."""
        with memory_errors_coded(f"a result of {size.width}×{size.height} pixels"):
            network = self.load(dtype)
            progress.figures |= {"device": str(network.device), "dtype": str(network.dtype).removeprefix("torch.")}
            progress.figures["weights"] = network.source
            given, target = (image.height, image.width), (size.height, size.width)
            passes = self._passes(network, given, target)
            enlargement = Enlargement.of(network, self.border, passes, given, target, tile)
            if image.alpha is None:
                for rows in enlargement.resized(enlargement.computed(image.pixels, progress)):
                    yield rows, None
                return
            pixels = fill_hidden(image.pixels, image.alpha, self.border)
            if is_flat(image.alpha):
                for rows in enlargement.resized(enlargement.computed(pixels, progress)):
                    yield rows, np.full(rows.shape[:2], image.alpha[0, 0])
                return
            of_colour, of_alpha = progress.split(1, 1 if network.scale > 1 else 0)
            colour = enlargement.computed(pixels, of_colour)
            if network.scale > 1:
                alpha = enlargement.restored(enlargement.computed(image.alpha[..., None], of_alpha), image.alpha)
            else:  # denoising and JPEG repair leave alpha unchanged
                alpha = enlargement.unchanged(image.alpha[..., None])
            yield from _side_by_side(enlargement.resized(colour), enlargement.resized(alpha))

    def _passes(self, network: Network, size: tuple[int, int], target: tuple[int, int]) -> int:
        """One more as long as the result is smaller than the target on both sides."""
        passes = 1
        # The result of a network that does not enlarge would always be smaller.
        while (
            network.scale > 1
            and passes < self.passes
            and all(side * network.scale**passes < wanted for side, wanted in zip(size, target, strict=True))
        ):
            passes += 1
        return passes


def _side_by_side(colour: Iterator[Pixels], alpha: Iterator[Pixels]) -> Iterator[tuple[Pixels, Pixels]]:
    """Pairs the rows of two streams, which may have bands of different heights."""
    held_colour, held_alpha = next(colour), next(alpha)
    while True:
        count = min(len(held_colour), len(held_alpha))
        yield held_colour[:count], held_alpha[:count, :, 0]
        held_colour, held_alpha = held_colour[count:], held_alpha[count:]
        if not len(held_colour):
            following = next(colour, None)
            if following is None:
                return
            held_colour = following
        if not len(held_alpha):
            held_alpha = next(alpha)
