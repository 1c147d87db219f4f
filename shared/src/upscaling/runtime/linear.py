"""Linear layers on a CPU with weights that are packed once.

torch packs the weights of a linear layer for each call, and copies its bias to every row of the result before. A 1×1
convolution is a linear layer of each pixel; oneDNN's convolution takes up to ten times as long for few pixels in fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from upscaling.runtime.replacing import replace_layers

_PACKED_FOR = 4096  # rows of the input; the packed weights can be used for any other number

_onednn: Any = torch.ops.mkldnn  # private operators, which torch's compiler uses


def prepare(network: nn.Module) -> None:
    """Replaces all linear layers and 1×1 convolutions of a network by oneDNN's linear layers.

    It must be on the CPU and in its final type, which `convolution.are_onednns` must allow.
    """
    replace_layers(network, _replacement)


def _replacement(layer: nn.Module) -> nn.Module | None:
    if type(layer) is nn.Linear:
        return OneDnnLinear(layer.weight, layer.bias)
    if type(layer) is nn.Conv2d and _is_pointwise(layer):
        return PointwiseConvolution(layer)
    return None


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)


class OneDnnLinear(nn.Module):
    """A linear layer that is computed by oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Packs the weights (outputs, inputs) for the instruction set of this machine."""
        super().__init__()
        self._weight: torch.Tensor = _onednn._reorder_linear_weight(weight, _PACKED_FOR)
        self._bias = bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The layer of values (…, inputs)."""
        return _onednn._linear_pointwise(values, self._weight, self._bias, "none", [], "")


class PointwiseConvolution(nn.Module):
    """A 1×1 convolution as a linear layer of each pixel."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Packs the weights of a convolution without padding."""
        super().__init__()
        self._linear = OneDnnLinear(convolution.weight.detach().flatten(1).contiguous(), convolution.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The convolution of (n, channels, height, width), channels last."""
        return self._linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
