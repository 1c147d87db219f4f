"""StyleGAN2's modulated convolution as a plain one.

Karras et al., StyleGAN2 (2020), §2.2, scale the weights by a style and then to unit length, which takes other weights
for each face. Here the input of the convolution is scaled by the style, and its output by the length. These are the
same sums in another order, and a whole batch shares the weights.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_GAIN = sqrt(2)  # of a convolution before a leaky ReLU, as in spandrel's StyleConv
_LEAK = 0.2


class ModulatedConvolution(nn.Module):
    """Takes features (n, channels, height, width) and styles (n, style features)."""

    energy: torch.Tensor | None

    def __init__(self, like: Any, gain: float = 1.0) -> None:
        """like is spandrel's ModulatedConv2d; gain multiplies the result if the weights are scaled to unit length."""
        super().__init__()
        self.modulation = like.modulation
        out, into, side, _ = like.weight[0].shape
        with torch.device("meta"):
            self.convolution = nn.Conv2d(into, out, side, padding=side // 2, bias=False)
        self.convolution.weight = nn.Parameter(like.weight[0], requires_grad=False)
        # (out, into): the squared length of the weights, for each output and input.
        energy = self.convolution.weight.square().sum(dim=(2, 3)) if like.demodulate else None
        self.register_buffer("energy", energy)
        self._doubles = like.sample_mode == "upsample"
        self._epsilon = like.eps
        self._gain = gain

    def forward(self, features: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Returns (n, out, height, width), or twice the height and width."""
        scales: torch.Tensor = self.modulation(style)
        features = features * scales[:, :, None, None]
        if self._doubles:
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        result: torch.Tensor = self.convolution(features)
        if self.energy is None:
            return result
        lengths = scales.float().square() @ self.energy.float().T
        return result.mul_((torch.rsqrt(lengths + self._epsilon) * self._gain).to(result.dtype)[:, :, None, None])


class StyledConvolution(nn.Module):
    """A modulated convolution with noise, bias and leaky ReLU."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's StyleConv."""
        super().__init__()
        self.modulated = ModulatedConvolution(like.modulated_conv, _GAIN)
        self.weight, self.bias = like.weight, like.bias

    def forward(self, features: torch.Tensor, style: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """As `ModulatedConvolution`; noise is (1, 1, height, width), of the size of the result."""
        result = self.modulated(features, style).add_(self.weight * noise).add_(self.bias)
        return functional.leaky_relu_(result, _LEAK)


class ToColours(nn.Module):
    """A modulated convolution to three channels, added to the colours of half the size."""

    def __init__(self, like: Any) -> None:
        """like is spandrel's ToRGB."""
        super().__init__()
        self.modulated = ModulatedConvolution(like.modulated_conv)
        self.bias = like.bias
        self._doubles = like.upsample

    def forward(self, features: torch.Tensor, style: torch.Tensor, colours: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (n, 3, height, width)."""
        result = self.modulated(features, style).add_(self.bias)
        if colours is None:
            return result
        if self._doubles:
            colours = functional.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
        return result.add_(colours)
