"""Residual blocks that pass over their features fewer times than spandrel's and torchvision's.

On a CPU with AMX, convolutions take only a third of the time. Most of the rest are passes over memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from upscaling.runtime.convolution import add_convolution
from upscaling.runtime.replacing import replace_layers

_LEAK = 0.2


def use_faster_blocks(model: nn.Module, blocks: dict[str, type[nn.Module]]) -> None:
    """Replaces modules by class name; each new class takes the module that it replaces."""

    def faster(block: nn.Module) -> nn.Module | None:
        made = blocks.get(type(block).__name__)
        return None if made is None else made(block)

    replace_layers(model, faster)


class NormalisedBlock(nn.Module):
    """CodeFormer's and RestoreFormer's block: group normalisation, swish and convolution, twice, and a shortcut."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's ResBlock of CodeFormer or ResnetBlock of RestoreFormer."""
        super().__init__()
        self.layers = nn.Sequential(
            like.norm1, nn.SiLU(inplace=True), like.conv1, like.norm2, nn.SiLU(inplace=True), like.conv2
        )
        shortcuts = [getattr(like, name, None) for name in ("conv_out", "nin_shortcut", "conv_shortcut")]
        self.shortcut: nn.Module = next((shortcut for shortcut in shortcuts if shortcut is not None), nn.Identity())

    def forward(self, features: torch.Tensor, _: None = None) -> torch.Tensor:
        """Maps (n, into, height, width) to (n, out, height, width); RestoreFormer passes a second argument, None."""
        result = self.layers(features)
        add_convolution(result, self.shortcut, features)
        return result


class ResizingBlock(nn.Module):
    """GFPGAN's block: two convolutions with leaky ReLU, with resizing between them, and a shortcut."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's ResBlock of GFPGAN."""
        super().__init__()
        self.first = nn.Sequential(like.conv1, nn.LeakyReLU(_LEAK, inplace=True))
        self.second = nn.Sequential(like.conv2, nn.LeakyReLU(_LEAK, inplace=True))
        self.shortcut = like.skip
        self._factor = like.scale_factor

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps (n, into, height, width) to (n, out, factor × height, factor × width)."""
        result = self.second(self._resized(self.first(features)))
        add_convolution(result, self.shortcut, self._resized(features))
        return result

    def _resized(self, features: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(features, scale_factor=self._factor, mode="bilinear", align_corners=False)


class FoldedBottleneck(nn.Module):
    """ResNet's block without normalisations: three convolutions with ReLU, and a shortcut. It overwrites its input."""

    def __init__(self, like: Any) -> None:
        """like is torchvision's Bottleneck, whose normalisations are folded into its convolutions."""
        super().__init__()
        self.first = nn.Sequential(like.conv1, nn.ReLU(inplace=True), like.conv2, nn.ReLU(inplace=True))
        self.last = like.conv3
        self.shortcut: nn.Module = nn.Identity() if like.downsample is None else like.downsample

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps (n, into, height, width) to (n, out, height, width), or to half the height and width."""
        inner = self.first(features)
        result = self.shortcut(features)
        add_convolution(result, self.last, inner)
        return functional.relu_(result)
