"""A network as a row of stages, each of which can be cut into tiles without changing a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

Padding = Literal["reflect", "symmetric"]


@dataclass(frozen=True)
class Stage:
    """A part of a network whose every output value depends on inputs at most `halo` pixels away.

    Feature maps are (1, channels, height, width). At the true border of the picture a stage gets
    no halo, so that the network's own zero padding applies there.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    """From a tile with its halo to `scale` times its size. It may compute in the tile's own memory."""
    halo: int
    """Rows and columns that each side of a tile needs around it, in pixels of the stage's input."""
    scale: Fraction = Fraction(1)
    """Output size over input size."""
    inner_scale: int = 1
    """Size of the largest feature maps inside over input size: how much more memory a tile takes than elsewhere."""
    align: int = 1
    """Tiles and halos begin and end at multiples of this, counted from the picture's corner."""
    saves: tuple[str, ...] = ()
    """Names under which this stage's input is kept, each for one later stage's `merge`."""
    skip: str | None = None
    """The saved input that `merge` takes; all stages from the saving to this one have scale 1 before `merge`."""
    merge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    """From the tile without halo and the saved tile at the same place to the stage's output."""


@dataclass(frozen=True)
class Network:
    """A loaded network: RGB or grey in and the same out, values 0–1, any size."""

    stages: tuple[Stage, ...]
    scale: int
    """Output pixels per input pixel, along each axis."""
    dtype: torch.dtype
    device: torch.device
    channels: int = 3
    """1 is grey, 3 are red, green, blue."""
    multiple: int = 1
    """The picture is padded at the right and the bottom to a multiple of this."""
    padding: Padding = "reflect"
    """How it is padded: as numpy.pad names it."""
    least_padding: int = 0
    """Rows and columns of padding that there are at least: some networks pad what is a multiple already."""
    nbytes: int = 0
    """Bytes of its weights in memory, prepared copies included."""
    source: str = ""
    """Where its weights first came from."""
