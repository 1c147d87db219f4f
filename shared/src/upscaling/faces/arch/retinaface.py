"""RetinaFace with a ResNet-50 body, which finds faces and five landmarks of each.

Deng et al., RetinaFace (2019). Layers are named as in facexlib's `detection_Resnet50_Final.pth`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet50

from upscaling.faces.arch.residual import FoldedBottleneck, use_faster_blocks

STRIDES = (8, 16, 32)
"""Input pixels per cell of each of the three feature maps."""
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
"""Sides of the square anchors of each feature map, in input pixels."""

_BODY_CHANNELS = (512, 1024, 2048)
_CHANNELS = 256


class RetinaFace(nn.Module):
    """Maps pictures, (n, 3, height, width), BGR, 0–255 minus the means, to predictions for each anchor.

    Boxes are (n, anchors, 4), scores (n, anchors), landmarks (n, anchors, 10), all relative to the anchors. Anchors
    are ordered by feature map, row, column and size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = _Body()
        self.fpn = _FeaturePyramid()
        self.ssh1 = _ContextModule()
        self.ssh2 = _ContextModule()
        self.ssh3 = _ContextModule()
        self.ClassHead = nn.ModuleList(_Head(2) for _ in STRIDES)
        self.BboxHead = nn.ModuleList(_Head(4) for _ in STRIDES)
        self.LandmarkHead = nn.ModuleList(_Head(10) for _ in STRIDES)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pyramid = self.fpn(*self.body(pictures))
        features = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), pyramid, strict=True)]
        boxes, classes, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, features, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, torch.softmax(classes, dim=-1)[..., 1], landmarks

    def fold(self) -> None:
        """Folds all normalisations into the convolutions; the network must have its weights, in fp32."""
        for module in list(self.modules()):
            for (name, child), (following, norm) in pairwise(list(module.named_children())):
                if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(child, norm))
                    setattr(module, following, nn.Identity())
        use_faster_blocks(self, {"Bottleneck": FoldedBottleneck})


class _Body(nn.Module):
    """ResNet-50 without its classifier, which returns the last three of its four feature maps."""

    def __init__(self) -> None:
        super().__init__()
        whole = resnet50(weights=None)
        self.conv1 = _FirstConvolution(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1, self.relu, self.maxpool = whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        first = self.layer2(self.layer1(stem))
        second = self.layer3(first)
        return first, second, self.layer4(second)


class _FirstConvolution(nn.Conv2d):
    """Stays as it is in `prepare`, which would add thirteen inputs of zeros and make it three times as slow."""


class _FeaturePyramid(nn.Module):
    """Adds the coarser feature maps to the finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_convolution(into, _CHANNELS, kernel=1) for into in _BODY_CHANNELS)
        self.merge1 = _convolution(_CHANNELS, _CHANNELS)
        self.merge2 = _convolution(_CHANNELS, _CHANNELS)

    def forward(
        self, fine: torch.Tensor, middle: torch.Tensor, coarse: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        coarse = self.output3(coarse)
        middle = self.merge2(_enlarged_onto(coarse, self.output2(middle)))
        fine = self.merge1(_enlarged_onto(middle, self.output1(fine)))
        return fine, middle, coarse


class _ContextModule(nn.Module):
    """Three branches with receptive fields of 3, 5 and 7 cells, as in Najibi et al., SSH (2017)."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _CHANNELS // 2, _CHANNELS // 4
        self.conv3X3 = _convolution(_CHANNELS, half, relu=False)
        self.conv5X5_1 = _convolution(_CHANNELS, quarter)
        self.conv5X5_2 = _convolution(quarter, quarter, relu=False)
        self.conv7X7_2 = _convolution(quarter, quarter)
        self.conv7x7_3 = _convolution(quarter, quarter, relu=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shared = self.conv5X5_1(features)
        views = self.conv3X3(features), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared))
        return functional.relu(torch.cat(views, dim=1))


class _Head(nn.Module):
    """Predicts a number of values for each anchor."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self._values = values
        self.conv1x1 = nn.Conv2d(_CHANNELS, len(ANCHOR_SIZES[0]) * values, kernel_size=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        predictions = self.conv1x1(features).permute(0, 2, 3, 1)
        return cast(torch.Tensor, predictions.reshape(len(features), -1, self._values))


def _convolution(into: int, out: int, kernel: int = 3, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _enlarged_onto(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    return fine + functional.interpolate(coarse, size=fine.shape[2:], mode="nearest")
