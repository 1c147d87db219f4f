"""Pictures with faces through GFPGAN's true server, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import declared
import numpy as np
import pytest
import random_faces
import torch
from images.samples import file_of, pillow, rgb_profile, vips
from loopback import until
from servers import Client, content_of, data_url, opened, picture, serving, write_weights

from upscaling.images import Image, Limits, Size, collect, decode
from upscaling.portraits import Restorers
from upscaling.portraits.gfpgan import BACKGROUND, VERSIONS, Options, work
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import tile_size
from upscaling.superres.upscalers import Upscalers

MODEL = "gfpgan"
CPU = torch.device("cpu")
SMALL = "RestoreFormer"  # the smallest of the networks here
FACE = random_faces.spotted(96, 72, [(40, 32, 250)])
TWO = random_faces.spotted(160, 72, [(32, 32, 250), (88, 32, 245)])
FACELESS = data_url(picture(30, 21))
MANY = random_faces.spotted(480, 360, [(x, y, 250) for x in range(48, 480, 96) for y in range(48, 360, 96)])


def sent(pixels: np.ndarray) -> str:
    return data_url(file_of(pillow(pixels), "PNG"))


PHOTO = sent(FACE)


@pytest.fixture(scope="module")
def server(face_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed."""
    write_weights({"GFPGANv1.4": random_faces.gfpgan()}, face_cache)
    long = {"img": sent(MANY), "version": SMALL}
    with serving(MODEL, tmp_path_factory.mktemp("gfpgan"), face_cache, long=long) as client:
        yield client


def enlarged(cache: Path, pixels: np.ndarray) -> np.ndarray:
    """The picture as the background's network makes it, twice as large."""
    upscaler = Upscalers(MODEL, cache, CPU).get(BACKGROUND, denoise_strength=1)
    height, width = pixels.shape[:2]
    return upscaler.upscale(Image(pixels), 2 * width, 2 * height, tile_size(0, CPU, width)).pixels


def test_every_version_restores_faces_with_its_own_network(server: Client, face_cache: Path) -> None:
    chosen = {version: {"version": version} for version in VERSIONS} | {"v1.4": {}}  # the default
    found = {version: np.asarray(opened(server.output(img=PHOTO, **inputs))) for version, inputs in chosen.items()}
    background = enlarged(face_cache, FACE)
    assert len({result.tobytes() for result in [background, *found.values()]}) == len(VERSIONS) + 1
    for result in found.values():
        assert result.shape == background.shape
        # Far from the face, nothing differs.
        assert (result[:, 150:] == background[:, 150:]).all()
    assert np.array_equal(found[SMALL], computed(face_cache, Image(FACE), Options(SMALL)))


def computed(cache: Path, image: Image, options: Options) -> np.ndarray:
    """The pixels that the package gives, twice as large."""
    enhance = work(options, Upscalers(MODEL, cache, CPU), Restorers(MODEL, cache, CPU))
    size = Size(2 * image.width, 2 * image.height)
    return first_finite(enhance(image, size, Progress()), partial(collect, image, size)).pixels


def test_the_metric_lists_faces_and_the_log_counts_them(server: Client) -> None:
    answer = server.predict(img=sent(TWO), version=SMALL)
    metrics = answer["metrics"]
    assert "Faces found: 2." in answer["logs"]
    first, second = metrics["faces"]
    assert first == {"box": [20.0, 20.0, 52.0, 52.0], "score": pytest.approx(0.9996, abs=1e-4), "outcome": "restored"}
    assert second["box"] == [76.0, 20.0, 108.0, 52.0]
    assert metrics["face_dtype"] in ("float32", "bfloat16")
    assert (metrics["device"], metrics["weights"], metrics["output_width"]) == ("cpu", "tiny", 320)


def test_a_picture_without_faces_is_enlarged_and_the_metric_says_none(server: Client, face_cache: Path) -> None:
    answer = server.predict(img=FACELESS)
    assert answer["metrics"]["faces"] == []
    assert "Faces found: 0." in answer["logs"]
    background = enlarged(face_cache, np.asarray(opened(picture(30, 21))))
    assert np.array_equal(np.asarray(opened(content_of(answer["output"]))), background)


def test_strength_zero_is_the_background_alone(server: Client, face_cache: Path) -> None:
    result = np.asarray(opened(server.output(img=PHOTO, version=SMALL, face_strength=0)))
    assert np.array_equal(result, enlarged(face_cache, FACE))


