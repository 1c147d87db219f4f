"""Convolutions on a CPU with results that do not depend on the size of the tile.

On a GPU, and if torch has no oneDNN, networks keep the convolutions of torch.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

# With AMX and fewer input channels, the order of oneDNN's sums depends on the width of the tile (relo_type in
# jit_brgemm_conv_utils.cpp). Padding with channels of zeros avoids this.
_FEWEST_INPUTS = 16
# Weights are packed for an input of this size in pixels; they can be used for any other size.
_PACKED_FOR = (128, 128)

_onednn: Any = torch.ops.mkldnn  # private operators, which torch's compiler uses


def are_onednns(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN supports convolutions in a type on a device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    match dtype:
        case torch.bfloat16:
            return bool(_onednn._is_mkldnn_bf16_supported())
        case torch.float16:
            return bool(_onednn._is_mkldnn_fp16_supported())
        case _:
            return dtype is torch.float32


def prepare(network: nn.Module) -> None:
    """Replaces all convolutions of a network by those of oneDNN; it must be on the CPU and in its final type.

    A ReLU or leaky ReLU after a convolution in an nn.Sequential becomes part of it.
    """
    # Without the convolutions themselves: each is freed when it is replaced.
    for module in [module for module in network.modules() if next(module.children(), None) is not None]:
        layers = [(name, child) for name, child in module.named_children() if type(child) is not nn.Identity]
        for (name, child), (following, activation) in pairwise([*layers, ("", None)]):
            if type(child) is not nn.Conv2d:
                continue
            slope = _negative_slope(activation) if isinstance(module, nn.Sequential) else None
            setattr(module, name, OneDnnConvolution(child, slope))
            if slope is not None:
                setattr(module, following, nn.Identity())


def _negative_slope(activation: nn.Module | None) -> float | None:
    if isinstance(activation, nn.LeakyReLU):
        return activation.negative_slope
    return 0.0 if isinstance(activation, nn.ReLU) else None


def split(convolution: nn.Conv2d, inputs: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Splits a convolution into two that add up to it: of its first inputs, with the bias, and of its other inputs."""
    first, others = deepcopy(convolution), deepcopy(convolution)
    first.in_channels, others.in_channels = inputs, convolution.in_channels - inputs
    first.weight = nn.Parameter(convolution.weight[:, :inputs].clone(), requires_grad=False)
    others.weight = nn.Parameter(convolution.weight[:, inputs:].clone(), requires_grad=False)
    others.bias = None
    return first, others


def add_convolution(sums: torch.Tensor, convolution: nn.Module, tile: torch.Tensor) -> None:
    """Adds the convolution of a tile to `sums`, in place."""
    if isinstance(convolution, OneDnnConvolution):
        convolution.add_to(sums, tile)
    else:
        sums.add_(convolution(tile))


class OneDnnConvolution(nn.Module):
    """A convolution that is computed by oneDNN at every size, together with an activation after it.

    For small inputs in fp32, torch uses another kernel with another order of sums (use_mkldnn in
    aten/src/ATen/native/Convolution.cpp). Input and output are (count, channels, height, width), channels last.
    """

    def __init__(self, convolution: nn.Conv2d, negative_slope: float | None = None) -> None:
        """Packs the weights for the instruction set of this machine; negative_slope is for a leaky ReLU, 0 for ReLU."""
        super().__init__()
        self._missing_inputs = max(_FEWEST_INPUTS - convolution.in_channels, 0) if convolution.groups == 1 else 0
        self._geometry = convolution.padding, convolution.stride, convolution.dilation, convolution.groups
        self._activation: tuple[str, list[float]] = ("none", [])
        if negative_slope is not None:
            self._activation = "leaky_relu", [negative_slope]
        weight = functional.pad(convolution.weight, (0, 0, 0, 0, 0, self._missing_inputs))
        size = [1, weight.shape[1] * convolution.groups, *_PACKED_FOR]
        self._weight: torch.Tensor = _onednn._reorder_convolution_weight(weight, *self._geometry, size)
        self._bias = convolution.bias

    def forward(self, tile: torch.Tensor) -> torch.Tensor:
        """The convolution of a tile, and then the leaky ReLU, if there is one."""
        if self._missing_inputs:
            tile = functional.pad(tile, (0, 0, 0, 0, 0, self._missing_inputs))
        return _onednn._convolution_pointwise(tile, self._weight, self._bias, *self._geometry, *self._activation, "")

    def add_to(self, sums: torch.Tensor, tile: torch.Tensor) -> None:
        """Adds the convolution of a tile to `sums`, in one step."""
        _onednn._convolution_pointwise_.binary(
            sums, tile, self._weight, self._bias, *self._geometry, "add", None, None, [], None
        )
