"""Replaces layers of networks by faster ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def replace_layers(network: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> None:
    """Puts what `make` gives in the place of each layer, at any depth; where it gives None, the layer stays."""
    # Without the layers that hold no others: each is freed when it is replaced.
    for module in [module for module in network.modules() if next(module.children(), None) is not None]:
        for name, child in list(module.named_children()):
            made = make(child)
            if made is not None:
                setattr(module, name, made)
