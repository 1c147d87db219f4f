"""Ultimate SD Upscale through the true server, with a tiny pipeline in its cache of weights."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipeline
from images.samples import file_of, noise, pillow, rgb_profile, vips
from local_server import ROOT
from loopback import until
from predict import parse_inputs
from servers import Client, content_of, data_url, opened, serving

from upscaling.diffusion.options import Options, checked
from upscaling.diffusion.ultimate_sd_upscale import work
from upscaling.images import Image, Limits, Size, collect, decode
from upscaling.runtime.progress import Progress

PIXELS = noise(20, 30, 3)
PICTURE = data_url(file_of(pillow(PIXELS), "PNG"))
SMALL = {"tile_width": 64, "tile_height": 64}
QUICK: dict[str, Any] = {"image": PICTURE, "steps": 1, "seed": 5, **SMALL}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    tiny_pipeline.write_weights(folder)
    return folder


@pytest.fixture(scope="module")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed, but for the size of its networks."""
    folder = tmp_path_factory.mktemp("server")
    with serving(tiny_pipeline.MODEL, folder, cache, UPSCALING_DTYPE="float32") as client:
        yield client


@pytest.fixture(scope="module")
def open_server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server without its schema, so only the package checks inputs, and with the weights of one upscaler alone."""
    folder, bare = tmp_path_factory.mktemp("open"), tmp_path_factory.mktemp("bare")
    (bare / "4x-UltraSharp").symlink_to(cache / "4x-UltraSharp")
    mirror = {"UPSCALING_WEIGHTS_MIRROR": "http://127.0.0.1:9/", "UPSCALING_PRIVATE_URLS": "1"}
    with serving(tiny_pipeline.MODEL, folder, bare, schema=False, **mirror) as client:
        yield client


def declared() -> dict[str, Any]:
    schema = json.loads((ROOT / "models" / tiny_pipeline.MODEL / "openapi.json").read_text())
    return schema["components"]["schemas"]["Input"]["properties"]


def computed(cache: Path, monkeypatch: pytest.MonkeyPatch, **inputs: Any) -> np.ndarray[Any, Any]:
    """The pixels that the package gives for the schema's defaults and these inputs."""
    monkeypatch.setenv("UPSCALING_DTYPE", "float32")
    defaults = {field.name: declared()[field.name].get("default") for field in fields(Options)}
    options = checked(replace(Options(**defaults), **inputs))
    given, size = Image(PIXELS), Size(round(30 * options.upscale_by / 8) * 8, round(20 * options.upscale_by / 8) * 8)
    done = work(options, None, tiny_pipeline.upscalers(cache), tiny_pipeline.library(cache))
    return collect(given, size, next(done(given, size, Progress()))).pixels


@pytest.mark.parametrize(
    "inputs",
    [
        {"seed": 1, "steps": 2},
        {"seed": 2, "steps": 2, "mode_type": "Chess", "upscale_by": 4, **SMALL},
        {"seed": 3, "steps": 2, "seam_fix_mode": "Half Tile", "upscale_by": 4, **SMALL},
        {"seed": 4, "steps": 2, "checkpoint": "Realistic_Vision_V5.1", "cfg": 1, **SMALL},
    ],
    ids=["defaults", "Chess", "Half Tile", "Realistic Vision"],
)  # fmt: skip
def test_results_are_those_of_the_package(
    server: Client, cache: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]
) -> None:
    found = np.asarray(opened(server.output(image=PICTURE, **inputs)))
    difference = np.abs(found.astype(int) - computed(cache, monkeypatch, **inputs))
    assert difference.max() <= 2
    assert difference.mean() < 0.01


def readme_calls() -> Iterator[list[str]]:
    """The inputs of every call that the README gives, NAME=VALUE, without the picture."""
    readme = (ROOT / "models" / tiny_pipeline.MODEL / "README.md").read_text()
    for call in re.findall(
        rf'make predict MODEL={tiny_pipeline.MODEL} ARGS="(.*?)"$', readme, re.DOTALL | re.MULTILINE
    ):
        words = shlex.split(call.replace("\\\n", " "))
        options = zip(words[::2], words[1::2], strict=True)
        yield [value for name, value in options if name == "-i" and not value.startswith("image=")]


