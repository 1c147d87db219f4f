"""A tile of ControlNet tile, from pixels to pixels, beside diffusers' pipeline; written to benchmarks/README.md.

Usage: python benchmarks/redraw.py controlnet-tile [--size 512] [--pairs 2] [--no-write]

Both take the hosted defaults: LCM, two steps, no guidance, a mask. Networks are Stable Diffusion 1.5's in true size;
their weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from diffusers import LCMScheduler, StableDiffusionControlNetInpaintPipeline
from diffusion import Set, compared, made, timed
from machine import description, kind, load
from report import README, put

from upscaling.diffusion.checkerboard import checkerboard
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.hints import as_they_are
from upscaling.diffusion.img2img import Hint, Img2Img
from upscaling.diffusion.inpainting import Surroundings
from upscaling.diffusion.load import CONTROLNET, UNET, VAE
from upscaling.diffusion.redraw import Picture
from upscaling.diffusion.samplers import SAMPLERS
from upscaling.diffusion.sigmas import last_steps, lcm_levels
from upscaling.images import Size
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import keep_freed_memory

_STEPS, _CREATIVITY, _RESEMBLANCE = 8, 0.35, 0.85
_TOKENS, _WIDTH = 77, 768


def ours(networks: Set, picture: Picture, text: torch.Tensor) -> Callable[[], object]:
    """A redraw of one tile that is the whole picture."""
    size = Size(picture.shape[1], picture.shape[0])
    crops = checkerboard(size, max(size), 0, 0)
    img2img = Img2Img(
        unet=networks.unet,
        vae=networks.vae,
        guidance=Guidance(text, text, 1),
        hints=[Hint(networks.controlnet, _RESEMBLANCE, as_they_are)],
        sampler=SAMPLERS["lcm"],
        seed=0,
        count_retry=lambda: None,
        surroundings=Surroundings(size, None),
    )
    redraw_batch = img2img.at(last_steps(lcm_levels(_STEPS), _STEPS, _CREATIVITY))
    return lambda: redraw_batch(picture[None], crops, lambda share: None)


def published(networks: Set, picture: Picture, text: torch.Tensor) -> Callable[[], object]:
    """diffusers' pipeline, called as the hosted model calls it for every tile."""
    pipeline = StableDiffusionControlNetInpaintPipeline(
        vae=networks.vae, unet=networks.unet, controlnet=networks.controlnet, text_encoder=None, tokenizer=None,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        scheduler=LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    dtype = networks.unet.dtype
    values = torch.tensor(picture).permute(2, 0, 1)[None].to(dtype) / 255
    height, width = picture.shape[:2]
    return lambda: pipeline(
        prompt_embeds=text.to(dtype), image=values, control_image=values, mask_image=torch.ones(1, 1, height, width),
        height=height, width=width, strength=_CREATIVITY, num_inference_steps=_STEPS, guidance_scale=0.0,
        controlnet_conditioning_scale=_RESEMBLANCE, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def measured(size: int, pairs: int) -> str:
    """Seconds a tile: ours, diffusers in fp32 as it comes, and diffusers in our type."""
    theirs = Set(made(UNET), made(CONTROLNET), made(VAE))
    dtype = choose_dtype(choose_device())
    name = str(dtype).removeprefix("torch.")
    torch.manual_seed(0)
    text = torch.randn(1, _TOKENS, _WIDTH)
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    runs: dict[str, Callable[[], object]] = {
        "ours": ours(theirs.ours(dtype), picture, text),
        "diffusers-float32": published(theirs, picture, text),
    }
    if dtype is not torch.float32:
        runs[f"diffusers-{name}"] = published(theirs.changed(dtype=dtype), picture, text)
    times = compared({contender: _timing(run) for contender, run in runs.items()}, pairs)
    return (
        f"Seconds to redraw one {size}×{size} tile with the hosted defaults, from pixels to pixels; ours in {name}.\n\n"
        f"{times}"
    )


def _timing(run: Callable[[], object]) -> Callable[[], float]:
    return lambda: timed(run)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["controlnet-tile"])
    parser.add_argument("--size", type=int, default=512, help="side of the tile in pixels")
    parser.add_argument("--pairs", type=int, default=2, help="rounds that are measured")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    options: Any = parser.parse_args(arguments)
    keep_freed_memory()
    busy = load()
    said = measured(options.size, options.pairs)
    said = f"{said}\n\n- Load before the run {busy}.\n{description('torch', 'diffusers')}"
    print(said)
    if options.write:
        put(README, "redraw", kind(), said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
