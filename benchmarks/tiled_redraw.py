"""A picture redrawn tile by tile, beside diffusers' pipeline for each tile; written to benchmarks/README.md.

Usage: python benchmarks/tiled_redraw.py ultimate-sd-upscale [--steps 2] [--contenders ours] [--no-write]

A picture of 512×512 that is enlarged to 1024×1024 is redrawn in tiles of 512 pixels, with two prompts, a ControlNet
and a denoise of 0.2. Networks are of Stable Diffusion 1.5's size with random weights. A job of 20 steps takes minutes,
so fewer are run: the time outside of the steps stays as it is, that of the steps is scaled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diffusion import Set, made, pipeline_of
from machine import description, kind, load
from PIL import Image
from report import README, put, table

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
_OURS = "ours"


@dataclass
class Clock:
    """When each denoising step ended, tile by tile: between these ends only the networks run."""

    ends: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    """Seconds from one end to the next."""

    def tile(self) -> None:
        self.ends.clear()

    def step(self) -> None:
        self.ends.append(perf_counter())
        if len(self.ends) > 1:
            self.steps.append(self.ends[-1] - self.ends[-2])


def ours(networks: Set, picture: Picture, text: torch.Tensor, steps: int, clock: Clock) -> RedrawBatch:
    """Our redraw of a tile."""
    schedule = sigmas("normal", steps, _DENOISE, "euler")
    hint = Hint(networks.controlnet, 1.0, parts_of(picture, Size(_SIZE * _FACTOR, _SIZE * _FACTOR)))
    made = Img2Img(networks.unet, networks.vae, Guidance(text, text, _CFG), [hint], sampler("euler"), 0, lambda: None)
    batch = made.at(schedule)

    def run(pictures: Picture, crops: Sequence[Crop], _: Callable[[float], None]) -> Picture:
        clock.tile()
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
        clock.tile()
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


def main(arguments: list[str]) -> int:
    dtype = choose_dtype(choose_device())
    same = f"diffusers-{str(dtype).removeprefix('torch.')}"
    names = list(dict.fromkeys([_OURS, "diffusers-float32", same]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["ultimate-sd-upscale"])
    parser.add_argument("--steps", type=int, default=2, help="denoising steps that are run, at least 2")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--no-write", dest="write", action="store_false", help="prints only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    busy = load()
    base = Set(made(UNET), made(CONTROLNET), made(VAE))
    rows: list[tuple[str, float, float]] = []
    for name in options.contenders:
        match name:
            case "ours":
                networks, contender = base.ours(dtype), ours
            case "diffusers-float32":
                networks, contender = base, published
            case _:
                networks, contender = base.changed(dtype=dtype), published
        rows.append((name, *_seconds(networks, contender, options.steps)))
    measured = _report(rows, options.steps) + f"\n\n- Load before the run {busy}.\n{description('torch', 'diffusers')}"
    print(measured)
    if options.write:
        put(README, "diffusion redraw", kind(), measured)
    return 0


def _seconds(networks: Set, contender: Callable[..., RedrawBatch], steps: int) -> tuple[float, float]:
    """Seconds outside of the denoising steps of all tiles, and those of a step of one tile."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (_SIZE, _SIZE, 3), np.uint8)
    canvas = np.asarray(Image.fromarray(picture).resize((_SIZE * _FACTOR,) * 2, Image.LANCZOS)).copy()
    text = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(0))
    crops = _LAYOUT.tiles(Size(canvas.shape[1], canvas.shape[0]))
    clock = Clock()
    redraw_batch = contender(networks, picture, text, steps, clock)
    redraw(canvas.copy(), crops[:1], redraw_batch, 1, lambda share: None)
    clock.steps.clear()
    begun = perf_counter()
    redraw(canvas, crops, redraw_batch, 1, lambda share: None)
    whole = perf_counter() - begun
    step = sum(clock.steps) / len(clock.steps)
    return whole - step * steps * len(crops), step


def _report(rows: Sequence[tuple[str, float, float]], steps: int) -> str:
    tiles = len(_LAYOUT.tiles(Size(_SIZE * _FACTOR, _SIZE * _FACTOR)))
    jobs = [outside + _USUAL_STEPS * tiles * step for _, outside, step in rows]
    listed = [
        [name, f"{job:.0f}", f"{job / jobs[0]:.2f}", f"{step:.2f}", f"{outside:.1f}"]
        for (name, outside, step), job in zip(rows, jobs, strict=True)
    ]
    head = ["contender", f"seconds, {_USUAL_STEPS} steps", f"÷ {rows[0][0]}", "a tile's step", "outside of the steps"]
    return (
        f"A picture of {_SIZE}×{_SIZE}, enlarged by {_FACTOR} and redrawn in {tiles} tiles with a denoise of"
        f" {_DENOISE}; the enlargement is not timed. Each contender ran all tiles once, with {steps} steps; the seconds"
        f" of {_USUAL_STEPS} are computed from these.\n\n{table(head, listed)}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
