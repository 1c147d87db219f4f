"""Interpolates between the weights of two networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from upscaling.errors import Code, UpscalingError

StateDict = Mapping[str, torch.Tensor]


def interpolated(first: StateDict, second: StateDict, share: float) -> dict[str, torch.Tensor]:
    """The weights share × first + (1 − share) × second, with a share of 0–1.

    Deep network interpolation (Wang et al., 2019), as in `RealESRGANer.dni`. Raises E_WEIGHTS if the networks have
    different shapes.
    """
    if {name: tensor.shape for name, tensor in first.items()} != {name: t.shape for name, t in second.items()}:
        raise UpscalingError(
            Code.WEIGHTS,
            "the two networks to interpolate differ in shape. Remove their weights and download them again.",
        )
    return {name: tensor * share + second[name] * (1 - share) for name, tensor in first.items()}
