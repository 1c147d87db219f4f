"""Tiny networks of random weights, of the classes and in the layout that Stable Diffusion 1.5 has.

Each has all blocks and layers of the real one, and as many heads and groups; only channels are fewer.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

# oneDNN packs 96 channels for features of one size only, and packs them again, slowly, for those of another.
WIDTHS = (32, 64, 128, 128)
VAE_WIDTHS = (32, 32, 64, 64)
TEXT_WIDTH = 64
HINT_WIDTHS = (4, 4, 8, 8)
_HEADS = 8


def unet(seed: int = 0) -> UNet2DConditionModel:
    """Predicts noise, (n, 4, h, w) from latents of that shape and states (n, tokens, 64)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=WIDTHS,
            attention_head_dim=_HEADS,
            cross_attention_dim=TEXT_WIDTH,
        )
        return _randomized(model)


def controlnet(seed: int = 1) -> ControlNetModel:
    """Residuals for `unet` from a hint (n, 3, 8h, 8w), 0…1; its zero convolutions are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ControlNetModel(
            block_out_channels=WIDTHS,
            attention_head_dim=_HEADS,
            cross_attention_dim=TEXT_WIDTH,
            conditioning_embedding_out_channels=HINT_WIDTHS,
        )
        return _randomized(model)


def vae(seed: int = 2) -> AutoencoderKL:
    """Pictures (n, 3, 8h, 8w), -1…1, to latents (n, 4, h, w) and back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=VAE_WIDTHS,
            layers_per_block=2,
            sample_size=64,
        )
        return _randomized(model)


def text_encoder(seed: int = 3) -> CLIPTextModel:
    """States (n, 77, 64) from tokens of CLIP's vocabulary, in 12 layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = CLIPTextConfig(
            vocab_size=49408,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=12,
            num_attention_heads=1,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=49406,
            eos_token_id=49407,
        )
        return _randomized(CLIPTextModel(config))


def _randomized(model: nn.Module) -> nn.Module:
    """The network with every parameter away from its start: a ControlNet begins with zeros and would do nothing."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.05)
    return model.eval()
