"""Our upscaler, opened up for measuring: other types, shorter networks, other tiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from pictures import photo

from upscaling.images import Image, Size
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.device import choose_device
from upscaling.runtime.memory import keep_freed_memory
from upscaling.runtime.progress import Progress
from upscaling.superres.networks import Network
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler
from upscaling.superres.upscalers import Upscalers

ROOT = Path(__file__).parent.parent
_STAGES_PER_BLOCK = 3
_LAST_STAGES = 2  # the trunk's convolution and the tail


def upscalers(model: str) -> Upscalers:
    """A model's upscalers, as its server makes them: its baked weights first."""
    keep_freed_memory()
    return Upscalers(model, ROOT / "models" / model / "weights", choose_device())


def picture(width: int, height: int) -> Image:
    """The photograph, decoded."""
    return Image(np.ascontiguousarray(photo(width, height)[..., ::-1]))


def blocks(network: Network) -> int:
    """How many residual blocks an RRDBNet has; 0 for what is none."""
    if not any(stage.skip == "trunk" for stage in network.stages):
        return 0
    return (len(network.stages) - 1 - _LAST_STAGES) // _STAGES_PER_BLOCK


def shortened(network: Network, kept: int) -> Network:
    """The same RRDBNet with its first blocks only."""
    middle = 1 + _STAGES_PER_BLOCK * kept
    return replace(network, stages=network.stages[:middle] + network.stages[-_LAST_STAGES:])


def changed(upscaler: Upscaler, change: Callable[[Network], Network]) -> Upscaler:
    """The upscaler with a network made from its own."""
    return replace(upscaler, load=lambda dtype: change(upscaler.load(dtype)))


def seconds(upscaler: Upscaler, image: Image, tile: TileSize) -> float:
    """What the network alone takes, its rows dropped."""
    scale = upscaler.load(upscaler.dtype_for(image)).scale
    started = perf_counter()
    size = Size(image.width * scale, image.height * scale)
    first_finite(upscaler.attempts(image, size, tile, Progress()), partial(deque, maxlen=0))
    return perf_counter() - started


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
