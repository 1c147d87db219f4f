"""Networks for faces with made weights, in the layout of the official files."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import spandrel.architectures.GFPGAN
import spandrel.architectures.RestoreFormer
import torch
from numpy.typing import NDArray
from torch import nn

from tiny import StateDict
from upscaling.faces.arch.parsenet import ParseNet
from upscaling.faces.arch.retinaface import RetinaFace

FACE = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.05), (-0.16, 0.25), (0.16, 0.25))
"""Eyes, nose and corners of the mouth that `bright_spots` gives a face, in sizes of its anchor from the centre."""
_ANCHOR = 32  # pixels, the larger one of the finest feature map


def retinaface(seed: int = 0) -> StateDict:
    """RetinaFace-ResNet50 of random weights, which sees faces in noise: in some places, with scores that differ."""
    with torch.device("meta"):
        shapes = RetinaFace().state_dict()
    state = _random(shapes, seed)
    for level in range(3):
        state[f"BboxHead.{level}.conv1x1.weight"] *= 0.25  # else boxes are exponentially large
        state[f"ClassHead.{level}.conv1x1.weight"] *= 0.25
        state[f"ClassHead.{level}.conv1x1.bias"] = torch.tensor([0.0, 2.0, 0.0, 2.0])
    return {f"module.{name}": value for name, value in state.items()}


def bright_spots() -> StateDict:
    """RetinaFace-ResNet50 of weights that see a face of 32 pixels where the picture is nearly white.

    Only the finest map is looked at, and its one feature is the brightness around a corner of a cell of 8 × 8 pixels.
    Of a `spotted` picture one face is seen per spot, four pixels right of it and below: in the middle of the cell.
    """
    with torch.device("meta"):
        shapes = RetinaFace().state_dict()
    state = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in shapes.items()}
    for name, value in state.items():
        # All vectors of weights are of batch normalisations.
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith(".weight")):
            value.fill_(1.0)
    state["body.conv1.weight"][0] = 1 / (3 * 49)
    state["body.bn1.bias"][0] = 130.0  # the means are subtracted: brightness is positive again
    for layer in (1, 2, 3, 4):
        state[f"body.layer{layer}.0.downsample.0.weight"][0, 0] = 1.0
    for output in (1, 2, 3):
        state[f"fpn.output{output}.0.weight"][0, 0] = 1.0
    state["fpn.merge1.0.weight"][0, 0, 1, 1] = 1.0
    state["ssh1.conv3X3.0.weight"][0, 0, 1, 1] = 1.0
    # Coarser maps say no: their features are zero, and so are their scores but for the bias.
    state["fpn.output2.0.weight"].zero_()
    state["fpn.output3.0.weight"].zero_()
    for level in range(3):
        state[f"ClassHead.{level}.conv1x1.bias"] = torch.tensor([9.0, -9.0] * 2)
    state["ClassHead.0.conv1x1.weight"][3, 0] = 0.2  # the anchor of 32 pixels
    state["ClassHead.0.conv1x1.bias"][2:] = torch.tensor([0.0, -44.0])
    points = torch.tensor(FACE).flatten() / 0.1  # the variance of centres
    state["LandmarkHead.0.conv1x1.bias"] = torch.cat([points, points])
    return {f"module.{name}": value for name, value in state.items()}


def spotted(width: int, height: int, spots: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """A dark picture, (height, width, 3), with soft bright spots: x and y, multiples of 8, and brightness, 0–255."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.full((height, width), 40.0)
    for x, y, brightness in spots:
        distance = (columns - x) ** 2 + (rows - y) ** 2
        picture = np.maximum(picture, 40 + (brightness - 40) * np.exp(-distance / (2 * 12**2)))
    return picture[..., None].repeat(3, axis=2).astype(np.uint8)


def parsenet(seed: int = 0) -> StateDict:
    """ParseNet of random weights."""
    with torch.device("meta"):
        shapes = ParseNet().state_dict()
    return _random(shapes, seed)


def gfpgan(seed: int = 0) -> StateDict:
    """GFPGAN of version 1.2, 1.3 or 1.4, of random weights and of true size: there is no other."""
    return _made(lambda: spandrel.architectures.GFPGAN.GFPGAN(), seed)


def restoreformer(seed: int = 0) -> StateDict:
    """RestoreFormer of random weights and of true size."""
    return _made(
        lambda: spandrel.architectures.RestoreFormer.RestoreFormer(
            n_embed=1024, embed_dim=256, ch=64, out_ch=3, ch_mult=(1, 2, 2, 4, 4, 8), num_res_blocks=2,
            attn_resolutions=(16,), dropout=0.0, in_channels=3, resolution=512, z_channels=256, double_z=False,
            enable_mid=True, fix_decoder=False, fix_codebook=True, fix_encoder=False, head_size=8,
        ),
        seed,
    )  # fmt: skip


def small_restoreformer(seed: int = 0) -> StateDict:
    """RestoreFormer of few channels."""
    return _made(
        lambda: spandrel.architectures.RestoreFormer.RestoreFormer(
            n_embed=32, embed_dim=32, ch=32, out_ch=3, ch_mult=(1,) * 6, num_res_blocks=1, attn_resolutions=(16,),
            dropout=0.0, in_channels=3, resolution=512, z_channels=32, double_z=False, enable_mid=True,
            fix_decoder=False, fix_codebook=True, fix_encoder=False, head_size=8,
        ),
        seed,
    )  # fmt: skip


def codeformer(seed: int = 0, features: int = 512, layers: int = 9) -> StateDict:
    """CodeFormer of random weights, of true size but for the features and layers of its transformer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        from spandrel_extra_arches.architectures.CodeFormer import CodeFormer
    return _made(
        lambda: CodeFormer(
            dim_embd=features, n_head=8, n_layers=layers, codebook_size=1024, latent_size=256,
            connect_list=["32", "64", "128", "256"], fix_modules=["quantize", "generator"],
        ),
        seed,
    )  # fmt: skip


def _made(make: Callable[[], nn.Module], seed: int) -> StateDict:
    """The weights that a network begins its training with; what is zero then, such as the share of noise, is not."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = make().state_dict()
        return {
            name: torch.randn_like(value) * 0.1 if value.is_floating_point() and not value.any() else value
            for name, value in state.items()
        }


def _random(shapes: StateDict, seed: int) -> StateDict:
    """Values that keep features near one through any number of layers."""
    generator = torch.Generator().manual_seed(seed)
    state: StateDict = {}
    for name, like in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(12345)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(like.shape, generator=generator)
        elif like.ndim == 1 and name.endswith(".weight"):
            state[name] = 0.7 + 0.3 * torch.rand(like.shape, generator=generator)
        elif like.ndim == 1:
            state[name] = torch.randn(like.shape, generator=generator) * 0.1
        else:
            state[name] = nn.init.kaiming_normal_(torch.empty(like.shape), generator=generator) * 0.7
    return state
