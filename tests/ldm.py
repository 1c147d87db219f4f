"""Networks written out as single files have them: in the names of github.com/CompVis/latent-diffusion.

The way back from diffusers' names, block by block, as the original code builds its networks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

State = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def _down_and_middle() -> dict[str, str]:
    names = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2"}  # fmt: skip
    for block in range(4):
        for layer in range(2):
            names[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{3 * block + layer + 1}.0"
            names[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{3 * block + layer + 1}.1"
        names[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{3 * block + 3}.0.op"
    return names | {
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }


def unet(state: Mapping[str, torch.Tensor]) -> State:
    names = _down_and_middle() | {"conv_norm_out": "out.0", "conv_out": "out.2"}
    for block in range(4):
        for layer in range(3):
            names[f"up_blocks.{block}.resnets.{layer}"] = f"output_blocks.{3 * block + layer}.0"
            names[f"up_blocks.{block}.attentions.{layer}"] = f"output_blocks.{3 * block + layer}.1"
        # The lowest block has no attention before its change of size.
        names[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.conv"
    return _written(state, names, "model.diffusion_model.", _RESNET)


def controlnet(state: Mapping[str, torch.Tensor]) -> State:
    names = _down_and_middle() | {"controlnet_mid_block": "middle_block_out.0"}
    names |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(12)}
    names |= {f"controlnet_cond_embedding.blocks.{i}": f"input_hint_block.{2 * i + 2}" for i in range(6)}
    names |= {"controlnet_cond_embedding.conv_in": "input_hint_block.0",
              "controlnet_cond_embedding.conv_out": "input_hint_block.14"}  # fmt: skip
    return _written(state, names, "control_model.", _RESNET)


def vae(state: Mapping[str, torch.Tensor], prefix: str = "first_stage_model.") -> State:
    names = {name: name for name in ("quant_conv", "post_quant_conv")}
    for coder in ("encoder", "decoder"):
        names |= {f"{coder}.conv_in": f"{coder}.conv_in", f"{coder}.conv_out": f"{coder}.conv_out",
                  f"{coder}.conv_norm_out": f"{coder}.norm_out",
                  f"{coder}.mid_block.resnets.0": f"{coder}.mid.block_1",
                  f"{coder}.mid_block.attentions.0": f"{coder}.mid.attn_1",
                  f"{coder}.mid_block.resnets.1": f"{coder}.mid.block_2"}  # fmt: skip
    for block in range(4):
        for layer in range(3):
            names[f"encoder.down_blocks.{block}.resnets.{layer}"] = f"encoder.down.{block}.block.{layer}"
            names[f"decoder.up_blocks.{block}.resnets.{layer}"] = f"decoder.up.{3 - block}.block.{layer}"
        names[f"encoder.down_blocks.{block}.downsamplers.0.conv"] = f"encoder.down.{block}.downsample.conv"
        names[f"decoder.up_blocks.{block}.upsamplers.0.conv"] = f"decoder.up.{3 - block}.upsample.conv"
    inner = {"conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
             "to_out.0": "proj_out"}  # fmt: skip
    written = _written(state, names, prefix, inner)
    # The original's attention has 1×1 convolutions.
    return {
        name: tensor[..., None, None] if ".attn_1." in name and tensor.ndim == 2 else tensor
        for name, tensor in written.items()
    }


def text_encoder(state: Mapping[str, torch.Tensor]) -> State:
    written = {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in state.items()}
    return written | {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}


def _written(state: Mapping[str, torch.Tensor], names: dict[str, str], prefix: str, inner: dict[str, str]) -> State:
    written: State = {}
    for name, tensor in state.items():
        own = next(own for own in sorted(names, key=len, reverse=True) if name.startswith(f"{own}."))
        rest = name.removeprefix(own)
        for new, old in inner.items():
            if rest.startswith(f".{new}."):
                rest = f".{old}.{rest.removeprefix(f'.{new}.')}"
        written[f"{prefix}{names[own]}{rest}"] = tensor
    return written
