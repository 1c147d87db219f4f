"""Guidance and ControlNet, against the networks called as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny_diffusion
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from upscaling.diffusion.controlnet import embedded, residuals
from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.sigmas import timestep

SIGMA = 0.552068


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_diffusion.unet()


@pytest.fixture(scope="module")
def controlnet() -> ControlNetModel:
    return tiny_diffusion.controlnet()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(chunks: int = 1, seed: int = 1) -> torch.Tensor:
    return random(1, 77 * chunks, tiny_diffusion.TEXT_WIDTH, seed=seed)


def hints(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, 8 * height, 8 * width, generator=torch.Generator().manual_seed(9))


def by_hand(
    unet: UNet2DConditionModel, control: Control | None, latents: torch.Tensor, sigma: float, states: torch.Tensor
) -> torch.Tensor:
    """The noise under one prompt, by the networks' own calls."""
    given, time = latents / (sigma**2 + 1) ** 0.5, timestep(sigma)
    states = states.expand(len(latents), -1, -1)
    extra: dict[str, Any] = {}
    if control:
        down, middle = control.network(given, time, states, control.hint, control.strength, return_dict=False)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    return unet(given, time, states, **extra).sample


def test_the_tiny_networks_have_the_keys_of_stable_diffusion_1_5(
    unet: UNet2DConditionModel, controlnet: ControlNetModel
) -> None:
    networks = unet, controlnet, tiny_diffusion.vae(), tiny_diffusion.text_encoder()
    # Two shortcuts of the autoencoder, with four tensors, are left out: its tiny blocks change their width less often.
    assert [len(network.state_dict()) for network in networks] == [686, 340, 248 - 4, 196]
    assert all(parameter.any() for network in networks for parameter in network.parameters())


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_residuals_are_those_of_the_whole_network(controlnet: ControlNetModel, size: tuple[int, int]) -> None:
    latents, states, hint = random(2, 4, *size), text().expand(2, -1, -1), hints(2, *size)
    found = residuals(controlnet, embedded(controlnet, hint), latents, torch.tensor([321]), states)
    down, middle = controlnet(latents, 321, states, hint, return_dict=False)
    assert len(found.down) == len(down) == 12
    for ours, theirs in zip([*found.down, found.middle], [*down, middle], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_residuals_stay_in_channels_last() -> None:
    controlnet = tiny_diffusion.controlnet().to(memory_format=torch.channels_last)
    latents = random(4, 4, 8, 8).to(memory_format=torch.channels_last)
    hint = embedded(controlnet, hints(2, 8, 8))
    found = residuals(controlnet, hint, latents, torch.tensor([321]), text().expand(4, -1, -1))
    assert all(state.is_contiguous(memory_format=torch.channels_last) for state in [*found.down, found.middle])


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_both_prompts_have_the_controlnet(
    unet: UNet2DConditionModel, controlnet: ControlNetModel, size: tuple[int, int], strength: float
) -> None:
    latents, positive, negative = random(2, 4, *size), text(seed=1), text(seed=2)
    control = Control(controlnet, hints(2, *size), strength)
    found = guided(unet, Guidance(positive, negative, 8.0), control)(latents, SIGMA)
    noise = [by_hand(unet, control, latents, SIGMA, states) for states in (negative, positive)]
    clean = [latents - SIGMA * each for each in noise]
    torch.testing.assert_close(found, clean[0] + (clean[1] - clean[0]) * 8, rtol=0, atol=1e-4)
    without = guided(unet, Guidance(positive, negative, 8.0))(latents, SIGMA)
    assert (found - without).abs().max() > 0.01


def test_a_cfg_of_one_computes_the_positive_prompt_alone(unet: UNet2DConditionModel) -> None:
    latents = random(3, 4, 8, 8)
    batches: list[int] = []
    hook = unet.conv_in.register_forward_hook(lambda module, given, result: batches.append(len(result)))
    try:
        found = guided(unet, Guidance(text(), text(seed=2), 1.0))(latents, SIGMA)
        guided(unet, Guidance(text(), text(seed=2), 1.5))(latents, SIGMA)
    finally:
        hook.remove()
    expected = latents - SIGMA * by_hand(unet, None, latents, SIGMA, text())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert batches == [3, 6]


@pytest.mark.parametrize(("chunks", "calls"), [((1, 2), 1), ((3, 2), 1), ((4, 1), 1), ((5, 1), 2), ((4, 5), 2)])
def test_prompts_of_unequal_length_give_what_each_gives_alone(
    unet: UNet2DConditionModel, chunks: tuple[int, int], calls: int
) -> None:
    latents, positive, negative = random(1, 4, 8, 8), text(chunks[0], 1), text(chunks[1], 2)
    count: list[int] = []
    hook = unet.conv_in.register_forward_hook(lambda module, given, result: count.append(len(result)))
    try:
        found = guided(unet, Guidance(positive, negative, 5.0))(latents, SIGMA)
    finally:
        hook.remove()
    noise = [by_hand(unet, None, latents, SIGMA, states) for states in (negative, positive)]
    expected = latents - SIGMA * (noise[0] + (noise[1] - noise[0]) * 5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert len(count) == calls


def test_a_strength_of_zero_leaves_the_controlnet_out(unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
    latents, guidance = random(1, 4, 8, 8), Guidance(text(), text(seed=2), 3.0)
    control = Control(controlnet, torch.full((1, 3, 64, 64), torch.nan), 0.0)
    assert torch.equal(guided(unet, guidance, control)(latents, SIGMA), guided(unet, guidance)(latents, SIGMA))


def test_residuals_of_several_controlnets_add_up(unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
    latents, hint, guidance = random(1, 4, 8, 9), hints(1, 8, 9), Guidance(text(), text(seed=2), 3.0)
    controls = (Control(controlnet, hint, strength) for strength in (0.3, 0.4, 0.2))
    found = guided(unet, guidance, *controls)(latents, SIGMA)
    expected = guided(unet, guidance, Control(controlnet, hint, 0.9))(latents, SIGMA)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_batch_of_tiles_gives_what_one_by_one_gives(unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
    latents, hint, guidance = random(3, 4, 8, 9), hints(3, 8, 9), Guidance(text(2), text(seed=2), 3.0)
    together = guided(unet, guidance, Control(controlnet, hint, 1.0))(latents, SIGMA)
    alone = [
        guided(unet, guidance, Control(controlnet, one_hint, 1.0))(one, SIGMA)
        for one, one_hint in zip(latents.split(1), hint.split(1), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_hint_is_embedded_once(unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
    calls: list[int] = []
    hook = controlnet.controlnet_cond_embedding.register_forward_hook(lambda *given: calls.append(1))
    try:
        # Prompts that are computed apart.
        denoise = guided(unet, Guidance(text(5), text(), 2.0), Control(controlnet, hints(1, 8, 8), 1.0))
        for sigma in (0.5, 0.4, 0.3):
            denoise(random(1, 4, 8, 8), sigma)
    finally:
        hook.remove()
    assert len(calls) == 1


def test_networks_in_bf16_predict_for_latents_in_fp32() -> None:
    latents, guidance, hint = random(1, 4, 8, 8), Guidance(text(), text(seed=2), 2.0), hints(1, 8, 8)
    exact = guided(tiny_diffusion.unet(), guidance, Control(tiny_diffusion.controlnet(), hint, 1.0))
    unet = tiny_diffusion.unet().to(torch.bfloat16, memory_format=torch.channels_last)
    controlnet = tiny_diffusion.controlnet().to(torch.bfloat16, memory_format=torch.channels_last)
    found = guided(unet, guidance, Control(controlnet, hint, 1.0))(latents, SIGMA)
    assert found.dtype == torch.float32
    assert (found - exact(latents, SIGMA)).abs().max() < 0.05
