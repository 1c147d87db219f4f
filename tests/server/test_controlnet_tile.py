"""ControlNet tile through the true server, with a tiny pipeline in its cache of weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipeline
from images.samples import file_of, noise, pillow, rgb_profile
from local_server import ROOT
from loopback import until
from servers import Client, content_of, data_url, opened, serving

from upscaling.diffusion.controlnet_tile import Options, checked, work
from upscaling.images import Image, Size, collect
from upscaling.runtime.progress import Progress

MODEL = "controlnet-tile"
PIXELS = noise(20, 30, 3)
PICTURE = data_url(file_of(pillow(PIXELS), "PNG"))
QUICK: dict[str, Any] = {"image": PICTURE, "seed": 5, "width": 61, "format": "png"}
NEGATIVE = (
    "teeth, tooth, open mouth, longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits,"
    " cropped, worst quality, low quality, mutant"
)
# Calls of the hosted model's versions as clients wrote them, oldest first; the oldest returned a list of PNGs.
CALLS = {
    "4af11083": {
        "prompt": "4k, enhance", "resolution": 2048, "resemblance": 0.5, "creativity": 0.5, "hdr": 0.2,
        "scheduler": "DDIM", "steps": 20, "guidance_scale": 7, "negative_prompt": NEGATIVE, "guess_mode": False,
    },
    "9bf6486b": {
        "prompt": "4k, enhance", "resolution": 2560, "resemblance": 0.85, "creativity": 0.35, "hdr": 0,
        "scheduler": "DDIM", "steps": 20, "guidance_scale": 7, "tile_size": 512, "lora_details_strength": 1.25,
        "lora_sharpness_strength": 4.5,
    },
    "640cfbd9": {
        "prompt": "4k, enhance", "resolution": 4096, "resemblance": 0.85, "creativity": 0.35, "hdr": 0,
        "scheduler": "DDIM", "steps": 8, "guidance_scale": 0, "tile_size": 768, "lora_details_strength": 1.25,
        "lora_sharpness_strength": 4.5, "guess_mode": False,
    },
    "de76bd93": {
        "prompt": "4k, enhance", "resolution": 4096, "steps": 8, "guidance_scale": 0, "tile_size": 768,
        "lora_details_strength": 1, "lora_sharpness_strength": 1.25, "format": "jpg",
    },
    "8e6a54d7": {
        "hdr": 0, "steps": 8, "prompt": "4k, enhance, high detail", "scheduler": "DDIM", "creativity": 0.4,
        "guess_mode": False, "resolution": 2560, "resemblance": 0.85, "guidance_scale": 0, "negative_prompt": NEGATIVE,
        "lora_details_strength": -0.25, "lora_sharpness_strength": 0.75, "format": "jpg",
    },
}  # fmt: skip
REFINER = {"resemblance": 0.75, "creativity": 0.25, "steps": 20, "guidance_scale": 7, "redraw_tile_size": 2048}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    tiny_pipeline.write_weights(folder, MODEL)
    return folder


@pytest.fixture(scope="module")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed, but for the size of its networks."""
    folder = tmp_path_factory.mktemp("server")
    # Two of the default LoRAs have no published checksum.
    with serving(MODEL, folder, cache, UPSCALING_DTYPE="float32", UNVERIFIED_WEIGHTS="1") as client:
        yield client


def declared() -> dict[str, Any]:
    schema = json.loads((ROOT / "models" / MODEL / "openapi.json").read_text())
    return schema["components"]["schemas"]["Input"]["properties"]