@pytest.mark.parametrize("pairs", list(readme_calls()), ids=lambda pairs: pairs[0])
def test_calls_run_as_the_readme_gives_them(server: Client, pairs: list[str]) -> None:
    inputs = parse_inputs(pairs, tiny_pipeline.MODEL)
    answer = server.predict(image=PICTURE, **inputs, **SMALL)
    assert opened(content_of(answer["output"])).size == (64, 40)
    assert answer["metrics"]["steps"] == inputs.get("steps", 20)


def test_the_readme_gives_the_calls_of_other_hosts() -> None:
    calls = [parse_inputs(pairs, tiny_pipeline.MODEL) for pairs in readme_calls()]
    portrait, only_upscale = calls[1:]
    assert portrait.keys() == {"denoise", "positive_prompt", "negative_prompt"}
    assert portrait["denoise"] == 0.1
    assert portrait["positive_prompt"].startswith("business portrait, detailed skin, perfect skin,")
    assert only_upscale == {"steps": 16, "cfg": 6, "denoise": 0.1, "sampler_name": "euler_ancestral"}


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, (64, 40)),  # 60 lies halfway between multiples of 8: to the even one
        ({"exact_size": True}, (60, 40)),
        ({"upscale_by": 0.5}, (16, 8)),
        ({"upscale_by": 1.5, "exact_size": True}, (45, 30)),
        ({"width": 47}, (47, 31)),
        ({"width": 33, "height": 5}, (33, 5)),
        ({"height": 5, "mode_type": "None"}, (8, 5)),
    ],
)
def test_sizes(server: Client, inputs: dict[str, Any], size: tuple[int, int]) -> None:
    assert opened(server.output(**QUICK, **inputs)).size == size


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_grey_and_alpha_come_out_as_they_went_in(server: Client, channels: int, mode: str) -> None:
    profile = rgb_profile() if channels > 2 else None
    image = data_url(file_of(pillow(noise(20, 30, channels)), "PNG", icc_profile=profile))
    result = opened(server.output(**(QUICK | {"image": image})))
    assert result.mode == mode
    assert result.info.get("icc_profile") == profile


def test_16_bit_stay_16_bit_in_the_file(server: Client, tmp_path: Path) -> None:
    answer = server.predict(**(QUICK | {"image": data_url(vips(noise(20, 30, 3, bits=16)).pngsave_buffer())}))
    (tmp_path / "result.png").write_bytes(content_of(answer["output"]))
    assert decode(tmp_path / "result.png", Limits()).bits == 16
    assert "redrawn in 8 bit" in answer["logs"]


@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_result_has_the_format_asked_for(server: Client, output_format: str, name: str) -> None:
    assert opened(server.output(**QUICK, output_format=output_format, output_quality=80)).format == name


def test_a_mask_keeps_what_is_black(server: Client) -> None:
    mask = np.zeros((40, 64), np.uint8)
    mask[:, :30] = 255
    plain = np.asarray(opened(server.output(**QUICK, mode_type="None")))
    found = np.asarray(opened(server.output(**QUICK, mask=data_url(file_of(pillow(mask[..., None]), "PNG")))))
    assert np.array_equal(found[:, 31:], plain[:, 31:])
    assert (found[:, :28] != plain[:, :28]).mean() > 0.5


@pytest.mark.parametrize("mask", ["/etc/passwd", data_url(b"no picture")])
def test_masks_that_are_no_pictures_are_refused(server: Client, mask: str) -> None:
    message = server.failure(**QUICK, mask=mask)
    assert message.startswith(("E_INPUT: mask is '/etc/passwd'; send the picture", "E_FORMAT: "))


