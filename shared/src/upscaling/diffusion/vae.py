"""Pictures to latents and back, by the autoencoder."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

SCALE = 0.18215  # of latents to the autoencoder's own (Rombach et al., High-Resolution Image Synthesis, appendix G)


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type that the autoencoder of a run in `dtype` takes: its values leave the range of fp16."""
    if dtype is not torch.float16:
        return dtype
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


@torch.inference_mode()
def encoded(pixels: torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
    """The latents of pictures (n, 3, 8h, 8w), RGB from 0 to 1: (n, 4, h, w) in fp32.

    They are the mean of the distribution that the encoder gives, without noise, so that a picture always has the same.
    """
    pictures = (pixels * 2 - 1).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)
    assert vae.quant_conv is not None  # other models' autoencoders have none
    mean, _ = vae.quant_conv(vae.encoder(pictures)).chunk(2, dim=1)
    return mean.float() * SCALE


@torch.inference_mode()
def decoded(latents: torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
    """The pictures of latents (n, 4, h, w): (n, 3, 8h, 8w) in fp32, RGB from 0 to 1."""
    scaled = (latents / SCALE).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)
    assert vae.post_quant_conv is not None
    pictures = vae.decoder(vae.post_quant_conv(scaled))
    return (pictures.float() / 2 + 0.5).clamp(0, 1)
