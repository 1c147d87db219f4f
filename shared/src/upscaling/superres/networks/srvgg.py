"""SRVGGNetCompact (realesr-animevideov3, realesr-general-x4v3) as stages.

Wang et al., Real-ESRGAN (2021), the repository's compact networks; the modules are spandrel's.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from upscaling.runtime.convolution import OneDnnConvolution
from upscaling.superres.networks.stage import Stage

ARCHITECTURE = "Compact"  # spandrel's name for it

_CONVOLUTIONS_PER_STAGE = 6  # more need a larger halo, fewer mean more stages, which hold more rows


def stages(module: Any) -> tuple[Stage, ...]:
    """One stage per group of 3×3 convolutions; the last also shuffles pixels and adds the enlarged input."""
    groups = _groups(list(module.body))
    built = [Stage(run=nn.Sequential(*group), halo=_halo(group)) for group in groups]
    built[0] = replace(built[0], saves=("input",))
    built[-1] = replace(
        built[-1],
        run=nn.Sequential(*groups[-1], module.upsampler),
        scale=Fraction(module.upscale),
        skip="input",
        merge=_add_enlarged,
    )
    return tuple(built)


def multiple(module: Any) -> int:
    """1: pictures of any size are accepted without padding."""
    return 1


def _groups(layers: list[nn.Module]) -> list[list[nn.Module]]:
    starts = [i for i, layer in enumerate(layers) if _is_convolution(layer)][::_CONVOLUTIONS_PER_STAGE]
    return [layers[start:end] for start, end in zip(starts, [*starts[1:], len(layers)], strict=True)]


def _halo(layers: list[nn.Module]) -> int:
    return sum(map(_is_convolution, layers))


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | OneDnnConvolution)


def _add_enlarged(residual: torch.Tensor, entering: torch.Tensor) -> torch.Tensor:
    factor = residual.shape[-1] // entering.shape[-1]
    return residual + functional.interpolate(entering, scale_factor=factor, mode="nearest")
