"""SwinIR's tasks through the true server, with small networks of random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import declared
import numpy as np
import pytest
import random_swinir
import torch
from images.samples import file_of, noise, pillow, rgb_profile, scene, vips
from servers import Client, content_of, data_url, opened, serving, write_weights

from upscaling import weights
from upscaling.images import Limits, decode, in_grey
from upscaling.superres.swinir import JPEG_QUALITIES, NOISES, Options, TaskType, network, own_scale
from upscaling.superres.tiling.geometry import tile_size
from upscaling.superres.upscalers import Upscalers

MODEL = "swinir"
CPU = torch.device("cpu")
UNPUBLISHED = "004_grayDN_DFWB_s128w8_SwinIR-M_noise15"
COLOUR, GREY = (data_url(file_of(pillow(noise(21, 30, channels)), "PNG")) for channels in (3, 1))
TRUE_COLOUR = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
EVERY_NETWORK = [
    *[{"task_type": task} for task in (TaskType.LARGE, TaskType.MEDIUM)],
    *[{"task_type": task, "noise": level}
      for task in (TaskType.DENOISE_GREY, TaskType.DENOISE_COLOUR) for level in NOISES],
    *[{"task_type": TaskType.REPAIR_JPEG, "jpeg": quality} for quality in JPEG_QUALITIES],
]  # fmt: skip
every_task = pytest.mark.parametrize("task", TaskType)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    names = [entry.name for entry in weights.of_model(MODEL)]
    states = {
        name: random_swinir.state(random_swinir.tiny(random_swinir.task_of(name)), seed)
        for seed, name in enumerate(names)
    }
    write_weights(states, folder)
    return folder


@pytest.fixture(scope="module")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed."""
    with serving(MODEL, tmp_path_factory.mktemp("server"), cache, UNVERIFIED_WEIGHTS="1") as client:
        yield client


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server without its schema, so only the package checks inputs, and without weights, which it must verify."""
    folder, bare = tmp_path_factory.mktemp("open"), tmp_path_factory.mktemp("bare")
    with serving(MODEL, folder, bare, schema=False, UNVERIFIED_WEIGHTS="0") as client:
        yield client


def computed(cache: Path, file: Path, inputs: dict[str, Any]) -> np.ndarray:
    """The pixels that the package gives, (height, width) where they are grey."""
    file.write_bytes(content_of(inputs["image"]))
    image = decode(file, Limits())
    options = Options(**{name: value for name, value in inputs.items() if name != "image"})
    name, scale = network(options, image.is_grey), own_scale(options.task_type)
    upscaler = Upscalers("swinir", cache, CPU).get(name)
    taken = in_grey(image) if upscaler.load(upscaler.dtype).channels == 1 and not image.is_grey else image
    size = image.width * scale, image.height * scale
    tile = tile_size(0, CPU, image.width)
    return upscaler.upscale(taken, *size, tile).pixels.squeeze()


@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("inputs", EVERY_NETWORK, ids=lambda inputs: " ".join(map(str, inputs.values())))
def test_every_task_gives_the_pixels_that_the_package_computes(
    server: Client, cache: Path, tmp_path: Path, inputs: dict[str, Any], image: str
) -> None:
    inputs = {"image": image, **inputs}
    found = np.asarray(opened(server.output(**inputs)))
    assert np.array_equal(found, computed(cache, tmp_path / "picture.png", inputs))


def test_the_large_network_enlarges_unless_asked_otherwise(server: Client) -> None:
    assert server.output(image=COLOUR) == server.output(image=COLOUR, task_type=TaskType.LARGE)
    assert opened(server.output(image=COLOUR)).size == (120, 84)


@every_task
@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({"scale": 2}, (60, 42)),
        ({"scale": 0.5}, (15, 10)),  # 10.5 rounds to the even number
        ({"scale": 1}, (30, 21)),
        ({"width": 47}, (47, 33)),
        ({"height": 40}, (57, 40)),
        ({"width": 33, "height": 5, "scale": 3}, (33, 5)),
    ],
)
def test_result_has_exactly_the_size_asked_for(
    server: Client, task: str, inputs: dict[str, Any], size: tuple[int, int]
) -> None:
    assert opened(server.output(image=COLOUR, task_type=task, **inputs)).size == size


@every_task
def test_result_has_the_own_size_of_the_task_where_none_is_asked_for(server: Client, task: str) -> None:
    size = (120, 84) if "Super-Resolution" in task else (30, 21)
    assert opened(server.output(image=COLOUR, task_type=task)).size == size


@every_task
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_alpha_come_out_as_they_went_in(server: Client, task: str, channels: int) -> None:
    image = data_url(file_of(pillow(noise(21, 30, channels)), "PNG"))
    mode = TRUE_COLOUR[channels]
    if task == TaskType.DENOISE_GREY:
        mode = mode.replace("RGB", "L")
    assert opened(server.output(image=image, task_type=task)).mode == mode


@every_task
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_stay_16_bit(server: Client, tmp_path: Path, task: str, channels: int) -> None:
    image = data_url(vips(noise(21, 30, channels, bits=16)).pngsave_buffer())
    answer = server.predict(image=image, task_type=task)
    (tmp_path / "result.png").write_bytes(content_of(answer["output"]))
    result = decode(tmp_path / "result.png", Limits())
    assert result.bits == 16
    assert len(np.unique(result.pixels)) > 256
    assert result.is_grey == (channels == 1 or task == TaskType.DENOISE_GREY)
    assert answer["metrics"]["dtype"] == "float32"


@every_task
def test_a_profile_stays_with_its_colours_and_goes_with_them(server: Client, task: str) -> None:
    image = data_url(file_of(pillow(scene(21, 30)), "PNG", icc_profile=rgb_profile()))
    result = opened(server.output(image=image, task_type=task))
    expected = None if task == TaskType.DENOISE_GREY else rgb_profile()
    assert result.info.get("icc_profile") == expected


def test_a_log_line_says_that_colours_are_dropped(server: Client) -> None:
    said = "The picture is converted to grey."
    assert said in server.predict(image=COLOUR, task_type=TaskType.DENOISE_GREY)["logs"]
    assert said not in server.predict(image=GREY, task_type=TaskType.DENOISE_GREY)["logs"]
    assert said not in server.predict(image=COLOUR, task_type=TaskType.REPAIR_JPEG)["logs"]


@every_task
@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_result_has_the_format_asked_for(server: Client, task: str, output_format: str, name: str) -> None:
    result = server.output(image=COLOUR, task_type=task, output_format=output_format, output_quality=80)
    assert opened(result).format == name


@every_task
@pytest.mark.parametrize("tile", [32, 45])
def test_tile_size_never_changes_the_result(server: Client, task: str, tile: int) -> None:
    inputs = {"image": data_url(file_of(pillow(noise(50, 80, 3)), "PNG")), "task_type": task}
    assert server.output(**inputs, tile_size=tile) == server.output(**inputs)


def test_every_prediction_reports_its_figures(server: Client) -> None:
    metrics = server.predict(image=COLOUR, task_type=TaskType.DENOISE_COLOUR)["metrics"]
    seconds = {f"seconds_{part}" for part in ("decoding", "computing", "encoding")}
    assert all(0 <= metrics.pop(name) < 60 for name in seconds | {"predict_time"})
    assert metrics.pop("dtype") in ("float32", "bfloat16")
    assert metrics.pop("tiles") > 1  # one for each stage at least
    assert metrics == {
        "input_width": 30,
        "input_height": 21,
        "output_width": 30,
        "output_height": 21,
        "retries": 0,
        "device": "cpu",
        "weights": "tiny",
    }


@pytest.mark.parametrize("jpeg", [0, -5, 75, 10**12])
@pytest.mark.parametrize("task", [task for task in TaskType if task is not TaskType.REPAIR_JPEG])
def test_hosted_calls_may_hold_any_quality_where_no_jpeg_is_repaired(server: Client, task: str, jpeg: int) -> None:
    inputs = {"image": COLOUR, "task_type": task, "noise": 25}
    assert server.output(**inputs, jpeg=jpeg) == server.output(**inputs)


@pytest.mark.parametrize("which", ["server", "open_server"])
@pytest.mark.parametrize("jpeg", [0, -5, 75, 10**12])
def test_jpeg_repair_refuses_other_qualities_by_name(request: pytest.FixtureRequest, which: str, jpeg: int) -> None:
    client: Client = request.getfixturevalue(which)
    message = client.failure(image=COLOUR, task_type=TaskType.REPAIR_JPEG, jpeg=jpeg)
    assert message == f"E_INPUT: jpeg is {jpeg}; take 10, 20, 30 or 40."


BEYOND_BOUNDS = [
    *declared.BEYOND_BOUNDS,
    ("task_type", "Real-World Image Super-Resolution"),
    ("noise", 20),
]
OF_WRONG_TYPE = [*declared.OF_WRONG_TYPE, ("task_type", 1), ("noise", "15")]


def test_every_bound_is_in_the_table() -> None:
    assert declared.bounded(MODEL) == {name for name, _ in BEYOND_BOUNDS}


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, *OF_WRONG_TYPE, ("jpeg", "40"), ("jpeg", 40.5)])
def test_schema_refuses_values_out_of_bounds(server: Client, name: str, value: Any) -> None:
    answer = server.post({"image": COLOUR, name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", name]


@pytest.mark.parametrize(("name", "value"), [*BEYOND_BOUNDS, ("scale", 0), ("tile_size", 31)])
def test_package_refuses_values_out_of_bounds_without_the_schema(open_server: Client, name: str, value: Any) -> None:
    message = open_server.failure(**{"image": COLOUR, "task_type": TaskType.DENOISE_COLOUR, name: value})
    assert message.startswith("E_INPUT: ")
    assert str(value) in message


@pytest.mark.parametrize(("name", "value"), OF_WRONG_TYPE)
def test_package_refuses_values_of_a_wrong_type_without_the_schema(open_server: Client, name: str, value: Any) -> None:
    inputs = {"image": COLOUR, "task_type": TaskType.DENOISE_COLOUR, name: value}
    assert open_server.failure(**inputs).startswith("E_INPUT: ")


@pytest.mark.parametrize("jpeg", ["40", 10.5, None])
def test_package_refuses_qualities_of_a_wrong_type_without_the_schema(open_server: Client, jpeg: Any) -> None:
    message = open_server.failure(image=COLOUR, task_type=TaskType.REPAIR_JPEG, jpeg=jpeg)
    assert message.startswith("E_INPUT: jpeg is ")


@pytest.mark.parametrize(("name", "value"), [("scale", 0), ("tile_size", 31)])
def test_package_refuses_what_the_schema_cannot(server: Client, name: str, value: Any) -> None:
    assert server.failure(image=COLOUR, **{name: value}).startswith(f"E_INPUT: {name} is {value};")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "E_DECODE"), (b"no picture", "E_FORMAT"), (content_of(COLOUR)[:-200], "E_DECODE")]
)
def test_bad_files_get_a_code(server: Client, content: bytes, code: str) -> None:
    assert server.failure(image=data_url(content)).startswith(f"{code}: ")


@pytest.mark.parametrize("which", ["server", "open_server"])
def test_local_paths_are_refused_unopened(request: pytest.FixtureRequest, which: str) -> None:
    client: Client = request.getfixturevalue(which)
    assert client.failure(image="/etc/passwd").startswith("E_INPUT: image is '/etc/passwd'; send the picture")


@pytest.mark.skipif(weights.entry(UNPUBLISHED).is_verifiable, reason="`make pin` has written its checksum down")
def test_weights_that_cannot_be_verified_are_refused_with_what_to_do(open_server: Client) -> None:
    message = open_server.failure(image=GREY, task_type=TaskType.DENOISE_GREY)
    assert message.startswith(f"E_WEIGHTS: no checksum has been published for {UNPUBLISHED}.pth")
    assert "UNVERIFIED_WEIGHTS=1" in message


def test_more_tasks_than_networks_are_held_give_the_same_bytes_again(server: Client) -> None:
    first, second = ([server.output(image=COLOUR, **inputs) for inputs in EVERY_NETWORK[:4]] for _ in range(2))
    assert first == second
    assert len(set(first)) == 4


def test_cancelling_takes_effect_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(image=COLOUR)
    with server.computing("unwanted"):
        assert server.cancel("unwanted") == 200
        assert server.output(image=COLOUR) == expected
