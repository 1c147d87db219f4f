"""The inputs of the model real-esrgan, and its work for the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Rows, Size
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import check_tile_size
from upscaling.superres.upscalers import Upscalers
from upscaling.values import number, shown, truth, whole_of_64_bits


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have."""

    network: str
    """The name of the network in the catalogue; the input is called `model`."""
    denoise_strength: float | None = None
    """0–1, only for networks in `TWINS`; None is 0.5 for these."""
    second_pass: bool = False
    """Whether the network runs again on its result if that is smaller than the requested size."""
    seamless: bool = False
    """Whether the picture repeats on all sides."""
    tile_size: int = 0
    """Side of the tiles in pixels of the input, 32–2048; 0 is automatic."""


def work(options: Options, upscalers: Upscalers) -> Callable[[Image, Size, Progress], Iterator[Rows]]:
    """Checks the options and returns the work for `Server.predict`; raises E_INPUT for invalid options."""
    if not isinstance(options.network, str):  # pyright: ignore[reportUnnecessaryIsInstance]  a server may not have checked
        raise UpscalingError(Code.INPUT, f"model is {shown(options.network)}; take the name of a network.")
    strength = options.denoise_strength
    if strength is not None and not 0 <= number("denoise_strength", strength) <= 1:
        raise UpscalingError(Code.INPUT, f"denoise_strength is {shown(strength)}; take 0 to 1, or leave it out.")
    tile_side = whole_of_64_bits("tile_size", options.tile_size)
    check_tile_size(tile_side)
    upscaler = replace(
        upscalers.get(options.network, strength),
        passes=2 if truth("second_pass", options.second_pass) else 1,
        border="wrap" if truth("seamless", options.seamless) else "edge",
    )
    return partial(upscalers.attempts, upscaler, tile_side)
