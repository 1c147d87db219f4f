"""Tiny networks of random weights, in the layout of the official files."""

from __future__ import annotations

import torch

from upscaling.superres.networks import Network, load

StateDict = dict[str, torch.Tensor]


def rrdb(blocks: int = 2, features: int = 8, channels: int = 3, seed: int = 0) -> StateDict:
    """An RRDBNet of ×4 as basicsr names it; 12 channels make the ×2 one with pixel unshuffle."""
    generator = torch.Generator().manual_seed(seed)
    growth = 32
    shapes = {"conv_first": (features, channels)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for convolution in range(1, 6):
                out = features if convolution == 5 else growth
                shapes[f"body.{block}.rdb{dense}.conv{convolution}"] = (out, features + (convolution - 1) * growth)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        shapes[name] = (features, features)
    shapes["conv_last"] = (3, features)
    return _convolutions(shapes, generator)


def srvgg(convolutions: int = 4, features: int = 8, scale: int = 4, seed: int = 0) -> StateDict:
    """An SRVGGNetCompact as basicsr names it."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"body.0": (features, 3)}
    shapes |= {f"body.{2 * i}": (features, features) for i in range(1, convolutions + 1)}
    last = 2 * (convolutions + 1)
    shapes[f"body.{last}"] = (3 * scale**2, features)
    state = _convolutions(shapes, generator)
    state |= {f"body.{i}.weight": torch.full((features,), 0.25) for i in range(1, last, 2)}
    return state


def network(state: StateDict, dtype: torch.dtype = torch.float32) -> Network:
    return load(state, dtype, torch.device("cpu"))


def _convolutions(shapes: dict[str, tuple[int, int]], generator: torch.Generator) -> StateDict:
    state: StateDict = {}
    for name, (out, into) in shapes.items():
        state[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) * (0.7 / (into * 9) ** 0.5)
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.05
    return state
