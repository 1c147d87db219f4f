"""A redraw of one tile that is the whole picture, against diffusers' own ControlNet img2img pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_diffusion
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionControlNetImg2ImgPipeline
from images.samples import noise

from upscaling.diffusion import img2img as img2img_module
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.hints import parts_of
from upscaling.diffusion.img2img import Hint, Img2Img
from upscaling.diffusion.layout import Layout
from upscaling.diffusion.patches import Order, SeamFix
from upscaling.diffusion.redraw import Picture, redraw
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import sigmas
from upscaling.diffusion.vae import decoded, encoded
from upscaling.images import Size

SEED, STEPS, DENOISE, CFG, STRENGTH = 5, 20, 0.2, 8.0, 0.7
CANVAS = Size(104, 72)


def values(picture: Picture) -> torch.Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None] / 255


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its set_timesteps does so
def test_one_tile_over_the_whole_picture_is_what_the_pipeline_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, controlnet, vae = tiny_diffusion.unet(), tiny_diffusion.controlnet(), tiny_diffusion.vae()
    positive, negative = torch.randn(2, 1, 77, tiny_diffusion.TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    canvas, small = noise(CANVAS.height, CANVAS.width, 3), noise(CANVAS.height // 2, CANVAS.width // 2, 3)

    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        vae=vae, text_encoder=None, tokenizer=None, unet=unet, controlnet=controlnet, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
        # These timesteps are those of ddim_uniform.
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading",
            steps_offset=1,
        ),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=positive, negative_prompt_embeds=negative, image=encoded(values(canvas), vae),
        # The hint is half as large: each of its pixels becomes four.
        control_image=values(small.repeat(2, axis=0).repeat(2, axis=1)), num_inference_steps=round(STEPS / DENOISE),
        strength=DENOISE, guidance_scale=CFG, controlnet_conditioning_scale=STRENGTH,
        generator=torch.Generator().manual_seed(SEED), output_type="np",
    ).images[0]  # fmt: skip

    layout = Layout(Order.LINEAR, Size(128, 128), 32, 8, SeamFix.NONE, 64, 16, 8, uniform=False)
    img2img = Img2Img(
        unet=unet,
        vae=vae,
        guidance=Guidance(positive, negative, CFG),
        hints=[Hint(controlnet, STRENGTH, parts_of(small, CANVAS))],
        sampler=SAMPLERS["euler"],
        seed=SEED,
        count_retry=lambda: None,
    )
    unrounded: list[torch.Tensor] = []

    def watched(*given: Any) -> torch.Tensor:
        unrounded.append(decoded(*given))
        return unrounded[-1]

    monkeypatch.setattr(img2img_module, "decoded", watched)
    redraw_batch = img2img.at(sigmas("ddim_uniform", STEPS, DENOISE, "euler"))
    redrawn = redraw(canvas, layout.tiles(CANVAS), redraw_batch, 1, lambda share: None)
    assert redrawn == 1
    (own,) = unrounded
    assert np.abs(own[0].permute(1, 2, 0).clamp(0, 1).numpy() - expected).max() <= 1e-4
    # The redraw is in 255ths, so its rounding alone may be more than a thousandth: half a level.
    assert np.abs(canvas / 255 - expected).max() <= 0.5 / 255 + 1e-4
    assert expected.std() > 0.05
