"""ParseNet, which finds the part of a face that each pixel shows, one of 19.

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

from upscaling.runtime.doubling import add_doubled, before_doubling, doubled

PARTS = 19
SIDE = 512
"""Width and height of a face, in pixels."""

_WIDTHS = (64, 128, 256, 256, 256)  # channels from full size down to a sixteenth
_BODY_BLOCKS = 10
_LEAK = 0.2


class ParseNet(nn.Module):
    """Maps faces, (n, 3, 512, 512), RGB, −1 to 1, to scores of each part at each pixel, (n, 19, 512, 512).

    Other sizes are possible if both sides are multiples of 16. It must be folded before it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        down, up = pairwise(_WIDTHS), pairwise(reversed(_WIDTHS))
        self.encoder = nn.Sequential(
            _Convolution(3, _WIDTHS[0], normalised=False), *(_Halving(into, out) for into, out in down)
        )
        self.body = nn.Sequential(*(_Residual(_WIDTHS[-1], _WIDTHS[-1]) for _ in range(_BODY_BLOCKS)))
        self.decoder = nn.Sequential(*(_Doubling(into, out) for into, out in up))
        # The file has a second output, a picture of the face, which is not needed and not computed.
        self.out_img_conv = _Convolution(_WIDTHS[0], 3, normalised=False)
        self.out_mask_conv = _Convolution(_WIDTHS[0], PARTS, normalised=False)

    def fold(self) -> None:
        """Folds normalisations and doublings into the convolutions; the network must have its weights, in fp32."""
        for module in list(self.modules()):
            if isinstance(module, _Convolution):
                module.fold()
        for module in list(self.modules()):
            if isinstance(module, _Doubling):
                module.fold()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        features = self.encoder(_bordered(faces))
        return self.out_mask_conv(_bordered(self.decoder(self.body(features).add_(features))))


class _Residual(nn.Module):
    """Two convolutions, added to the features."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _Convolution(into, out, leaky=True)
        self.conv2 = _Convolution(out, out, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.conv2(_bordered(self.conv1(_bordered(features)))).add_(features)


class _Halving(_Residual):
    """Two convolutions that halve the features, added to a third one that does the same."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out, stride=2)
        self.shortcut_func = _Convolution(into, out, stride=2, normalised=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        bordered = _bordered(features)
        return self.conv2(_bordered(self.conv1(bordered))).add_(self.shortcut_func(bordered))


class _Doubling(_Residual):
    """Two convolutions of features that are doubled first, by repeating each pixel, added to a third one."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out)
        self.shortcut_func = _Convolution(into, out, normalised=False)

    def fold(self) -> None:
        """Has the first and the third one computed before the doubling."""
        for convolution in (self.conv1, self.shortcut_func):
            convolution.conv2d = before_doubling(convolution.conv2d)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Mirroring the border of the doubled features is repeating the border of these.
        bordered = functional.pad(features, (1, 1, 1, 1), mode="replicate")
        result = self.conv2(_bordered(doubled(self.conv1(bordered))))
        add_doubled(result, self.shortcut_func(bordered))
        return result


class _Convolution(nn.Sequential):
    """A 3×3 convolution without padding, with optional batch normalisation and leaky ReLU."""

    conv2d: nn.Conv2d
    norm: nn.Sequential

    def __init__(self, into: int, out: int, stride: int = 1, normalised: bool = True, leaky: bool = False) -> None:
        layers: dict[str, nn.Module] = {"conv2d": nn.Conv2d(into, out, 3, stride, bias=not normalised)}
        if normalised:
            # One level deeper, as in the file.
            layers["norm"] = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(out)))
        if leaky:
            layers["relu"] = nn.LeakyReLU(_LEAK, inplace=True)
        super().__init__(OrderedDict(layers))

    def fold(self) -> None:
        """Folds the normalisation, if there is one, into the convolution."""
        if "norm" in self._modules:
            self.conv2d = fuse_conv_bn_eval(self.conv2d, cast(nn.BatchNorm2d, self.norm[0]))
            del self.norm


def _bordered(features: torch.Tensor) -> torch.Tensor:
    """Adds a border of one pixel that mirrors the features."""
    return functional.pad(features, (1, 1, 1, 1), mode="reflect")
