"""Pictures to latents and back."""

from __future__ import annotations

import pytest
import tiny_diffusion
import torch

from upscaling.diffusion.vae import SCALE, decoded, encoded, vae_dtype

VAE = tiny_diffusion.vae()


@torch.inference_mode()
def test_latents_are_the_scaled_mean_of_diffusers_distribution() -> None:
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, 64, 48)
    expected = VAE.encode(pixels * 2 - 1).latent_dist.mode() * VAE.config.scaling_factor
    torch.testing.assert_close(encoded(pixels, VAE), expected, rtol=1e-5, atol=1e-5)
    assert VAE.config.scaling_factor == SCALE


def test_a_picture_always_has_the_same_latents() -> None:
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(encoded(pixels, VAE), encoded(pixels, VAE))


@torch.inference_mode()
def test_pictures_are_diffusers_from_0_to_1() -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 8, 6) * SCALE
    expected = VAE.decode(latents / SCALE).sample / 2 + 0.5
    pictures = decoded(latents, VAE)
    torch.testing.assert_close(pictures, expected, rtol=1e-5, atol=1e-5)
    assert pictures.shape == (2, 3, 64, 48)
    assert pictures.std() > 0.01


def test_results_are_fp32_in_a_bf16_run() -> None:
    vae = tiny_diffusion.vae().to(torch.bfloat16)
    pixels = torch.rand(1, 3, 32, 32)
    latents = encoded(pixels, vae)
    assert latents.dtype is decoded(latents, vae).dtype is torch.float32
    assert (latents - encoded(pixels, VAE)).abs().mean() < 0.05 * latents.abs().mean()


@pytest.mark.parametrize(
    ("dtype", "has_bf16", "expected"),
    [
        (torch.float32, False, torch.float32),
        (torch.bfloat16, False, torch.bfloat16),
        (torch.float16, True, torch.bfloat16),
        (torch.float16, False, torch.float32),
    ],
)
def test_the_autoencoder_is_never_in_fp16(
    dtype: torch.dtype, has_bf16: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert vae_dtype(dtype, torch.device("cuda")) is expected