def test_faces_are_chosen_by_place_and_by_size(server: Client) -> None:
    (centre,) = server.predict(img=sent(TWO), version=SMALL, only_center_face=True)["metrics"]["faces"]
    assert centre["box"][0] == 76.0
    assert len(server.predict(img=sent(TWO), version=SMALL, min_face_size=32)["metrics"]["faces"]) == 2
    assert server.predict(img=sent(TWO), version=SMALL, min_face_size=33)["metrics"]["faces"] == []


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, (60, 42)),
        ({"scale": 4}, (120, 84)),
        ({"scale": 1}, (30, 21)),
        ({"scale": 0.5}, (15, 10)),  # 10.5 rounds to the even number
        ({"scale": 10}, (300, 210)),
        ({"width": 47}, (47, 33)),
        ({"height": 40}, (57, 40)),
        ({"width": 33, "height": 5, "scale": 3}, (33, 5)),
    ],
)
def test_result_has_exactly_the_size_asked_for(server: Client, inputs: dict[str, Any], size: tuple[int, int]) -> None:
    assert opened(server.output(img=FACELESS, **inputs)).size == size


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_grey_alpha_and_profile_come_out_as_they_went_in(server: Client, channels: int, mode: str) -> None:
    colour = FACE[..., :1] if channels < 3 else FACE
    alpha = np.full((*FACE.shape[:2], 1), 130, np.uint8)
    alpha[:, :8] = 0
    pixels = np.dstack([colour, alpha]) if channels in (2, 4) else colour
    profile = {"icc_profile": rgb_profile()} if channels >= 3 else {}
    image = data_url(file_of(pillow(pixels), "PNG", **profile))
    answer = server.predict(img=image, version=SMALL)
    result = opened(content_of(answer["output"]))
    assert (result.mode, result.size) == (mode, (192, 144))
    assert result.info.get("icc_profile") == profile.get("icc_profile")
    assert [face["outcome"] for face in answer["metrics"]["faces"]] == ["restored"]


def test_16_bit_stay_16_bit(server: Client, tmp_path: Path) -> None:
    answer = server.predict(img=data_url(vips(FACE.astype(np.uint16) * 257).pngsave_buffer()), version=SMALL)
    (tmp_path / "result.png").write_bytes(content_of(answer["output"]))
    result = decode(tmp_path / "result.png", Limits())
    assert result.bits == 16
    assert len(np.unique(result.pixels)) > 256
    assert (answer["metrics"]["dtype"], answer["metrics"]["face_dtype"]) == ("float32", "float32")
    assert [face["outcome"] for face in answer["metrics"]["faces"]] == ["restored"]


def test_tile_size_never_changes_the_result(server: Client) -> None:
    assert server.output(img=PHOTO, version=SMALL, tile_size=32) == server.output(img=PHOTO, version=SMALL)


@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_result_has_the_format_asked_for(server: Client, output_format: str, name: str) -> None:
    assert opened(server.output(img=FACELESS, output_format=output_format, output_quality=80)).format == name


BEYOND_BOUNDS = [
    *declared.BEYOND_BOUNDS,
    ("version", "v1.5"),
    ("face_strength", -0.1),
    ("face_strength", 1.1),
    ("min_face_size", 9),
]
OF_WRONG_TYPE = [
    *((name.replace("image", "img"), value) for name, value in declared.OF_WRONG_TYPE),
    ("version", 1),
    ("face_strength", "1"),
    ("only_center_face", "yes"),
    ("min_face_size", "10"),
]


def test_every_bound_is_in_the_table() -> None:
    assert declared.bounded(MODEL) == {name for name, _ in BEYOND_BOUNDS}


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, *OF_WRONG_TYPE])
def test_schema_refuses_values_out_of_bounds(server: Client, name: str, value: Any) -> None:
    answer = server.post({"img": FACELESS, name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]


@pytest.mark.parametrize(("name", "value"), [("scale", 0), ("tile_size", 31)])
def test_package_refuses_what_the_schema_cannot(server: Client, name: str, value: Any) -> None:
    assert server.failure(img=FACELESS, **{name: value}).startswith(f"E_INPUT: {name} is {value};")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "E_DECODE"), (b"no picture", "E_FORMAT"), (content_of(PHOTO)[:-200], "E_DECODE")]
)
def test_bad_files_get_a_code(server: Client, content: bytes, code: str) -> None:
    assert server.failure(img=data_url(content)).startswith(f"{code}: ")


def test_cancelling_while_faces_are_restored_takes_effect_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(img=PHOTO, version=SMALL)
    with server.computing("unwanted"):
        until(lambda: "Faces found: 20." in server.put("unwanted", server.long).get("logs", ""))
        assert server.cancel("unwanted") == 200
        until(lambda: server.health() == "READY")
        assert server.output(img=PHOTO, version=SMALL) == expected
