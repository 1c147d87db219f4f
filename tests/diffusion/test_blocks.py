"""Faster blocks give what diffusers' blocks give."""

from __future__ import annotations

from copy import deepcopy

import handmade
import pytest
import tiny_diffusion
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from upscaling.diffusion import blocks, vae
from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.sigmas import LARGEST, SMALLEST
from upscaling.diffusion.vae import decoded, encoded
from upscaling.runtime.footprint import footprint

every_dtype = pytest.mark.parametrize("dtype", handmade.CPU_TYPES, ids=str)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ready(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False).to(dtype, memory_format=torch.channels_last)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype is expected.dtype
    assert found.shape == expected.shape
    tolerance = 1e-5 if found.dtype is torch.float32 else 2**-6
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


def prepared(block: nn.Module) -> nn.Module:
    network = nn.ModuleList([deepcopy(block)])
    blocks.prepare(network)
    return network[0]


@every_dtype
@pytest.mark.parametrize("out_channels", [32, 64])
@pytest.mark.parametrize("time_width", [None, 16])
@pytest.mark.parametrize("size", [(1, 1), (9, 7)])
@torch.inference_mode()
def test_a_residual_block_is_diffusers(
    dtype: torch.dtype, out_channels: int, time_width: int | None, size: tuple[int, int]
) -> None:
    block = ready(ResnetBlock2D(in_channels=32, out_channels=out_channels, temb_channels=time_width), dtype)
    time = None if time_width is None else random(2, time_width, seed=2).to(dtype)
    states = random(2, 32, *size).to(dtype)
    given = states.clone()
    found = prepared(block)(states, time)
    close(found, block(states, time))
    assert torch.equal(states, given), "a skip connection needs the states that came in"


@every_dtype
@torch.inference_mode()
def test_feed_forward_layers_give_the_same_some_rows_at_a_time(dtype: torch.dtype) -> None:
    block = ready(FeedForward(32, activation_fn="geglu", dropout=0.1), dtype)
    states = random(2, blocks._ROWS + 70, 32).to(dtype)
    fast = prepared(block)
    found = fast(states)
    close(found, block(states))
    assert torch.equal(found[1], fast(states[1:])[0])


def test_a_prepared_autoencoder_gives_what_it_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_diffusion.vae()
    fast = deepcopy(plain)
    blocks.prepare(fast)
    pictures = torch.rand(1, 3, 200, 168, generator=torch.Generator().manual_seed(0))
    latents = encoded(pictures, plain)
    for most in (1 << 21, 160**2):  # whole, and in tiles
        monkeypatch.setattr(vae, "_MOST_AT_ONCE", most)
        torch.testing.assert_close(encoded(pictures, fast), latents, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(decoded(latents, fast), decoded(latents, plain), rtol=0, atol=0.1 / 255)


@pytest.mark.parametrize("sigma", [SMALLEST, 2.0, LARGEST])
@torch.inference_mode()
def test_prepared_networks_give_the_noise_they_gave(sigma: float) -> None:
    networks = tiny_diffusion.unet(), tiny_diffusion.controlnet()
    fast = deepcopy(networks)
    for network in fast:
        blocks.prepare(network)
    text, hint = random(1, 77, tiny_diffusion.TEXT_WIDTH), torch.rand(1, 3, 72, 56)
    guidance = Guidance(text, 0.5 * text, 4)
    expected, found = (
        guided(unet, guidance, Control(controlnet, hint, 0.8))(random(1, 4, 9, 7), sigma)
        for unet, controlnet in (networks, fast)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_times_are_embedded_when_a_network_is_prepared() -> None:
    for network in (tiny_diffusion.unet(), tiny_diffusion.controlnet()):
        blocks.prepare(network)
        assert not list(network.time_embedding.modules())[1:], "layers would compute at each step"


def test_packed_weights_take_the_place_of_the_others() -> None:
    network = tiny_diffusion.vae()
    before = footprint(network)
    blocks.prepare(network)
    # Upsampling takes 16/9 of the weights of its convolution.
    assert before < footprint(network) < 1.3 * before
