"""ParseNet: which of 19 parts of a face each pixel shows.

Chen et al., Progressive Semantic-Aware Style Transformation (PSFRGAN, 2021), whose authors published the network.
Layers are named as in facexlib's `parsing_parsenet.pth`.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

PARTS = 19
SIDE = 512
"""Width and height of a face, in pixels."""

_WIDTHS = (64, 128, 256, 256, 256)  # channels from full size down to a sixteenth
_BODY_BLOCKS = 10
_LEAK = 0.2


class ParseNet(nn.Module):
    """Takes (n, 3, 512, 512), RGB, −1 to 1; gives a score for each part at each pixel, (n, 19, 512, 512).

    Smaller faces pass too, where their sides are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        down, up = pairwise(_WIDTHS), pairwise(reversed(_WIDTHS))
        self.encoder = nn.Sequential(
            _Convolution(3, _WIDTHS[0], normalised=False), *(_Residual(into, out, "down") for into, out in down)
        )
        self.body = nn.Sequential(*(_Residual(_WIDTHS[-1], _WIDTHS[-1], "same") for _ in range(_BODY_BLOCKS)))
        self.decoder = nn.Sequential(*(_Residual(into, out, "up") for into, out in up))
        # The file has a second output, the face in colours; nothing here needs it, so it is never run.
        self.out_img_conv = _Convolution(_WIDTHS[0], 3, normalised=False)
        self.out_mask_conv = _Convolution(_WIDTHS[0], PARTS, normalised=False)

    def fold(self) -> None:
        """Puts all normalisations into convolutions; for a network in fp32 that has its weights and is in use."""
        for module in list(self.modules()):
            if isinstance(module, _Convolution):
                module.fold()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        features = self.encoder(_bordered(faces))
        return self.out_mask_conv(_bordered(self.decoder(self.body(features).add_(features))))


class _Residual(nn.Module):
    """Two convolutions and a shortcut; `size` is down (halved), same or up (doubled)."""

    def __init__(self, into: int, out: int, size: str) -> None:
        super().__init__()
        stride = 2 if size == "down" else 1
        self.shortcut_func = nn.Identity() if size == "same" else _Convolution(into, out, stride, normalised=False)
        self.conv1 = _Convolution(into, out, leaky=True)
        self.conv2 = _Convolution(out, out, stride)
        self._size = size

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self._size == "up":
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
        bordered = _bordered(features)
        result = self.conv2(_bordered(self.conv1(bordered)))
        return result.add_(features if self._size == "same" else self.shortcut_func(bordered))


class _Convolution(nn.Sequential):
    """A 3×3 convolution of what has its border already, then batch normalisation and leaky ReLU where asked for."""

    conv2d: nn.Conv2d
    norm: nn.Sequential

    def __init__(self, into: int, out: int, stride: int = 1, normalised: bool = True, leaky: bool = False) -> None:
        layers: dict[str, nn.Module] = {"conv2d": nn.Conv2d(into, out, 3, stride, bias=not normalised)}
        if normalised:
            # One level deeper, as the file has it.
            layers["norm"] = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(out)))
        if leaky:
            layers["relu"] = nn.LeakyReLU(_LEAK, inplace=True)
        super().__init__(OrderedDict(layers))

    def fold(self) -> None:
        """Puts the normalisation, where there is one, into the weights of the convolution."""
        if "norm" in self._modules:
            self.conv2d = fuse_conv_bn_eval(self.conv2d, cast(nn.BatchNorm2d, self.norm[0]))
            del self.norm


def _bordered(features: torch.Tensor) -> torch.Tensor:
    """With a border of one pixel that mirrors what is inside."""
    return functional.pad(features, (1, 1, 1, 1), mode="reflect")
