"""Linear layers on a CPU with weights that are packed once.

torch packs the weights of a linear layer for each call, and copies its bias to every row of the result before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from upscaling.runtime.replacing import replace_layers

_PACKED_FOR = 4096  # rows of the input; the packed weights can be used for any other number

_onednn: Any = torch.ops.mkldnn  # private operators, which torch's compiler uses


def prepare(network: nn.Module) -> None:
    """Replaces all linear layers of a network by those of oneDNN.

    It must be on the CPU and in its final type, which `convolution.are_onednns` must allow.
    """
    replace_layers(network, lambda layer: OneDnnLinear(layer) if type(layer) is nn.Linear else None)


class OneDnnLinear(nn.Module):
    """A linear layer that is computed by oneDNN."""

    def __init__(self, layer: nn.Linear) -> None:
        """Packs the weights for the instruction set of this machine."""
        super().__init__()
        self._weight: torch.Tensor = _onednn._reorder_linear_weight(layer.weight, _PACKED_FOR)
        self._bias = layer.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The layer of values (…, inputs)."""
        return _onednn._linear_pointwise(values, self._weight, self._bias, "none", [], "")