def test_the_result_is_that_of_the_package(server: Client, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", "float32")
    defaults = {field.name: declared()[field.name]["default"] for field in fields(Options)}
    options = checked(replace(Options(**defaults), prompt="", seed=5))
    given, size = Image(PIXELS), Size(61, 41)
    found = np.asarray(opened(server.output(**QUICK)))
    done = work(options, None, tiny_pipeline.upscalers(cache, MODEL), tiny_pipeline.library(cache, MODEL))
    expected = collect(given, size, next(done(given, size, Progress()))).pixels
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.01


@pytest.mark.parametrize("version", CALLS)
def test_calls_of_the_hosted_model_run_unchanged(server: Client, version: str) -> None:
    # Their sizes are tested without a server, since such pictures take minutes: here `width` makes them small.
    answer = server.predict(image=PICTURE, width=61, **CALLS[version])
    picture = opened(content_of(answer["output"]))
    assert picture.size == (61, 41)
    assert picture.format == "JPEG"
    assert answer["metrics"]["steps"] == CALLS[version]["steps"]
    assert answer["metrics"]["sampler"] == ("lcm" if CALLS[version]["guidance_scale"] == 0 else "ddim")


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, "2560×384000"), ({"resolution": 2048}, "2048×307200"), ({"resolution": 4096}, "4096×614400"),
        ({"resolution": 4096, "width": 3000}, "3000×450000"),
    ],
    ids=str,
)  # fmt: skip
def test_resolution_is_the_shorter_side_of_the_result(server: Client, inputs: dict[str, Any], size: str) -> None:
    # Such a result is refused before anything is computed, by its size.
    narrow = data_url(file_of(pillow(noise(1500, 10, 3)), "PNG"))
    assert f"would be {size}," in server.failure(image=narrow, **inputs)


def test_the_tile_size_of_older_calls_changes_no_pixel(server: Client) -> None:
    assert server.output(**QUICK, tile_size=512) == server.output(**QUICK)


def test_the_refiner_is_called_as_the_readme_says(server: Client) -> None:
    mask = np.zeros((20, 30, 1), np.uint8)
    mask[:, :15] = 255
    answer = server.predict(**(QUICK | {"width": 30, "mask": data_url(file_of(pillow(mask), "PNG"))} | REFINER))
    found = np.asarray(opened(content_of(answer["output"])))
    assert np.array_equal(found[:, 16:], PIXELS[:, 16:])
    assert (found[:, :14] != PIXELS[:, :14]).mean() > 0.5
    readme = (ROOT / "models" / MODEL / "README.md").read_text()
    assert all(f"{name}={value}" in readme for name, value in REFINER.items())


@pytest.mark.parametrize(
    ("inputs", "size"),
    [({"width": 47}, (47, 31)), ({"width": 33, "height": 5}, (33, 5)), ({"width": None, "height": 40}, (60, 40))],
)
def test_sizes(server: Client, inputs: dict[str, Any], size: tuple[int, int]) -> None:
    asked = {name: value for name, value in (QUICK | inputs).items() if value is not None}
    assert opened(server.output(**asked)).size == size


@pytest.mark.parametrize(
    "inputs",
    [
        {"prompt": "a (cat:1.3), [dog] BREAK <lora:add_detail:0.5>"}, {"resemblance": 0}, {"creativity": 1},
        {"hdr": 1}, {"scheduler": "DPMSolverMultistep"}, {"scheduler": "K_EULER_ANCESTRAL"},
        {"scheduler": "K_EULER"}, {"steps": 1}, {"guidance_scale": 30}, {"seed": 2**64 - 1}, {"negative_prompt": ""},
        {"guess_mode": True, "guidance_scale": 3}, {"lora_sharpness_strength": -5}, {"lora_details_strength": -5},
        {"redraw_tile_size": 128}, {"structure": "canny"}, {"structure": "lineart", "structure_strength": 2},
        {"color_fix": "wavelet"}, {"color_fix": "adain"}, {"checkpoint": "stable-diffusion-v1-5"},
        {"upscaler": "Lanczos"}, {"upscaler": "4x_NMKD-Siax_200k"}, {"tile_size": 32}, {"format": "jpg"},
        {"output_format": "webp", "output_quality": 80}, {"output_format": "png", "format": "jpg"},
    ],
    ids=str,
)  # fmt: skip
def test_every_input_is_taken(server: Client, inputs: dict[str, Any]) -> None:
    picture = opened(server.output(**(QUICK | inputs)))
    assert picture.size == (61, 41)
    expected = inputs.get("output_format") or inputs.get("format", "png")
    assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[expected]


