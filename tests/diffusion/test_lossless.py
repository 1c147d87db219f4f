"""Redraws whose networks lose and change nothing: what is left of the picture is what geometry and arithmetic do."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from diffusion.jobs import Job
from numpy.typing import NDArray
from toy_denoiser import Lossless

from upscaling.diffusion.patches import Order, SeamFix
from upscaling.images import Image, Size

pytestmark = pytest.mark.usefixtures("in_fp32")

EVERY_MODE = list(product(Order, SeamFix, (True, False)))


def smooth(size: Size) -> NDArray[np.uint8]:
    """A picture that survives being resized: it changes by a level in six pixels at most."""
    y, x = np.mgrid[0 : size.height, 0 : size.width]
    waves = [np.sin(x / 900 + y / 700 + channel) for channel in range(3)]
    return np.rint(128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize(("mode", "seam_fix", "uniform"), EVERY_MODE, ids=lambda value: str(value))
def test_the_enlarged_picture_stays_as_it_is(
    job: Job, monkeypatch: pytest.MonkeyPatch, mode: Order, seam_fix: SeamFix, uniform: bool
) -> None:
    Lossless().install(monkeypatch)
    picture, size = Image(smooth(Size(211, 163))), Size(173, 131)  # it does not grow, so no other network changes it
    changes = {"force_uniform_tiles": uniform, "tile_height": 72, "steps": 2, "batch_size": 3}
    expected = job.result(picture, size, mode_type="None").pixels.astype(int)
    found = job.result(picture, size, mode_type=mode, seam_fix_mode=seam_fix, **changes)
    assert bool(job.progress.figures["tiles"]) == (mode is not Order.NONE or seam_fix is not SeamFix.NONE)
    assert np.abs(found.pixels - expected).max() <= 1


@pytest.mark.parametrize("sampler_name", ["euler", "euler_ancestral", "dpmpp_2m", "lcm"])
def test_noise_goes_without_a_trace_where_crops_keep_their_size(
    job: Job, monkeypatch: pytest.MonkeyPatch, sampler_name: str
) -> None:
    Lossless().install(monkeypatch)
    size = Size(176, 128)
    picture = Image(np.random.default_rng(3).integers(0, 256, (128, 176, 3), dtype=np.uint8))
    changes = {"force_uniform_tiles": False, "steps": 3, "denoise": 0.9, "sampler_name": sampler_name}
    found = job.result(picture, size, seam_fix_mode="Half Tile", **changes)
    assert job.progress.figures["tiles"] > 6
    assert np.abs(found.pixels.astype(int) - picture.pixels).max() <= 1
