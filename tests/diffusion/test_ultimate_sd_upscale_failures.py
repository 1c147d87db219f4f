"""Requests to Ultimate SD Upscale that fail, or would: inputs, memory, values that are not finite, cancels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from diffusion.jobs import USUAL, Cancelled, Job, cancelled_at

from upscaling.diffusion import img2img, work
from upscaling.diffusion.crops import check_sampled
from upscaling.diffusion.enlarging import enlarged
from upscaling.diffusion.img2img import Img2Img
from upscaling.diffusion.options import checked
from upscaling.diffusion.redraw import Picture
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Size

pytestmark = pytest.mark.usefixtures("in_fp32")


def refusal(call: Callable[[], object]) -> UpscalingError:
    with pytest.raises(UpscalingError) as raised:
        call()
    return raised.value


class OutOfMemory:
    """A UNet's stand-in for a GPU whose memory ends above a number of pictures at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        guided = img2img.guided

        def limited(*given: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
            denoise = guided(*given)

            def checked_denoise(latents: torch.Tensor, sigma: float) -> torch.Tensor:
                self.asked.append(len(latents))
                if len(latents) > self.most:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return denoise(latents, sigma)

            return checked_denoise

        monkeypatch.setattr(img2img, "guided", limited)


def test_a_batch_that_does_not_fit_is_halved_with_the_same_result(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"size": Size(264, 48), "mode_type": "Chess", "batch_size": 4}
    expected = job.pixels(**changes)
    memory = OutOfMemory(most=2)
    memory.install(monkeypatch)
    found = job.pixels(**changes)
    assert memory.asked == [3, 1, 2, 2]
    assert job.progress.figures["retries"] == 1
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert job.progress.share == pytest.approx(1)


def test_a_batch_that_did_not_fit_is_not_tried_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def limited(_: Img2Img, pictures: Picture, *__: object) -> Picture:
        asked.append(len(pictures))
        if len(pictures) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return pictures

    monkeypatch.setattr(Img2Img, "_redrawn", limited)
    for _ in range(2):  # each request finds out by itself
        job.pixels(size=Size(264, 48), mode_type="Chess", batch_size=4)
        assert job.progress.figures["retries"] == 2
    assert asked == [3, 1, 2, 1, 1, 1, 1] * 2


def test_retries_of_the_upscaler_are_counted(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(*given: Any) -> Image:
        *_, progress = given
        progress.count("retries", 2)
        return enlarged(*given)

    monkeypatch.setattr(work, "enlarged", counting)
    job.pixels()
    assert job.progress.figures["retries"] == 2
    assert job.progress.figures["tiles"] == 2


def test_a_tile_that_does_not_fit_is_an_error_that_says_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    OutOfMemory(most=0).install(monkeypatch)
    error = refusal(job.pixels)
    assert error.code is Code.MEMORY
    assert "tile" in error.message


def spoiled(monkeypatch: pytest.MonkeyPatch, dtypes: tuple[torch.dtype, ...]) -> None:
    """Has the denoiser give NaN where the networks have one of these types."""
    guided = img2img.guided

    def spoiling(unet: Any, *given: Any) -> Callable[[torch.Tensor, float], torch.Tensor]:
        denoise = guided(unet, *given)
        factor = torch.nan if unet.dtype in dtypes else 1.0
        return lambda latents, sigma: denoise(latents, sigma) * factor

    monkeypatch.setattr(img2img, "guided", spoiling)


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this CPU has no bf16")
def test_what_is_not_finite_is_computed_again_in_fp32(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(40, 24)  # the picture does not grow, so no other network is asked
    expected = job.pixels(size=size)
    monkeypatch.setenv("UPSCALING_DTYPE", "bfloat16")
    assert not np.array_equal(job.pixels(size=size), expected)
    spoiled(monkeypatch, (torch.bfloat16,))
    assert np.array_equal(job.pixels(size=size), expected)
    figures = {name: job.progress.figures[name] for name in ("dtype", "retries", "tiles")}
    assert figures == {"dtype": "float32", "retries": 1, "tiles": 1}


def test_what_is_never_finite_is_no_picture(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(monkeypatch, (torch.float32,))
    assert refusal(job.pixels).code is Code.NONFINITE


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_the_decoder_does_not_give_finite_is_no_picture(
    job: Job, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    forward = Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda *given: forward(*given).index_fill(3, torch.tensor([5]), value))
    assert refusal(job.pixels).code is Code.NONFINITE


def test_a_cancel_comes_through_within_a_step(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = cancelled_at(3, monkeypatch)
    with pytest.raises(Cancelled):
        job.pixels(steps=20)
    assert len(steps) == 3
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"upscale_by": 4.5}, "upscale_by is 4.5; take 0.05 to 4."),
        ({"upscale_by": 0.04}, "upscale_by is 0.04; take 0.05 to 4."),
        ({"upscale_by": float("nan")}, "upscale_by is nan; take 0.05 to 4."),
        ({"controlnet_strength": -0.1}, "controlnet_strength is -0.1; take 0 to 10."),
        ({"seed": -1}, "seed is -1; take 0 to 18446744073709551615."),
        ({"seed": 1.5}, "seed is 1.5; take a whole number."),
        ({"steps": 0}, "steps is 0; take 1 to 10000."),
        ({"steps": 10_001}, "steps is 10001; take 1 to 10000."),
        ({"cfg": 101}, "cfg is 101; take 0 to 100."),
        ({"denoise": 1.1}, "denoise is 1.1; take 0 to 1."),
        ({"seam_fix_denoise": -1}, "seam_fix_denoise is -1; take 0 to 1."),
        ({"tile_width": 63}, "tile_width is 63; take 64 to 8192."),
        ({"tile_height": 8193}, "tile_height is 8193; take 64 to 8192."),
        ({"mask_blur": 65}, "mask_blur is 65; take 0 to 64."),
        ({"tile_padding": -1}, "tile_padding is -1; take 0 to 8192."),
        ({"seam_fix_width": 8193}, "seam_fix_width is 8193; take 0 to 8192."),
        ({"seam_fix_mask_blur": 65}, "seam_fix_mask_blur is 65; take 0 to 64."),
        ({"seam_fix_padding": -1}, "seam_fix_padding is -1; take 0 to 8192."),
        ({"batch_size": 65}, "batch_size is 65; take 0 to 64."),
        ({"clip_skip": 13}, "clip_skip is 13; take 1 to 12."),
        ({"tile_size": 31}, "tile_size is 31; take 0 for automatic, or 32 to 2048 pixels."),
        ({"mode_type": "Spiral"}, "mode_type is 'Spiral'; take one of Linear, Chess, None."),
        ({"seam_fix_mode": "none"}, "seam_fix_mode is 'none'; take one of None, Band Pass,"),
        ({"upscaler": "Deliberate_v2"}, "upscaler is 'Deliberate_v2'; take one of 4x_NMKD-Siax_200k,"),
        ({"color_fix": "hue"}, "color_fix is 'hue'; take one of none, wavelet, adain."),
        ({"use_controlnet_tile": 1}, "use_controlnet_tile is 1; take true or false."),
        ({"positive_prompt": 5}, "positive_prompt is 5; take a text."),
        ({"negative_prompt": "a" * 100_001}, "negative_prompt has 100001 characters; take 100000 at most."),
        ({"sampler_name": "dpmpp"}, "'dpmpp'"),
        ({"sampler_name": "plms"}, "'plms'"),
        ({"scheduler": "beta"}, "'beta'"),
        ({"checkpoint": "sdxl"}, "there is no checkpoint 'sdxl'; there are Deliberate_v2,"),
        ({"loras": "no-such-lora:1"}, "there is no lora 'no-such-lora'; there are lcm-lora-sdv1-5,"),
        ({"loras": "lcm-lora-sdv1-5:much"}, "loras holds 'lcm-lora-sdv1-5:much'; write name:weight"),
        ({"loras": "lcm-lora-sdv1-5:inf"}, "loras holds 'lcm-lora-sdv1-5:inf'; write name:weight"),
        ({"positive_prompt": "embedding:nothing"}, "the prompt names the embedding 'nothing'"),
        ({"positive_prompt": "(a:nan)"}, "weight"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_invalid_inputs_are_refused_with_their_limits(job: Job, changes: dict[str, Any], told: str) -> None:
    # Nothing of the picture is computed before: the call itself refuses, or the first row does before it is enlarged.
    error = refusal(lambda: next(next(job.attempts(**changes))))
    assert error.code is Code.INPUT
    assert told in error.message
    assert job.progress.share == 0


@pytest.mark.parametrize("changes", [{"mode_type": "None"}, {"denoise": 0}, {"steps": 3}], ids=str)
@pytest.mark.parametrize("loras", ["no-such-lora:0", "lcm-lora-sdv1-5:1, no-such-lora:1"])
def test_names_are_checked_whether_or_not_they_are_needed(job: Job, changes: dict[str, Any], loras: str) -> None:
    error = refusal(lambda: job.attempts(loras=loras, **changes))
    assert error.code is Code.INPUT
    assert "there is no lora 'no-such-lora'; there are lcm-lora-sdv1-5," in error.message


@pytest.mark.parametrize("uniform", [True, False])
def test_tiles_that_would_be_sampled_too_large_are_refused_with_the_limit(job: Job, uniform: bool) -> None:
    changes: dict[str, Any] = {"tile_width": 8192, "tile_height": 8192, "force_uniform_tiles": uniform}
    if not uniform:
        assert job.pixels(**changes).shape == (48, 88, 3)  # what is sampled is no larger than the picture
        return
    error = refusal(lambda: job.pixels(**changes))
    assert error.code is Code.TOO_LARGE
    assert "redrawn at 8208×8208 pixels, 67.4 megapixels; the limit is 18." in error.message
    assert job.progress.share == 0
    assert job.pixels(denoise=0, **changes).shape == (48, 88, 3)  # nothing is sampled


def test_a_tile_of_4096_pixels_may_be_sampled() -> None:
    layout = replace(USUAL, tile_width=4096, tile_height=4096, tile_padding=32, force_uniform_tiles=False).layout
    canvas = Size(3 * 4096, 3 * 4096)
    check_sampled(layout.tiles(canvas))
    assert max(crop.size for crop in layout.tiles(canvas)) == (4160, 4160)


@pytest.mark.parametrize("denoise", [1e-320, 1e-300])
def test_the_smallest_denoise_is_no_failure(job: Job, denoise: float) -> None:
    changes: dict[str, Any] = {"seam_fix_mode": "Half Tile", "seam_fix_denoise": denoise}
    assert job.pixels(denoise=denoise, **changes).shape == (48, 88, 3)


@pytest.mark.parametrize("steps", [16.0, 16])
def test_whole_numbers_may_come_as_floats(steps: float) -> None:
    options = checked(replace(USUAL, steps=steps, tile_width=64.0, seed=3.0))
    assert (options.steps, options.tile_width, options.seed) == (16, 64, 3)
    assert all(isinstance(value, int) for value in (options.steps, options.tile_width, options.seed))
