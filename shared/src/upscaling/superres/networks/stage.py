"""A network as a sequence of stages, each of which can be computed in tiles without changing a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

Padding = Literal["reflect", "symmetric"]


@dataclass(frozen=True)
class Stage:
    """A part of a network. Each of its output values depends on inputs at most `halo` pixels away.

    Feature maps are (1, channels, height, width). Tiles have no halo at the border of the picture, so that the zero
    padding of the network applies there.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    """Maps a tile with its halo to an output of `scale` times its size. It may overwrite the tile."""
    halo: int
    """Rows and columns that are needed on each side of a tile, in pixels of the stage's input."""
    scale: Fraction = Fraction(1)
    """Output size over input size."""
    inner_scale: int = 1
    """Size of the largest feature maps inside over input size. The memory of a tile grows with its square."""
    align: int = 1
    """Tiles and halos begin and end at multiples of this."""
    saves: tuple[str, ...] = ()
    """Names under which the input of this stage is kept, each for the `merge` of one later stage."""
    skip: str | None = None
    """The name of the saved input for `merge`. Up to that point, the stages since it was saved have scale 1."""
    merge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    """Maps the tile without its halo, and the saved tile at the same place, to the output of the stage."""


@dataclass(frozen=True)
class Network:
    """A loaded network. Its input and output are RGB or grey of any size, with values 0–1."""

    stages: tuple[Stage, ...]
    scale: int
    """Output pixels per input pixel, along each axis."""
    dtype: torch.dtype
    device: torch.device
    channels: int = 3
    """1 for grey, 3 for red, green, blue."""
    multiple: int = 1
    """Pictures are padded at the right and the bottom to a multiple of this."""
    padding: Padding = "reflect"
    """How pictures are padded, as a mode of numpy.pad."""
    least_padding: int = 0
    """The least padding in rows and columns. Some networks also pad sizes that are already a multiple."""
    nbytes: int = 0
    """Bytes of its weights in memory, prepared copies included."""
    source: str = ""
    """Where its weights were downloaded from."""
