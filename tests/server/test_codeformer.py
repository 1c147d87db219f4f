"""Pictures with faces through CodeFormer's true server, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import declared
import numpy as np
import pytest
import random_faces
from images.samples import file_of, noise, pillow, vips
from loopback import until
from servers import Client, content_of, data_url, opened, picture, serving, write_weights

from upscaling.images import Image, Limits, Size, collect, decode
from upscaling.images.resampling import resized

MODEL = "codeformer"
FACE = random_faces.spotted(96, 72, [(40, 32, 250)])
FACELESS = data_url(picture(30, 21))
MANY = random_faces.spotted(480, 360, [(x, y, 250) for x in range(48, 480, 96) for y in range(48, 360, 96)])


def sent(pixels: np.ndarray) -> str:
    return data_url(file_of(pillow(pixels), "PNG"))


PHOTO = sent(FACE)


@pytest.fixture(scope="module")
def server(face_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed."""
    write_weights({"codeformer": random_faces.codeformer(features=64, layers=1)}, face_cache)
    with serving(MODEL, tmp_path_factory.mktemp("codeformer"), face_cache, long={"image": sent(MANY)}) as client:
        yield client


def test_the_log_says_that_the_weights_are_for_non_commercial_use_when_they_are_loaded(server: Client) -> None:
    said = "codeformer is for non-commercial use only (S-Lab License 1.0, github.com/sczhou/CodeFormer)."
    assert said not in server.predict(image=FACELESS)["logs"]
    inputs = {"image": PHOTO, "face_upsample": False}
    assert said in server.predict(**inputs)["logs"]
    assert said not in server.predict(**inputs)["logs"]


def test_fidelity_background_and_upsampling_change_what_they_say(server: Client) -> None:
    def result(**inputs: Any) -> np.ndarray:
        # Enlarged so much that the face covers more than its 512 pixels.
        return np.asarray(opened(server.output(image=PHOTO, upscale=10, **inputs)))

    usual, faithful = result(), result(codeformer_fidelity=1)
    not_upsampled = result(face_upsample=False)
    plain = result(background_enhance=False, face_upsample=False)
    image, size = Image(FACE), Size(960, 720)
    lanczos = collect(image, size, resized(image, size)).pixels
    face, elsewhere = np.s_[250:400, 350:500], np.s_[:, 750:]
    assert np.array_equal(plain[elsewhere], lanczos[elsewhere])
    assert not np.array_equal(plain[face], lanczos[face])
    assert not np.array_equal(usual[elsewhere], plain[elsewhere])
    for other in (faithful, not_upsampled):
        assert np.array_equal(other[elsewhere], usual[elsewhere])
        assert not np.array_equal(other[face], usual[face])


def test_a_picture_without_faces_is_enlarged_and_the_metric_says_none(server: Client) -> None:
    answer = server.predict(image=FACELESS, background_enhance=False)
    assert answer["metrics"]["faces"] == []
    assert "weights" not in answer["metrics"]
    image, size = Image(np.asarray(opened(picture(30, 21)))), Size(60, 42)
    assert (np.asarray(opened(content_of(answer["output"]))) == collect(image, size, resized(image, size)).pixels).all()


@pytest.mark.parametrize("background", [True, False])
def test_16_bit_and_alpha_stay(server: Client, tmp_path: Path, background: bool) -> None:
    image = data_url(vips(noise(21, 30, 4, bits=16)).pngsave_buffer())
    (tmp_path / "result.png").write_bytes(server.output(image=image, background_enhance=background))
    result = decode(tmp_path / "result.png", Limits())
    assert (result.bits, result.width, result.height) == (16, 60, 42)
    assert result.alpha is not None
    assert len(np.unique(result.pixels)) > 256


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, (60, 42)),
        ({"upscale": 1}, (30, 21)),
        ({"upscale": 10}, (300, 210)),
        ({"width": 47}, (47, 33)),
        ({"height": 7}, (10, 7)),
        ({"width": 33, "height": 5, "upscale": 3}, (33, 5)),
    ],
)
def test_result_has_exactly_the_size_asked_for(
    server: Client, background: bool, inputs: dict[str, Any], size: tuple[int, int]
) -> None:
    assert opened(server.output(image=FACELESS, background_enhance=background, **inputs)).size == size


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_result_has_the_format_asked_for(server: Client, background: bool, output_format: str, name: str) -> None:
    image = data_url(picture(30, 21, alpha=True))
    inputs = {"background_enhance": background, "output_format": output_format, "output_quality": 80}
    assert opened(server.output(image=image, **inputs)).format == name


BEYOND_BOUNDS = [
    *((name, value) for name, value in declared.BEYOND_BOUNDS if name != "scale"),
    ("upscale", 0),
    ("upscale", 11),
    ("codeformer_fidelity", -0.1),
    ("codeformer_fidelity", 1.1),
    ("face_strength", -0.1),
    ("face_strength", 1.1),
    ("min_face_size", 9),
]
OF_WRONG_TYPE = [
    *((name, value) for name, value in declared.OF_WRONG_TYPE if name != "scale"),
    ("upscale", "2"),
    ("upscale", 1.5),
    ("codeformer_fidelity", "0.5"),
    ("background_enhance", "yes"),
    ("face_upsample", 1),
    ("face_strength", "1"),
    ("only_center_face", "yes"),
    ("min_face_size", "10"),
]


def test_every_bound_is_in_the_table() -> None:
    assert declared.bounded(MODEL) == {name for name, _ in BEYOND_BOUNDS}


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, *OF_WRONG_TYPE])
def test_schema_refuses_values_out_of_bounds(server: Client, name: str, value: Any) -> None:
    answer = server.post({"image": FACELESS, name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "E_DECODE"), (b"no picture", "E_FORMAT"), (content_of(PHOTO)[:-200], "E_DECODE")]
)
def test_bad_files_get_a_code(server: Client, content: bytes, code: str) -> None:
    assert server.failure(image=data_url(content)).startswith(f"{code}: ")


def test_cancelling_while_faces_are_restored_takes_effect_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(image=FACELESS)
    with server.computing("unwanted"):
        assert server.cancel("unwanted") == 200
        until(lambda: server.health() == "READY")
        assert server.output(image=FACELESS) == expected
