"""ControlNet tile from a picture to rows, with tiny networks of the real classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diffusion.jobs import USUAL_TILES, Cancelled, Job, TileJob, cancelled_at
from images.samples import noise
from numpy.typing import NDArray

from upscaling.diffusion.controlnet_tile import CONTROLNET, passes
from upscaling.diffusion.crops import Crop
from upscaling.diffusion.img2img import Img2Img
from upscaling.diffusion.pictures import continued
from upscaling.diffusion.redraw import Picture
from upscaling.diffusion.sigmas import TABLE
from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Size, collect
from upscaling.images.resampling import resized

PICTURE, SIZE = TileJob.picture, TileJob.size
USUAL = USUAL_TILES
SECONDS = ("seconds_loading", "seconds_enlarging", "seconds_redrawing")
pytestmark = pytest.mark.usefixtures("in_fp32")


@pytest.fixture
def job(tile_job: TileJob) -> Job:
    return tile_job


def enlarged(picture: Image, size: Size) -> NDArray[np.uint8]:
    return collect(picture, size, resized(picture, size)).pixels


def unchanged(pictures: Picture, crops: Sequence[Crop], reach: Callable[[float], None]) -> Picture:
    return pictures


@pytest.fixture
def redrawing_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Img2Img, "at", lambda self, sigmas: unchanged)


def test_the_same_seed_gives_the_same_picture_and_another_another(job: Job) -> None:
    first, again, other = job.pixels(seed=1), job.pixels(seed=1), job.pixels(seed=2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_random_seed_is_reported_and_gives_the_picture_again(job: Job) -> None:
    first = job.pixels(seed=None)
    assert np.array_equal(first, job.pixels(seed=job.progress.figures["seed"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"prompt": "a (cat:1.2) <lora:SDXLrender_v2.0:3>"},
        {"prompt": ""},
        {"resemblance": 0.3},
        {"creativity": 0.6},
        {"hdr": 0.7},
        {"scheduler": "K_EULER_ANCESTRAL"},
        {"scheduler": "DPMSolverMultistep"},
        {"scheduler": "K_EULER"},
        {"steps": 12},
        {"guidance_scale": 4},
        {"guess_mode": True},
        {"lora_sharpness_strength": -3},
        {"lora_details_strength": 3},
        {"redraw_tile_size": 256},
        {"structure": "canny"},
        {"structure": "lineart"},
        {"color_fix": "wavelet"},
        {"checkpoint": "stable-diffusion-v1-5"},
        {"upscaler": "RealESRGAN_x4plus"},
        {"upscaler": "automatic"},
    ],
    ids=str,
)
def test_every_input_matters(job: Job, changes: dict[str, Any]) -> None:
    assert not np.array_equal(job.pixels(**changes), job.usual)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"guidance_scale": 4, "negative_prompt": ""}, {"guidance_scale": 4, "negative_prompt": "blurry"}),
        ({"structure": "canny", "structure_strength": 0.5}, {"structure": "canny", "structure_strength": 2}),
    ],
)
def test_inputs_that_need_others_matter(job: Job, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert not np.array_equal(job.pixels(**first), job.pixels(**second))


@pytest.mark.parametrize("changes", [{"guidance_scale": 1}, {"negative_prompt": "blurry"}, {"structure_strength": 2}])
def test_inputs_that_need_others_do_nothing_alone(job: Job, changes: dict[str, Any]) -> None:
    assert np.array_equal(job.pixels(**changes), job.usual)


@pytest.mark.parametrize(
    ("guidance_scale", "scheduler", "loras", "sampler_name"),
    [
        (0, "DDIM", 1, "lcm"),  # the hosted defaults
        (1, "DDIM", 1, "lcm"),
        (0, "K_EULER", 1, "euler"),
        (0, "K_EULER_ANCESTRAL", 1, "euler_ancestral"),
        (0, "DPMSolverMultistep", 1, "dpmpp_2m"),
        (1.1, "DDIM", 0, "ddim"),  # as older versions of the hosted model call it
        (7, "K_EULER", 0, "euler"),
        (7, "DPMSolverMultistep", 0, "dpmpp_2m"),
    ],
)
def test_the_lcm_lora_is_on_where_guidance_is_off(
    job: Job, monkeypatch: pytest.MonkeyPatch, guidance_scale: float, scheduler: str, loras: int, sampler_name: str
) -> None:
    asked: list[Any] = []
    get = type(job.library).get
    monkeypatch.setattr(type(job.library), "get", lambda self, *given: (asked.append(given[3]), get(self, *given))[1])
    job.pixels(guidance_scale=guidance_scale, scheduler=scheduler, steps=8)
    assert asked == [[("lcm-lora-sdv1-5", loras), ("add_sharpness", 1.25), ("add_detail", 1), ("more_details", 1)]]
    assert job.progress.figures["sampler"] == sampler_name
    assert job.progress.figures["steps"] == 8


def test_schedules_are_those_of_diffusers() -> None:
    at = {round(sigma, 5): time for time, sigma in enumerate(TABLE.tolist())}

    def times(canvas: Size = SIZE, **changes: Any) -> list[list[int]]:
        asked = passes(replace(USUAL, **changes), canvas)
        return [[at[round(sigma, 5)] for sigma in each.schedule[:-1].tolist()] for each in asked]

    assert times() == [[259, 139], [259, 139]]
    assert times(creativity=0.1) == [[139], [259, 139]]  # at least one step
    assert times(creativity=1)[0] == [999, 879, 759, 639, 499, 379, 259, 139]
    assert times(steps=20, guidance_scale=7)[0] == [301, 251, 201, 151, 101, 51, 1]
    assert times(steps=30, guidance_scale=7, creativity=1)[0] == list(range(958, 0, -33))
    assert times(Size(3200, 2048))[1] == [139]


@pytest.mark.parametrize(
    ("size", "tiles", "parts"),
    [
        (Size(2048, 2048), 16, 1),
        (Size(3072, 2048), 24, 1),
        (Size(3840, 2560), 24, 4),
        (Size(2560, 2560), 16, 1),
        (Size(4096, 4096), 16, 4),
        (Size(16384, 4096), 64, 16),
        (Size(200, 100), 2, 1),
        (Size(8, 8), 1, 1),
    ],
)
def test_tiles_are_a_quarter_of_the_shorter_side(size: Size, tiles: int, parts: int) -> None:
    first, second = passes(USUAL, size)
    assert (len(first.crops), len(second.crops)) == (tiles, parts)
    assert first.without == ()
    assert second.without == (CONTROLNET,)
    assert max(max(crop.size) for crop in second.crops) <= 3104


@pytest.mark.parametrize("size", [Size(139, 101), Size(257, 131), Size(64, 301)])
@pytest.mark.usefixtures("redrawing_nothing")
def test_what_changes_nothing_leaves_the_enlarged_picture_at_odd_sizes(job: Job, size: Size) -> None:
    assert np.array_equal(job.pixels(size=size), enlarged(PICTURE, size))
    assert job.progress.share == pytest.approx(1)


@pytest.mark.parametrize(
    ("side", "network"), [(511, "RealESRGAN_x2plus"), (512, None)], ids=["small pictures", "other pictures"]
)
@pytest.mark.usefixtures("redrawing_nothing")
def test_a_network_enlarges(job: Job, monkeypatch: pytest.MonkeyPatch, side: int, network: str | None) -> None:
    asked: list[str] = []
    get = type(job.upscalers).get
    monkeypatch.setattr(type(job.upscalers), "get", lambda self, name: (asked.append(name), get(self, name))[1])
    picture = Image(np.zeros((side, 600, 3), np.uint8))
    job.result(picture, Size(90, 80), upscaler="automatic")
    assert asked == ([network] if network else [])


@pytest.mark.parametrize("changes", [{}, {"hdr": 1.0}, {"color_fix": "wavelet"}, {"color_fix": "adain"}], ids=str)
def test_nothing_is_redrawn_where_the_mask_is_black(job: Job, changes: dict[str, Any]) -> None:
    mask = np.zeros((101, 139, 1), np.uint8)
    mask[20:60, 30:90] = 255
    found, plain = job.pixels(mask=Image(mask), **changes), enlarged(PICTURE, SIZE)
    changed = (found != plain).any(axis=2)
    assert changed[28:52, 38:82].mean() > 0.9
    assert not changed[mask[..., 0] == 0].any()


def test_figures_and_progress_come_to_an_end(job: Job) -> None:
    job.pixels()
    assert job.progress.share == pytest.approx(1)
    seconds = {name: job.progress.figures.pop(name) for name in SECONDS}
    assert all(0 <= value < 60 for value in seconds.values())
    assert job.progress.figures == {
        "seed": 7, "steps": 8, "sampler": "lcm", "tiles": 3, "retries": 0, "device": "cpu", "dtype": "float32",
        "weights": "tiny",
    }  # fmt: skip


def test_grey_16_bit_and_alpha_come_out_as_they_went_in(job: Job) -> None:
    alpha = np.tile(np.linspace(0, 65535, 70).astype(np.uint16), (52, 1))
    found = job.result(Image(noise(52, 70, 1, bits=16), alpha))
    assert found.pixels.shape == (101, 139, 1)
    assert found.pixels.dtype == np.uint16
    assert found.alpha is not None
    assert len(np.unique(found.alpha)) > 100


def test_a_cancel_comes_through_within_a_step(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = cancelled_at(2, monkeypatch)
    with pytest.raises(Cancelled):
        job.pixels()
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"resolution": 1024}, "resolution is 1024; take 2048, 2560 or 4096."),
        ({"resemblance": 1.1}, "resemblance is 1.1; take 0 to 1."),
        ({"creativity": 0}, "creativity is 0; take 0.1 to 1."),
        ({"hdr": float("nan")}, "hdr is nan; take 0 to 1."),
        ({"scheduler": "PLMS"}, "scheduler is 'PLMS'; take one of DDIM, DPMSolverMultistep,"),
        ({"steps": 0}, "steps is 0; take 1 to 1000."),
        ({"steps": 51}, "steps is 51; take 1 to 50 with an LCM LoRA."),
        ({"steps": 1001, "guidance_scale": 7}, "steps is 1001; take 1 to 1000."),
        ({"guidance_scale": 31}, "guidance_scale is 31; take 0 to 30."),
        ({"seed": -1}, "seed is -1; take 0 to 18446744073709551615."),
        ({"guess_mode": 1}, "guess_mode is 1; take true or false."),
        ({"lora_sharpness_strength": 11}, "lora_sharpness_strength is 11; take -5 to 10."),
        ({"lora_details_strength": -6}, "lora_details_strength is -6; take -5 to 3."),
        ({"redraw_tile_size": 64}, "redraw_tile_size is 64; take 0 for automatic, or 128 to 2048."),
        ({"structure": "depth"}, "structure is 'depth'; take one of none, canny, lineart."),
        ({"structure_strength": 3}, "structure_strength is 3; take 0 to 2."),
        ({"color_fix": "hue"}, "color_fix is 'hue'; take one of none, wavelet, adain."),
        ({"checkpoint": "sdxl"}, "there is no checkpoint 'sdxl'; there are Realistic_Vision_V5.1,"),
        ({"upscaler": "4x-UltraSharp"}, "upscaler is '4x-UltraSharp'; take one of automatic, Lanczos,"),
        ({"tile_size": 31}, "tile_size is 31; take 0 for automatic, or 32 to 2048 pixels."),
        ({"prompt": 5}, "prompt is 5; take a text."),
        ({"prompt": "<lora:nothing:1>"}, "there is no lora 'nothing'; there are lcm-lora-sdv1-5, add_sharpness,"),
        ({"prompt": "<lora:add_detail:much>"}, "'much'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_invalid_inputs_are_refused_with_their_limits(job: Job, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UpscalingError) as raised:
        next(next(job.attempts(**changes)))
    assert raised.value.code is Code.INPUT
    assert told in raised.value.message
    assert job.progress.share == 0


@pytest.mark.parametrize("size", [Size(104, 72), Size(101, 67)])
def test_canvases_are_continued_by_their_edges(size: Size) -> None:
    picture = noise(size.height, size.width, 3)
    found = continued(picture, Size(104, 72))
    assert np.array_equal(found[: size.height, : size.width], picture)
    assert (found[:, size.width :] == found[:, size.width - 1 : size.width]).all()
    assert (found[size.height :] == found[size.height - 1]).all()
    assert (found is picture) == (size == Size(104, 72))
