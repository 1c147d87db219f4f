"""The published configurations of Stable Diffusion 1.5's networks, so that they need not be downloaded.

Sizes are read from the tensors of a file. Where it lacks one, or where no network of this kind has such a size, the
published one is taken, and loading then says which tensors do not fit. What tensors do not show is as published: the
number of heads, and of the groups that are normalized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Configuration = Mapping[str, Any]
"""The arguments that a network's class is made with."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by their name in the network; an empty one gives the published configuration."""

_GROUPS = 32
_HEAD_WIDTH = 64  # of the text encoder

_UNET_WIDTHS = (320, 640, 1280, 1280)
_VAE_WIDTHS = (128, 256, 512, 512)
_HINT_WIDTHS = (16, 32, 96, 256)
# Where a hint's embedding gets each of its widths; between them are layers that keep it.
_HINT_LAYERS = ("conv_in", "blocks.1", "blocks.3", "blocks.5")


def unet(shapes: Shapes) -> Configuration:
    """Of huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5."""
    return _denoiser(shapes) | {
        "sample_size": 64,
        "out_channels": 4,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }


def controlnet(shapes: Shapes) -> Configuration:
    """Of huggingface.co/lllyasviel/control_v11f1e_sd15_tile."""
    hint_widths = tuple(
        _size(shapes, f"controlnet_cond_embedding.{layer}.weight", 0, width)
        for layer, width in zip(_HINT_LAYERS, _HINT_WIDTHS, strict=True)
    )
    return _denoiser(shapes) | {"conditioning_embedding_out_channels": hint_widths}


def vae(shapes: Shapes) -> Configuration:
    """Of huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5."""
    return {
        "sample_size": 512,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": _widths(shapes, "encoder.down_blocks", _VAE_WIDTHS),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "act_fn": "silu",
        "norm_num_groups": _GROUPS,
    }


def text_encoder(shapes: Shapes) -> Configuration:
    """Of huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5, which is CLIP ViT-L/14's."""
    width = _size(shapes, "embeddings.token_embedding.weight", 1, 768, multiple=_HEAD_WIDTH)
    return {
        "vocab_size": 49408,
        "hidden_size": width,
        "intermediate_size": _size(shapes, "encoder.layers.0.mlp.fc1.weight", 0, 3072),
        "num_hidden_layers": 12,
        "num_attention_heads": width // _HEAD_WIDTH,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


def _denoiser(shapes: Shapes) -> dict[str, Any]:
    """What the UNet and its copy in a ControlNet have in common."""
    text = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return {
        "in_channels": 4,
        "block_out_channels": _widths(shapes, "down_blocks", _UNET_WIDTHS),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "layers_per_block": 2,
        "attention_head_dim": 8,  # the number of heads: diffusers keeps the published file's wrong name for it
        "cross_attention_dim": _size(shapes, text, 1, 768),
        "act_fn": "silu",
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
        "norm_num_groups": _GROUPS,
    }


def _widths(shapes: Shapes, blocks: str, published: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        _size(shapes, f"{blocks}.{number}.resnets.0.conv1.weight", 0, width, multiple=_GROUPS)
        for number, width in enumerate(published)
    )


def _size(shapes: Shapes, name: str, dim: int, published: int, multiple: int = 1) -> int:
    """A tensor's size along a dimension; the published one where that is no multiple of what it must be."""
    size = dict(enumerate(shapes.get(name, ()))).get(dim, 0)
    return size if size > 0 and size % multiple == 0 else published
