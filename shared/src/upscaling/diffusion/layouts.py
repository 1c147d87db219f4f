"""Translates the names of published tensors to those of diffusers' and transformers' networks.

Checkpoints come in two layouts: that of the original code (github.com/CompVis/latent-diffusion, single files) and that
of diffusers. Names of the second, and unknown names, are returned unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_LAYERS = 3  # of a block of the UNet: two and a change of size on the way down, three on the way up

_RESNET: tuple[_Rule, ...] = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)

_UNET: tuple[_Rule, ...] = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^input_blocks\.(\d+)\.0\.op\.", lambda m: f"{_down(m)}.downsamplers.0.conv."),
    (r"^input_blocks\.(\d+)\.0\.", lambda m: f"{_down(m)}.resnets.{_layer(int(m[1]) - 1)}."),
    (r"^input_blocks\.(\d+)\.1\.", lambda m: f"{_down(m)}.attentions.{_layer(int(m[1]) - 1)}."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"^output_blocks\.(\d+)\.[12]\.conv\.", lambda m: f"{_up(m)}.upsamplers.0.conv."),
    (r"^output_blocks\.(\d+)\.0\.", lambda m: f"{_up(m)}.resnets.{_layer(int(m[1]))}."),
    (r"^output_blocks\.(\d+)\.1\.", lambda m: f"{_up(m)}.attentions.{_layer(int(m[1]))}."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    *_RESNET,
)

_CONTROLNET: tuple[_Rule, ...] = (
    (r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1."),
    (r"^middle_block_out\.0\.", "controlnet_mid_block."),
    (r"^input_hint_block\.0\.", "controlnet_cond_embedding.conv_in."),
    (r"^input_hint_block\.14\.", "controlnet_cond_embedding.conv_out."),
    (r"^input_hint_block\.(\d+)\.", lambda m: f"controlnet_cond_embedding.blocks.{int(m[1]) // 2 - 1}."),
    *_UNET,
)

_VAE: tuple[_Rule, ...] = (
    (r"^encoder\.down\.(\d)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    # The original counts the decoder's blocks from the picture's side.
    (r"^decoder\.up\.(\d)\.block\.", lambda m: f"decoder.up_blocks.{3 - int(m[1])}.resnets."),
    (r"^decoder\.up\.(\d)\.upsample\.", lambda m: f"decoder.up_blocks.{3 - int(m[1])}.upsamplers.0."),
    (r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"coder\.norm_out\.", "coder.conv_norm_out."),
    (r"(\.attentions\.0)\.norm\.", r"\1.group_norm."),
    # The original, and diffusers before 0.14 (sd-vae-ft-mse).
    (r"(\.attentions\.0)\.(?:q|query)\.", r"\1.to_q."),
    (r"(\.attentions\.0)\.(?:k|key)\.", r"\1.to_k."),
    (r"(\.attentions\.0)\.(?:v|value)\.", r"\1.to_v."),
    (r"(\.attentions\.0)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)


def unet(name: str) -> str:
    """A tensor of the UNet, without the prefix that single files give it."""
    return _renamed(name, _UNET)


def controlnet(name: str) -> str:
    """A tensor of a ControlNet, without the prefix that single files give it."""
    return _renamed(name, _CONTROLNET)


def vae(name: str) -> str:
    """A tensor of the autoencoder, without the prefix that single files give it."""
    return _renamed(name, _VAE)


def text_encoder(name: str) -> str:
    """A tensor of the text encoder, without the prefix that single files give it."""
    return name.removeprefix("text_model.")  # transformers dropped it in 5.6


def _renamed(name: str, rules: Sequence[_Rule]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def _layer(index: int) -> int:
    return index % _LAYERS


def _down(match: re.Match[str]) -> str:
    return f"down_blocks.{(int(match[1]) - 1) // _LAYERS}"


def _up(match: re.Match[str]) -> str:
    return f"up_blocks.{int(match[1]) // _LAYERS}"