def test_every_prediction_reports_its_figures(server: Client) -> None:
    answer = server.predict(**(QUICK | {"steps": 3, "upscale_by": 4}))
    metrics = answer["metrics"]
    parts = ("decoding", "computing", "encoding", "loading", "enlarging", "redrawing")
    assert all(0 <= metrics.pop(f"seconds_{part}") < 60 for part in parts)
    assert 0 < metrics.pop("predict_time") < 60
    assert metrics == {
        "input_width": 30, "input_height": 20, "output_width": 120, "output_height": 80, "retries": 0,
        "device": "cpu", "dtype": "float32", "weights": "tiny", "seed": 5, "steps": 3, "tiles": 4,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [0, 2**53 + 1, 2**63 + 1, 2**64 - 1])
def test_every_seed_is_reported(server: Client, seed: int) -> None:
    assert server.predict(**(QUICK | {"seed": seed}))["metrics"]["seed"] == (seed if seed < 2**63 else str(seed))


def test_a_random_seed_is_reported_and_gives_the_picture_again(server: Client) -> None:
    inputs = {name: value for name, value in QUICK.items() if name != "seed"}
    answer = server.predict(**inputs)
    assert server.output(**inputs, seed=answer["metrics"]["seed"]) == content_of(answer["output"])


def test_prompts_are_not_logged(server: Client) -> None:
    answer = server.predict(**QUICK, positive_prompt="a secret thing", negative_prompt="unspeakable")
    assert answer["status"] == "succeeded"
    assert "secret" not in answer["logs"]
    assert "unspeakable" not in answer["logs"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"upscale_by": 5}, "upscale_by is 5"),
        ({"upscale_by": 0}, "upscale_by is 0"),
        ({"denoise": 1.5}, "denoise is 1.5"),
        ({"tile_width": 32}, "tile_width is 32"),
        ({"sampler_name": "dpmpp"}, "'dpmpp'"),
        ({"seed": -1}, "seed is -1"),
        ({"tile_size": 31}, "tile_size is 31"),
        ({"loras": "nothing:1"}, "'nothing'"),
        ({"loras": "nothing:1", "mode_type": "None"}, "'nothing'"),
        ({"positive_prompt": "embedding:nothing"}, "'nothing'"),
    ],
)
@pytest.mark.parametrize("which", ["server", "open_server"])
def test_package_refuses_what_the_schema_cannot(
    request: pytest.FixtureRequest, which: str, inputs: dict[str, Any], told: str
) -> None:
    client: Client = request.getfixturevalue(which)
    message = client.failure(**(QUICK | inputs))
    assert message.startswith("E_INPUT: ")
    assert told in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("upscaler", "4x-Ultra"), ("mode_type", "Spiral"), ("seam_fix_mode", "none"), ("color_fix", "hue"),
        ("checkpoint", "sdxl"), ("batch_size", 65), ("clip_skip", 13), ("scheduler", "beta"), ("steps", "20"),
        ("use_controlnet_tile", "yes"), ("exact_size", "no"), ("positive_prompt", 5),
        ("output_format", "gif"), ("width", 0),
    ],
)  # fmt: skip
def test_values_that_are_none_are_refused_with_and_without_the_schema(
    server: Client, open_server: Client, name: str, value: Any
) -> None:
    answer = server.post(QUICK | {name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]
    assert open_server.failure(**(QUICK | {name: value})).startswith("E_INPUT: ")


def test_weights_that_are_not_there_are_told_before_anything_is_computed(open_server: Client) -> None:
    assert open_server.failure(**QUICK).startswith("E_WEIGHTS: the weights of Deliberate_v2 cannot be downloaded.")
    assert open_server.predict(**QUICK, mode_type="None")["status"] == "succeeded"


def test_cancelling_takes_effect_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(**QUICK)
    inputs = QUICK | {"steps": 10_000}
    until(lambda: server.put("unwanted", inputs))
    until(lambda: server.health() == "BUSY")
    until(lambda: "seconds_decoding" in server.put("unwanted", inputs).get("metrics", {}))
    assert server.cancel("unwanted") == 200
    assert server.output(**QUICK) == expected
