"""Requests to Ultimate SD Upscale and models like it, with tiny networks of the real classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipeline
import torch
from images.samples import noise
from local_server import ROOT
from numpy.typing import NDArray

from upscaling.diffusion import controlnet_tile, img2img
from upscaling.diffusion.options import Options, checked
from upscaling.diffusion.ultimate_sd_upscale import work
from upscaling.diffusion.work import Work
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

    model = tiny_pipeline.MODEL
    picture, size = PICTURE, SIZE

    def __init__(self, folder: Path) -> None:
        self.library = tiny_pipeline.library(folder, self.model)
        self.upscalers = tiny_pipeline.upscalers(folder, self.model)
        self.progress = Progress()

    def work(self, mask: Image | None, changes: dict[str, Any]) -> Work:
        """The work of the usual request with changes."""
        return work(checked(replace(USUAL, **changes)), mask, self.upscalers, self.library)

    def attempts(
        self, picture: Image | None = None, size: Size | None = None, mask: Image | None = None, **changes: Any
    ) -> Iterator[Any]:
        self.progress = Progress()
        return self.work(mask, changes)(picture or self.picture, size or self.size, self.progress)

    def result(
        self, picture: Image | None = None, size: Size | None = None, mask: Image | None = None, **changes: Any
    ) -> Image:
        attempts = self.attempts(picture, size, mask, **changes)
        return first_finite(attempts, lambda rows: collect(picture or self.picture, size or self.size, rows))

    @cached_property
    def usual(self) -> NDArray[np.uint8]:
        """The result of the usual request."""
        return self.pixels()

    def pixels(self, **changes: Any) -> NDArray[np.uint8]:
        return self.result(**changes).pixels


TILE_MODEL = "controlnet-tile"
_DECLARED = json.loads((ROOT / "models" / TILE_MODEL / "openapi.json").read_text())["components"]["schemas"]["Input"]
USUAL_TILES = controlnet_tile.Options(
    **{field.name: _DECLARED["properties"][field.name]["default"] for field in fields(controlnet_tile.Options)}
    | {"prompt": "a (cat:1.2)", "seed": 7, "upscaler": "Lanczos"}
)
"""The hosted defaults, but for these."""


class TileJob(Job):
    """The same for ControlNet tile."""

    model = TILE_MODEL
    picture, size = Image(noise(52, 70, 3)), Size(139, 101)

    def work(self, mask: Image | None, changes: dict[str, Any]) -> Work:
        options = controlnet_tile.checked(replace(USUAL_TILES, **changes))
        return controlnet_tile.work(options, mask, self.upscalers, self.library)


class Cancelled(BaseException):
    """What Cog raises in a request, in tests."""


def cancelled_at(step: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Cancels requests at a denoising step; returns the sigmas of the steps that were begun, as they come."""
    steps: list[float] = []
    guided = img2img.guided

    def cancelling(*given: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
        denoise = guided(*given)

        def begun(latents: torch.Tensor, sigma: float) -> torch.Tensor:
            steps.append(sigma)
            if len(steps) == step:
                raise Cancelled
            return denoise(latents, sigma)

        return begun

    monkeypatch.setattr(img2img, "guided", cancelling)
    return steps
