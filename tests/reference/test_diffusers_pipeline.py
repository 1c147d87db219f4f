"""One tile of ours against diffusers' own ControlNet img2img pipeline: the same networks, noise and schedule."""

from __future__ import annotations

import pytest
import tiny_diffusion
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionControlNetImg2ImgPipeline

from upscaling.diffusion.guidance import Control, Guidance, guided
from upscaling.diffusion.noise import noise_source, noised
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import sigmas

SEED = 5


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its set_timesteps does so
@pytest.mark.parametrize(
    ("size", "cfg", "strength", "denoise"),
    [((8, 8), 8.0, 1.0, 0.2), ((9, 13), 6.0, 0.6, 0.2), ((8, 12), 1.0, 1.0, 0.2), ((8, 8), 5.0, 1.0, 0.5)],
)
def test_a_tile_is_what_the_pipeline_gives(size: tuple[int, int], cfg: float, strength: float, denoise: float) -> None:
    unet, controlnet, vae = tiny_diffusion.unet(), tiny_diffusion.controlnet(), tiny_diffusion.vae()
    random = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 8 * size[0], 8 * size[1], generator=random)
    hint = torch.rand(1, 3, 8 * size[0], 8 * size[1], generator=random)
    positive, negative = torch.randn(2, 1, 77, tiny_diffusion.TEXT_WIDTH, generator=random)
    scale = vae.config["scaling_factor"]
    with torch.inference_mode():
        latents = vae.encode(2 * picture - 1).latent_dist.mean * scale

        steps = 20
        levels = sigmas("ddim_uniform", steps, denoise, "euler")
        noise = noise_source(SEED, size, torch.device("cpu"))
        denoiser = guided(unet, Guidance(positive, negative, cfg), Control(controlnet, hint, strength))
        start = noised(latents, levels[0].item(), noise.draw())
        found = SAMPLERS["euler"](denoiser, start, levels, noise, lambda step: None)
        found_picture = (vae.decode(found / scale).sample / 2 + 0.5).clamp(0, 1)

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

    def published(output_type: str) -> torch.Tensor:
        return pipeline(
            prompt_embeds=positive, negative_prompt_embeds=negative, image=latents, control_image=hint,
            num_inference_steps=round(steps / denoise), strength=denoise, guidance_scale=cfg,
            controlnet_conditioning_scale=strength, generator=torch.Generator().manual_seed(SEED),
            output_type=output_type,
        ).images  # fmt: skip

    torch.testing.assert_close(found, published("latent"), rtol=0, atol=1e-4)
    torch.testing.assert_close(found_picture, published("pt"), rtol=0, atol=1e-4)
    assert found_picture.std() > 0.05
