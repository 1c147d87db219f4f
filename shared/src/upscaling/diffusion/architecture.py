"""The published configurations of Stable Diffusion's networks, so that they need not be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Configuration = Mapping[str, Any]
"""The arguments that a network's class is made with."""


@dataclass(frozen=True)
class Architecture:
    """The configurations of all networks of a set."""

    name: str
    unet: Configuration
    controlnet: Configuration
    vae: Configuration
    text_encoder: Configuration


# What the UNet and its copy in a ControlNet have in common.
_DENOISER = {
    "in_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "layers_per_block": 2,
    "attention_head_dim": 8,  # the number of heads: diffusers keeps the published file's wrong name for it
    "cross_attention_dim": 768,
    "act_fn": "silu",
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
}

# unet, vae and text_encoder of huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5; the ControlNet's is of
# huggingface.co/lllyasviel/control_v11f1e_sd15_tile.
STABLE_DIFFUSION_1_5 = Architecture(
    name="Stable Diffusion 1.5",
    unet=_DENOISER
    | {
        "sample_size": 64,
        "out_channels": 4,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    },
    controlnet=_DENOISER | {"conditioning_embedding_out_channels": (16, 32, 96, 256)},
    vae={
        "sample_size": 512,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "act_fn": "silu",
        "norm_num_groups": 32,
    },
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    },
)
