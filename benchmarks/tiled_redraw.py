"""A picture redrawn tile by tile, beside diffusers' pipeline for each tile; written to benchmarks/README.md.

Usage: python benchmarks/tiled_redraw.py ultimate-sd-upscale [--steps 3] [--pairs 2] [--no-write]

A picture of 512×512 that is enlarged to 1024×1024 is redrawn in tiles of 512 pixels, with two prompts, a ControlNet
and a denoise of 0.2. Networks are of Stable Diffusion 1.5's size with random weights. A job of 20 steps takes minutes,
so in each round all contenders redraw one tile with fewer steps: the time outside of the steps stays as it is, that of
the steps is scaled, and all tiles take as long as this one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diffusion import Set, compared, made, pipeline_of, timed
from machine import description, kind, load
from PIL import Image
from report import README, put

from upscaling.diffusion.crops import Crop
from upscaling.diffusion.guidance import Guidance
from upscaling.diffusion.hints import parts_of
from upscaling.diffusion.img2img import Hint, Img2Img
from upscaling.diffusion.layout import Layout
from upscaling.diffusion.load import CONTROLNET, UNET, VAE
from upscaling.diffusion.patches import Order, SeamFix
from upscaling.diffusion.redraw import Picture, RedrawBatch, redraw
from upscaling.diffusion.samplers import sampler
from upscaling.diffusion.sigmas import sigmas
from upscaling.images import Size
from upscaling.runtime.device import choose_device, choose_dtype
from upscaling.runtime.memory import keep_freed_memory

_SIZE, _FACTOR, _DENOISE, _CFG, _USUAL_STEPS = 512, 2, 0.2, 8.0, 20
_LAYOUT = Layout(Order.LINEAR, Size(512, 512), 32, 8, SeamFix.NONE, 64, 16, 8, uniform=True)
_TILES = _LAYOUT.tiles(Size(_SIZE * _FACTOR, _SIZE * _FACTOR))
_OURS = "ours"


@dataclass
class Clock:
    """When each denoising step of a tile ended: between these ends only the networks run."""

    ends: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.ends.clear()

    def step(self) -> None:
        self.ends.append(perf_counter())

    def seconds_a_step(self) -> float:
        return mean(after - before for before, after in pairwise(self.ends))


def ours(networks: Set, picture: Picture, text: torch.Tensor, steps: int, clock: Clock) -> RedrawBatch:
    """Our redraw of a tile."""
    schedule = sigmas("normal", steps, _DENOISE, "euler")
    hint = Hint(networks.controlnet, 1.0, parts_of(picture, Size(_SIZE * _FACTOR, _SIZE * _FACTOR)))
    made = Img2Img(networks.unet, networks.vae, Guidance(text, text, _CFG), [hint], sampler("euler"), 0, lambda: None)
    batch = made.at(schedule)

    def run(pictures: Picture, crops: Sequence[Crop], _: Callable[[float], None]) -> Picture:
        clock.start()
        return batch(pictures, crops, lambda share: clock.step())

    return run


def published(networks: Set, picture: Picture, text: torch.Tensor, steps: int, clock: Clock) -> RedrawBatch:
    """diffusers' pipeline, given a tile and the same part of the picture as hint."""
    pipeline = pipeline_of(networks)
    text = text.to(networks.unet.dtype)

    def ended(_: object, __: int, ___: object, values: dict[str, Any]) -> dict[str, Any]:
        clock.step()
        return values

    def run(pictures: Picture, crops: Sequence[Crop], _: Callable[[float], None]) -> Picture:
        clock.start()
        box = [side // _FACTOR for side in crops[0].box.corners]
        hint = Image.fromarray(picture).crop((box[0], box[1], box[2], box[3])).resize(crops[0].size, Image.NEAREST)
        # Its number of steps is of the whole schedule, of which it takes the last `strength`.
        result = pipeline(
            prompt_embeds=text, negative_prompt_embeds=text, image=Image.fromarray(pictures[0]), control_image=hint,
            strength=_DENOISE, num_inference_steps=round(steps / _DENOISE), guidance_scale=_CFG, output_type="pil",
            callback_on_step_end=ended,
        )  # fmt: skip
        return np.asarray(result.images[0])[np.newaxis]

    return run


def job_seconds(networks: Set, contender: Callable[..., RedrawBatch], steps: int) -> Callable[[], float]:
    """The seconds of a whole job, computed from a tile's; each call redraws the next tile."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (_SIZE, _SIZE, 3), np.uint8)
    canvas = np.asarray(Image.fromarray(picture).resize((_SIZE * _FACTOR,) * 2, Image.LANCZOS)).copy()
    text = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(0))
    clock = Clock()
    redraw_batch = contender(networks, picture, text, steps, clock)
    tiles = cycle(_TILES)

    def run() -> float:
        whole = timed(lambda: redraw(canvas.copy(), [next(tiles)], redraw_batch, 1, lambda share: None))
        return len(_TILES) * (whole + (_USUAL_STEPS - steps) * clock.seconds_a_step())

    return run


def main(arguments: list[str]) -> int:
    dtype = choose_dtype(choose_device())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["ultimate-sd-upscale"])
    parser.add_argument("--steps", type=int, default=3, help="denoising steps that are run, at least 2")
    parser.add_argument("--pairs", type=int, default=2, help="rounds that are measured")
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    busy = load()
    base = Set(made(UNET), made(CONTROLNET), made(VAE))
    runs = {
        _OURS: job_seconds(base.ours(dtype), ours, options.steps),
        "diffusers-float32": job_seconds(base, published, options.steps),
    }
    name = str(dtype).removeprefix("torch.")
    if dtype is not torch.float32:
        runs[f"diffusers-{name}"] = job_seconds(base.changed(dtype=dtype), published, options.steps)
    measured = (
        f"Seconds of a job: a picture of {_SIZE}×{_SIZE}, enlarged by {_FACTOR} and redrawn in {len(_TILES)} tiles with"
        f" {_USUAL_STEPS} steps and a denoise of {_DENOISE}; the enlargement is not timed. They are computed from a"
        f" tile with {options.steps} steps, another one in each round; ours in {name}.\n\n"
        f"{compared(runs, options.pairs)}\n\n- Load before the run {busy}.\n{description('torch', 'diffusers')}"
    )
    print(measured)
    if options.write:
        put(README, "diffusion redraw", kind(), measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
