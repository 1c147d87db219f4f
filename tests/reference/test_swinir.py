"""SwinIR of true configurations against basicsr's, and pictures against the way of the official predictor.

No weights are needed: both have the same random ones. Pictures are tiny, since the networks are not.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import random_swinir
import torch
from basicsr.archs.swinir_arch import SwinIR
from superres.tiling.untiled import tiled
from torch import nn

import tiny
from upscaling.images import Image
from upscaling.images.image import Pixels
from upscaling.superres.tiling import TileSize
from upscaling.superres.upscaler import Upscaler

FP32, BF16 = torch.float32, torch.bfloat16
WHOLE = TileSize(256, 256)
every_task = pytest.mark.parametrize("task", random_swinir.TASKS)


@cache
def state(task: str) -> tiny.StateDict:
    return random_swinir.state(random_swinir.TASKS[task])


def basicsrs(settings: dict[str, object], state: tiny.StateDict) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")
        model = SwinIR(img_size=2 * int(str(settings["window_size"])), **settings)
    model.load_state_dict(state, strict=True)
    return model.eval()


def picture(task: str) -> torch.Tensor:
    settings = random_swinir.TASKS[task]
    window, channels = settings["window_size"], settings.get("in_chans", 3)
    return torch.rand(1, channels, 3 * window, 4 * window, generator=torch.Generator().manual_seed(0))


@every_task
def test_our_network_gives_the_values_of_basicsr_whole_and_tiled(task: str) -> None:
    network = tiny.network(state(task))
    with torch.inference_mode():
        expected = basicsrs(random_swinir.TASKS[task], state(task))(picture(task))
    result = tiled(network, picture(task), WHOLE)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)
    assert torch.equal(tiled(network, picture(task), TileSize(16, 16)), result)


@every_task
def test_bf16_keeps_45_decibels_of_the_range(task: str) -> None:
    expected = tiled(tiny.network(state(task)), picture(task), WHOLE)
    result = tiled(tiny.network(state(task), BF16), picture(task).to(BF16), WHOLE)
    span = expected.max() - expected.min()
    assert 20 * torch.log10(span / (result - expected).square().mean().sqrt()) >= 45


def predicted(model: nn.Module, pixels: Pixels, window: int, scale: int) -> Pixels:
    """What predict.py of JingyunLiang/SwinIR does with a picture, in words of its own."""
    given = torch.as_tensor(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    height, width = pixels.shape[:2]
    # A picture of whole windows gets one more.
    padded = (height // window + 1) * window, (width // window + 1) * window
    given = torch.cat([given, given.flip(2)], 2)[:, :, : padded[0]]
    given = torch.cat([given, given.flip(3)], 3)[:, :, :, : padded[1]]
    with torch.inference_mode():
        result = model(given)[0, :, : height * scale, : width * scale].clamp(0, 1)
    return result.permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("size", [(16, 24), (14, 21), (17, 29), (5, 40)], ids=str)
@every_task
def test_pictures_are_padded_and_rounded_as_the_official_predictor_does(task: str, size: tuple[int, int]) -> None:
    settings = random_swinir.tiny(task)
    scale, channels = settings["upscale"], settings.get("in_chans", 3)
    weights = random_swinir.state(settings)
    network = tiny.network(weights)
    pixels = np.random.default_rng(5).integers(0, 256, (*size, channels), np.uint8)
    expected = predicted(basicsrs(settings, weights), pixels, settings["window_size"], scale)
    for tile in (WHOLE, TileSize(32, 32)):
        result = Upscaler(lambda _: network, FP32).upscale(Image(pixels), size[1] * scale, size[0] * scale, tile)
        difference = np.abs(result.pixels.astype(int) - expected)
        # The last bit of a float decides where a value lies between two bytes.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
