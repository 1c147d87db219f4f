"""ParseNet: which of 19 parts of a face each pixel shows.

Chen et al., Progressive Semantic-Aware Style Transformation (PSFRGAN, 2021), whose authors published the network.
Layers are named as in facexlib's `parsing_parsenet.pth`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

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

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        features = self.encoder(faces)
        return self.out_mask_conv(self.decoder(features + self.body(features)))


class _Residual(nn.Module):
    """Two convolutions and a shortcut; `size` is down (halved), same or up (doubled)."""

    def __init__(self, into: int, out: int, size: str) -> None:
        super().__init__()
        first, second = {"down": ("same", "down"), "same": ("same", "same"), "up": ("up", "same")}[size]
        self.shortcut_func: nn.Module = nn.Identity()
        if size != "same":
            self.shortcut_func = _Convolution(into, out, size, normalised=False)
        self.conv1 = _Convolution(into, out, first, leaky=True)
        self.conv2 = _Convolution(out, out, second)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.shortcut_func(features) + self.conv2(self.conv1(features))


class _Convolution(nn.Module):
    """A 3×3 convolution over a reflected border, then batch normalisation and leaky ReLU where asked for."""

    def __init__(self, into: int, out: int, size: str = "same", normalised: bool = True, leaky: bool = False) -> None:
        super().__init__()
        self._doubles = size == "up"
        self.conv2d = nn.Conv2d(into, out, 3, stride=2 if size == "down" else 1, bias=not normalised)
        self.norm = _Normalisation(out) if normalised else nn.Identity()
        self.relu = nn.LeakyReLU(_LEAK, inplace=True) if leaky else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self._doubles:
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
        features = functional.pad(features, (1, 1, 1, 1), mode="reflect")
        return self.relu(self.norm(self.conv2d(features)))


class _Normalisation(nn.Module):
    """Batch normalisation, one level deeper, as the file has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.norm(features)
