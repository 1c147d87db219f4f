"""Requests to Ultimate SD Upscale, with tiny networks of the real classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tiny_pipeline
from images.samples import noise
from numpy.typing import NDArray

from upscaling.diffusion.options import Options, checked
from upscaling.diffusion.ultimate_sd_upscale import work
from upscaling.images import Image, Size, collect
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.progress import Progress

USUAL = Options(
    positive_prompt="a (cat:1.2)",
    negative_prompt="blurry",
    upscaler="RealESRGAN_x4plus",
    upscale_by=2,
    use_controlnet_tile=True,
    controlnet_strength=1,
    seed=7,
    steps=1,
    cfg=8,
    sampler_name="euler",
    scheduler="normal",
    denoise=0.5,
    mode_type="Linear",
    tile_width=64,
    tile_height=64,
    mask_blur=4,
    tile_padding=16,
    seam_fix_mode="None",
    seam_fix_denoise=1,
    seam_fix_width=32,
    seam_fix_mask_blur=4,
    seam_fix_padding=8,
    force_uniform_tiles=True,
    checkpoint="Deliberate_v2",
    batch_size=0,
    color_fix="none",
    clip_skip=1,
    loras="",
    tile_size=0,
)
PICTURE = Image(noise(26, 45, 3))
SIZE = Size(88, 48)


class Job:
    """Runs requests with networks that stay loaded, and keeps the figures of the last."""

    def __init__(self, folder: Path) -> None:
        self.library = tiny_pipeline.library(folder)
        self.upscalers = tiny_pipeline.upscalers(folder)
        self.progress = Progress()

    def attempts(
        self, picture: Image = PICTURE, size: Size = SIZE, mask: Image | None = None, **changes: Any
    ) -> Iterator[Any]:
        self.progress = Progress()
        options = checked(replace(USUAL, **changes))
        return work(options, mask, self.upscalers, self.library)(picture, size, self.progress)

    def result(self, picture: Image = PICTURE, size: Size = SIZE, mask: Image | None = None, **changes: Any) -> Image:
        attempts = self.attempts(picture, size, mask, **changes)
        return first_finite(attempts, lambda rows: collect(picture, size, rows))

    @cached_property
    def usual(self) -> NDArray[np.uint8]:
        """The result of the usual request."""
        return self.pixels()

    def pixels(self, **changes: Any) -> NDArray[np.uint8]:
        return self.result(**changes).pixels
