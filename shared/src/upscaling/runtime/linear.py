"""Linear layers on a CPU with weights that are packed once.

torch packs the weights of a linear layer for each call, and copies its bias to every row of the result before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_PACKED_FOR = 4096  # rows of the input; the packed weights can be used for any other number

_onednn: Any = torch.ops.mkldnn  # private operators, which torch's compiler uses


def prepare(network: nn.Module) -> None:
    """Replaces all linear layers of a network by those of oneDNN.

    It must be on the CPU and in its final type, which `convolution.are_onednns` must allow.
    """
    for module in [module for module in network.modules() if next(module.children(), None) is not None]:
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, OneDnnLinear(child))


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
