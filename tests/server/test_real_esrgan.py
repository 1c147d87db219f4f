"""Pictures through the true server: every network, size and format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import random_faces
import torch
from servers import FASTEST, STATES, Client, content_of, data_url, opened, picture

import tiny
from upscaling.images import Limits, decode
from upscaling.superres.tiling import TileSize, tile_size
from upscaling.superres.upscaler import Upscaler
from upscaling.superres.upscalers import Upscalers

PICTURE = data_url(picture(10, 7))
GENERAL, TWIN = "realesr-general-x4v3", "realesr-general-wdn-x4v3"
CPU = torch.device("cpu")


@pytest.mark.parametrize("network", [name for name in STATES if name != TWIN])
def test_every_network_gives_the_pixels_that_the_package_computes(
    server: Client, cache: Path, tmp_path: Path, network: str
) -> None:
    (tmp_path / "picture.png").write_bytes(picture(30, 21))
    image = decode(tmp_path / "picture.png", Limits())
    upscalers = Upscalers("real-esrgan", cache, CPU)
    expected = upscalers.get(network).upscale(image, 120, 84, tile_size(0, CPU, image.width))
    found = opened(server.output(image=data_url(picture(30, 21)), model=network))
    assert np.array_equal(np.asarray(found), expected.pixels)


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, (40, 28)),
        ({"scale": 0.5}, (5, 4)),  # 3.5 rounds to the even number
        ({"scale": 1}, (10, 7)),
        ({"scale": 1.5}, (15, 10)),  # 10.5 too
        ({"scale": 4}, (40, 28)),
        ({"scale": 10}, (100, 70)),
        ({"scale": 1e-9}, (1, 1)),
        ({"width": 25}, (25, 18)),
        ({"height": 20}, (29, 20)),
        ({"width": 33, "height": 5}, (33, 5)),
        ({"width": 1, "height": 1}, (1, 1)),
        ({"width": 12, "scale": 2}, (12, 8)),
    ],
)
@pytest.mark.parametrize("network", [FASTEST, "RealESRGAN_x2plus"])
def test_result_has_exactly_the_size_asked_for(
    server: Client, network: str, inputs: dict[str, Any], size: tuple[int, int]
) -> None:
    assert opened(server.output(image=PICTURE, model=network, **inputs)).size == size


@pytest.mark.parametrize(
    ("output_format", "media_type", "name", "mode"),
    [("png", "image/png", "PNG", "RGBA"), ("jpg", "image/jpeg", "JPEG", "RGB"), ("webp", "image/webp", "WEBP", "RGBA")],
)
def test_result_has_the_format_asked_for(
    server: Client, output_format: str, media_type: str, name: str, mode: str
) -> None:
    answer = server.predict(
        image=data_url(picture(10, 7, alpha=True)), model=FASTEST, output_format=output_format, output_quality=90
    )
    assert answer["output"].startswith(f"data:{media_type};base64,")
    image = opened(content_of(answer["output"]))
    assert (image.format, image.size, image.mode) == (name, (40, 28), mode)


def test_result_is_a_png_unless_asked_otherwise(server: Client) -> None:
    assert server.predict(image=PICTURE, model=FASTEST)["output"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("output_format", ["jpg", "webp"])
def test_lower_quality_makes_smaller_files(server: Client, output_format: str) -> None:
    worst, usual, best = (
        len(server.output(image=PICTURE, model=FASTEST, output_format=output_format, **quality))
        for quality in ({"output_quality": 1}, {}, {"output_quality": 100})
    )
    assert worst < usual < best


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_every_readable_format_is_read(server: Client, kind: str) -> None:
    image = data_url(picture(10, 7, kind), "application/octet-stream")
    assert opened(server.output(image=image, model=FASTEST)).size == (40, 28)


@pytest.mark.parametrize("tile", [32, 33, 2048])
def test_tile_size_never_changes_the_result(server: Client, tile: int) -> None:
    image = data_url(picture(80, 50))
    assert server.output(image=image, tile_size=tile) == server.output(image=image)


def test_every_prediction_reports_its_figures(server: Client) -> None:
    metrics = server.predict(image=PICTURE, model=FASTEST, width=30, tile_size=32)["metrics"]
    seconds = {f"seconds_{part}" for part in ("decoding", "computing", "encoding")}
    assert all(0 <= metrics.pop(name) < 60 for name in seconds | {"predict_time"})
    assert metrics.pop("dtype") in ("float32", "bfloat16")
    assert metrics == {
        "input_width": 10,
        "input_height": 7,
        "output_width": 30,
        "output_height": 21,
        "tiles": 1,
        "retries": 0,
        "device": "cpu",
        "weights": "tiny",
    }


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_equal_requests_give_equal_bytes_whatever_came_between(server: Client, output_format: str) -> None:
    inputs = {"image": PICTURE, "model": FASTEST, "output_format": output_format}
    first = server.output(**inputs)
    assert server.output(**inputs) == first
    assert server.output(**{**inputs, "image": data_url(picture(10, 7, seed=9))}) != first
    assert server.output(**inputs) == first


def test_denoise_strength_goes_from_the_twin_to_the_network(server: Client, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture(10, 7))
    image, upscalers = decode(tmp_path / "picture.png", Limits()), Upscalers("real-esrgan", cache, CPU)
    twin = Upscaler(lambda dtype: tiny.network(STATES[TWIN], dtype), upscalers.get(GENERAL).dtype)
    results = []
    for strength in (0, 0.25, 0.5, 1):
        expected = upscalers.get(GENERAL, strength).upscale(image, 40, 28, TileSize(256, 256)).pixels
        found = opened(server.output(image=PICTURE, model=GENERAL, denoise_strength=strength))
        assert np.array_equal(np.asarray(found), expected)
        results.append(expected)
    assert len({result.tobytes() for result in results}) == 4
    assert np.array_equal(results[0], twin.upscale(image, 40, 28, TileSize(256, 256)).pixels)
    assert server.output(image=PICTURE, model=GENERAL) == server.output(
        image=PICTURE, model=GENERAL, denoise_strength=0.5
    )


def test_denoise_strength_of_a_network_without_is_refused(server: Client) -> None:
    message = server.failure(image=PICTURE, model=FASTEST, denoise_strength=0.5)
    assert message == f"E_INPUT: denoise_strength is 0.5, but {FASTEST} has no such setting. Leave it out."


def test_second_pass_is_the_result_sent_again(server: Client) -> None:
    once = server.output(image=PICTURE, model=FASTEST)
    again = server.output(image=data_url(once), model=FASTEST, scale=2)
    assert server.output(image=PICTURE, model=FASTEST, scale=8, second_pass=True) == again
    assert server.output(image=PICTURE, model=FASTEST, scale=8) != again
    assert server.output(image=PICTURE, model=FASTEST, second_pass=True) == once


def test_seamless_results_roll_with_the_picture(server: Client) -> None:
    def rolled(content: bytes, down: int, across: int) -> bytes:
        file = io.BytesIO()
        PIL.Image.fromarray(np.roll(np.asarray(opened(content)), (down, across), axis=(0, 1))).save(file, "PNG")
        return file.getvalue()

    given = picture(30, 21)
    seamless = server.output(image=data_url(given), model=FASTEST, seamless=True)
    result = server.output(image=data_url(rolled(given, 5, 11)), model=FASTEST, seamless=True, tile_size=32)
    assert np.array_equal(np.asarray(opened(result)), np.asarray(opened(rolled(seamless, 20, 44))))
    assert server.output(image=data_url(given), model=FASTEST) != seamless


def test_seamless_pictures_of_odd_sizes_are_refused_where_the_network_would_pad(server: Client) -> None:
    message = server.failure(image=PICTURE, model="RealESRGAN_x2plus", seamless=True)
    assert message.startswith("E_INPUT: the picture has 10×7 pixels")


def test_face_enhance_restores_faces_on_the_background_of_any_network(server: Client, face_cache: Path) -> None:
    file = io.BytesIO()
    PIL.Image.fromarray(random_faces.spotted(96, 72, [(40, 32, 250)])).save(file, "PNG")
    image = data_url(file.getvalue())
    results = {}
    for network in (FASTEST, "RealESRGAN_x2plus"):
        without = np.asarray(opened(server.output(image=image, model=network)))
        answer = server.predict(image=image, model=network, face_enhance=True)
        assert [face["outcome"] for face in answer["metrics"]["faces"]] == ["restored"]
        found = results[network] = np.asarray(opened(content_of(answer["output"])))
        assert found.shape == without.shape == (288, 384, 3)
        assert np.array_equal(found[:, 300:], without[:, 300:])
        assert not np.array_equal(found[100:160, 140:200], without[100:160, 140:200])
    other = server.output(image=image, model=FASTEST, face_enhance=True, face_model="RestoreFormer")
    assert not np.array_equal(np.asarray(opened(other)), results[FASTEST])
    only_enlarged = server.output(image=image, model=FASTEST, face_enhance=True, face_strength=0)
    assert only_enlarged == server.output(image=image, model=FASTEST)


def test_without_face_enhance_its_inputs_change_nothing_and_no_face_is_reported(server: Client) -> None:
    inputs = {"face_model": "RestoreFormer", "face_strength": 0.5, "only_center_face": True, "min_face_size": 99}
    answer = server.predict(image=PICTURE, model=FASTEST, **inputs)
    assert content_of(answer["output"]) == server.output(image=PICTURE, model=FASTEST)
    assert "faces" not in answer["metrics"]
