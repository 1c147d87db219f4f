"""Pictures to latents and back, by the autoencoder."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from upscaling.diffusion import tiled_vae
from upscaling.diffusion.crops import LATENT
from upscaling.diffusion.room import Room
from upscaling.runtime.memory import is_out_of_memory, release

logger = logging.getLogger(__name__)

SCALE = 0.18215  # of latents to the autoencoder's own (Rombach et al., High-Resolution Image Synthesis, appendix G)

_MOST_AT_ONCE = 1 << 21  # pixels: 5 GB in bf16 and 9 GB in fp32
_FEWEST_AT_ONCE = 1 << 16  # pixels: 0.2 GB and 0.3 GB; below, more than two thirds of a tile would be its margin


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type that the autoencoder of a run in `dtype` takes: its values leave the range of fp16."""
    if dtype is not torch.float16:
        return dtype
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


@torch.inference_mode()
def encoded(
    pixels: torch.Tensor, vae: AutoencoderKL, count_retry: Callable[[], None] | None = None, room: Room | None = None
) -> torch.Tensor:
    """The latents of pictures (n, 3, 8h, 8w), RGB from 0 to 1: (n, 4, h, w) in fp32.

    They are the mean of the distribution that the encoder gives, without noise, so that a picture always has the same.
    A picture of more than 2 megapixels is encoded in tiles. If memory runs out, so is a smaller one, in tiles of half
    as many pixels, down to 256 × 256; `count_retry` is called, and `room` keeps what did fit for later pictures. Then
    torch's own error is raised.
    """
    pictures = (pixels * 2 - 1).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)

    def whole() -> torch.Tensor:
        assert vae.quant_conv is not None  # other models' autoencoders have none
        return vae.quant_conv(vae.encoder(pictures)).chunk(2, dim=1)[0]

    return _as_large_as_fits(pictures, 1, whole, tiled_vae.encoded, vae, count_retry, room or Room()).float() * SCALE


@torch.inference_mode()
def decoded(
    latents: torch.Tensor, vae: AutoencoderKL, count_retry: Callable[[], None] | None = None, room: Room | None = None
) -> torch.Tensor:
    """The pictures of latents (n, 4, h, w): (n, 3, 8h, 8w) in fp32, RGB from 0 to 1 and somewhat beyond.

    A picture of more than 2 megapixels is decoded in tiles, and if memory runs out, a smaller one too, as in `encoded`.
    """
    scaled = (latents / SCALE).to(device=vae.device, dtype=vae.dtype, memory_format=torch.channels_last)

    def whole() -> torch.Tensor:
        assert vae.post_quant_conv is not None
        return vae.decoder(vae.post_quant_conv(scaled))

    pictures = _as_large_as_fits(scaled, LATENT, whole, tiled_vae.decoded, vae, count_retry, room or Room())
    return pictures.float() / 2 + 0.5


def _as_large_as_fits(
    values: torch.Tensor,
    scale: int,
    whole: Callable[[], torch.Tensor],
    in_tiles: Callable[[torch.Tensor, AutoencoderKL, int], torch.Tensor],
    vae: AutoencoderKL,
    count_retry: Callable[[], None] | None,
    room: Room,
) -> torch.Tensor:
    """What the autoencoder makes of values of `scale` pixels a side: as a whole, or in tiles that fit into memory."""
    pixels = values.shape[2] * values.shape[3] * scale**2
    while True:
        most = int(min(pixels, _MOST_AT_ONCE, room.autoencoder))
        try:
            if most == pixels:
                return whole()
            return torch.cat([in_tiles(each, vae, most) for each in values[:, None]])
        except (RuntimeError, MemoryError) as error:
            if most // 2 < _FEWEST_AT_ONCE or not is_out_of_memory(error):
                raise
        # Outside the block: the error holds on to the memory of what failed.
        release(values.device)
        room.autoencoder = most // 2
        logger.warning("Memory ran out for the autoencoder; it goes on in tiles of %d pixels.", room.autoencoder)
        if count_retry is not None:
            count_retry()
