"""StyleGAN2's modulated convolution as a plain one.

Karras et al., StyleGAN2 (2020), §2.2, scale the weights by a style of the input and then to unit length, which takes
weights of their own for each face. Scaling the input of the convolution by the style, and its output to what unit
length would give, is the same sum in another order, and takes one set of weights for a whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def use_plain_convolutions(model: nn.Module) -> None:
    """Replaces all modulated convolutions of spandrel's StyleGAN2 in a model that is still in fp32."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "ModulatedConv2d":
                setattr(module, name, ModulatedConvolution(child))


class ModulatedConvolution(nn.Module):
    """Takes features (n, channels, height, width) and a style (n, style features) for each."""

    energy: torch.Tensor | None

    def __init__(self, like: Any) -> None:
        """like is spandrel's ModulatedConv2d."""
        super().__init__()
        self.modulation = like.modulation
        self.weight = nn.Parameter(like.weight[0], requires_grad=False)
        # (out, into): what the square of each scale adds to the squared length of an output's weights.
        self.register_buffer("energy", self.weight.square().sum(dim=(2, 3)) if like.demodulate else None)
        self._doubles = like.sample_mode == "upsample"
        self._epsilon = like.eps

    def forward(self, features: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        scales: torch.Tensor = self.modulation(style)
        features = features * scales[:, :, None, None]
        if self._doubles:
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        result = functional.conv2d(features, self.weight, padding=self.weight.shape[-1] // 2)
        if self.energy is None:
            return result
        lengths = scales.float().square() @ self.energy.float().T
        return result * torch.rsqrt(lengths + self._epsilon).to(result.dtype)[:, :, None, None]
