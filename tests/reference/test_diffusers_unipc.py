"""Our UniPC against diffusers' scheduler, which was written from the paper too."""

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from toy_denoiser import source, toy

from upscaling.diffusion.noise import noised
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import sigmas


def published(latents: torch.Tensor, levels: torch.Tensor, solver: str) -> torch.Tensor:
    """Its own sigmas are replaced by ours, and the last one by the .001 that ComfyUI ends at."""
    steps = len(levels) - 1
    scheduler = UniPCMultistepScheduler(
        solver_order=max(min(3, steps - 1), 1), solver_type=solver, prediction_type="sample", predict_x0=True
    )
    scheduler.set_timesteps(steps)
    ends = torch.cat([levels[:-1], torch.tensor([0.001])]).double()
    scheduler.sigmas = ends
    kept = (1 + ends**2).rsqrt()  # its latents are ours, scaled to the variance of the picture
    latents = latents * kept[0]
    for number, step in enumerate(scheduler.timesteps):
        denoised = toy(latents / kept[number], ends[number].item())
        latents = scheduler.step(denoised, step, latents, return_dict=False)[0]
    return latents / kept[-1]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its set_timesteps does so
@pytest.mark.parametrize(("name", "solver"), [("uni_pc", "bh1"), ("uni_pc_bh2", "bh2")])
@pytest.mark.parametrize(
    ("schedule", "steps", "denoise"),
    [("normal", 20, 0.2), ("karras", 9, 1.0), ("exponential", 3, 0.5), ("sgm_uniform", 2, 0.3), ("simple", 4, 0.7)],
)
def test_unipc_gives_what_diffusers_gives(name: str, solver: str, schedule: str, steps: int, denoise: float) -> None:
    levels = sigmas(schedule, steps, denoise, name)
    noise = source()
    start = noised(torch.zeros(1, 4, 6, 5), levels[0].item(), noise.draw()).double()
    ours = SAMPLERS[name](toy, start, levels, noise, lambda step: None)
    torch.testing.assert_close(ours, published(start, levels, solver), rtol=0, atol=1e-9)
