"""Pictures through the true server: every network, size and format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import FASTEST, STATES, Client, content_of, data_url, opened, picture

from upscaling.images import Limits, decode
from upscaling.library import Library
from upscaling.tiling.geometry import tile_size

PICTURE = data_url(picture(10, 7))


@pytest.mark.parametrize("network", STATES)
def test_every_network_gives_the_pixels_that_the_package_computes(
    server: Client, cache: Path, tmp_path: Path, network: str
) -> None:
    (tmp_path / "picture.png").write_bytes(picture(30, 21))
    image = decode(tmp_path / "picture.png", Limits())
    library = Library(baked=cache)
    expected = library.upscaler(network).upscale(image, 120, 84, tile_size(0, torch.device("cpu"), image.width))
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
