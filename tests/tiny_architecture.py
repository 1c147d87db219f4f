"""The configurations of the networks in tiny_diffusion: Stable Diffusion 1.5's, with its widths made small."""

from __future__ import annotations

from tiny_diffusion import HINT_WIDTHS, TEXT_WIDTH, WIDTHS

from upscaling.diffusion.architecture import STABLE_DIFFUSION_1_5, Architecture

_NARROW = {"block_out_channels": WIDTHS, "norm_num_groups": 4}
_DENOISER = _NARROW | {"attention_head_dim": 2, "cross_attention_dim": TEXT_WIDTH}

TINY = Architecture(
    name="tiny",
    unet={**STABLE_DIFFUSION_1_5.unet, **_DENOISER},
    controlnet={
        **STABLE_DIFFUSION_1_5.controlnet, **_DENOISER, "conditioning_embedding_out_channels": HINT_WIDTHS,
    },
    vae={**STABLE_DIFFUSION_1_5.vae, **_NARROW},
    text_encoder={
        **STABLE_DIFFUSION_1_5.text_encoder, "hidden_size": TEXT_WIDTH, "intermediate_size": 2 * TEXT_WIDTH,
        "num_attention_heads": 2,
    },
)  # fmt: skip
