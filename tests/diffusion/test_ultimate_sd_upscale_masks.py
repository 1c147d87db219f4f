"""Requests to Ultimate SD Upscale with a mask, and whose colours are fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diffusion.jobs import PICTURE, Job

from upscaling.diffusion import pictures
from upscaling.diffusion import work as work_of_redraws
from upscaling.diffusion.colour_fix import fix_colours
from upscaling.diffusion.img2img import Img2Img
from upscaling.diffusion.redraw import Picture
from upscaling.errors import UpscalingError
from upscaling.images import Image, Size

pytestmark = pytest.mark.usefixtures("in_fp32")


def test_masks_in_colour_and_16_bit_are_as_bright_as_they_look(job: Job) -> None:
    grey = np.zeros((6, 11, 1), np.uint8)
    grey[2:4, 3:8] = 255
    expected = job.pixels(mask=Image(grey))
    assert np.array_equal(job.pixels(mask=Image(grey.repeat(3, axis=2))), expected)
    assert np.array_equal(job.pixels(mask=Image(grey.astype(np.uint16) * np.uint16(257))), expected)


@pytest.mark.parametrize("color_fix", ["wavelet", "adain"])
def test_colours_are_moved_by_the_opacity_of_the_mask(
    job: Job, monkeypatch: pytest.MonkeyPatch, color_fix: str
) -> None:
    def tinted(self: Img2Img, pictures: Picture, *_: object) -> Picture:
        return np.clip(pictures.astype(int) + 60, 0, 255).astype(np.uint8)

    monkeypatch.setattr(Img2Img, "_redrawn", tinted)
    flat, size = Image(np.full((40, 256, 3), 100, np.uint8)), Size(256, 40)
    mask = Image(np.tile(np.arange(256, dtype=np.uint8), (40, 1))[..., None])
    changes: dict[str, Any] = {"picture": flat, "size": size, "mask": mask, "use_controlnet_tile": False}
    bare = job.result(**changes).pixels[20, :, 0].astype(int)
    fixed = job.result(**changes, color_fix=color_fix).pixels[20, :, 0].astype(int)
    assert bare[-1] > 140
    assert fixed[0] == bare[0] == 100
    moved = (bare - fixed)[32:224]
    whole = bare[-1] - fixed[-1]
    assert whole > 10
    # Never more than the mask lets through of the largest move.
    assert (moved <= np.ceil(np.arange(32, 224) / 255 * max(whole, bare[-1] - 100)) + 1).all()
    assert moved[:8].max() < whole / 2


def test_colours_that_no_one_sees_do_not_count_for_adain(job: Job) -> None:
    alpha = np.full((26, 45), 255, np.uint8)
    alpha[:, 30:] = 0
    seen: list[Any] = []
    fix = fix_colours

    def watched(method: str, redrawn: Picture, source: Picture, only: object, alpha: Any) -> Picture:
        seen.append(alpha)
        return fix(method, redrawn, source, None, alpha)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work_of_redraws, "fix_colours", watched)
        job.result(replace(PICTURE, alpha=alpha), color_fix="adain")
    (found,) = seen
    assert found.shape == (48, 88)
    assert (found[:, 70:] == 0).all()


def test_a_mask_whose_luma_memory_has_no_room_for_is_a_coded_error(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_: Image) -> Image:
        raise MemoryError

    monkeypatch.setattr(pictures, "in_grey", out_of_memory)
    with pytest.raises(UpscalingError, match="E_MEMORY: memory ran out for the picture mask"):
        job.attempts(mask=PICTURE)