def test_inputs_tested_are_all_that_there_are() -> None:
    tested = {"image", "width", "height", "mask", "resolution"}
    (marks,) = [mark for mark in test_every_input_is_taken.pytestmark if mark.name == "parametrize"]
    assert tested | {name for inputs in marks.args[1] for name in inputs} == set(declared())


def test_alpha_and_profile_are_kept(server: Client) -> None:
    image = data_url(file_of(pillow(noise(20, 30, 4)), "PNG", icc_profile=rgb_profile()))
    result = opened(server.output(**(QUICK | {"image": image})))
    assert result.mode == "RGBA"
    assert result.info.get("icc_profile") == rgb_profile()


def test_every_prediction_reports_its_figures(server: Client) -> None:
    metrics = server.predict(**QUICK)["metrics"]
    parts = ("decoding", "computing", "encoding", "loading", "enlarging", "redrawing")
    assert all(0 <= metrics.pop(f"seconds_{part}") < 60 for part in parts)
    assert 0 < metrics.pop("predict_time") < 60
    assert metrics == {
        "input_width": 30, "input_height": 20, "output_width": 61, "output_height": 41, "retries": 0,
        "device": "cpu", "dtype": "float32", "weights": "tiny", "seed": 5, "steps": 8, "sampler": "lcm", "tiles": 2,
    }  # fmt: skip


def test_a_random_seed_is_reported_and_gives_the_same_file_again(server: Client) -> None:
    inputs = {name: value for name, value in QUICK.items() if name != "seed"}
    answer = server.predict(**inputs)
    assert server.output(**inputs, seed=answer["metrics"]["seed"]) == content_of(answer["output"])


def test_prompts_are_not_logged(server: Client) -> None:
    answer = server.predict(**QUICK, prompt="a secret thing", negative_prompt="unspeakable")
    assert answer["status"] == "succeeded"
    assert "secret" not in answer["logs"]
    assert "unspeakable" not in answer["logs"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"image": None}, "E_INPUT: image is missing; send the picture"),
        ({"image": "/etc/passwd"}, "E_INPUT: image is '/etc/passwd'; send the picture"),
        ({"image": data_url(b"no picture")}, "E_FORMAT: "),
        ({"mask": "/etc/passwd"}, "E_INPUT: mask is '/etc/passwd'; send the picture"),
        ({"mask": data_url(b"no picture")}, "E_FORMAT: "),
        ({"steps": 51}, "E_INPUT: steps is 51; take 1 to 50"),
        ({"seed": -1}, "E_INPUT: seed is -1"),
        ({"tile_size": 31}, "E_INPUT: tile_size is 31"),
        ({"redraw_tile_size": 127}, "E_INPUT: redraw_tile_size is 127"),
        ({"prompt": "<lora:nothing:1>"}, "E_INPUT: there is no lora 'nothing'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told(server: Client, inputs: dict[str, Any], told: str) -> None:
    asked = {name: value for name, value in (QUICK | inputs).items() if value is not None}
    assert server.failure(**asked).startswith(told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resolution", 1024), ("resemblance", 1.1), ("creativity", 0), ("hdr", 2), ("scheduler", "PLMS"), ("steps", 0),
        ("guidance_scale", 31), ("guess_mode", "yes"), ("lora_sharpness_strength", 11), ("lora_details_strength", 4),
        ("format", "webp"), ("redraw_tile_size", 2049), ("structure", "depth"), ("structure_strength", 3),
        ("color_fix", "hue"), ("checkpoint", "sdxl"), ("upscaler", "4x-UltraSharp"), ("prompt", 5),
        ("output_format", "gif"), ("width", 0),
    ],
)  # fmt: skip
def test_values_that_are_none_are_refused_by_the_schema(server: Client, name: str, value: Any) -> None:
    answer = server.post(QUICK | {name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]


def test_cancelling_takes_effect_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(**QUICK)
    inputs = QUICK | {"steps": 1000, "creativity": 1, "guidance_scale": 7}
    until(lambda: server.put("unwanted", inputs))
    until(lambda: server.health() == "BUSY")
    until(lambda: "seconds_decoding" in server.put("unwanted", inputs).get("metrics", {}))
    assert server.cancel("unwanted") == 200
    assert server.output(**QUICK) == expected
