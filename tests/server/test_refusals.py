"""What the server refuses: values, files, paths and addresses, each with a code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import declared
import pytest
from loopback import Answer, Site, until
from servers import FASTEST, MODEL, Client, data_url, message_of, opened, picture

PICTURE = data_url(picture(10, 7))
BEYOND_BOUNDS = [
    *declared.BEYOND_BOUNDS,
    ("model", "RealESRGAN_x8plus"),
    ("denoise_strength", -0.1),
    ("denoise_strength", 1.1),
    ("face_model", "GFPGANv1.2"),
    ("face_strength", -0.1),
    ("face_strength", 1.1),
    ("min_face_size", 9),
]
WITHIN_BOUNDS = [
    ("scale", 10),
    ("width", 1),
    ("height", 1),
    ("tile_size", 0),
    ("tile_size", 2048),
    ("output_quality", 1),
    ("output_quality", 100),
]
# What JSON Schema cannot say: it has no open bound with a closed one beside, and no gaps.
BETWEEN_BOUNDS = [("scale", 0), ("tile_size", 1), ("tile_size", 31)]
OF_WRONG_TYPE = [*declared.OF_WRONG_TYPE, ("denoise_strength", "1"), ("second_pass", "yes"), ("seamless", 1)]
# With faces, so that their inputs are used.
ASKED = {"image": PICTURE, "model": FASTEST, "face_enhance": True}


def test_every_bound_is_in_the_table() -> None:
    assert declared.bounded(MODEL) == {name for name, _ in BEYOND_BOUNDS}


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, *OF_WRONG_TYPE])
def test_schema_refuses_values_out_of_bounds(server: Client, name: str, value: Any) -> None:
    answer = server.post({**ASKED, name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]


def test_schema_wants_an_image(server: Client) -> None:
    assert server.post({}).status_code == 422


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, *BETWEEN_BOUNDS])
def test_package_refuses_values_out_of_bounds_without_the_schema(open_server: Client, name: str, value: Any) -> None:
    message = open_server.failure(**{**ASKED, name: value})
    assert message.startswith("E_INPUT: ")
    assert str(value) in message


@pytest.mark.parametrize(("name", "value"), OF_WRONG_TYPE)
def test_package_refuses_values_of_a_wrong_type_without_the_schema(open_server: Client, name: str, value: Any) -> None:
    assert open_server.failure(**{**ASKED, name: value}).startswith("E_INPUT: ")


@pytest.mark.parametrize(("name", "value"), BETWEEN_BOUNDS)
def test_package_refuses_what_the_schema_cannot(server: Client, name: str, value: Any) -> None:
    assert server.failure(image=PICTURE, **{name: value}).startswith(f"E_INPUT: {name} is {value};")


@pytest.mark.parametrize(("name", "value"), WITHIN_BOUNDS)
def test_values_at_the_bounds_are_taken(server: Client, name: str, value: Any) -> None:
    opened(server.output(image=PICTURE, model=FASTEST, **{name: value}))


@pytest.mark.parametrize("name", ["width", "height", "tile_size", "output_quality"])
def test_whole_numbers_with_a_point_are_whole_numbers(server: Client, name: str) -> None:
    # JSON Schema holds 64.0 for an integer, and clients in some languages write it so.
    inputs = {"image": PICTURE, "model": FASTEST, "output_format": "jpg"}
    assert server.output(**inputs, **{name: 64.0}) == server.output(**inputs, **{name: 64})


@pytest.mark.parametrize(("name", "value"), [("width", 10**6), ("height", 2**63), ("width", 10**308)])
def test_enormous_results_are_refused(server: Client, name: str, value: int) -> None:
    assert server.failure(image=PICTURE, **{name: value}).startswith("E_TOO_LARGE: ")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "E_DECODE"),
        (b"no picture", "E_FORMAT"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "E_FORMAT"),
        (picture(30, 30)[:-200], "E_DECODE"),
        (picture(300, 300, "JPEG")[:-2000], "E_DECODE"),
        (picture(30, 30, "WEBP")[:-20], "E_DECODE"),
    ],
    ids=["empty", "text", "svg", "truncated png", "truncated jpeg", "truncated webp"],
)
def test_bad_files_get_a_code_and_tell_nothing_of_the_server(server: Client, content: bytes, code: str) -> None:
    message = server.failure(image=data_url(content))
    assert message.startswith(f"{code}: ")
    assert str(server.temporary) not in message


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "file:///etc/passwd", "../x", "", "~/x", "ftp://127.0.0.1/x", "HTTP://127.0.0.1/x"]
)
@pytest.mark.parametrize("which", ["server", "open_server"])
def test_local_paths_are_refused(request: pytest.FixtureRequest, which: str, image: str) -> None:
    client: Client = request.getfixturevalue(which)
    assert client.failure(image=image) == (
        f"E_INPUT: image is {image!r}; send the picture as a file, a data URL or an http(s) URL."
    )


def test_local_paths_are_not_opened(server: Client, tmp_path: Path) -> None:
    # Opening a pipe that nobody writes to would wait for ever.
    os.mkfifo(tmp_path / "pipe")
    assert server.failure(image=str(tmp_path / "pipe")).startswith("E_INPUT: ")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f.1", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_addresses_inside_are_refused_before_connecting(server: Client, inside: Site, host: str) -> None:
    inside.answer("/picture.png", Answer(picture(8, 8)))
    message = server.failure(image=f"http://{host}:{inside.port}/picture.png")
    assert message.startswith("E_INPUT: the URL leads to ")
    assert inside.paths == []


@pytest.mark.parametrize("path", ["/picture.png", "/moved"])
def test_operators_may_open_addresses_inside(server: Client, open_server: Client, inside: Site, path: str) -> None:
    inside.answer("/moved", Answer(status=302, headers={"Location": "/picture.png"}))
    inside.answer("/picture.png", Answer(picture(8, 8)))
    url = inside.url + path
    assert server.failure(image=url).startswith("E_INPUT: ")
    assert inside.paths == []
    assert opened(open_server.output(image=url, model=FASTEST)).size == (32, 32)
    assert inside.paths[-1] == "/picture.png"


def test_failures_leave_the_server_ready(server: Client) -> None:
    expected = server.output(image=PICTURE)
    for image in (data_url(b""), "/etc/passwd", "http://127.0.0.1:1/"):
        assert message_of(server.predict(image=image))
    assert server.output(image=PICTURE) == expected
    until(lambda: server.health() == "READY")
