"""A picture in, a larger picture out: at any size, with its alpha, depth and profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image
from upscaling.images.image import Pixels
from upscaling.images.transparency import Beyond, fill_hidden, is_flat, restore_solid
from upscaling.runtime.memory import memory_errors_coded
from upscaling.superres.networks import Network
from upscaling.superres.plane import Route, bounded_route, enlarge, repeating_route, resized, unchanged
from upscaling.superres.tiling import Tally, TileSize

_ROUTES = {"edge": bounded_route, "wrap": repeating_route}

Rows = Iterator[tuple[Pixels, Pixels | None]]
"""Consecutive rows of colour, (rows, width, channels), and of alpha, (rows, width) or None."""
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Upscaler:
    """One network, ready for any number of pictures, also at the same time."""

    load: Callable[[torch.dtype], Network]
    """Gives the network in a type; asked for every picture, so it should keep what it loaded."""
    dtype: torch.dtype
    """The fast type, for 8 bit pictures. 16 bit ones take fp32: bf16 holds 8 significant bits, fp16 11."""
    passes: int = 1
    """How often the network runs at most: again on its result only where both sides of that are below the target's."""
    beyond: Beyond = "edge"
    """What lies around a picture: a border, or the picture again ("wrap"), so that results tile without a seam."""

    def dtype_for(self, image: Image) -> torch.dtype:
        """The type that a picture is computed in."""
        return torch.float32 if image.bits == 16 else self.dtype

    def upscale(self, image: Image, width: int, height: int, tile: TileSize, tally: Tally | None = None) -> Image:
        """The picture at exactly width × height pixels.

        The network enlarges by its own factor, Lanczos brings that to the size. Alpha is enlarged by the same
        network, unless it is flat or the network enlarges nothing; colours hidden under zero alpha do not matter.
        Raises E_MEMORY and E_NONFINITE, and E_INPUT for a seamless picture of a size that the network pads.
        """
        taking = partial(collect, image, width, height)
        return self.into(taking, image, width, height, tile, tally or Tally())

    def into(
        self, take: Callable[[Rows], _Result], image: Image, width: int, height: int, tile: TileSize, tally: Tally
    ) -> _Result:
        """Hands the rows of the result to `take`, and returns what that makes of them.

        Where a value in the fast type is not finite, the whole picture is computed again in fp32 and `take` is
        called again: redoing a part would make the result depend on the tiles. Raises what `upscale` does.
        """
        fast = self.dtype_for(image)
        try:
            return take(self._rows(image, width, height, tile, tally, fast))
        except UpscalingError as error:
            if error.code is not Code.NONFINITE or fast is torch.float32:
                raise
        tally.retries += 1
        return take(self._rows(image, width, height, tile, tally, torch.float32))

    def _rows(self, image: Image, width: int, height: int, tile: TileSize, tally: Tally, dtype: torch.dtype) -> Rows:
        """Yields the result, computed in one type."""
        tally.dtype = dtype
        with memory_errors_coded(f"a result of {width}×{height} pixels"):
            network = self.load(dtype)
            has_own_alpha = image.alpha is not None and not is_flat(image.alpha)
            enlarges_alpha = has_own_alpha and network.scale > 1
            size, target = (image.height, image.width), (height, width)
            route = _ROUTES[self.beyond](network, size, target, tile, self._passes(network, size, target))
            # On top of what is done: one count may serve several pictures, or one that is begun anew.
            tally.total_work = tally.work + route.work * (2 if enlarges_alpha else 1)
            through = partial(enlarge, route, network, tally=tally)  # pixels → bands
            if image.alpha is None:
                for rows in resized(route, through(image.pixels)):
                    yield rows, None
                return
            colour = resized(route, through(fill_hidden(image.pixels, image.alpha, self.beyond)))
            if not has_own_alpha:
                for rows in colour:
                    yield rows, np.full(rows.shape[:2], image.alpha[0, 0])
                return
            if enlarges_alpha:
                alpha = _solid(route, through(image.alpha[..., None]), image.alpha, self.beyond)
            else:  # a network that restores colours has nothing to mend in alpha
                alpha = unchanged(route, image.alpha[..., None])
            yield from _side_by_side(colour, resized(route, alpha))

    def _passes(self, network: Network, size: tuple[int, int], target: tuple[int, int]) -> int:
        """One more where the result is below the target in both directions: then it is smaller than the target."""
        passes = 1
        # A network that enlarges nothing leaves the result below the target for ever.
        while (
            network.scale > 1
            and passes < self.passes
            and all(side * network.scale**passes < wanted for side, wanted in zip(size, target, strict=True))
        ):
            passes += 1
        return passes


def collect(image: Image, width: int, height: int, rows: Rows) -> Image:
    """The rows of an upscaler as one picture like `image`; raises E_MEMORY where it does not fit."""
    with memory_errors_coded(f"a result of {width}×{height} pixels"):
        pixels: Pixels = np.empty((height, width, image.pixels.shape[2]), image.pixels.dtype)
        alpha: Pixels | None = None if image.alpha is None else np.empty((height, width), image.alpha.dtype)
    top = 0
    for colour_rows, alpha_rows in rows:
        bottom = top + len(colour_rows)
        pixels[top:bottom] = colour_rows
        if alpha is not None and alpha_rows is not None:
            alpha[top:bottom] = alpha_rows
        top = bottom
    if top != height:
        raise UpscalingError(Code.ENCODE, f"{height - top} of {height} rows are missing; please report this.")
    return Image(pixels, alpha, image.profile, image.resolution)


def _solid(route: Route, enlarged: Iterator[Pixels], alpha: Pixels, beyond: Beyond) -> Iterator[Pixels]:
    """Bands of enlarged alpha, exact again where the input was clear or opaque."""
    scale = route.enlarged[0] // len(alpha)
    top = -route.margins[0]
    for rows in enlarged:
        yield restore_solid(rows[..., 0], alpha, top, scale, beyond)[..., None]
        top += len(rows)


def _side_by_side(colour: Iterator[Pixels], alpha: Iterator[Pixels]) -> Iterator[tuple[Pixels, Pixels]]:
    """Pairs rows of two streams whose bands need not begin at the same rows."""
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
