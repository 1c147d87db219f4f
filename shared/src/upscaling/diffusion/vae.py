"""Pictures to latents and back, by the autoencoder."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from upscaling.diffusion import tiled_vae
from upscaling.diffusion.crops import LATENT

SCALE = 0.18215  # of latents to the autoencoder's own (Rombach et al., High-Resolution Image Synthesis, appendix G)

_MOST_AT_ONCE = 1 << 21  # pixels: 5 GB in bf16 and 9 GB in fp32


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
    A picture of more than 2 megapixels is encoded in tiles.
    """
    pictures = (pixels * 2 - 1).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)
    if _is_large(pictures, 1):
        return torch.cat([tiled_vae.encoded(each, vae, _MOST_AT_ONCE) for each in pictures[:, None]]).float() * SCALE
    assert vae.quant_conv is not None  # other models' autoencoders have none
    mean, _ = vae.quant_conv(vae.encoder(pictures)).chunk(2, dim=1)
    return mean.float() * SCALE


@torch.inference_mode()
def decoded(latents: torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
    """The pictures of latents (n, 4, h, w): (n, 3, 8h, 8w) in fp32, RGB from 0 to 1.

    A picture of more than 2 megapixels is decoded in tiles.
    """
    scaled = (latents / SCALE).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)
    if _is_large(scaled, LATENT):
        pictures = torch.cat([tiled_vae.decoded(each, vae, _MOST_AT_ONCE) for each in scaled[:, None]])
    else:
        assert vae.post_quant_conv is not None
        pictures = vae.decoder(vae.post_quant_conv(scaled))
    return (pictures.float() / 2 + 0.5).clamp(0, 1)


def _is_large(values: torch.Tensor, scale: int) -> bool:
    """Whether values of `scale` pixels a side are of a picture that is too large for the autoencoder at once."""
    return values.shape[2] * values.shape[3] * scale**2 > _MOST_AT_ONCE
