"""ControlNet tile's redraw against diffusers' own pipelines, with their schedulers and their rule for the strength."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_diffusion
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
)
from images.samples import noise

from upscaling.diffusion.checkerboard import checkerboard
from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.hints import as_they_are
from upscaling.diffusion.img2img import Hint, Img2Img
from upscaling.diffusion.inpainting import Surroundings, inpainted
from upscaling.diffusion.noise import noise_source, noised
from upscaling.diffusion.redraw import Picture, redraw
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import last_steps, lcm_levels, sigmas
from upscaling.diffusion.vae import encoded
from upscaling.images import Size

SEED, STEPS, STRENGTH, RESEMBLANCE = 5, 10, 0.35, 0.85
CANVAS = Size(104, 72)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EULER = EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1)
LCM = LCMScheduler(**BETAS)
LEVELS = sigmas("ddim_uniform", STEPS, 1, "ddim")

# Its set_timesteps does so.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def values(picture: Picture) -> torch.Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None] / 255


def parts(scheduler: Any, **others: Any) -> dict[str, Any]:
    return others | {
        "text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None,
        "requires_safety_checker": False, "scheduler": scheduler,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "sampler", "levels", "guidance", "guess_mode"),
    [
        (EULER, "euler", LEVELS, 7.0, False),
        (EULER, "euler", LEVELS, 1.0, True),
        (EULER, "euler", LEVELS, 5.0, True),
        (LCM, "lcm", lcm_levels(STEPS), 1.0, False),
    ],
    ids=["guidance", "guess mode without guidance", "guess mode", "LCM"],
)
def test_one_tile_over_the_whole_picture_is_what_the_pipeline_gives(
    scheduler: Any, sampler: str, levels: torch.Tensor, guidance: float, guess_mode: bool
) -> None:
    unet, controlnet, vae = tiny_diffusion.unet(), tiny_diffusion.controlnet(), tiny_diffusion.vae()
    positive, negative = torch.randn(2, 1, 77, tiny_diffusion.TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    canvas = noise(CANVAS.height, CANVAS.width, 3)
    pipeline = StableDiffusionControlNetImg2ImgPipeline(**parts(scheduler, unet=unet, vae=vae, controlnet=controlnet))
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=positive, negative_prompt_embeds=negative, image=encoded(values(canvas), vae),
        control_image=values(canvas), num_inference_steps=STEPS, strength=STRENGTH, guidance_scale=guidance,
        controlnet_conditioning_scale=RESEMBLANCE, guess_mode=guess_mode,
        generator=torch.Generator().manual_seed(SEED), output_type="np",
    ).images[0]  # fmt: skip

    crops = checkerboard(CANVAS, 128, context=64, fade=32)
    img2img = Img2Img(
        unet=unet,
        vae=vae,
        guidance=Guidance(positive, negative, guidance),
        hints=[Hint(controlnet, RESEMBLANCE, as_they_are, guess_mode)],
        sampler=SAMPLERS[sampler],
        seed=SEED,
        count_retry=lambda: None,
        surroundings=Surroundings(CANVAS, None),
    )
    redraw(canvas, crops, img2img.at(last_steps(levels, STEPS, STRENGTH)), 1, lambda share: None)
    # Half a level is the rounding; LCM's scheduler keeps a hundred-thousandth of the noisy latents.
    assert np.abs(canvas / 255 - expected).max() <= 0.5 / 255 + 1e-3
    assert expected.std() > 0.05


def certain(vae: AutoencoderKL) -> AutoencoderKL:
    """An autoencoder whose latents have no variance: the inpainting pipeline draws them."""
    with torch.no_grad():
        vae.quant_conv.weight[4:], vae.quant_conv.bias[4:] = 0, -30
    return vae


def test_a_part_that_is_redrawn_is_what_the_inpainting_pipeline_gives() -> None:
    unet, controlnet, vae = tiny_diffusion.unet(), tiny_diffusion.controlnet(), certain(tiny_diffusion.vae())
    positive, negative = torch.randn(2, 1, 77, tiny_diffusion.TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    picture = values(noise(CANVAS.height, CANVAS.width, 3))
    mask = torch.zeros(1, 1, 9, 13)
    mask[..., 2:7, 4:9] = 1
    pipeline = StableDiffusionControlNetInpaintPipeline(**parts(EULER, unet=unet, vae=vae, controlnet=controlnet))
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=positive, negative_prompt_embeds=negative, image=picture,
        mask_image=mask.repeat_interleave(8, 2).repeat_interleave(8, 3), control_image=picture,
        height=CANVAS.height, width=CANVAS.width, num_inference_steps=STEPS, strength=STRENGTH, guidance_scale=7.0,
        controlnet_conditioning_scale=RESEMBLANCE, generator=torch.Generator().manual_seed(SEED), output_type="latent",
    ).images  # fmt: skip

    latents = encoded(picture, vae)
    source = noise_source(SEED, (9, 13), torch.device("cpu"))
    source.draw()  # the pipeline's latents of the picture take the first
    first = source.draw()
    levels = last_steps(LEVELS, STEPS, STRENGTH)
    control = Control(controlnet, picture, RESEMBLANCE)
    denoise = inpainted(guided(unet, Guidance(positive, negative, 7.0), control), latents, first, mask)
    found = SAMPLERS["euler"](denoise, noised(latents, levels[0].item(), first), levels, source, lambda step: None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(found[mask.expand_as(found) == 1], latents[mask.expand_as(found) == 1], atol=0.1)
    assert torch.equal(found[mask.expand_as(found) == 0], latents[mask.expand_as(found) == 0])
